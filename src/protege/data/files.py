"""Regular files only: a pipe or a device would be waited for without end. And of each no more than it may hold."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

MOST = 1 << 27  # bytes of a record; ours have a few thousand


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """To read. What is no regular file, or no path at all, is an `OSError` that says so, like what is not there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except ValueError as error:
        raise OSError(errno.EINVAL, "no file has such a name", str(path)) from error
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, f"it is {_kind(mode)}, not a file of contents", str(path))
        yield file


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def content_of(path: Path, most: int = MOST) -> bytes:
    """All of a file, or an `OSError` where it is no regular file or holds more."""
    with opened(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it holds more than {most:,} bytes", str(path))
    return content


def is_there(path: Path) -> bool:
    """Whether there is something of that name; no for what cannot be a name."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """A regular file; no for what cannot be a name."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """A folder; no for what cannot be a name."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
