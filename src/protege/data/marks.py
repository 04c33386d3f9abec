"""A mark of each image: 64 bits of what it was before it was resized, so that it is known again in every copy of a dataset.

An image of CIFAR is known by its pixels, so by the same mark in `cifar10` and `cifar10-mini`; an image of a folder by the
bytes of its file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from protege.data.base import Marks, Source
from protege.data.places import cache_folder
from protege.data.split import Parts, Positions
from protege.errors import DataError

Marked = npt.NDArray[np.uint64]

BYTES = 8


def mark(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=BYTES).digest(), "little")


def mark_of_file(path: Path) -> int:
    with path.open("rb") as file:
        return int.from_bytes(hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=BYTES)).digest(), "little")


def marked(contents: Iterable[bytes]) -> Marked:
    return np.fromiter(map(mark, contents), np.uint64)


def marks_of(source: Source, parts: Parts) -> Callable[[], Marks]:
    """Those of each part, worked out at the first call.

    An image that judges is left out where the same one lies among the others as well: then everybody has seen it.
    """

    @cache
    def marks() -> Marks:
        every = of_all(source)
        others = np.delete(every, np.concatenate([parts.heldout, parts.test]))
        secret = [np.setdiff1d(every[part], others) for part in (parts.heldout, parts.test)]
        return Marks(np.unique(every[parts.train]), *secret)

    return marks


def of_all(source: Source) -> Marked:
    return source.marks() if source.marks else of_pixels(source)


def shared(source: Source, other: Source) -> Positions:
    """Positions in `source` of the images that `other` has as well; none is taken for a mistake."""
    found = np.flatnonzero(np.isin(of_all(source), of_all(other)))
    if not len(found):
        raise DataError(
            f"data.without names a dataset that shares no image with this one ({source.place()}, {other.place()}). "
            "Leave it out, or name one that does."
        )
    return found


def of_pixels(source: Source) -> Marked:
    """Of all images as published; remembered in the cache, by what fixes the pixels."""
    kept = cache_folder() / "marks" / f"{hashlib.sha256(source.content.encode()).hexdigest()[:32]}.u64"
    known = read_marks(kept)
    if known is not None and len(known) == sum(source.parts):
        return known
    pixels = source.read().pixels
    found = marked(pixels[one].numpy().tobytes() for one in range(len(pixels)))
    with suppress(OSError):  # a cache that cannot be written to costs a second the next time
        write_marks(kept, found)
    return found


def read_marks(path: Path) -> Marked | None:
    try:
        return np.fromfile(path, np.dtype("<u8")).astype(np.uint64) if path.is_file() else None
    except OSError:
        return None


def write_marks(path: Path, marks: Marked) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    marks.astype("<u8").tofile(partial)
    partial.replace(path)
