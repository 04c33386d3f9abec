"""Ranges of activations from training images, for a network that was trained without rounding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

from protege.models.rounding import RoundedOutput

Calibration = Literal["minmax", "percentile"]
SHARE = 0.9999  # of a batch's values that `percentile` keeps on the grid


class Range:
    """What one activation was seen to span."""

    def __init__(self, how: Calibration) -> None:
        self.how = how
        self.lows: list[Tensor] = []
        self.highs: list[Tensor] = []

    def __call__(self, values: Tensor) -> None:
        flat = values.detach().flatten()
        cut = max(1, round((1 - SHARE) * flat.numel())) if self.how == "percentile" else 1
        self.lows.append(flat.kthvalue(cut).values)
        self.highs.append(flat.kthvalue(flat.numel() + 1 - cut).values)

    def span(self) -> tuple[Tensor, Tensor]:
        """Zero is always inside. `minmax` keeps the extremes, `percentile` the mean over batches."""
        lows, highs = torch.stack(self.lows), torch.stack(self.highs)
        low, high = (lows.min(), highs.max()) if self.how == "minmax" else (lows.mean(), highs.mean())
        return low.clamp(max=0), high.clamp(min=0)


@torch.no_grad()
def calibrate(student: nn.Module, batches: Iterable[Tensor], how: Calibration) -> None:
    """Set every range of `student` from what passes while it looks at `batches`."""
    ranges = {part: Range(how) for part in student.modules() if isinstance(part, RoundedOutput)}
    student.eval()
    for part, seen in ranges.items():
        part.watched = seen
    for batch in batches:
        student(batch)
    for part, seen in ranges.items():
        part.watched = None
        part.set_range(*seen.span())
