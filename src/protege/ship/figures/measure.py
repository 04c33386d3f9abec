"""How big, how good and how quick runs and exported files are: bytes, accuracy, milliseconds, each with its spread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from protege.errors import ModelError
from protege.runs import Run, every, find
from protege.ship.shipped import FILES, runtime_of

ROUND = 0.25  # seconds that a network is timed for, before it is the next one's turn
FEWEST, MOST = 5, 20  # rounds
NARROW = 0.03  # of the median: the half-width of the interval at which timing ends
THROUGHPUT_BATCH = 64
JUDGED = (
    "split",
    "images",
    "accuracy",
    "interval",
    "agreement_run",
    "agreement_teacher",
)  # which `protege evaluate` keeps


@dataclass(frozen=True)
class Asked:
    """How to time."""

    threads: int = 1
    batch: int = 1
    seconds: float = ROUND


@dataclass
class Measured:
    """One run or file."""

    source: str
    runtime: str = ""
    bytes: int = 0
    parameters: int | None = None
    multiply_adds: int | None = None
    split: str | None = None
    images: int = 0
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    agreement_run: float | None = None
    agreement_teacher: float | None = None
    latency_ms: float = 0.0  # median of the rounds' medians
    latency_low_ms: float = 0.0  # of the rounds' medians, the quartiles
    latency_high_ms: float = 0.0
    latency_p95_ms: float = 0.0
    rounds: int = 0
    images_per_second: float = 0.0  # in batches of 64
    peak_bytes: int = 0
    load_seconds: float = 0.0
    threads: int = 1
    batch: int = 1
    machine: dict[str, Any] = field(default_factory=dict)


def measure(
    sources: Sequence[str],
    runs: Path,
    asked: Asked | None = None,
    *,
    which: str = "final",
    judge: Callable[[str, Measured], None] | None = None,
) -> list[Measured]:
    """Sizes and times of each, the times in turns; `judge` fills in how good it is."""
    from protege.runs import environment

    asked = asked or Asked()
    machine = {key: value for key, value in environment().items() if key in ("processor", "cores", "system", "python")}
    found = [Measured(source, threads=asked.threads, batch=asked.batch, machine=machine) for source in sources]
    for one in found:
        weigh(one, runs, which)
        if judge:
            judge(one.source, one)
    time_in_turns(found, runs, which, asked)
    for one in found:
        keep(one, runs, which)
    return found


def keep(one: Measured, runs: Path, which: str) -> None:
    """Beside the run, so that studies and reports know it; a file's price is not its run's."""
    if Path(one.source).suffix not in FILES:
        known = {name: value for name, value in asdict(one).items() if name not in ("source", *JUDGED)}
        find(runs, one.source).keep_measured(which, known)


# ---- how big ----


def weigh(one: Measured, runs: Path, which: str) -> None:
    from protege.ship.figures.size import bytes_of, costs_of

    one.bytes = bytes_of(one.source, runs, which)
    run = run_of(one.source, runs)
    if run is not None:
        one.parameters, one.multiply_adds = costs_of(run, which)


def run_of(source: str, runs: Path) -> Run | None:
    """The run itself, or the one that a file says it comes from: in `runs`, or around the file."""
    path = Path(source)
    if path.suffix not in FILES:
        return find(runs, source)
    name = runtime_of(source, runs, "final", None).about.run
    around = (parent for parent in path.resolve().parents if parent.name == name and (parent / "run.json").is_file())
    return next((run for run in every(runs) if run.id == name), None) or next(map(Run, around), None)


# ---- how quick ----


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


def time_in_turns(found: Sequence[Measured], runs: Path, which: str, asked: Asked) -> None:
    """Latency first, then throughput, each of all of them in turns; memory and load time are those of the first."""
    about = {"runs": str(runs), "which": which}
    loaded, latency = rounds_of([one.source for one in found], asked, about)
    many = replace(asked, batch=THROUGHPUT_BATCH)
    throughput = rounds_of([one.source for one in found], many, about)[1]
    for one, said, each, together in zip(found, loaded, latency, throughput, strict=True):
        one.load_seconds, one.runtime, one.peak_bytes = said["load_seconds"], said["runtime"], said["peak_bytes"]
        summarise(one, each)
        one.images_per_second = THROUGHPUT_BATCH / float(np.median([np.median(seen) for seen in together]))


def rounds_of(
    sources: Sequence[str], asked: Asked, about: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[list[list[float]]]]:
    """What each said as it was loaded, and its seconds, round after round over all of them, so that a busy minute falls on
    every one; until each interval is narrow."""
    with ExitStack() as stack:
        workers = [stack.enter_context(worker(source, asked.threads)) for source in sources]
        loaded = [one.ask(source=one.source, batch=asked.batch, threads=asked.threads, **about) for one in workers]
        rounds: list[list[list[float]]] = [[] for _ in workers]
        while len(rounds[0]) < FEWEST or (len(rounds[0]) < MOST and not all(map(narrow, rounds))):
            for process, seen in zip(workers, rounds, strict=True):
                seen.append(process.ask(seconds=asked.seconds)["seconds"])
    return loaded, rounds


def narrow(rounds: list[list[float]]) -> bool:
    """Whether the middle half of the rounds' medians lies within 3 % of their median."""
    low, middle, high = np.percentile([np.median(one) for one in rounds], (25, 50, 75))
    return bool((high - low) / 2 < NARROW * middle)


def summarise(one: Measured, rounds: list[list[float]]) -> None:
    low, middle, high = np.percentile([np.median(seen) for seen in rounds], (25, 50, 75)) * 1e3
    one.latency_low_ms, one.latency_ms, one.latency_high_ms = float(low), float(middle), float(high)
    one.latency_p95_ms = float(np.percentile(np.concatenate(rounds), 95) * 1e3)
    one.rounds = len(rounds)
