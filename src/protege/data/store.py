"""Decoded images in one file, mapped into memory: made once, then opened in an instant by every run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from protege.data.mapped import Mapped
from protege.data.places import alone, cache_folder, disk_errors, need_space, read_record, size
from protege.errors import NotEnoughSpace

FORMAT = 1
AHEAD = 512  # images decoded before the disk must have taken the earlier ones

Item = TypeVar("Item")
Result = TypeVar("Result")
Pixels = npt.NDArray[np.uint8]  # [3, S, S], or [N, 3, S, S]


@dataclass(frozen=True)
class Store:
    """A finished store; `record` is what its maker wished to remember, with number, size and sha256 of the images."""

    folder: Path
    record: dict[str, Any]

    def pixels(self) -> Mapped:
        """uint8 [N, 3, S, S], left in the file."""
        return Mapped(self.mapped())

    def mapped(self) -> Pixels:
        return _map(self.folder / "pixels.u8", self.record["count"], self.record["size"])


def _map(file: Path, count: int, side: int) -> Pixels:
    """Read-only: the system promises memory for a map that could be written to, and refuses what it does not have."""
    try:
        return np.memmap(file, np.uint8, mode="r", shape=(count, 3, side, side))
    except OSError as error:
        raise NotEnoughSpace(
            f"{file} holds {size(count * 3 * side**2)}, more than this process may map. "
            "Lower data.image_size, or raise the limit (ulimit -v)."
        ) from error


def store_folder(name: str, side: int, key: str) -> Path:
    """Where the store of these images lies, or will lie."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in name.lower())[:40]
    return cache_folder() / "images" / f"{plain}-{side}px-{key[:16]}"


def obtain_store(
    folder: Path,
    side: int,
    expected: int,
    images: Callable[[], Iterable[Pixels]],
    about: Callable[[Pixels], dict[str, Any]],
) -> Store:
    """The store in this folder, made where it is missing; `about` is asked, with all pixels, after the last image."""
    if store := _opened(folder):
        return store
    wanted = expected * 3 * side * side
    with disk_errors(folder.parent, wanted, folder.name):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with alone(folder, folder.name):
            if store := _opened(folder):
                return store
            need_space(folder.parent, wanted, folder.name)
            return _written(folder, side, expected, images(), about)


def _opened(folder: Path) -> Store | None:
    """None for a store that is missing, of another format, or not whole: it is then made anew."""
    record, pixels = read_record(folder / "store.json"), folder / "pixels.u8"
    count, side = record.get("count"), record.get("size")
    if record.get("format") != FORMAT or type(count) is not int or type(side) is not int or min(count, side) < 1:
        return None
    whole = pixels.is_file() and pixels.stat().st_size == count * 3 * side**2
    return Store(folder, record) if whole else None


def _written(
    folder: Path, side: int, expected: int, images: Iterable[Pixels], about: Callable[[Pixels], dict[str, Any]]
) -> Store:
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        _rehearse(partial / "pixels.u8", side, expected)
        _write(partial, side, images, about)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)
    store = _opened(folder)
    assert store is not None
    return store


def _rehearse(file: Path, side: int, expected: int) -> None:
    """A file of full size, with nothing in it yet: what cannot be written or mapped is told now, not after hours."""
    with file.open("wb") as empty:
        empty.truncate(expected * 3 * side**2)
    _map(file, expected, side)


def _write(partial: Path, side: int, images: Iterable[Pixels], about: Callable[[Pixels], dict[str, Any]]) -> None:
    digest, count = hashlib.sha256(), 0
    with (partial / "pixels.u8").open("wb") as file:
        for image in images:
            content = image.tobytes()
            file.write(content)
            digest.update(content)
            count += 1
        file.flush()
        os.fsync(file.fileno())
    written = _map(partial / "pixels.u8", count, side) if count else np.empty((0, 3, side, side), np.uint8)
    record = {"format": FORMAT, "count": count, "size": side, "sha256": digest.hexdigest(), **about(written)}
    with (partial / "store.json").open("w") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())


def each(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """The results in order, worked out by several threads, which never run far ahead of who takes them."""
    with ThreadPoolExecutor(min(_processors(), 16)) as pool:
        for start in range(0, len(items), AHEAD):
            yield from pool.map(function, items[start : start + AHEAD])


def _processors() -> int:
    """Those that this process may use, which a job on a cluster shares with others."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
