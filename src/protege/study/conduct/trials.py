"""How far the trials of a search are: a pure function of what was asked for and of the folders of its runs.

A trial is a configuration with a run for each seed that selects. All trials of a round are asked for together; where halving
stops bad ones, the round waits at each look, the better half goes on, and the others rest with their checkpoints. So which
trials there are, and how far each is trained, does not hang on how many run at once or which ends first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from protege.runs import Run
from protege.study.conduct.scores import best_of, mean_of, seed_scores, settled_run, to_judge
from protege.study.question.arms import Cell, Configuration
from protege.study.question.layout import Layout, PlannedRun

State = Literal["due", "waits", "finished", "stopped", "diverged"]


@dataclass(frozen=True)
class Trial:
    """One configuration, and how far it is to be trained as things stand."""

    number: int  # from 1, over all rounds
    round: int  # from 1
    configuration: Configuration
    runs: tuple[PlannedRun, ...]
    epochs: int  # to train; of a stopped one, after which it was stopped
    state: State  # waits: for the others of its round
    score: float | None  # what chooses; of a stopped one, at its last look

    @property
    def open(self) -> bool:
        return self.state in ("due", "waits")


def trials(plan: Layout, cell: Cell) -> list[Trial]:
    """All that were asked for so far, in order."""
    found: list[Trial] = []
    for number, together in enumerate(plan.rounds(cell), 1):
        found += _of_round(plan, cell, number, len(found), together)
    return found


def _of_round(plan: Layout, cell: Cell, number: int, before: int, together: Sequence[Configuration]) -> list[Trial]:
    """The counts that go on are fixed beforehand, so that each search trains as many epochs as every other."""
    config = cell.configurations[0].config
    runs = [tuple(plan.select_runs(cell, one)) for one in together]
    ended: dict[int, tuple[int, State, float | None]] = {}
    alive = list(range(len(together)))
    for halved, look in enumerate(plan.study.search.looks(config.optim.epochs, config.evaluate_every), 1):
        due = {one for one in alive if not all(reached(plan, run, look) for run in runs[one])}
        if due:
            ended |= {one: (look, "due" if one in due else "waits", None) for one in alive}
            alive = []
            break
        scores = {one: _score_at(plan, runs[one], look) for one in alive}
        ended |= {one: (look, "diverged", None) for one in alive if scores[one] is None}
        going_on = _best(scores, math.ceil(len(together) / 2**halved))
        ended |= {one: (look, "stopped", scores[one]) for one in alive if one not in going_on and one not in ended}
        alive = [one for one in alive if one in going_on]
    for one in alive:
        ended[one] = (config.optim.epochs, *_at_the_end(plan, runs[one]))
    return [
        Trial(before + one + 1, number, configuration, runs[one], *ended[one])
        for one, configuration in enumerate(together)
    ]


def _at_the_end(plan: Layout, runs: Sequence[PlannedRun]) -> tuple[State, float | None]:
    if not all(settled_run(plan.place.runs, run) for run in runs):
        return "due", None
    if any(to_judge(plan, run) for run in runs):
        return "waits", None
    score = mean_of(seed_scores(plan, runs))
    return ("diverged", None) if score is None else ("finished", score)


def _best(scores: dict[int, float | None], count: int) -> set[int]:
    left, found = dict(scores), set[int]()
    while len(found) < count and (best := best_of(list(left.values()))) is not None:
        found.add(key := list(left)[best])
        del left[key]
    return found


def reached(plan: Layout, run: PlannedRun, epochs: int) -> bool:
    """Whether it was trained so far, or will never be."""
    return settled_run(plan.place.runs, run) or len(Run(plan.place.runs / run.id).metrics()) >= epochs


def _score_at(plan: Layout, runs: Sequence[PlannedRun], epochs: int) -> float | None:
    """Accuracy in percent on held-out images after so many epochs, over the seeds; None where one diverged."""
    return mean_of(dict(enumerate(_accuracy_at(plan, run, epochs) for run in runs)))


def _accuracy_at(plan: Layout, run: PlannedRun, epochs: int) -> float | None:
    lines = Run(plan.place.runs / run.id).metrics()[:epochs]
    known = [100 * line["heldout_accuracy"] for line in lines if line.get("heldout_accuracy") is not None]
    if len(lines) < epochs or not known:
        return None
    return max(known) if plan.study.report == "best" else known[-1]


# ---- what is left ----


def due(plan: Layout, cell: Cell) -> dict[str, int]:
    """Runs of a search, and until which epoch each is to be trained now; 0 for one that has come so far, or was stopped."""
    found = {}
    for one in trials(plan, cell):
        for run in one.runs:
            lacks = one.state == "due" and not reached(plan, run, one.epochs)
            found[run.id] = one.epochs if lacks else 0
    return found


def in_open_trials(plan: Layout) -> set[str]:
    """Runs whose trial is not decided: they go on, or may when the rest of the round has come as far."""
    found = (one for cell in plan.cells if cell.space for one in trials(plan, cell) if one.open)
    return {run.id for one in found for run in one.runs}


def wanted(plan: Layout, cell: Cell, asked: Sequence[Trial]) -> int:
    """How many trials the next round has; 0 where the budget is spent."""
    search = plan.study.search
    if search.minutes is not None and seconds(plan, asked) >= 60 * search.minutes:
        return 0
    return max(0, min(search.at_once, search.most - len(asked)))


def complete(plan: Layout, cell: Cell) -> bool:
    """Whether nothing more will be asked, and all that was asked is known."""
    asked = trials(plan, cell)
    return not any(one.open for one in asked) and not wanted(plan, cell, asked)


def seconds(plan: Layout, asked: Sequence[Trial]) -> float:
    """Of training, as measured; slots that run together share the machine, and so take longer each."""
    return sum(line["seconds"] for one in asked for run in one.runs for line in Run(plan.place.runs / run.id).times())


def still_to_ask(plan: Layout, cell: Cell) -> int:
    """Trials that are not known yet; of a budget in minutes, those of one round more."""
    if not cell.space or complete(plan, cell):
        return 0
    search = plan.study.search
    return max(0, search.most - len(plan.configurations(cell))) if search.minutes is None else search.at_once


def not_to_the_end(plan: Layout, cell: Cell) -> int:
    """How many of the trials that were asked for are stopped early, now or later."""
    config = cell.configurations[0].config
    looks = len(plan.study.search.looks(config.optim.epochs, config.evaluate_every))
    return sum(len(together) - math.ceil(len(together) / 2**looks) for together in plan.rounds(cell))
