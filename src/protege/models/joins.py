"""Where branches meet, as modules: what leaves one can be read, rounded and cut like what leaves a layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Add(nn.Module):
    """The sum of two maps."""

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return one + other


class Concat(nn.Module):
    """Two maps beside each other, channel by channel."""

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return torch.cat([one, other], 1)


JOINS = (Add, Concat)
