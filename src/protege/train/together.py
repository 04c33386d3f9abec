"""What a forward pass would do layer by layer, done for all layers at once: casts of weights to bf16, and counting of batches.

On a GPU each of these small operations costs as much of the host's time as a convolution. The values are the same bits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from protege.models.spared import DepthwiseInFp32, StridedInFp32

BatchNorm = nn.modules.batchnorm._BatchNorm


class Together:
    """For one network on one device; its modules stay what they are."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        cast = {nn.Conv2d, nn.Linear} | (set() if device.type == "cpu" else {DepthwiseInFp32, StridedInFp32})
        parts = list(network.modules())
        self.device = device
        self.layers = [part for part in parts if type(part) in cast]
        # without a momentum the count is part of the mean, and must move as the layer computes
        self.norms = [part for part in parts if isinstance(part, BatchNorm) and part.momentum is not None]

    @contextlib.contextmanager
    def forward(self) -> Iterator[None]:
        """Around one forward pass of the network."""
        with self._counted(), self._cast():
            yield

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        counting = [norm for norm in self.norms if norm.training and norm.num_batches_tracked is not None]
        counts = [norm._buffers["num_batches_tracked"] for norm in counting]
        for norm in counting:
            norm._buffers["num_batches_tracked"] = None
        try:
            yield
        finally:
            for norm, count in zip(counting, counts, strict=True):
                norm._buffers["num_batches_tracked"] = count
        if counts:
            with torch.no_grad():
                torch._foreach_add_(counts, 1)  # type: ignore[attr-defined]

    @contextlib.contextmanager
    def _cast(self) -> Iterator[None]:
        kind = self.device.type
        if not torch.is_autocast_enabled(kind) or torch.get_autocast_dtype(kind) != torch.bfloat16:
            yield
            return
        places = [
            (part, name)
            for part in self.layers
            for name in ("weight", "bias")
            if part._parameters.get(name) is not None
        ]
        own: list[Any] = [part._parameters[name] for part, name in places]
        once = list({id(weight): weight for weight in own}.values())
        lower = dict(zip(map(id, once), AllToBf16.apply(*once), strict=True))
        for (part, name), weight in zip(places, own, strict=True):
            part._parameters[name] = lower[id(weight)]
        try:
            yield
        finally:
            for (part, name), weight in zip(places, own, strict=True):
                part._parameters[name] = weight


class AllToBf16(torch.autograd.Function):
    """Copies in bf16, whose gradients come back in fp32."""

    @staticmethod
    def forward(ctx: Any, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return copies(weights, torch.bfloat16)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        there = iter(copies([gradient for gradient in gradients if gradient is not None], torch.float32))
        return tuple(None if gradient is None else next(there) for gradient in gradients)


def copies(tensors: tuple[Tensor, ...] | list[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    found = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
    if found:
        torch._foreach_copy_(found, list(tensors))  # type: ignore[attr-defined]
    return tuple(found)
