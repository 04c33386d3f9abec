"""Only one process works on a run, on file systems with locks and on those without."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from protege.data.files import content_of, is_file, is_there
from protege.errors import RunError

HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
UNKNOWN = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}  # some network file systems
POLL_SECONDS = 1.0


def flock(descriptor: int, operation: int) -> bool:
    """Whether there are locks here at all; one that another process holds is an `OSError` in `HELD`, as ever."""
    try:
        fcntl.flock(descriptor, operation)
    except OSError as error:
        if error.errno not in UNKNOWN:
            raise
        return False
    return True


@contextlib.contextmanager
def locked(folder: Path, wait: bool) -> Iterator[None]:
    """The lock goes with the process, however it ends. Without locks, a file says who works here, and may outlive it."""
    lock = folder / "lock"
    if is_there(lock) and not is_file(lock):
        raise RunError(f"{lock} is not a file. Remove it.")
    with _opened(lock) as file:
        try:
            known = flock(file.fileno(), fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno not in HELD:
                raise RunError(
                    f"{folder} cannot be locked: {error.strerror}. Choose another folder with --runs."
                ) from error
            file.seek(0)
            owner = file.read(200).strip() or "another process"
            raise RunError(f"{folder} is being trained by {owner}. Wait for it (--wait), or stop it first.") from error
        with contextlib.nullcontext() if known else _claimed(folder / "lock.held", wait):
            file.seek(0)
            file.truncate()
            file.write(_ourselves())
            file.flush()
            yield


def _opened(lock: Path) -> IO[str]:
    try:
        return lock.open("a+", errors="replace")
    except OSError as error:
        raise RunError(f"{lock} cannot be written: {error.strerror}. Choose another folder with --runs.") from error


def held_by(folder: Path) -> str | None:
    """Who works there now; None where nobody does. For a moment it holds the lock itself, shared."""
    if not is_file(folder / "lock"):
        return None
    try:
        with (folder / "lock").open("r", errors="replace") as file:
            try:
                known = flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError as error:
                return (file.read(200).strip() or "another process") if error.errno in HELD else None
    except OSError:
        return None
    return None if known else _owner(folder / "lock.held") or None


@contextlib.contextmanager
def _claimed(path: Path, wait: bool) -> Iterator[None]:
    """`path` is ours from its making to its removal."""
    while not _claim(path):
        owner = _owner(path) or "another process"
        if not wait:
            raise RunError(
                f"{path.parent} is being trained by {owner}. Wait for it (--wait), or stop it first. "
                f"This file system has no locks: if that process is gone, remove {path}."
            )
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _claim(path: Path) -> bool:
    if _is_gone(_owner(path)):
        path.unlink(missing_ok=True)
    try:
        with path.open("x") as file:
            file.write(_ourselves())
    except FileExistsError:
        return False
    return True


def _owner(path: Path) -> str:
    """Who wrote it; nothing where it is gone, or no file that one could read."""
    try:
        return content_of(path)[:200].decode(errors="replace").strip()
    except OSError:
        return ""


def _ourselves() -> str:
    return f"process {os.getpid()} on {os.uname().nodename}"


def _is_gone(owner: str) -> bool:
    """Only of this machine can that be known."""
    words = owner.split()
    if len(words) != 4 or not words[1].isdigit() or words[3] != os.uname().nodename:
        return False
    try:
        os.kill(int(words[1]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return int(words[1]) == os.getpid()  # left by a process that had our number, for we do not lock twice
