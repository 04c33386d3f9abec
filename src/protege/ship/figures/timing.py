"""A process that loads one network and times it when told to: `python -m protege.ship.figures.timing`, a line of JSON each way.

Its memory and its load time are its own, and several such processes can be timed in turns on a machine that is never
quite quiet.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

WARM_UP = 10  # calls before the first that counts


def main() -> None:
    asked = json.loads(sys.stdin.readline())
    started = time.perf_counter()
    from protege.errors import ProtegeError
    from protege.ship.shipped import runtime_of

    try:
        runtime = runtime_of(asked["source"], Path(asked["runs"]), asked["which"], asked["threads"])
    except ProtegeError as error:
        say(error=str(error))
        return
    import numpy as np

    about = runtime.about
    pixels = np.random.default_rng(0).integers(0, 256, (asked["batch"], 3, about.size, about.size), np.uint8)
    given = runtime.given(pixels)
    runtime.output(given)
    say(load_seconds=time.perf_counter() - started, runtime=runtime.name, peak_bytes=peak())
    for line in sys.stdin:
        seconds = times(lambda: runtime.output(given), json.loads(line)["seconds"])
        say(seconds=seconds, peak_bytes=peak())


def times(call: Any, budget: float) -> list[float]:
    """Seconds of each call, for so many seconds in all; five calls at least."""
    for _ in range(WARM_UP):
        call()
    found: list[float] = []
    ends = time.perf_counter() + budget
    while len(found) < 5 or time.perf_counter() < ends:
        before = time.perf_counter()
        call()
        found.append(time.perf_counter() - before)
    return found


def peak() -> int:
    """Bytes of memory that the process has held at most, libraries included; not what its parent held before it."""
    status = Path("/proc/self/status")
    if status.exists():  # elsewhere the figure of the parent may be the larger, and is then what is counted
        (kilobytes,) = (line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(kilobytes) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def say(**found: Any) -> None:
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
