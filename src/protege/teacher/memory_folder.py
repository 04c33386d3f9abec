"""The folder that holds the memories of all teachers: listed, dropped, locked, measured."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from protege.data.files import content_of, is_folder, opened
from protege.errors import RunError, suggest
from protege.runs.files import allocated, partial_of
from protege.runs.locking import flock
from protege.runs.records import MemoryRecord, record_of
from protege.teacher.memory_files import PAGE, PLACES

KEY_LENGTH = 16  # of the hash, in a folder's name
ABOUT, IN_USE = "about.json", "in-use"


@dataclass(frozen=True)
class Entry:
    """One memory, as `protege remember list` shows it."""

    key: str
    about: Mapping[str, Any] | None  # as it was given to Memory.open; none where about.json is damaged
    known: int  # rows, not verified
    possible: int | None  # none for a stream, which has no end
    bytes_on_disk: int
    last_used: float  # seconds since 1970
    in_use: bool


def overview(root: Path) -> list[Entry]:
    """All memories in `root`, the last used first. Other files there are left alone."""
    found = []
    for folder in _folders(root):
        with contextlib.suppress(OSError):  # dropped by another process meanwhile, or a link to nowhere
            found.append(_entry(folder))
    return sorted(found, key=lambda entry: -entry.last_used)


def drop(root: Path, prefix: str | None, force: bool = False) -> list[Entry]:
    """Remove the memories whose key begins with `prefix`, or all where it is none; returns what there was.

    Nothing is removed while one of them is in use, unless forced: those who use it then go on with what they have, to themselves.
    """
    chosen = [entry for entry in overview(root) if prefix is None or entry.key.startswith(prefix)]
    if not chosen and prefix is not None:
        near = suggest(prefix, [entry.key for entry in overview(root)])
        raise RunError(
            f"No memory in {root} has a key that begins with '{prefix}'.{near} `protege remember list` shows what there is."
        )
    with contextlib.ExitStack() as held:
        for entry in chosen:
            if not force and not held.enter_context(_alone(root / entry.key)):
                raise RunError(
                    f"The memory {entry.key} in {root} is in use, so nothing was removed. Wait for its runs, or give --force."
                )
        for entry in chosen:
            try:
                shutil.rmtree(root / entry.key, ignore_errors=force)
            except OSError as error:
                raise RunError(f"{root / entry.key} cannot be removed: {error.strerror}.") from error
    return chosen


def _folders(root: Path) -> list[Path]:
    if not is_folder(root):
        return []
    return [path for path in root.iterdir() if path.is_dir() and re.fullmatch(f"[0-9a-f]{{{KEY_LENGTH}}}", path.name)]


def _entry(folder: Path) -> Entry:
    described: Mapping[str, Any] = _read_about(folder / ABOUT) or {}
    views, places = described.get("views"), folder / PLACES
    with _alone(folder) as alone:
        in_use = not alone
    return Entry(
        key=folder.name,
        about=described.get("about"),
        known=_known(places),
        possible=described["images"] * views if views else None,
        bytes_on_disk=allocated(folder),
        last_used=_last_used(folder),
        in_use=in_use,
    )


def _known(places: Path) -> int:
    """Rows, counted in pieces; none of a file that is damaged."""
    count = 0
    with contextlib.suppress(OSError), opened(places) as file:
        for start, end in _written(file.fileno()):
            file.seek(start)
            while piece := file.read(min(1 << 22, end - file.tell())):
                count += int(np.count_nonzero(np.frombuffer(piece[: len(piece) // 4 * 4], np.uint32)))
    return count


def _written(descriptor: int) -> Iterator[tuple[int, int]]:
    """Where there is something after the first page: of a hole of terabytes nothing is read. It ends with an `OSError`."""
    end = PAGE
    while True:
        start = os.lseek(descriptor, end, os.SEEK_DATA)
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


def _last_used(folder: Path) -> float:
    about = folder / ABOUT
    return (about if about.exists() else folder).stat().st_mtime


# ---- about.json ----


def _read_about(path: Path) -> dict[str, Any] | None:
    try:
        return record_of(content_of(path), MemoryRecord)
    except (OSError, ValueError):
        return None


def write_about(folder: Path, described: Mapping[str, Any]) -> None:
    """It appears whole. The folder's name follows from `described`, so one that is there already is only dated, unless it was damaged."""
    path = folder / ABOUT
    if _read_about(path) == described:
        os.utime(path)
        return
    partial = partial_of(path)
    try:
        with partial.open("w") as file:
            file.write(json.dumps(described, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


# ---- locks, which go with the process, however it ends ----


@contextlib.contextmanager
def storing(root: Path) -> Iterator[None]:
    """Only one process at a time stores something in `root`."""
    descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        flock(descriptor, fcntl.LOCK_EX)  # where there are no locks, checksums tell what two processes wrote at once
        yield
    finally:
        os.close(descriptor)


def take_into_use(folder: Path) -> int:
    """Make the folder, and a descriptor that keeps it from being dropped until it is closed."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # dropped just now
            descriptor = os.open(folder / IN_USE, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                flock(descriptor, fcntl.LOCK_SH)
                if os.path.samestat(os.fstat(descriptor), (folder / IN_USE).stat()):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether nobody uses the folder, and nobody can begin to until the end of the block."""
    try:
        descriptor = os.open(folder / IN_USE, os.O_RDWR | os.O_NONBLOCK)
    except OSError:  # no file there, so that none of us has it open
        yield True
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
