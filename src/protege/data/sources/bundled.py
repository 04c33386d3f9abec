"""`cifar10-mini`: 5,000 training and 2,000 test images of CIFAR-10 that come with protege."""

from __future__ import annotations

import hashlib
import io
import json
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, features

from protege.data.base import Published, Source
from protege.data.config import DataConfig
from protege.data.progress import Progress
from protege.data.sources.cifar import ARCHIVES, SIDE
from protege.data.sources.classes import CIFAR10
from protege.data.sources.resize import resized
from protege.data.store import each
from protege.errors import DataError

Strips = npt.NDArray[np.uint8]  # [N, 32, 32, 3]


def bundled_folder() -> Traversable:
    return resources.files("protege.data.sources") / "cifar10_mini"


def cifar10_mini(
    config: DataConfig, folder: Path | None, progress: Progress, lies_in: Traversable | None = None
) -> Source:
    """Classes and normalisation are CIFAR-10's; indices are positions in this set (the official ones: index.json)."""
    place = lies_in or bundled_folder()
    index = read_index(place)
    kept = [[index[part]["pixels"], index[part]["labels"]] for part in ("train", "test")]
    found = Source(
        classes=CIFAR10,
        mean=ARCHIVES["cifar10"].mean,
        std=ARCHIVES["cifar10"].std,
        size=SIDE,
        parts=(len(index["train"]["labels"]), 0, len(index["test"]["labels"])),
        content=hashlib.sha256(json.dumps(["cifar10-mini", kept]).encode()).hexdigest(),
        place=lambda: str(place),
        read=lambda: _published(place, index),
    )
    return resized(found, config.image_size, "cifar10-mini", progress)


def read_index(place: Traversable) -> dict[str, Any]:
    """Of each part: files with sums, sum of the pixels, labels, and positions in the official CIFAR-10."""
    try:
        return json.loads((place / "index.json").read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{place / 'index.json'} is missing or damaged ({error}). Install protege again.") from error


def photo_of_test_image(number: int) -> tuple[Image.Image, str]:
    """One test image as a picture, and its class: to try a network on, not to judge it by."""
    place = bundled_folder()
    part = read_index(place)["test"]
    return Image.fromarray(_part(place, part)[number]), CIFAR10[part["labels"][number]]


def _published(place: Traversable, index: dict[str, Any]) -> Published:
    if not features.check("webp"):
        raise DataError(
            "cifar10-mini is stored as WebP, which this Pillow was built without. "
            "Install Pillow's own wheel: pip install --force-reinstall pillow"
        )
    pixels = np.concatenate([_part(place, index[name]) for name in ("train", "test")])
    labels = torch.tensor(index["train"]["labels"] + index["test"]["labels"])
    return Published(torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))), labels, labels)


def _part(place: Traversable, part: dict[str, Any]) -> Strips:
    pixels = np.concatenate(list(each(lambda named: _strip(place / named[0], named[1]), list(part["files"].items()))))
    if hashlib.sha256(pixels.tobytes()).hexdigest() != part["pixels"]:
        raise DataError(
            f"{place} decodes to other images than were stored: this Pillow's WebP is at fault. Update Pillow."
        )
    return pixels


def _strip(file: Traversable, expected: str) -> Strips:
    content = file.read_bytes() if file.is_file() else b""
    if hashlib.sha256(content).hexdigest() != expected:
        raise DataError(f"{file} is {'damaged' if content else 'missing'}. Install protege again.")
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).reshape(-1, SIDE, SIDE, 3)
