"""Images from a file of the user's own: arrays, or a function that returns them.

`(images, labels)`, `(images, labels, classes)`, or `{"train": (images, labels), "heldout": ..., "test": ..., "classes": [...]}`.
What is not given is split off by what the images are, so that an image stays in its part when others are added, and two equal
ones are never on both sides.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from protege.data.base import Published, Source
from protege.data.config import DataConfig
from protege.data.outside.code import FAILURES, failure, found
from protege.data.progress import Progress
from protege.data.sources.folder import mean_and_std
from protege.data.sources.picture import fitted
from protege.data.sources.resize import resized
from protege.data.split import lot, official_parts
from protege.errors import DataError, quoted, suggest

MOST_CLASSES = 100_000
PARTS = ("train", "heldout", "test")
FORMS = (
    'It gives (images, labels), (images, labels, classes), or {"train": (images, labels), "heldout": (images, labels), '
    '"test": (images, labels), "classes": [...]}, of which heldout, test and classes may be missing.'
)

Pixels = npt.NDArray[np.uint8]  # [N, 3, S, S]


@dataclass(frozen=True)
class Given:
    """What the file gave, part by part, as it was given."""

    images: tuple[Any, ...]
    labels: tuple[Any, ...]
    classes: Any


def own_images(config: DataConfig, folder: Path | None, progress: Progress) -> Source:
    """Asks the file for all images: it must give the same ones every time."""
    given = _given(config.name, _asked(config.name))
    pixels = [_pixels(images, part, config) for part, images in zip(PARTS, given.images, strict=True)]
    sides = sorted({part.shape[-1] for part in pixels if len(part)})
    if len(sides) > 1:
        raise DataError(f"{config.name} gives images of {sides[0]} and of {sides[-1]} pixels. Choose data.image_size.")
    side = sides[0]
    every = np.concatenate([part.reshape(-1, 3, side, side) for part in pixels])
    parts = (len(pixels[0]), len(pixels[1]), len(pixels[2]))
    labels, classes = _labels(config.name, given, parts)
    names = tuple(hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in every)
    train = official_parts(labels, parts, lot(names if config.split == "name" else None))[0]
    mean, std = mean_and_std(every, train)
    found = Source(
        classes=classes,
        mean=mean,
        std=std,
        size=side,
        parts=parts,
        content=_content(every, labels, classes, parts),
        place=lambda: config.name,
        read=lambda: Published(torch.from_numpy(every), torch.from_numpy(labels), torch.from_numpy(labels)),
        names=names,
    )
    return resized(found, config.image_size, config.name.rpartition(":")[2], progress)


def _asked(name: str) -> Any:
    try:
        it = found(name)
    except ValueError as error:
        raise DataError(f"{name}: {error}") from error
    if not callable(it):
        return it
    try:
        return it()
    except FAILURES as error:
        raise DataError(f"{name}() fails: {failure(error)}") from error


def _given(name: str, it: Any) -> Given:
    """One of the forms, or what it is instead."""
    if isinstance(it, tuple | list) and len(it) in (2, 3):
        return Given((it[0], (), ()), (it[1], (), ()), it[2] if len(it) == 3 else None)
    if not isinstance(it, Mapping) or "train" not in it:
        raise DataError(f"{name} gives a {type(it).__name__}. {FORMS}")
    for key in it:
        if key not in (*PARTS, "classes"):
            raise DataError(f"{name} gives '{key}'.{suggest(str(key), [*PARTS, 'classes'])} {FORMS}")
    for part in PARTS:
        if part in it and not (isinstance(it[part], tuple | list) and len(it[part]) == 2):
            raise DataError(f"{name}: {part} is not (images, labels). {FORMS}")
    pairs = [it.get(part, ((), ())) for part in PARTS]
    return Given(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs), it.get("classes"))


def _pixels(images: Any, part: str, config: DataConfig) -> Pixels:
    """uint8 [N, 3, S, S] of grey or coloured images, channels first or last."""
    where = f"{config.name}: the {part} images"
    try:
        array = np.asarray(images)
    except FAILURES as error:
        raise DataError(
            f"{where} are no array: {failure(error)}. Images of many sizes are read from a folder."
        ) from error
    if array.size == 0:
        if part == "train":
            raise DataError(f"{where} are none.")
        return np.empty((0, 3, 1, 1), np.uint8)
    if array.dtype != np.uint8:
        raise DataError(f"{where} are {array.dtype}. Give uint8, from 0 to 255.")
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim == 4 and array.shape[-1] in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3):
        raise DataError(f"{where} are {list(array.shape)}. Give [N, H, W], [N, H, W, 3] or [N, 3, H, W].")
    return _squares(np.repeat(array, 3, 1) if array.shape[1] == 1 else array, where, config)


def _squares(array: npt.NDArray[np.uint8], where: str, config: DataConfig) -> Pixels:
    height, width = array.shape[2:]
    if height == width:
        return np.ascontiguousarray(array)
    if config.image_size is None:
        raise DataError(f"{where} are {height} x {width} pixels. Choose data.image_size: the middle is kept.")
    side = config.image_size
    return np.stack([fitted(Image.fromarray(image.transpose(1, 2, 0).copy()), side) for image in array])


def _labels(name: str, given: Given, parts: Sequence[int]) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Numbers from 0 on, and the names of the classes; of labels that are words the numbers are in the order of `classes`."""
    values = []
    for part, labels, count in zip(PARTS, given.labels, parts, strict=True):
        try:
            found = np.asarray(labels)
        except FAILURES as error:
            raise DataError(f"{name}: the {part} labels are no array: {failure(error)}.") from error
        if found.shape != (count,) and (count or found.size):
            raise DataError(f"{name}: {count:,} {part} images have labels {list(found.shape)}. Give one for each.")
        values += found.tolist()
    words = all(isinstance(value, str) for value in values)
    if not words and not all(type(value) is int and value >= 0 for value in values):
        odd = next(value for value in values if type(value) is not int or value < 0)
        raise DataError(f"{name}: a label is {quoted(odd, 40)}. Give numbers from 0 on, or words.")
    if not words and max(values) >= MOST_CLASSES:
        raise DataError(f"{name}: labels go up to {quoted(max(values), 40)}, which are too many classes.")
    classes = _classes(name, given.classes, sorted(set(values)) if words else range(max(values) + 1))
    number: dict[Any, int] = (
        {one: index for index, one in enumerate(classes)} if words else dict(enumerate(range(len(classes))))
    )
    if lost := [value for value in values if value not in number]:
        raise DataError(f"{name}: the label {quoted(lost[0], 40)} is of none of the {len(classes)} classes.")
    return np.array([number[value] for value in values], np.int64), classes


def _classes(name: str, named: Any, seen: Sequence[Any]) -> tuple[str, ...]:
    classes = (
        tuple(map(str, seen)) if named is None else tuple(map(str, named)) if isinstance(named, tuple | list) else ()
    )
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise DataError(
            f"{name}: classes are {quoted(named if named is not None else classes)}. Two or more names are needed, each once."
        )
    return classes


def _content(pixels: Pixels, labels: npt.NDArray[np.int64], classes: Sequence[str], parts: Sequence[int]) -> str:
    told = json.dumps(["own", pixels.shape[-1], labels.tolist(), list(classes), list(parts)])
    return hashlib.sha256(told.encode() + pixels.tobytes()).hexdigest()
