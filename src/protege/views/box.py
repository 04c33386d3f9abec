"""Boxes in images: where they lie, and grey ones to cover what lies there (cutout: DeVries and Taylor 2017, arXiv:1708.04552)."""

from __future__ import annotations

import torch
from torch import Tensor

from protege.views.draw import integers

GREY = 128


def cutout(pixels: Tensor, side: int, *, seed: int, epoch: int, indices: Tensor) -> Tensor:
    """A grey square of `side` pixels covers each image around one of its pixels; what sticks out is cut off."""
    sides = torch.full_like(indices, side)
    inside = box(pixels, sides, sides, seed=seed, epoch=epoch, indices=indices, purpose="cutout")
    return pixels.masked_fill(inside[:, None], GREY)


def box(pixels: Tensor, tall: Tensor, wide: Tensor, *, seed: int, epoch: int, indices: Tensor, purpose: str) -> Tensor:
    """[n, height, width]: which pixels lie in a box so tall and wide around one of them, drawn for each image."""
    height, width = pixels.shape[-2:]
    rows = _span(integers(seed, f"{purpose}-row", epoch, indices, height), tall, height)
    columns = _span(integers(seed, f"{purpose}-column", epoch, indices, width), wide, width)
    return rows[:, :, None] & columns[:, None, :]


def _span(centre: Tensor, count: Tensor, length: int) -> Tensor:
    """[n, length]: which places are among `count` around `centre`."""
    first = (centre - count // 2)[:, None]
    place = torch.arange(length, device=centre.device)
    return (place >= first) & (place < first + count[:, None])
