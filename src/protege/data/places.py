"""Where data lie, how much room there is, and who writes there now."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from protege.data.files import content_of
from protege.errors import DataError, NotEnoughSpace

try:
    import fcntl
except ImportError:  # Windows: nobody waits there, and checksums tell a file that two processes wrote
    fcntl = None

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Things that can be made again: downloads and decoded images. XDG_CACHE_HOME moves it."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if Path(root).is_absolute() else Path.home() / ".cache") / "protege"


def read_record(path: Path) -> dict[str, Any]:
    """The JSON object in a file that anybody may have put there; empty if it is none, or no regular file."""
    try:
        held = json.loads(content_of(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}


def data_folder(folder: Path | None = None) -> Path:
    """Where official archives are looked for and downloaded to: the folder named, else PROTEGE_DATA, else the cache."""
    if folder is not None:
        return folder.expanduser()
    named = os.environ.get("PROTEGE_DATA")
    return Path(named).expanduser() if named else cache_folder() / "data"


def size(count: float) -> str:
    """`170.5 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def need_space(folder: Path, wanted: int, what: str) -> None:
    """Refuse before the first byte, where the disk tells in advance that it is too small."""
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise NotEnoughSpace(
            f"{what} needs {wanted:,} bytes ({size(wanted)}) in {folder}, where {size(free)} are free. "
            "Make room, or name another folder."
        )


def need_memory(wanted: int, what: str) -> None:
    """Refuse before the system ends the process without a word. Only Linux tells what is available."""
    try:
        told = Path("/proc/meminfo").read_text()
    except OSError:
        return
    free = next((int(line.split()[1]) * 1024 for line in told.splitlines() if line.startswith("MemAvailable")), None)
    if free is not None and free < wanted:
        raise NotEnoughSpace(
            f"{what} needs {size(wanted)} of memory, and {size(free)} are free. Lower data.image_size or data.limit."
        )


@contextmanager
def disk_errors(folder: Path, wanted: int, what: str) -> Iterator[None]:
    """Turns the system's refusals to write into errors that say where and how much."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NotEnoughSpace(
                f"The disk is full: {what} needs {wanted:,} bytes ({size(wanted)}) in {folder}. "
                "Make room, or name another folder."
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise DataError(
                f"{folder} cannot be written to ({error.strerror}), and {what} must go there. Name another folder."
            ) from error
        if error.errno in (errno.EEXIST, errno.ENOTDIR, errno.ENOENT, errno.ELOOP, errno.EISDIR, errno.ENAMETOOLONG):
            raise DataError(
                f"{folder} cannot be a folder ({error.strerror}: {error.filename}), and {what} must go there. "
                "Remove what is in the way, or name another folder (XDG_CACHE_HOME, --data-dir)."
            ) from error
        raise


@contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """One process at a time makes `path`; the others wait, and find it made. One that dies lets the next in."""
    # Not blocking: a pipe of this name would wait for a reader.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path.with_name(f".{path.name}.lock"), flags, 0o666)
    try:
        _lock(descriptor, what)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, what: str) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.warning("Another process is at work on %s; waiting for it.", what)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:  # a network disk without locks
        return
