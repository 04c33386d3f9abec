"""Networks timed in turns, each in a process of its own, so that a busy minute falls on all of them; and when that is enough."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from protege.errors import ModelError

ROUND = 0.25  # seconds that a network is timed for, before it is the next one's turn
FEWEST, MOST = 5, 20  # rounds
NARROW = 0.03  # of the median: the half-width of the interval at which timing ends
CLEAR = 1.5  # so many times above or below a limit, two rounds are enough to say on which side

Rounds = list[list[float]]  # of one network: the seconds of each call, round after round
Rule = Callable[[list[Rounds]], list[int]]  # which networks the next round is for; none: enough is known
Say = Callable[[str], None]


def unheard(sentence: str) -> None:
    """Where nobody watches."""


def now_and_then(say: Say, seconds: float = 15) -> Say:
    """One sentence in so many seconds, for lines that stay."""
    last = time.monotonic()

    def heard(sentence: str) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            say(sentence)
            last = time.monotonic()

    return heard


@dataclass(frozen=True)
class Asked:
    """How to time."""

    threads: int = 1
    batch: int = 1
    seconds: float = ROUND


# ---- when it is enough ----


def until_narrow(rounds: list[Rounds]) -> list[int]:
    """All of them, until the interval of each is narrow: for figures that are compared with one another."""
    done = len(rounds[0])
    over = done >= MOST or (done >= FEWEST and all(map(narrow, rounds)))
    return [] if over else list(range(len(rounds)))


def until_typical(rounds: list[Rounds]) -> list[int]:
    """All of them a few times: for a median that is shown without its spread."""
    return [] if len(rounds[0]) >= FEWEST else list(range(len(rounds)))


def until_decided(limit: float) -> Rule:
    """Those of which it is open on which side of `limit` seconds they are."""

    def undecided(rounds: list[Rounds]) -> list[int]:
        return [place for place, seen in enumerate(rounds) if len(seen) < MOST and not decided(seen, limit)]

    return undecided


def narrow(rounds: Rounds) -> bool:
    """Whether the middle half of the rounds' medians lies within 3 % of their median."""
    low, middle, high = quartiles(rounds)
    return bool((high - low) / 2 < NARROW * middle)


def decided(rounds: Rounds, limit: float) -> bool:
    """Whether all rounds lie on one side of the limit: five of them, or two that are far from it."""
    if len(rounds) < 2:
        return False
    medians = [float(np.median(one)) for one in rounds]
    low, high = min(medians), max(medians)
    margin = 1.0 if len(rounds) >= FEWEST else CLEAR
    return low > margin * limit or high * margin <= limit


def quartiles(rounds: Rounds) -> tuple[float, float, float]:
    """Of the rounds' medians, in seconds."""
    low, middle, high = np.percentile([np.median(one) for one in rounds], (25, 50, 75))
    return float(low), float(middle), float(high)


# ---- the turns ----


@dataclass
class Worker:
    """One network in a process of its own."""

    process: subprocess.Popen[str]
    source: str

    def ask(self, **what: Any) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        answer = json.loads(line) if line.startswith("{") else {"error": "its process ended without an answer"}
        if "error" in answer:
            raise ModelError(f"{self.source} cannot be timed: {answer['error']}")
        return answer


@contextmanager
def worker(source: str, threads: int) -> Iterator[Worker]:
    """Threads are pinned from outside, before any library can count the cores."""
    pinned = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    command = [sys.executable, "-m", "protege.ship.figures.timing"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **pinned}
    ) as process:
        try:
            yield Worker(process, source)
        finally:
            process.kill()


def in_turns(
    sources: Sequence[str], asked: Asked, about: dict[str, Any], rule: Rule, say: Say = unheard
) -> tuple[list[dict[str, Any]], list[Rounds]]:
    """What each said as it was loaded, and its seconds, round after round for as long as the rule asks for them."""
    rounds: list[Rounds] = [[] for _ in sources]
    loaded = []
    with ExitStack() as stack:
        workers = [stack.enter_context(worker(source, asked.threads)) for source in sources]
        for place, one in enumerate(workers):
            say(f"loading {place + 1} of {len(workers)}")
            loaded.append(one.ask(source=one.source, batch=asked.batch, threads=asked.threads, **about))
        while waiting := rule(rounds):
            started = time.perf_counter()
            for place in waiting:
                rounds[place].append(workers[place].ask(seconds=asked.seconds)["seconds"])
            say(left(rounds, waiting, asked.batch, time.perf_counter() - started))
    return loaded, rounds


def left(rounds: list[Rounds], waiting: Sequence[int], batch: int, seconds: float) -> str:
    """How far it is, and how long it takes at most if every round takes as long as the last one, which took `seconds`."""
    done = max(map(len, rounds))
    return (
        f"timing {len(waiting)} of {len(rounds)} networks, {batch} image(s) at a time: round {done} of {MOST} at most, "
        f"{seconds * (MOST - done):.0f} s left at most"
    )
