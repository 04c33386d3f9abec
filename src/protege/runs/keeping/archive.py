"""Runs in one file, to take them to another machine: a plain tar, whose first member lists what there is, with checksums.

Images stay behind. Nothing here is trusted on the other side: names, sizes and contents are compared with the list, only regular
files are made, and what is there already stays as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from protege.data.files import is_there, opened
from protege.data.places import need_space
from protege.errors import RunError, quoted
from protege.runs.files import append_line, whole
from protege.runs.folder import LEDGER, Run, find, locked, read_ledger
from protege.runs.keeping.belonging import teachers_of
from protege.runs.records import Pack, PackedFile, record_of

LIST = "pack.json"
LARGEST_LIST = 1 << 24
BLOCK = 512  # of a tar
AT_ONCE = 1 << 20
NAME = re.compile(r"[\w][\w.+-]*(/[\w][\w.+ -]*)*")  # of a file: no way up, no hidden folder, no other root
RUN = re.compile(r"[\w][\w.+-]*-[0-9a-f]{12}")  # an id
SEEN = re.compile(r"seen/[0-9a-f]{16}\.u64")
STAY = ("lock",)  # of a run's folder


# ---- into a file ----


def with_teachers(runs: Sequence[Run], root: Path) -> list[Run]:
    """The runs, and before them all that they were taught by, however many generations back."""
    found: dict[str, Run] = {}

    def add(run: Run) -> None:
        for teacher in teachers_of(run):
            if teacher not in found:
                add(find(root, teacher))
        found.setdefault(run.id, run)

    for run in runs:
        add(run)
    return list(found.values())


def pack(runs: Sequence[Run], root: Path, file: Path) -> int:
    """Writes the runs, what they have seen, and the ledger's lines about them; returns the bytes. No process may be at work on one."""
    if is_there(file):
        raise RunError(f"{file} is there already. Choose another name, or remove it.")
    for run in runs:
        if not RUN.fullmatch(run.id):
            raise RunError(f"{run.path} is not named by an id, so nobody would find it again. Rename it back.")
    with contextlib.ExitStack() as held:
        for run in runs:
            held.enter_context(locked(run, wait=False))
        paths = dict(_paths(runs, root))
        listed = [_listed(name, path) for name, path in paths.items()]
        names = {run.id for run in runs}
        ledger = [line for line in read_ledger(root)[0] if line["run"] in names]
        about = {"format": 1, "runs": [run.id for run in runs], "files": listed, "ledger": ledger}
        with whole(file) as partial, partial.open("wb") as out:
            _add(out, LIST, json.dumps(about).encode())
            for one in listed:
                _add_file(out, one, paths[one["name"]])
            out.write(b"\0" * 2 * BLOCK)
    return file.stat().st_size


def _paths(runs: Sequence[Run], root: Path) -> Iterator[tuple[str, Path]]:
    """Name in the pack and place of each file."""
    for run in runs:
        for path in sorted(run.path.rglob("*")):
            inside = path.relative_to(run.path).as_posix()
            if path.is_file() and not path.is_symlink() and inside not in STAY and not inside.endswith(".partial"):
                yield f"{run.id}/{inside}", path
        for name in run.record().get("seen", {}).get("sets", []):
            if (path := root / "seen" / f"{name}.u64").is_file():
                yield f"seen/{path.name}", path


def _listed(name: str, path: Path) -> PackedFile:
    if not NAME.fullmatch(name):
        raise RunError(f"{path} has a name that a pack does not hold. Rename it, or move it out of the run's folder.")
    with opened(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": name, "size": path.stat().st_size, "sha256": digest}


def _head(name: str, size: int) -> bytes:
    head = tarfile.TarInfo(name)
    head.size = size
    try:
        return head.tobuf(tarfile.USTAR_FORMAT)
    except ValueError as error:
        raise RunError(f"{name} does not fit into a tar: {error}.") from error


def _add(out: BinaryIO, name: str, content: bytes) -> None:
    out.write(_head(name, len(content)))
    out.write(content + b"\0" * (-len(content) % BLOCK))


def _add_file(out: BinaryIO, about: PackedFile, path: Path) -> None:
    out.write(_head(about["name"], about["size"]))
    with opened(path) as file:
        shutil.copyfileobj(file, out, AT_ONCE)
        if file.tell() != about["size"]:
            raise RunError(f"{path} changed while it was packed. Give the same command again.")
    out.write(b"\0" * (-about["size"] % BLOCK))


# ---- out of a file ----


def unpack(file: Path, root: Path) -> tuple[list[str], list[str]]:
    """Ids of the runs that are here now, and of those that were here before and stay as they were. All or none appear."""
    try:
        with opened(file) as content:
            about = _list_of(content, file)
            return _unpacked(content, about, file, root)
    except FileNotFoundError as error:
        raise RunError(f"There is no file {file}.") from error
    except OSError as error:
        raise RunError(f"{file} cannot be unpacked: {error.strerror or error}.") from error


def _list_of(content: BinaryIO, file: Path) -> dict[str, Any]:
    name, size = _next(content, file)
    if name != LIST or size > LARGEST_LIST:
        raise RunError(f"{file} is not a pack of runs: its first member is {quoted(name, 60)}, not {LIST}.")
    try:
        about = record_of(_contents(content, size, file), Pack)
    except ValueError as error:
        raise RunError(f"{file}: its list is damaged ({error}).") from error
    runs = set(about["runs"])
    if odd := [name for name in about["runs"] if not RUN.fullmatch(name)]:
        raise RunError(f"{file} lists {quoted(odd[0], 80)}, which is no id of a run. Nothing was unpacked.")
    for one in about["files"]:
        home = one["name"].partition("/")[0]
        if not NAME.fullmatch(one["name"]) or not (SEEN.fullmatch(one["name"]) or home in runs):
            raise RunError(
                f"{file} lists {quoted(one['name'], 80)}, which is no file of its runs. Nothing was unpacked."
            )
    return about


def _unpacked(content: BinaryIO, about: dict[str, Any], file: Path, root: Path) -> tuple[list[str], list[str]]:
    there = [name for name in about["runs"] if is_there(root / name)]
    root.mkdir(parents=True, exist_ok=True)
    need_space(root, sum(one["size"] for one in about["files"]), f"Unpacking {file.name}")
    aside = root / f".unpacking.{os.getpid()}"
    try:
        for one in about["files"]:
            _take(content, one, aside / one["name"], file)
        new = [name for name in about["runs"] if name not in there]
        for name in new:
            if Run(aside / name).record()["id"] != name:
                raise RunError(f"{file}: {name} describes another run. Nothing was unpacked.")
        _settle(aside, new, root)
        _tell(about["ledger"], new, root)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return new, there


def _settle(aside: Path, new: Sequence[str], root: Path) -> None:
    for path in (aside / "seen").glob("*.u64"):
        if not is_there(root / "seen" / path.name):
            (root / "seen").mkdir(exist_ok=True)
            path.rename(root / "seen" / path.name)
    for name in new:
        (aside / name).rename(root / name)


def _tell(ledger: Sequence[dict[str, Any]], new: Sequence[str], root: Path) -> None:
    """That a test set was read for these runs is known here too."""
    known = [json.dumps(line, sort_keys=True) for line in read_ledger(root)[0]]
    for line in ledger:
        if line["run"] in new and json.dumps(line, sort_keys=True) not in known:
            append_line(root / LEDGER, line)


def _take(content: BinaryIO, about: PackedFile, path: Path, file: Path) -> None:
    name, size = _next(content, file)
    if (name, size) != (about["name"], about["size"]):
        raise RunError(f"{file} holds {quoted(name, 80)} where its list has {about['name']}. Nothing was unpacked.")
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), size
    with path.open("xb") as out:
        while left:
            piece = content.read(min(AT_ONCE, left))
            if not piece:
                raise RunError(f"{file} is cut short in {name}. Nothing was unpacked.")
            out.write(piece)
            digest.update(piece)
            left -= len(piece)
    content.seek(-size % BLOCK, io.SEEK_CUR)
    if digest.hexdigest() != about["sha256"]:
        raise RunError(f"{file}: {name} is damaged. Nothing was unpacked.")


def _next(content: BinaryIO, file: Path) -> tuple[str, int]:
    """Name and size of the next member. Links, devices, folders and extended headers are none."""
    block = content.read(BLOCK)
    try:
        head = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise RunError(f"{file} is not a pack of runs, or is cut short ({error}).") from error
    if head.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or head.size < 0:
        raise RunError(f"{file} holds {quoted(head.name, 80)}, which is not a regular file. Nothing was unpacked.")
    return head.name, head.size


def _contents(content: BinaryIO, size: int, file: Path) -> bytes:
    found = content.read(size)
    if len(found) < size:
        raise RunError(f"{file} is cut short. Nothing was unpacked.")
    content.seek(-size % BLOCK, io.SEEK_CUR)
    return found
