"""Numbers of few bits, simulated: rounded to a grid in the forward pass, passed through in the backward one.

Esser et al. 2020, Learned Step Size Quantization. arXiv:1902.08153: the step is a weight like the others, its gradient
scaled by 1 / sqrt(values x levels). `minmax` takes the step from the range instead, as most tools do after training.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from protege.models.spared import StridedInFp32

Ranges = Literal["learned", "minmax"]
SMALLEST = 1e-8  # step: a range of nothing would divide by zero
MEMORY = 0.9  # of a running range, a batch
SPREAD = 4.0  # standard deviations that the first learned range of fewer than 8 bits spans on each side
FINEST = 64  # two products of 64 and 255 still fit the 16 bits in which older processors add them


class Step(nn.Parameter):
    """A learned step, told from other weights so that no decay pulls it to zero."""


class _Rounding(torch.autograd.Function):
    """One pass over the values each way: as a row of plain operations it would cost more than the convolutions."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, step: Tensor, low: float, high: float, slowness: float) -> Tensor:
        steps = values / step
        whole = steps.round().clamp_(low, high)
        ctx.save_for_backward(steps, whole, step)
        ctx.bounds, ctx.slowness = (low, high), slowness
        return whole * step

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (steps, whole, step) = gradients, ctx.saved_tensors
        low, high = ctx.bounds
        inside = (steps >= low) & (steps <= high)
        passed = gradient * inside
        if not ctx.needs_input_grad[1]:
            return passed, None, None, None, None
        moved = gradient * whole - passed * steps
        return passed, moved.sum_to_size(step.shape) * ctx.slowness, None, None, None


def rounded(values: Tensor, step: Tensor, low: float, high: float, slowness: float = 1.0) -> Tensor:
    """`values` on the grid of `step`, from `low` to `high` steps. Gradients reach the values inside, and the step."""
    made = _Rounding.apply(values, step, low, high, slowness)
    assert isinstance(made, Tensor)
    return made


def slowness(values: int, levels: float) -> float:
    """So that the gradient of a step is in proportion to its size, not to the number of values that it rounds."""
    return 1 / math.sqrt(values * levels)


def largest(bits: int) -> int:
    """Of whole numbers of so many bits, symmetric about zero: 127, 7, and 1 for the three values that two bits hold."""
    return 2 ** (bits - 1) - 1


def stretch(bits: int) -> int:
    """What numbers of fewer than 8 bits are multiplied by where they are stored in 8, so that biases have a finer grid."""
    return FINEST // largest(bits) if bits < 8 else 1


class RoundedOutput(nn.Module):
    """An activation of 2^bits levels. The first batch in training, or calibration, fixes where zero lies on the grid."""

    step: Tensor
    zero: Tensor
    span: Tensor
    seen: Tensor

    def __init__(self, bits: int, ranges: Ranges) -> None:
        super().__init__()
        self.bits, self.ranges = bits, ranges
        self.top = 2**bits - 1
        if ranges == "learned":
            self.step = Step(torch.ones(()))
        else:
            self.register_buffer("step", torch.ones(()))
        self.register_buffer("zero", torch.zeros(()))
        self.register_buffer("span", torch.zeros(2))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.watched: Callable[[Tensor], None] | None = None  # while calibrating: sees the values, which pass unrounded

    def forward(self, values: Tensor) -> Tensor:
        values = values.float()
        if self.watched is not None:
            self.watched(values)
            return values
        if self.training and (self.ranges == "minmax" or not self.seen):
            self.follow(values.detach())
        zero, step = self.zero.item(), self.step.clamp(min=SMALLEST)
        return rounded(values, step, -zero, self.top - zero, slowness(values[0].numel(), self.top))

    @torch.no_grad()
    def follow(self, values: Tensor) -> None:
        """Move the range towards this batch's."""
        low, high = values.aminmax()
        if self.ranges == "learned" and self.bits < 8:
            # a start: what is far out is not worth a grid that is coarser still
            spread, middle = SPREAD * values.std(), values.mean()
            low, high = low.maximum(middle - spread), high.minimum(middle + spread)
        batch = torch.stack([low.clamp(max=0), high.clamp(min=0)])
        kept = MEMORY if self.seen else 0.0
        self.set_range(*(kept * self.span + (1 - kept) * batch))

    @torch.no_grad()
    def set_range(self, low: Tensor, high: Tensor) -> None:
        """The grid that holds `low` to `high`, zero on one of its points."""
        self.span.copy_(torch.stack([low, high]))
        self.step.copy_(((high - low) / self.top).clamp(min=SMALLEST))
        self.zero.copy_((-low / self.step).round().clamp(0, self.top))
        self.seen.fill_(1)


@dataclass(frozen=True)
class Around:
    """What decides on which grid a runtime keeps a layer's bias: that of what it reads, and the batch norm folded into it."""

    grid: RoundedOutput
    norm: nn.BatchNorm2d | None

    def bias(self, own: Tensor) -> Tensor:
        """The bias after folding, in the layer's own units: those before the norm's factor."""
        if self.norm is None or self.norm.running_mean is None or self.norm.running_var is None:
            return own
        factor = (self.norm.running_var.double() + self.norm.eps).rsqrt()
        if self.norm.weight is not None:
            factor = factor * self.norm.weight
        return own - self.norm.running_mean + (0 if self.norm.bias is None else self.norm.bias / factor)


class RoundedWeights(nn.Module):
    """What a convolution or a linear layer has in common when its weights are rounded, one step an output channel."""

    weight: Tensor
    bias: Tensor | None
    bits: int
    ranges: Ranges
    step: Tensor
    around: Around | None  # none where it reads what is on no grid

    def begin(self, bits: int, ranges: Ranges, around: Around | None) -> None:
        """After a plain layer has become one of this kind."""
        self.bits, self.ranges, self.around = bits, ranges, around
        if ranges == "learned":
            self.step = Step(self.widest() if bits == 8 else self.usual())

    def steps(self) -> Tensor:
        """One for each output channel."""
        return self.step.clamp(min=SMALLEST) if self.ranges == "learned" else self.widest()

    def paced(self) -> Tensor:
        """The steps, whose gradients are smaller by the square of how much finer they are than published.

        Where a norm follows, a layer's scale changes nothing, so the gradient of a step grows as the step shrinks: at one pace it
        runs through zero, and a channel whose step is below zero is silent from then on.
        """
        steps = self.steps()
        if not steps.requires_grad:
            return steps
        held = steps.detach()
        return held + (steps - held) * (held / self.usual()).square().clamp(max=1)

    def usual(self) -> Tensor:
        """Where learned steps begin, as published. At 8 bits most levels would be left to values that do not occur."""
        mean = self.weight.detach().flatten(1).abs().mean(1)
        return (2 * mean / math.sqrt(largest(self.bits))).clamp(min=SMALLEST)

    def widest(self) -> Tensor:
        """The steps at which the largest weight is the last level."""
        return (self.weight.detach().flatten(1).abs().amax(1) / largest(self.bits)).clamp(min=SMALLEST)

    def rounded_weight(self) -> Tensor:
        top = largest(self.bits)
        step = self.paced().reshape(-1, *[1] * (self.weight.ndim - 1))
        return rounded(self.weight, step, -top, top, slowness(self.weight[0].numel(), top))

    @torch.no_grad()
    def deployed_bias(self) -> Tensor | None:
        """Moved so that after folding it is a whole number of the steps that sums of products are in, as runtimes keep it."""
        if self.around is None:
            return self.bias
        steps = self.steps()
        own = torch.zeros_like(steps) if self.bias is None else self.bias.detach()
        folded = self.around.bias(own.double())
        finest = steps.double() * self.around.grid.step.clamp(min=SMALLEST) / stretch(self.bits)
        moved = (folded / finest).round() * finest - folded
        return own + moved.nan_to_num(0, 0, 0).to(
            own.dtype
        )  # a channel that its norm has switched off has no such grid

    def used_bias(self) -> Tensor | None:
        """Plain while it is trained and while ranges are looked for."""
        plain = self.training or self.around is None or self.around.grid.watched is not None
        return self.bias if plain else self.deployed_bias()

    @torch.no_grad()
    def whole_numbers(self) -> tuple[Tensor, Tensor]:
        """The weights as int8, and the step of each output channel."""
        top, step = largest(self.bits), self.steps()
        shape = (-1, *[1] * (self.weight.ndim - 1))
        return (self.weight / step.reshape(shape)).clamp(-top, top).round().to(torch.int8), step.clone()


class RoundedConv2d(RoundedWeights, StridedInFp32):
    """A convolution with rounded weights; made of a plain one by `__class__`, so that names and weights stay."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return self._conv_forward(input, self.rounded_weight(), self.used_bias())


class RoundedLinear(RoundedWeights, nn.Linear):
    """A linear layer with rounded weights."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return nn.functional.linear(input, self.rounded_weight(), self.used_bias())


def round_weights(layer: nn.Module, bits: int, ranges: Ranges, around: Around | None = None) -> None:
    """Make this plain layer one with rounded weights, in place."""
    kind: type[nn.Module] = RoundedConv2d if isinstance(layer, nn.Conv2d) else RoundedLinear
    layer.__class__ = kind  # pyright: ignore[reportAttributeAccessIssue]
    assert isinstance(layer, RoundedWeights)
    layer.begin(bits, ranges, around)


def round_output(part: nn.Module, bits: int, ranges: Ranges) -> None:
    """What leaves the part is rounded before anything reads it."""
    part.rounding = RoundedOutput(bits, ranges)
    part.register_forward_hook(_output)


def round_input(part: nn.Module, bits: int, ranges: Ranges) -> None:
    """What enters the part is rounded."""
    part.rounding_in = RoundedOutput(bits, ranges)
    part.register_forward_pre_hook(_input)


def _output(part: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return part.get_submodule("rounding")(output)


def _input(part: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (part.get_submodule("rounding_in")(args[0]), *args[1:])
