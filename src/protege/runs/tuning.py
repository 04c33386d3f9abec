"""Which of several ways to do the same work is quickest on this machine: measured once, remembered, and never guessed again.

Only ways whose results are as good are offered here, and another way than the first must be clearly quicker: what was chosen changes
the last bits of a run, so it is recorded in the run, and a run that is taken up again keeps it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from pydantic import TypeAdapter

from protege.data.files import content_of
from protege.data.places import cache_folder
from protege.runs.files import partial_of, unless_there

CLEARLY = 0.9  # of the first candidate's time
ROUNDS, FEWEST = 5, 3
TURN = 0.05  # seconds: what is quicker is repeated, for short times are told badly
LONGEST = 4.0  # seconds of a trial after which the fewest rounds are enough
MOST_BYTES = 1 << 22  # of a file of what was measured; a line has a few hundred
BUSY = 0.15  # of what the cores can do: so much of others tells on us


@dataclass(frozen=True)
class Choice:
    """The quickest way, the median seconds of each, and what each took the first time."""

    name: str
    seconds: dict[str, float]
    first: dict[str, float]


@dataclass(frozen=True)
class Turn:
    """What one call of a candidate took, on average of a turn."""

    seconds: float
    processor: float  # seconds of all cores together that this process had


def quickest(
    what: str, candidates: Mapping[str, Callable[[], object]], device: torch.device, rounds: int = ROUNDS
) -> Choice:
    """`what` says all that the times depend on, but for the machine. The first candidate is the one to stay with.

    Beside others' work, what a way costs the processor is judged and not how long it waited, and nothing is remembered.
    """
    key = _key(what, device)
    known = _choice(_known().get(key))
    if known is not None and known.seconds.keys() == known.first.keys() == candidates.keys() >= {known.name}:
        return known
    before = _clocks()
    taken = _measured(candidates, device, rounds)
    busy = _share_of_others(before, _clocks()) > BUSY
    by_processor = busy and device.type == "cpu"
    seconds = {name: median(_judged(turn, by_processor) for turn in turns[1:]) for name, turns in taken.items()}
    first = next(iter(candidates))
    best = min(seconds, key=seconds.__getitem__)
    chosen = best if seconds[best] < CLEARLY * seconds[first] else first
    choice = Choice(chosen, seconds, {name: turns[0].seconds for name, turns in taken.items()})
    if not busy:
        _remember(key, {"what": what, **asdict(choice)})
    return choice


def needed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call. On a CPU those of the processor: what others do beside us does not lengthen them."""
    return _judged(_turn(work, 1, device), device.type == "cpu")


def _judged(turn: Turn, by_processor: bool) -> float:
    return turn.processor / torch.get_num_threads() if by_processor else turn.seconds


def _measured(
    candidates: Mapping[str, Callable[[], object]], device: torch.device, rounds: int
) -> dict[str, list[Turn]]:
    """In turns, so that a machine that is busy for a while is so to all. The first is warming up."""
    taken: dict[str, list[Turn]] = {name: [] for name in candidates}
    began = now(device)
    for number in range(rounds + 1):
        if number > FEWEST and now(device) - began > LONGEST:
            break
        for name, work in candidates.items():
            known = taken[name][1:]
            calls = min(100, math.ceil(TURN / max(known[0].seconds, 1e-6))) if known else 1
            taken[name].append(_turn(work, calls, device))
    return taken


def _turn(work: Callable[[], object], calls: int, device: torch.device) -> Turn:
    started, spent = now(device), time.process_time()
    for _ in range(calls):
        work()
    return Turn((now(device) - started) / calls, (time.process_time() - spent) / calls)


# ---- what others do meanwhile ----


def _clocks() -> tuple[float, float, float]:
    """Seconds: of the day, of the processor for us, and for everybody (0 where the system does not tell)."""
    return time.monotonic(), time.process_time(), spent_by_everybody()


def spent_by_everybody() -> float:
    """Seconds of all cores together in which they did something, for anybody."""
    try:
        told = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return 0.0
    user, nice, system, _, _, *rest = (int(ticks) for ticks in told)  # without idle and waiting for disks
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def _share_of_others(before: tuple[float, float, float], after: tuple[float, float, float]) -> float:
    """Of what all cores could have done in between."""
    seconds, ours, everybody = (later - earlier for earlier, later in zip(before, after, strict=True))
    return max(0.0, everybody - ours) / max(seconds * (os.cpu_count() or 1), 1e-6)


# ---- one choice for all runs of a folder ----


def agreed(folder: Path, what: str, trial: Callable[[], Choice]) -> Choice:
    """What the first run of this folder chose of `what`: arms that are compared compute alike. Others wait while it tries."""
    file = _agreement(folder, what)
    with _alone(file.with_suffix(".lock")):
        if (choice := known(folder, what)) is not None:
            return choice
        choice = trial()
        with contextlib.suppress(OSError):
            partial = partial_of(file)
            partial.write_text(json.dumps({"what": what, "choice": asdict(choice)}, indent=1))
            unless_there(partial, file)
        return known(folder, what) or choice  # another's, where there are no locks and it was first


def known(folder: Path, what: str) -> Choice | None:
    """What has been agreed upon so far. A file that is damaged is as good as none."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        return _choice(json.loads(content_of(_agreement(folder, what), MOST_BYTES))["choice"])
    return None


def _choice(record: object) -> Choice | None:
    """What a file says, if it is a choice."""
    with contextlib.suppress(TypeError, ValueError):
        return TypeAdapter(Choice).validate_python(record)
    return None


def _agreement(folder: Path, what: str) -> Path:
    return folder / "arithmetic" / f"{hashlib.sha256(what.encode()).hexdigest()[:16]}.json"


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Where the folder cannot be written or locked, each run chooses for itself."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            lock.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, 0o666)  # a pipe would be waited for
            fcntl.flock(held.enter_context(os.fdopen(descriptor, "wb")), fcntl.LOCK_EX)
        yield


# ---- the clock, and what was measured before ----


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
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads(content_of(_file(), MOST_BYTES))
        if isinstance(found, dict):
            return found
    return {}


def _remember(key: str, value: dict[str, object]) -> None:
    """Two processes at once may each lose the other's line, which is then measured again."""
    with contextlib.suppress(OSError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        partial = partial_of(_file())
        partial.write_text(json.dumps({**_known(), key: value}, indent=1))
        partial.replace(_file())
