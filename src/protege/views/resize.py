"""A box of each image, resized as Pillow does it, bit by bit: bilinear, averaging where it shrinks.

On a CPU Pillow itself is the quickest way. Elsewhere the same whole numbers are summed by tensors, so that an image
depends neither on its batch, nor on the device, nor on the precision that is set for other products.
"""

from __future__ import annotations

from math import ceil

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from protege.views.crop import flip

BITS = 22  # of the weights' fractions, as in Pillow


def resize_boxes(pixels: Tensor, boxes: Tensor, size: int, flipped: Tensor) -> Tensor:
    """Cut out one box (top, left, height, width) per image, uint8, resize it to `size` x `size`, mirror it if so told."""
    return (by_pillow if pixels.device.type == "cpu" else by_taps)(pixels, boxes, size, flipped)


def by_pillow(pixels: Tensor, boxes: Tensor, size: int, flipped: Tensor) -> Tensor:
    images, made = pixels.numpy(), np.empty((*pixels.shape[:2], size, size), np.uint8)
    for image, (top, left, height, width), mirror, out in zip(
        images, boxes.tolist(), flipped.tolist(), made, strict=True
    ):
        cut = image[:, top : top + height, left : left + width]
        # Channels one by one: turning their order around takes three times as long.
        whole = Image.merge("RGB", [Image.fromarray(channel) for channel in cut])
        if height > size:  # rows first: left to itself, Pillow's choice depends on its version
            whole = whole.resize((size, height), Image.Resampling.BILINEAR)
        resized = whole.resize((size, size), Image.Resampling.BILINEAR)
        if mirror:
            resized = resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for channel, band in zip(out, "RGB", strict=True):
            channel[:] = np.frombuffer(resized.tobytes("raw", band), np.uint8).reshape(size, size)
    return torch.from_numpy(made)


def by_taps(pixels: Tensor, boxes: Tensor, size: int, flipped: Tensor) -> Tensor:
    """Each new pixel from the few old ones under its tent: first along the rows, rounded, then down the columns."""
    height, width = pixels.shape[2:]
    across = _taps(boxes[:, 1], boxes[:, 3], width, size)
    down = _taps(boxes[:, 0], boxes[:, 2], height, size)
    rows = _summed([
        pixels.gather(3, place[:, None, None].expand(-1, 3, height, -1)).int() * weight[:, None, None]
        for place, weight in across
    ])  # fmt: skip
    made = _summed([
        rows.gather(2, place[:, None, :, None].expand(-1, 3, -1, size)).int() * weight[:, None, :, None]
        for place, weight in down
    ])  # fmt: skip
    return flip(made, flipped)


def _summed(parts: list[Tensor]) -> Tensor:
    total = torch.stack(parts).sum(0, dtype=torch.int32) + (1 << (BITS - 1))
    return (total >> BITS).clamp(0, 255).to(torch.uint8)


def _taps(start: Tensor, length: Tensor, source: int, size: int) -> list[tuple[Tensor, Tensor]]:
    """(place, weight), each [n, size], for every old pixel that a new one can need; one that it does not weighs 0."""
    step = length.double() / torch.full_like(length, size).double()  # by a number, a GPU would not divide like a CPU
    reach = step.clamp(min=1)[:, None]
    centre = (torch.arange(size, device=start.device) + 0.5) * step[:, None]
    first = (centre - reach + 0.5).long().clamp(min=0)
    end = torch.minimum((centre + reach + 0.5).long(), length[:, None])
    places = [first + tap for tap in range(2 * ceil(max(source / size, 1)) + 1)]
    tents = [(1 - ((place - centre + 0.5) * (1 / reach)).abs()).clamp(min=0) * (place < end) for place in places]
    total = torch.zeros_like(centre)
    for tent in tents:  # in this order, as sums of fractions depend on it
        total = total + tent
    weights = [(tent / total * 2**BITS + 0.5).int() for tent in tents]
    return [
        ((start[:, None] + place).clamp(max=source - 1), weight) for place, weight in zip(places, weights, strict=True)
    ]
