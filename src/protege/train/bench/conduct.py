"""Many processes in turns: each way to train in one of its own, ABAB..., as long as the time allows."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from protege.errors import RunError
from protege.runs.config import Described
from protege.runs.display import console
from protege.runs.hardware import free_memory
from protege.train.bench.limits import Rates, limit, work
from protege.train.bench.messages import Facts, Request, Took
from protege.train.bench.outcome import Load, Outcome, Row
from protege.train.bench.process import Process
from protege.train.bench.variants import WORDS, Pair, Setting, Variant, What, variants

SPARE = 1 << 30  # bytes of memory that are left to others
LONGEST_TURN = 3.0  # seconds: more would tell no more
FEWEST_ROUNDS = 3
IMAGES = 250  # that the teacher is asked about at once
REFERENCE_IS_SLOWER = 2.0  # a guess to plan with


class Plan(Described):
    """What to measure of which pairs, and how long it may take."""

    groups: tuple[tuple[Pair, What], ...]
    only: tuple[str, ...] = Field(default=(), description="names of ways to train; the others are left out")
    rounds: int = 5
    minutes: float = 15.0
    slots: tuple[int, ...] = (1, 2, 4)

    def ways(self, what: What, facts: Facts) -> list[Variant]:
        ways = variants(what, facts.arithmetic, self.slots, facts.execution)
        return [way for way in ways if not self.only or what == "slots" or way.name in self.only]


@dataclass
class Measuring:
    """What is known so far."""

    plan: Plan
    setting: Setting
    quiet: bool
    began: float = field(default_factory=time.monotonic)
    environment: dict[str, Any] = field(default_factory=dict)
    facts: dict[Pair, Facts] = field(default_factory=dict)
    rates: list[Rates] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def say(self, sentence: str) -> None:
        if not self.quiet:
            console.print(f"{time.monotonic() - self.began:5.0f} s  {sentence}", markup=False, soft_wrap=True)


@dataclass
class Stand:
    """One way to train, open: a process for each slot."""

    variant: Variant
    processes: list[Process]
    setting: Setting
    pass_seconds: float
    row: Row

    def turn(self, passes: int) -> float:
        """Images a second of so many passes in every slot at once."""
        for process in self.processes:
            process.tell(Request(verb="pass", setting=self.setting, passes=passes))
        replies = [process.hear() for process in self.processes]
        took = [reply.took for reply in replies if reply.took]
        peak = max(self.row.peak_memory, sum(reply.peak_memory for reply in replies))
        problem = next((reply.problem for reply in replies if reply.problem), "")
        self.row = self.row.model_copy(update={"peak_memory": peak, "problem": problem})
        return float("nan") if problem else together(took)


def together(took: Sequence[Took]) -> float:
    """Images a second of slots that began at once: all images, in the time of the slowest."""
    return sum(one.images for one in took) / max(one.seconds for one in took)


def measure(plan: Plan, setting: Setting, quiet: bool = False) -> Outcome:
    """Everything in the plan; what could not be measured is a row that says why."""
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="protege-bench-") as folder:
        state = Measuring(plan, setting.model_copy(update={"folder": Path(folder)}), quiet)
        with Process(Path(folder) / "machine.log") as machine:
            for pair in dict.fromkeys(pair for pair, _ in plan.groups):
                _prepare(state, machine, pair)
            for number, (pair, what) in enumerate(plan.groups):
                available = _share(state, plan.groups[number:])
                state.rates.append(_rates(state, machine))
                _group(state, pair, what, available)
    return _outcome(state, before)


def _prepare(state: Measuring, machine: Process, pair: Pair) -> None:
    state.say(f"{pair.label}: preparing")
    reply = machine.ask(Request(verb="prepare", setting=state.setting, pair=pair))
    if reply.facts is None:
        raise RunError(f"{pair.label} cannot be measured: {reply.problem}")
    state.facts[pair] = reply.facts
    state.environment = reply.environment or {}


def _rates(state: Measuring, machine: Process) -> Rates:
    reply = machine.ask(Request(verb="rates", setting=state.setting))
    if reply.rates is None:
        raise RunError(f"The rates of this machine cannot be measured: {reply.problem}")
    return reply.rates


def _share(state: Measuring, left: Sequence[tuple[Pair, What]]) -> float:
    """Seconds for the first of what is left: in proportion to the work."""
    plan = state.plan
    works = [
        minimal_work(pair, plan.ways(what, state.facts[pair]), state.facts[pair], plan.rounds) for pair, what in left
    ]
    remaining = state.began + 60 * plan.minutes - time.monotonic()
    return max(0.0, remaining) * works[0] / sum(works)


# ---- one pair, trained in several ways ----


def _group(state: Measuring, pair: Pair, what: What, available: float) -> None:
    """The first way is what the others are compared with. Where not all fit into memory at once, it takes part again."""
    first, *others = state.plan.ways(what, state.facts[pair])
    state.say(f"{pair.label}, {WORDS[what]}: {len(others) + 1} ways")
    share = available / (len(others) + 1)
    waiting, begun = others, False
    while waiting or not begun:
        with ExitStack() as held:
            stands = [_open(state, held, pair, what, first)]
            while waiting and (len(stands) == 1 or _fits(stands)):
                stands.append(_open(state, held, pair, what, waiting[0]))
                waiting = waiting[1:]
            _take_turns(state, stands, share * len(stands))
            for process in (process for stand in stands for process in stand.processes):
                process.dismiss()  # all at once: they end side by side
        state.rows += [stand.row for stand in (stands[1:] if begun else stands)]
        begun = True


def _open(state: Measuring, held: ExitStack, pair: Pair, what: What, variant: Variant) -> Stand:
    facts, threads = state.facts[pair], max(1, state.setting.threads // variant.slots)
    setting = state.setting.model_copy(update={"threads": threads})
    row = Row(pair=pair, what=what, variant=variant)
    stand = Stand(variant, [], setting, 0.0, row)
    for slot in range(variant.slots):
        log = setting.folder / f"worker-{len(state.rows)}-{slot}-{threads}.log"
        process = held.enter_context(Process(log))
        stand.processes.append(process)
        request = Request(verb="open", setting=setting, pair=pair, variant=variant, weights=facts.weights)
        reply = process.ask(request)
        if reply.took is None:
            stand.row = row.model_copy(update={"problem": reply.problem})
            state.say(f"{variant.name}: {reply.problem}")
            return stand
        stand.pass_seconds = max(stand.pass_seconds, reply.took.seconds)
        stand.row = stand.row.model_copy(update={"peak_memory": stand.row.peak_memory + reply.peak_memory})
    return stand


def _fits(stands: Sequence[Stand]) -> bool:
    """Whether one more, as large as the largest so far, leaves something of the memory."""
    largest = max(stand.row.peak_memory // len(stand.processes) for stand in stands)
    free = free_memory()
    return free is None or free - largest > SPARE


def _take_turns(state: Measuring, stands: list[Stand], available: float) -> None:
    running = [stand for stand in stands if not stand.row.problem]
    if not running:
        return
    seconds = [stand.pass_seconds * len(stand.processes) for stand in running]
    rounds = rounds_within(seconds, state.plan.rounds, available)
    passes = passes_within(seconds, rounds, available)
    speeds: list[list[float]] = [[] for _ in running]
    for number in range(rounds):
        state.say(f"round {number + 1} of {rounds}")
        state.load.append(os.getloadavg()[0])
        for stand, count, seen in zip(running, passes, speeds, strict=True):
            if not stand.row.problem:
                seen.append(stand.turn(count))
    against = () if running[0] is not stands[0] or running[0].row.problem else tuple(speeds[0])
    for stand, seen in zip(running, speeds, strict=True):
        if not stand.row.problem:
            update = {"images_per_second": tuple(seen), "against": against}
            stand.row = stand.row.model_copy(update=update)


# ---- how many passes a round, and how many rounds, so that all of it fits into the time that there is ----


def rounds_within(pass_seconds: Sequence[float], rounds: int, available: float) -> int:
    """Fewer rounds than wished for only where one pass of each is too much, and never fewer than three."""
    fitting = int(available / sum(pass_seconds))
    return min(rounds, max(FEWEST_ROUNDS, fitting))


def passes_within(pass_seconds: Sequence[float], rounds: int, available: float) -> list[int]:
    """A round, of each: at least one, and quick ones more, so that turns are alike in length and fill the time."""
    turn = LONGEST_TURN
    while True:
        passes = [max(1, int(turn / seconds)) for seconds in pass_seconds]
        total = rounds * sum(number * seconds for number, seconds in zip(passes, pass_seconds, strict=True))
        if total <= available or max(passes) == 1:
            return passes
        turn *= 0.8


def minimal_work(pair: Pair, ways: Sequence[Variant], facts: Facts, rounds: int) -> float:
    """FLOPs of measuring these with one pass a round, to share the time out before anything is known."""
    total = 0.0
    for way in ways:
        images = way.slots * way.images(pair.batch_size, IMAGES)
        slower = REFERENCE_IS_SLOWER if way.role == "reference" else 1.0
        total += slower * images * work(way, facts.student, facts.teacher)
    return (rounds + 1) * total


# ---- the end ----


def _outcome(state: Measuring, load_before: float) -> Outcome:
    rates = Rates(**{name: max(getattr(one, name) for one in state.rates) for name in Rates.model_fields})
    rows = tuple(_with_limit(row, state.facts[row.pair], rates) for row in state.rows)
    return Outcome(
        command=shlex.join(["protege" if Path(sys.argv[0]).stem == "protege" else sys.argv[0], *sys.argv[1:]]),
        date=time.strftime("%Y-%m-%d"),
        environment=state.environment,
        setting=state.setting,
        rounds=state.plan.rounds,
        minutes=(time.monotonic() - state.began) / 60,
        load=Load(before=load_before, seen=tuple(state.load)),
        rates=rates,
        rows=rows,
    )


def _with_limit(row: Row, facts: Facts, rates: Rates) -> Row:
    return row.model_copy(update={"limit": limit(row.variant, facts.student, facts.teacher, rates)})
