"""What the tests of the teacher's memory share: a small memory, and a teacher whose words are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from protege.teacher.memory import Memory

IMAGES, VIEWS, CLASSES = 40, 6, 10


def opened(root: Path, about: str = "a teacher", **changed: Any) -> Memory:
    given: dict[str, Any] = {"images": IMAGES, "views": VIEWS, "classes": CLASSES, "spare_bytes": 0, **changed}
    return Memory.open(root, {"teacher": about}, **given)


def word(indices: Tensor, numbers: Tensor, classes: int = CLASSES) -> Tensor:
    """What the teacher says: other values for every image and view; whole numbers below 2048, which fp16 holds exactly."""
    return ((indices * 31 + numbers * 977)[:, None] + torch.arange(classes) * 5) % 2039.0


def everything(images: int = IMAGES, views: int = VIEWS) -> tuple[Tensor, Tensor]:
    return torch.arange(images).repeat(views), torch.arange(views).repeat_interleave(images)


def filled(root: Path, about: str = "a teacher", **changed: Any) -> Memory:
    memory = opened(root, about, **changed)
    memory.store(*everything(), word(*everything()))
    return memory


def asker(indices: Tensor, numbers: Tensor) -> tuple[Callable[[Tensor], Tensor], list[Tensor]]:
    """A teacher to be asked for positions of a chunk, and the batches that it was asked for."""
    batches: list[Tensor] = []

    def ask(positions: Tensor) -> Tensor:
        batches.append(positions)
        return word(indices[positions], numbers[positions])

    return ask, batches
