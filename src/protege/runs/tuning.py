"""Which of several ways to do the same work is quickest on this machine: measured once, remembered, and never guessed again.

Only ways whose results are as good are offered here, and another way than the first must be clearly quicker: what was chosen changes
the last bits of a run, so it is recorded in the run, and a run that is taken up again keeps it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

import torch

from protege.data.places import cache_folder

CLEARLY = 0.9  # of the first candidate's time
ROUNDS = 3


@dataclass(frozen=True)
class Choice:
    """The quickest way, the median seconds of each, and what each took the first time."""

    name: str
    seconds: dict[str, float]
    first: dict[str, float]


def quickest(
    what: str, candidates: Mapping[str, Callable[[], object]], device: torch.device, rounds: int = ROUNDS
) -> Choice:
    """`what` says all that the times depend on, but for the machine. The first candidate is the one to stay with."""
    key = _key(what, device)
    known = _known().get(key)
    if known is not None and known["seconds"].keys() == known.get("first", {}).keys() == candidates.keys():
        return Choice(**{field.name: known[field.name] for field in fields(Choice)})
    taken = _measured(candidates, device, rounds)
    seconds = {name: median(times[1:]) for name, times in taken.items()}
    first = next(iter(candidates))
    best = min(seconds, key=seconds.__getitem__)
    chosen = best if seconds[best] < CLEARLY * seconds[first] else first
    choice = Choice(chosen, seconds, {name: times[0] for name, times in taken.items()})
    _remember(key, {"what": what, **asdict(choice)})
    return choice


def _measured(
    candidates: Mapping[str, Callable[[], object]], device: torch.device, rounds: int
) -> dict[str, list[float]]:
    """In turns, so that a machine that is busy for a while is so to all. The first is warming up."""
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds + 1):
        for name, work in candidates.items():
            started = now(device)
            work()
            taken[name].append(now(device) - started)
    return taken


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _key(what: str, device: torch.device) -> str:
    machine = [torch.__version__, str(torch.get_num_threads()), device.type]
    machine.append(torch.cuda.get_device_name(device) if device.type == "cuda" else _processor())
    return hashlib.sha256(json.dumps([what, *machine]).encode()).hexdigest()[:24]


def _processor() -> str:
    return torch.backends.cpu.get_cpu_capability() + " " + str(os.cpu_count())


def _file() -> Path:
    return cache_folder() / "tuning.json"


def _known() -> dict[str, dict[str, Any]]:
    """A file that is damaged is as good as none."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(_file().read_text())
        if isinstance(found, dict):
            return found
    return {}


def _remember(key: str, value: dict[str, object]) -> None:
    """Two processes at once may each lose the other's line, which is then measured again."""
    with contextlib.suppress(OSError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        partial = _file().with_name(f"tuning.json.{os.getpid()}.partial")
        partial.write_text(json.dumps({**_known(), key: value}, indent=1))
        partial.replace(_file())
