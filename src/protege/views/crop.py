"""Crop and flip: every pixel of a batch is fetched by one gather."""

from __future__ import annotations

from functools import lru_cache
from math import exp, log

import torch
import torch.nn.functional as F
from torch import Tensor

from protege.views.draw import integers, uniform

ATTEMPTS = 10  # boxes tried before the middle of the image is taken
RATIOS = 4096  # ratios that a box can have


def pad_crop_flip(pixels: Tensor, corners: Tensor, flipped: Tensor, padding: int) -> Tensor:
    """Black border, crop of the old size at `corners` = dy * (2 * padding + 1) + dx, mirrored where `flipped` is 1."""
    batch, channels, height, width = pixels.shape
    side, across = 2 * padding + 1, width + 2 * padding
    rows = torch.arange(height, device=pixels.device)[:, None] * across
    columns = torch.arange(width, device=pixels.device)
    plain_and_mirrored = torch.stack([(rows + columns).flatten(), (rows + columns.flip(0)).flatten()])
    sources = plain_and_mirrored[flipped] + (corners // side * across + corners % side)[:, None]
    padded = F.pad(pixels, (padding,) * 4).reshape(batch, channels, -1)
    return padded.gather(2, sources[:, None].expand(batch, channels, -1)).view(pixels.shape)


def flip(pixels: Tensor, flipped: Tensor) -> Tensor:
    """Mirror the images whose `flipped` is not 0."""
    return torch.where((flipped != 0)[:, None, None, None], pixels.flip(-1), pixels)


def boxes(
    seed: int,
    epoch: int,
    indices: Tensor,
    size: tuple[int, int],
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Tensor:
    """[n, 4] top, left, height, width of a random box per index (Szegedy et al. 2015): 10 attempts, then the middle."""
    rows, columns = size
    attempt = torch.arange(ATTEMPTS, device=indices.device)
    index = indices[:, None]
    area = (uniform(seed, "area", epoch, index, attempt) * (scale[1] - scale[0]) + scale[0]) * (rows * columns)
    shape = _ratios(*ratio, indices.device)[integers(seed, "ratio", epoch, index, RATIOS, draw=attempt)]
    height, width = (area / shape).sqrt().round().long(), (area * shape).sqrt().round().long()
    top = uniform(seed, "top", epoch, index, attempt) * (rows - height + 1)
    left = uniform(seed, "left", epoch, index, attempt) * (columns - width + 1)
    tried = torch.stack([top.long(), left.long(), height, width], dim=2)
    fits = (height > 0) & (height <= rows) & (width > 0) & (width <= columns)
    first = torch.where(fits, attempt, ATTEMPTS).amin(1)
    choices = torch.cat([tried, _middle(size, ratio, tried)], dim=1)
    return choices.gather(1, first[:, None, None].expand(-1, 1, 4)).squeeze(1)


def _middle(size: tuple[int, int], ratio: tuple[float, float], like: Tensor) -> Tensor:
    """The largest box in the middle whose ratio is allowed, as an eleventh attempt."""
    rows, columns = size
    width = min(columns, round(rows * ratio[1]))
    height = min(rows, round(columns / ratio[0]))
    corner = ((rows - height) // 2, (columns - width) // 2, height, width)
    return torch.stack([torch.full_like(like[:, :1, 0], value) for value in corner], dim=2)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _ratios(narrowest: float, widest: float, device: torch.device) -> Tensor:
    """Even in the logarithm. A table, because exp is not rounded alike on all devices."""
    low, high = log(narrowest), log(widest)
    steps = [exp(low + (high - low) * (step + 0.5) / RATIOS) for step in range(RATIOS)]
    return torch.tensor(steps, dtype=torch.float64, device=device)
