"""Rounding to a grid as one operation that exporters see: QuantizeLinear and DequantizeLinear in ONNX."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from protege.models.rounding import RoundedOutput


@torch.library.custom_op("protege::grid", mutates_args=())
def grid(values: Tensor, step: float, zero: int, top: int) -> Tensor:
    """`values` at the nearest of the points (0..top - zero) * step."""
    return (values / step).clamp(-zero, top - zero).round() * step


@grid.register_fake
def _(values: Tensor, step: float, zero: int, top: int) -> Tensor:
    return torch.empty_like(values)


class Grid(nn.Module):
    """A fixed `RoundedOutput`."""

    def __init__(self, rounding: RoundedOutput) -> None:
        super().__init__()
        self.step, self.zero, self.top = float(rounding.step), int(rounding.zero), rounding.top

    def forward(self, values: Tensor) -> Tensor:
        return grid(values, self.step, self.zero, self.top)


def translations() -> dict[Any, Any]:
    """For `torch.onnx.export`. Fewer than 8 bits travel as 8, cut to the levels that there are while they are whole numbers,
    so that runtimes merge what stands before."""
    from onnx import TensorProto, helper
    from onnxscript import opset20

    op: Any = opset20

    def constant(kind: int, value: float) -> Any:
        return op.Constant(value=helper.make_tensor("", kind, [], [value]))

    def pair(values: Any, step: float, zero: int, top: int) -> Any:
        size, origin = constant(TensorProto.FLOAT, step), constant(TensorProto.UINT8, zero)
        whole = op.QuantizeLinear(values, size, origin)
        if top < 255:
            whole = op.Clip(whole, constant(TensorProto.UINT8, 0), constant(TensorProto.UINT8, top))
        return op.DequantizeLinear(whole, size, origin)

    return {torch.ops.protege.grid.default: pair}
