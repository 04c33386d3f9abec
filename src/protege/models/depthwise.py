"""Depthwise convolutions under bf16 on CPUs, where their kernels are several times slower than those of fp32."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class DepthwiseInFp32(nn.Conv2d):
    """Computes in fp32 where a CPU is told to use bf16, and hands on bf16; elsewhere an ordinary convolution."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float()).to(torch.bfloat16)


def spare_depthwise(network: M) -> M:
    """The same network, its depthwise convolutions spared from bf16 on CPUs. Fold norms before: folding knows plain layers only."""
    for part in network.modules():
        if type(part) is nn.Conv2d and part.groups == part.in_channels > 1:
            part.__class__ = DepthwiseInFp32
    return network
