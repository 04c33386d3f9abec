"""Images of your own: `folder:PATH`, decoded once into a store in the cache."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from protege.data.base import Published, Source, Three
from protege.data.config import DataConfig
from protege.data.progress import Progress
from protege.data.sources.listing import PART_NAMES, File, Listing, listing
from protege.data.sources.picture import decoded, strict_about_bombs
from protege.data.split import divide, official_parts
from protege.data.store import Pixels, Store, each, obtain_store, store_folder
from protege.errors import DataError

SIDE = 64  # enough to tell most everyday classes apart, and four times CIFAR's pixels; say `image_size` for more
RECIPE = "square bicubic on white 1"  # a change here makes every store be built anew
BAD_SHARE = 0.05  # unreadable files beyond this are a damaged dataset, not a blemish

log = logging.getLogger(__name__)


@dataclass
class _Decoding:
    """What decoding has come to so far."""

    good: list[File] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)  # name, reason


def image_folder(config: DataConfig, folder: Path | None, progress: Progress) -> Source:
    """Looks at every file's size and date, and decodes all of them where one has changed; other runs open the store."""
    root = Path(config.name.partition(":")[2].strip()).expanduser()
    side = config.image_size or SIDE
    found = listing(root)
    _rehearse_split(found, config)
    store = _store(found, side, progress)
    record = store.record
    if record["unreadable"]:
        log.warning(
            _bad_line(root, record["unreadable"], record["unreadable"] + record["count"], _list_beside(store.folder))
        )
    labels = torch.tensor(record["labels"], dtype=torch.int64)
    return Source(
        classes=tuple(record["classes"]),
        mean=_three(record["mean"]),
        std=_three(record["std"]),
        size=side,
        parts=_parts(record["parts"]),
        content=_content(record),
        place=lambda: f"{root}, decoded in {store.folder}",
        read=lambda: Published(store.pixels(), labels, labels),
    )


def _rehearse_split(found: Listing, config: DataConfig) -> None:
    """As if every file could be read: a mistake in the description is told now, not after hours of decoding."""
    counts = Counter(file.part for file in found.files)
    labels = np.array([file.label for file in found.files], np.int64)
    divide(labels, labels, _parts([counts[part] for part in PART_NAMES]), found.classes, config)


def _store(found: Listing, side: int, progress: Progress) -> Store:
    where = store_folder(found.root.resolve().name, side, found.key(f"{RECIPE} {side}"))
    so_far = _Decoding()

    def about(pixels: Pixels) -> dict[str, Any]:
        _judge(found, so_far, _list_beside(where))
        (where.with_name(where.name + ".partial") / "files.txt").write_text(
            "".join(f"{file.name}\n" for file in so_far.good)
        )
        return _about(found, so_far, pixels)

    return obtain_store(where, side, len(found.files), lambda: _decode(found, side, so_far, progress), about)


def _decode(found: Listing, side: int, so_far: _Decoding, progress: Progress) -> Iterator[Pixels]:
    def tried(file: File) -> Pixels | str:
        try:
            return decoded(found.root / file.name, side)
        except Exception as error:  # a damaged file can fail in any way, and the others still count
            return f"{error}" or type(error).__name__

    with strict_about_bombs(), progress(f"decoding {found.root.name}", len(found.files), "images") as reached:
        for done, (file, result) in enumerate(zip(found.files, each(tried, found.files), strict=True), 1):
            if isinstance(result, str):
                so_far.bad.append((file.name, result))
            else:
                so_far.good.append(file)
                yield result
            reached(done)


def _judge(found: Listing, so_far: _Decoding, list_file: Path) -> None:
    """A few unreadable files are left out and listed; many, or a whole class, are an error."""
    list_file.unlink(missing_ok=True)
    if not so_far.bad:
        return
    list_file.write_text("".join(f"{name}\t{reason}\n" for name, reason in so_far.bad))
    total = len(found.files)
    if len(so_far.bad) > max(1, BAD_SHARE * total):
        few = ", ".join(name for name, _ in so_far.bad[:3])
        raise DataError(
            f"{len(so_far.bad):,} of the {total:,} images in {found.root} cannot be read "
            f"({few}...; the first: {so_far.bad[0][1]}). "
            f"All are listed in {list_file}: repair or remove them."
        )
    left = {file.label for file in so_far.good if file.part == "train"}
    if lost := [name for label, name in enumerate(found.classes) if label not in left]:
        raise DataError(f"No training image of class '{lost[0]}' in {found.root} can be read; {list_file} says why.")


def _about(found: Listing, so_far: _Decoding, pixels: Pixels) -> dict[str, Any]:
    counts = Counter(file.part for file in so_far.good)
    parts = _parts([counts[part] for part in PART_NAMES])
    labels = np.array([file.label for file in so_far.good], np.int64)
    train = official_parts(labels, parts)[0]
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


def mean_and_std(pixels: Pixels, positions: npt.NDArray[np.int64]) -> tuple[Three, Three]:
    """Per channel, of pixels from 0 to 1, to four digits; counted in whole numbers, so the same on every machine."""
    counts = np.zeros((3, 256), np.int64)
    for some in np.array_split(positions, max(1, len(positions) // 1024)):
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


def _three(values: Sequence[float]) -> Three:
    first, second, third = values
    return first, second, third


def _parts(values: Sequence[int]) -> tuple[int, int, int]:
    train, heldout, test = values
    return train, heldout, test
