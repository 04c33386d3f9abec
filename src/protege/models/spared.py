"""Convolutions that stay in fp32 on a CPU which is told to use bf16: where its kernels are slow, and where they are wrong."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class Spared(nn.Conv2d):
    """Where it is spared it computes in fp32 and hands on bf16; on other devices it is an ordinary convolution."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        """What every convolution comes down to, whatever was done to its weights before."""
        if input.device.type != "cpu" or not torch.is_autocast_enabled("cpu") or not self.is_spared(input):
            return super()._conv_forward(input, weight, bias)
        with torch.autocast("cpu", enabled=False):
            return super()._conv_forward(input.float(), weight, bias).to(torch.bfloat16)

    def is_spared(self, input: Tensor) -> bool:  # noqa: A002
        raise NotImplementedError


class DepthwiseInFp32(Spared):
    """Its kernels are several times slower in bf16 than in fp32."""

    def is_spared(self, input: Tensor) -> bool:  # noqa: A002
        return True


class StridedInFp32(Spared):
    """Where some of its weights never meet a pixel: oneDNN's gradient of these in bf16 is whatever lay in memory, and mostly no number."""

    def is_spared(self, input: Tensor) -> bool:  # noqa: A002
        if max(self.stride) == 1:
            return False
        assert not isinstance(self.padding, str)  # "same" goes with a stride of 1 only
        sides = zip(input.shape[-2:], self.kernel_size, self.stride, self.padding, self.dilation, strict=True)
        return any(_some_weight_misses(*side) for side in sides)


def _some_weight_misses(size: int, kernel: int, stride: int, padding: int, dilation: int) -> bool:
    """Along one side of an image: whether a weight lies on padding wherever the kernel is laid."""
    extent = dilation * (kernel - 1) + 1
    if size > extent + stride:
        return False
    laid = range(-padding, size + padding - extent + 1, stride)
    return not all(any(0 <= first + weight * dilation < size for first in laid) for weight in range(kernel))


def spare(network: M) -> M:
    """The same network, such convolutions spared from bf16 on CPUs. Fold norms before: folding knows plain layers only."""
    for part in network.modules():
        if type(part) is not nn.Conv2d:
            continue
        if part.groups == part.in_channels > 1:
            part.__class__ = DepthwiseInFp32
        elif max(part.stride) > 1 and max(part.kernel_size) > 1:
            part.__class__ = StridedInFp32
    return network
