"""A rounded network made plain again: whole numbers as weights, fixed grids, batch norms folded into steps and biases.

Folding changes no whole number: with one step an output channel, a batch norm only rescales the step (and turns signs).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from protege.models.quantised import graph_of, part_of
from protege.models.rounding import RoundedWeights, stretch
from protege.ship.formats.grid import Grid

WIDEST_BIAS = 2.0**30  # steps: a bias is stored as a 32-bit whole number of them


@dataclass(frozen=True)
class Whole:
    """The weights of one layer as they are stored."""

    numbers: Tensor  # int8, shape of the weight
    step: Tensor  # [outputs]
    bits: int

    @property
    def step_in_eight_bits(self) -> Tensor:
        """As a runtime computes with them, when fewer bits are stretched to 8."""
        return self.step / stretch(self.bits)


def frozen(module: nn.Module) -> tuple[nn.Module, dict[str, Whole]]:
    """A copy of plain layers that computes what the rounded network does, and its rounded weights by path."""
    network = copy.deepcopy(module).eval().requires_grad_(False)
    graph = graph_of(network)
    settle_biases(network)
    for convolution, norm in norms_behind(network, graph):
        fold(network, convolution, norm)
    whole: dict[str, Whole] = {}
    for path, part in list(network.named_modules()):
        if isinstance(part, RoundedWeights):
            whole[path] = plain(part)
    return with_grids(network, whole)


def settle_biases(network: nn.Module) -> None:
    """While the norms are still there: what they hold says on which grid a bias is once they are folded."""
    for part in network.modules():
        if isinstance(part, RoundedWeights) and (bias := part.deployed_bias()) is not None:
            part.bias = nn.Parameter(bias, requires_grad=False)


def norms_behind(network: nn.Module, graph: fx.Graph) -> list[tuple[str, str]]:
    """Convolutions, and the batch norm that alone reads each."""
    return [
        (str(node.target), str(user.target))
        for node in graph.nodes
        if part_of(network, node, (nn.Conv2d,)) and len(node.users) == 1 and not hasattr_rounding(network, node)
        for user in node.users
        if part_of(network, user, (nn.BatchNorm2d,))
    ]


def hasattr_rounding(network: nn.Module, node: fx.Node) -> bool:
    """Whether what the layer makes is rounded before its batch norm reads it."""
    return hasattr(network.get_submodule(str(node.target)), "rounding")


def fold(network: nn.Module, convolution: str, norm: str) -> None:
    """The norm's factor into the step or the weight, its shift into the bias; what remains of it is its rounding."""
    layer, statistics = network.get_submodule(convolution), network.get_submodule(norm)
    assert isinstance(layer, nn.Conv2d) and isinstance(statistics, nn.BatchNorm2d)
    if statistics.running_mean is None or statistics.running_var is None:
        return
    factor = (statistics.running_var + statistics.eps).rsqrt()
    if statistics.weight is not None:
        factor = factor * statistics.weight
    shift = -statistics.running_mean if layer.bias is None else layer.bias - statistics.running_mean
    bias = shift * factor + (0 if statistics.bias is None else statistics.bias)
    layer.bias = nn.Parameter(bias, requires_grad=False)
    if isinstance(layer, RoundedWeights):
        layer.factor = factor
    else:
        layer.weight.mul_(factor.reshape(-1, 1, 1, 1))
    emptied = nn.Identity()
    keep_rounding(statistics, emptied)
    network.set_submodule(norm, emptied)


def keep_rounding(old: nn.Module, new: nn.Module) -> None:
    for name in ("rounding", "rounding_in"):
        if hasattr(old, name):
            setattr(new, name, getattr(old, name))


def plain(layer: RoundedWeights) -> Whole:
    """The layer becomes a plain one whose weights are whole numbers times a step."""
    numbers, step = layer.whole_numbers()
    factor = getattr(layer, "factor", torch.ones_like(step))
    numbers, step = numbers * factor.sign().reshape(-1, *[1] * (numbers.ndim - 1)).to(torch.int8), step * factor.abs()
    bits = layer.bits
    kind: type[nn.Module] = nn.Conv2d if isinstance(layer, nn.Conv2d) else nn.Linear
    layer.__class__ = kind  # pyright: ignore[reportAttributeAccessIssue]
    layer._parameters.pop("step", None)
    numbers, step = wide_enough(numbers, step, layer.bias if isinstance(layer.bias, Tensor) else None)
    layer.weight.copy_(numbers * step.reshape(-1, *[1] * (numbers.ndim - 1)))
    return Whole(numbers, step, bits)


def wide_enough(numbers: Tensor, step: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """A channel whose weights are next to nothing gets a step in which its bias, too, is a number of 32 bits."""
    floor = torch.full_like(step, 1e-12)
    if bias is not None:
        floor = floor.maximum(bias.abs() / WIDEST_BIAS / 1e-3)  # steps of activations are above a thousandth
    wider = step.maximum(floor)
    share = (step / wider).reshape(-1, *[1] * (numbers.ndim - 1))
    return (numbers * share).round().to(torch.int8), wider


def with_grids(network: nn.Module, whole: dict[str, Whole]) -> tuple[nn.Module, dict[str, Whole]]:
    """Hooks become modules of their own, before and behind the layer."""
    for path, part in list(network.named_modules()):
        before, behind = getattr(part, "rounding_in", None), getattr(part, "rounding", None)
        if before is None and behind is None:
            continue
        for name in ("rounding", "rounding_in"):
            part._modules.pop(name, None)
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()
        row = [*([Grid(before)] if before else []), part, *([Grid(behind)] if behind else [])]
        network.set_submodule(path, Row(*row))
        if path in whole:
            whole[f"{path}.{1 if before else 0}"] = whole.pop(path)
    return network, whole


class Row(nn.Sequential):
    """Its parts one after the other; the first may take several tensors."""

    def forward(self, *inputs: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        first, *others = self
        value = first(*inputs)
        for part in others:
            value = part(value)
        return value
