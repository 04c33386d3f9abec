"""Memory of the machine, and of this process."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def free_memory() -> int | None:
    """Bytes that new processes can have of this machine, or of the container that we are in; None where nothing tells."""
    amounts = [amount for amount in (_available(), left_in_container()) if amount is not None]
    return min(amounts, default=None)


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def left_in_container(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Page cache counts as used there, but is given back when it is wanted."""
    try:
        limit = (root / "memory.max").read_text().strip()
        used = int((root / "memory.current").read_text())
        cache = next(
            int(line.split()[1]) for line in (root / "memory.stat").read_text().splitlines() if line.startswith("file ")
        )
    except (OSError, ValueError, StopIteration):
        return None
    return None if limit == "max" else int(limit) - used + cache


def peak_memory() -> int:
    """Bytes that this process had at most."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts in bytes, Linux in kB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
