"""From a known source to its parts: the one place where pixels, split and fingerprint meet."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import torch

from protege.data.base import Description, Identity, Images, Published, Source, Splits
from protege.data.config import DataConfig
from protege.data.mapped import Mapped
from protege.data.marks import marks_of, shared
from protege.data.places import need_memory
from protege.data.split import Parts, Positions, class_indices, divide, splits_by_name
from protege.errors import DataError

if TYPE_CHECKING:
    from protege.data.base import Pixels

FORMAT = 1  # a change in how images are split makes every fingerprint another one
WORTH_MAPPING = 1 << 28  # bytes; smaller parts are copied, so that a file need not stay open nor a pool whole


def identity(source: Source, config: DataConfig) -> Identity:
    chosen = class_indices(config, source.classes)
    train, heldout, test = source.parts
    mean, std = config.mean or source.mean, config.std or source.std
    return Identity(
        name=config.name,
        classes=tuple(source.classes[index] for index in chosen),
        images=train + heldout + (test if config.resplit else 0),
        size=source.size,
        mean=mean,
        std=std,
        fingerprint=_fingerprint(source, config, chosen, (mean, std)),
        content=source.content,
    )


def _fingerprint(source: Source, config: DataConfig, chosen: tuple[int, ...], normalisation: object) -> str:
    """Over the pixels' identity and all that decides which of them are used, where and as what. No path is in it."""
    held = None if config.resplit else config.heldout
    parts = {
        "format": FORMAT,
        "content": source.content,
        "labels": config.labels,
        "classes": [[index, source.classes[index]] for index in chosen],
        "heldout": held,
        "heldout_seed": None if held == 0 else config.heldout_seed,
        "imbalance": config.imbalance,
        "limit": config.limit,
        "resplit": config.resplit,
        "normalisation": normalisation,
    }
    if splits_by_name(source, config):
        parts["split"] = "name"
    if source.without:
        parts["without"] = source.without.content
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def read(source: Source, config: DataConfig) -> Splits:
    known = identity(source, config)
    published = _checked(source.read(), source)
    labels, strata = published.labels.numpy(), published.strata.numpy()
    left_out = shared(source, source.without) if source.without else None
    parts = divide(labels, strata, source.parts, source.classes, config, source.names, left_out)
    return Splits(
        name=known.name,
        classes=known.classes,
        train=_images(published, parts, parts.train, 0),
        heldout=_images(published, parts, parts.heldout, 0) if len(parts.heldout) else None,
        test=_images(published, parts, parts.test, parts.test_starts),
        mean=known.mean,
        std=known.std,
        images=known.images,
        fingerprint=known.fingerprint,
        content=known.content,
        marks=marks_of(source, parts),
    )


def _checked(published: Published, source: Source) -> Published:
    """A dataset of one's own may get these wrong, and training would only fail much later."""
    pixels, count = published.pixels, sum(source.parts)
    wanted = (count, 3, source.size, source.size)
    if pixels.dtype != torch.uint8 or pixels.shape != wanted:
        raise DataError(f"The pixels are {pixels.dtype} {list(pixels.shape)}; they must be uint8 {list(wanted)}.")
    for name, labels in (("labels", published.labels), ("strata", published.strata)):
        if labels.dtype != torch.int64 or labels.shape != (count,):
            raise DataError(f"The {name} are {labels.dtype} {list(labels.shape)}; they must be int64 [{count}].")
    if count and not 0 <= int(published.labels.min()) <= int(published.labels.max()) < len(source.classes):
        raise DataError(f"There are labels outside 0 to {len(source.classes) - 1}, the classes named.")
    return published


def _images(published: Published, parts: Parts, positions: Positions, starts: int) -> Images:
    chosen = torch.from_numpy(positions)
    labels = torch.from_numpy(parts.labels[positions])
    return Images(_chosen_pixels(published.pixels, positions), labels, chosen - starts)


def _chosen_pixels(pixels: Pixels, positions: Positions) -> Pixels:
    """A copy, or where there is much, the images where they lie."""
    wanted = len(positions) * pixels[0].nbytes
    if wanted >= WORTH_MAPPING:
        return (pixels if isinstance(pixels, Mapped) else Mapped(pixels.numpy())).at(positions)
    need_memory(wanted, f"A part of {len(positions):,} images")
    return pixels[torch.from_numpy(positions)]


def describe(source: Source, config: DataConfig) -> Description:
    splits = read(source, config)
    parts = {"train": splits.train, "heldout": splits.heldout, "test": splits.test}
    sums = {name: _sums(images) for name, images in parts.items() if images is not None}
    repeats = {name: len(all_of_it) - len(set(all_of_it)) for name, all_of_it in sums.items()}
    seen = set(sums["train"])
    for name in sums.keys() - {"train"}:
        repeats[f"{name} in train"] = sum(one in seen for one in sums[name])
    counts = {name: _counts(images, len(splits.classes)) for name, images in parts.items() if images is not None}
    return Description(identity(source, config), source.place(), counts, repeats)


def _sums(images: Images) -> list[bytes]:
    pixels = images.pixels
    return [hashlib.blake2b(pixels[one].numpy().tobytes(), digest_size=16).digest() for one in range(len(images))]


def _counts(images: Images, classes: int) -> tuple[int, ...]:
    return tuple(torch.bincount(images.labels, minlength=classes).tolist())
