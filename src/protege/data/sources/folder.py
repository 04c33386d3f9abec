"""Images of your own: `folder:PATH`, decoded once into a store in the cache."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from protege.data.base import Published, Source, Three
from protege.data.config import DataConfig
from protege.data.files import content_of
from protege.data.marks import Marked, mark_of_file, read_marks, write_marks
from protege.data.places import read_record
from protege.data.progress import Progress
from protege.data.sources.listing import PART_NAMES, File, Listing, listing, printable, shown
from protege.data.sources.picture import decoded, strict_about_bombs
from protege.data.split import Lot, divide, lot, official_parts
from protege.data.store import Pixels, Store, each, obtain_store, store_folder
from protege.errors import DataError

SIDE = 64  # enough to tell most everyday classes apart, and four times CIFAR's pixels; say `image_size` for more
RECIPE = "square bicubic on white 1"  # a change here makes every store be built anew
FILES, MARKS = "files.txt", "marks.u64"  # in a store, beside the pixels
AT_ONCE = 1 << 24  # bytes of pixels that are counted together
AGAIN = "Remove it, and the images are decoded again."
BAD_SHARE = 0.05  # unreadable files beyond this are a damaged dataset, not a blemish

log = logging.getLogger(__name__)


@dataclass
class _Decoding:
    """What decoding has come to so far."""

    good: list[File] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)  # name, reason
    marks: list[int] = field(default_factory=list)  # of the good ones


def image_folder(config: DataConfig, folder: Path | None, progress: Progress) -> Source:
    """Looks at every file's size and date, and decodes all of them where one has changed; other runs open the store."""
    root = Path(config.name.partition(":")[2].strip()).expanduser()
    side = config.image_size or SIDE
    found = listing(root)
    _rehearse_split(found, config)
    store = _store(found, side, progress)
    record = _checked(store)
    if record["unreadable"]:
        log.warning(
            _bad_line(root, record["unreadable"], record["unreadable"] + record["count"], _list_beside(store.folder))
        )
    labels = torch.tensor(record["labels"], dtype=torch.int64)
    names = _names(found, store)
    mean, std = _normalisation(store, names) if config.split == "name" else _spread(record)
    return Source(
        classes=tuple(record["classes"]),
        mean=mean,
        std=std,
        size=side,
        parts=_parts(record["parts"]),
        content=_content(record),
        place=lambda: f"{root}, decoded in {store.folder}",
        read=lambda: Published(store.pixels(), labels, labels),
        names=names,
        marks=lambda: _marks(root, store, names),
    )


def _rehearse_split(found: Listing, config: DataConfig) -> None:
    """As if every file could be read: a mistake in the description is told now, not after hours of decoding."""
    counts = Counter(file.part for file in found.files)
    labels = np.array([file.label for file in found.files], np.int64)
    names = [file.name for file in found.files]
    divide(labels, labels, _parts([counts[part] for part in PART_NAMES]), found.classes, config, names)


def _store(found: Listing, side: int, progress: Progress) -> Store:
    where = store_folder(found.root.resolve().name, side, found.key(f"{RECIPE} {side}"))
    so_far = _Decoding()

    def about(pixels: Pixels) -> dict[str, Any]:
        _judge(found, so_far, _list_beside(where))
        partial = where.with_name(where.name + ".partial")
        (partial / FILES).write_text("".join(f"{_line(file.name)}\n" for file in so_far.good))
        write_marks(partial / MARKS, np.array(so_far.marks, np.uint64))
        return _about(found, so_far, pixels)

    return obtain_store(where, side, len(found.files), lambda: _decode(found, side, so_far, progress), about)


def _decode(found: Listing, side: int, so_far: _Decoding, progress: Progress) -> Iterator[Pixels]:
    def tried(file: File) -> tuple[Pixels, int] | str:
        path = found.root / file.name
        try:
            return decoded(path, side), mark_of_file(path)
        except Exception as error:  # a damaged file can fail in any way, and the others still count
            return f"{error}" or type(error).__name__

    with strict_about_bombs(), progress(f"decoding {found.root.name}", len(found.files), "images") as reached:
        for done, (file, result) in enumerate(zip(found.files, each(tried, found.files), strict=True), 1):
            if isinstance(result, str):
                so_far.bad.append((file.name, result))
            else:
                so_far.good.append(file)
                so_far.marks.append(result[1])
                yield result[0]
            reached(done)


def _judge(found: Listing, so_far: _Decoding, list_file: Path) -> None:
    """A few unreadable files are left out and listed; many, or a whole class, are an error."""
    list_file.unlink(missing_ok=True)
    if not so_far.bad:
        return
    list_file.write_text("".join(f"{_line(name)}\t{printable(reason)}\n" for name, reason in so_far.bad))
    total = len(found.files)
    if len(so_far.bad) > max(1, BAD_SHARE * total):
        few = ", ".join(shown(name) for name, _ in so_far.bad[:3])
        raise DataError(
            f"{len(so_far.bad):,} of the {total:,} images in {found.root} cannot be read "
            f"({few}...; the first: {shown(so_far.bad[0][1])}). "
            f"All are listed in {list_file}: repair or remove them."
        )
    left = {file.label for file in so_far.good if file.part == "train"}
    if lost := [name for label, name in enumerate(found.classes) if label not in left]:
        raise DataError(
            f"No training image of class '{shown(lost[0])}' in {found.root} can be read; {list_file} says why."
        )


def _about(found: Listing, so_far: _Decoding, pixels: Pixels) -> dict[str, Any]:
    counts = Counter(file.part for file in so_far.good)
    parts = _parts([counts[part] for part in PART_NAMES])
    labels = np.array([file.label for file in so_far.good], np.int64)
    train = official_parts(labels, parts, Lot())[0]
    mean, std = mean_and_std(pixels, train)
    return {
        "classes": found.classes,
        "labels": labels.tolist(),
        "parts": parts,
        "mean": mean,
        "std": std,
        "unreadable": len(so_far.bad),
        "made from": str(found.root.resolve()),
    }


def _checked(store: Store) -> dict[str, Any]:
    """A record that somebody else may have written; wrong values would only show in the middle of a training."""
    record, count = store.record, store.record["count"]
    try:
        right = (
            len(record["labels"]) == count == sum(_parts(record["parts"]))
            and {int} >= {type(label) for label in record["labels"]}
            and all(0 <= label < len(record["classes"]) for label in record["labels"])
            and all(isinstance(name, str) for name in record["classes"])
            and all(0 <= value <= 1 for value in (*_spread(record)[0], *_spread(record)[1]))
            and all(part >= 0 for part in record["parts"])
            and isinstance(record["unreadable"], int)
            and isinstance(record["sha256"], str)
        )
    except (KeyError, TypeError, ValueError):
        right = False
    if not right:
        raise DataError(f"{store.folder} is damaged. {AGAIN}")
    return record


def _names(found: Listing, store: Store) -> tuple[str, ...]:
    """Of the images that could be read, in their order."""
    if not store.record["unreadable"]:
        return tuple(file.name for file in found.files)
    try:
        kept = set(content_of(store.folder / FILES).decode(errors="replace").splitlines())
    except OSError as error:
        raise DataError(f"{store.folder} is damaged ({FILES}: {error.strerror}). {AGAIN}") from error
    return tuple(file.name for file in found.files if _line(file.name) in kept)


def _line(name: str) -> str:
    """A name as it is, or spelled out where it holds anything that a line of text cannot."""
    return name if name.isprintable() else json.dumps(name)


def _marks(root: Path, store: Store, names: Sequence[str]) -> Marked:
    """As they were taken while decoding; a store that was made before they were is given them now."""
    known = read_marks(store.folder / MARKS)
    if known is not None and len(known) == len(names):
        return known
    found = np.array([mark_of_file(root / name) for name in names], np.uint64)
    with suppress(OSError):
        write_marks(store.folder / MARKS, found)
    return found


def _normalisation(store: Store, names: Sequence[str]) -> tuple[Three, Three]:
    """Of the training part as names divide it; measured once, and kept beside the pixels."""
    record, kept = store.record, store.folder / "by-name.json"
    if record["parts"][2]:
        return _spread(record)
    with suppress(KeyError, TypeError, ValueError):
        return _spread(read_record(kept))
    train = official_parts(np.array(record["labels"], np.int64), _parts(record["parts"]), lot(names))[0]
    mean, std = mean_and_std(store.mapped(), train)
    partial = kept.with_name(f"{kept.name}.{os.getpid()}.partial")
    with suppress(OSError):
        partial.write_text(json.dumps({"mean": mean, "std": std}))
        partial.replace(kept)
    return mean, std


def mean_and_std(pixels: Pixels, positions: npt.NDArray[np.int64]) -> tuple[Three, Three]:
    """Per channel, of pixels from 0 to 1, to four digits; counted in whole numbers, so the same on every machine."""
    counts = np.zeros((3, 256), np.int64)
    at_once = max(1, AT_ONCE // pixels[0].nbytes)
    for some in np.array_split(positions, -(-len(positions) // at_once)):
        chosen = pixels[some]
        for channel in range(3):
            counts[channel] += np.bincount(chosen[:, channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    means = counts @ values / counts.sum(1)
    stds = np.sqrt(np.maximum(counts @ values**2 / counts.sum(1) - means**2, 0))
    # Images of one colour have no spread, and nothing should be divided by zero.
    return _three(means.round(4).tolist()), _three(stds.clip(1 / 255).round(4).tolist())


def _content(record: dict[str, Any]) -> str:
    kept = ["folder", record["sha256"], record["size"], record["labels"], record["classes"], record["parts"]]
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()


def _list_beside(store: Path) -> Path:
    return store.with_name(store.name + ".unreadable.txt")


def _bad_line(root: Path, bad: int, total: int, list_file: Path) -> str:
    return f"{bad:,} of the {total:,} images in {root} cannot be read and are left out; {list_file} lists them."


def _spread(record: dict[str, Any]) -> tuple[Three, Three]:
    return _three(record["mean"]), _three(record["std"])


def _three(values: Sequence[float]) -> Three:
    first, second, third = values
    return first, second, third


def _parts(values: Sequence[int]) -> tuple[int, int, int]:
    train, heldout, test = values
    return train, heldout, test
