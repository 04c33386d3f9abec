"""How big, how good and how quick runs and exported files are: bytes, accuracy, milliseconds, each with its spread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from protege.runs import Run, every, find
from protege.ship.figures.turns import (
    Asked,
    Rounds,
    Say,
    in_turns,
    quartiles,
    unheard,
    until_decided,
    until_narrow,
    until_typical,
)
from protege.ship.shipped import FILES, runtime_of

THROUGHPUT_BATCH = 64


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
    latency_ms: float | None = None  # median of the rounds' medians; none where nobody timed
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
    say: Say = unheard,
) -> list[Measured]:
    """Sizes and times of each, the times in turns; `judge` fills in how good it is."""
    asked = asked or Asked()
    found = weighed(sources, runs, asked, which, judge, say)
    time_in_turns(found, runs, which, asked, say)
    return found


def weighed(
    sources: Sequence[str],
    runs: Path,
    asked: Asked,
    which: str,
    judge: Callable[[str, Measured], None] | None,
    say: Say = unheard,
) -> list[Measured]:
    """All but the times."""
    from protege.runs import environment

    machine = {key: value for key, value in environment().items() if key in ("processor", "cores", "system", "python")}
    found = [Measured(source, threads=asked.threads, batch=asked.batch, machine=machine) for source in sources]
    for place, one in enumerate(found):
        say(f"weighing {place + 1} of {len(found)}: {one.source}")
        weigh(one, runs, which)
        if judge:
            judge(one.source, one)
    return found


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


def time_in_turns(found: Sequence[Measured], runs: Path, which: str, asked: Asked, say: Say = unheard) -> None:
    """Latency first, then throughput, each of all of them in turns; memory and load time are those of the first."""
    sources, about = [one.source for one in found], {"runs": str(runs), "which": which}
    loaded, latency = in_turns(sources, asked, about, until_narrow, say)
    together = in_turns(sources, replace(asked, batch=THROUGHPUT_BATCH), about, until_typical, say)[1]
    for one, said, each, many in zip(found, loaded, latency, together, strict=True):
        one.load_seconds, one.peak_bytes = said["load_seconds"], said["peak_bytes"]
        summarise(one, said["runtime"], each)
        one.images_per_second = THROUGHPUT_BATCH / quartiles(many)[1]


def time_for_limit(
    found: Sequence[Measured], runs: Path, which: str, asked: Asked, limit_ms: float, say: Say = unheard
) -> None:
    """Latency alone, of each for as long as it is open on which side of the limit it is."""
    sources, about = [one.source for one in found], {"runs": str(runs), "which": which}
    loaded, latency = in_turns(sources, asked, about, until_decided(limit_ms / 1e3), say)
    for one, said, each in zip(found, loaded, latency, strict=True):
        summarise(one, said["runtime"], each)


def summarise(one: Measured, runtime: str, rounds: Rounds) -> None:
    low, middle, high = (1e3 * seconds for seconds in quartiles(rounds))
    one.latency_low_ms, one.latency_ms, one.latency_high_ms = low, middle, high
    one.latency_p95_ms = float(np.percentile(np.concatenate(rounds), 95) * 1e3)
    one.runtime, one.rounds = runtime, len(rounds)
