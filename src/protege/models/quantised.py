"""A network whose weights and activations have few bits: where it must be rounded so that a runtime computes in whole numbers.

A tensor is rounded once, where it is whole: after the batch norm and the activation that a runtime merges with the
convolution, after each sum, concatenation and average. What only moves values (pools of maxima, shuffles, dropout) keeps
the grid. The last layer's outputs, the logits, stay as they are.
"""

from __future__ import annotations

import operator
import warnings
from dataclasses import dataclass

import torch
from torch import fx, nn

from protege.errors import ModelError
from protege.models.joins import JOINS
from protege.models.rounding import (
    Around,
    Ranges,
    RoundedOutput,
    RoundedWeights,
    round_input,
    round_output,
    round_weights,
)

LAYERS = (nn.Conv2d, nn.Linear)
ACTIVATIONS = (nn.ReLU, nn.ReLU6)  # merged with what is before them; others are rounded on their own
MOVES = (nn.MaxPool2d, nn.Identity, nn.Dropout, nn.Flatten)
MOVING = ("flatten", "unflatten", "transpose", "permute", "reshape", "view", "chunk", torch.flatten, operator.getitem)


class _Leaves(fx.Tracer):
    """Follows a network down to its layers, joins and rounded layers among them."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (*JOINS, *LAYERS, nn.BatchNorm2d)) or super().is_leaf_module(m, module_qualified_name)


def graph_of(network: nn.Module) -> fx.Graph:
    """The order of the network's layers, or an error where it depends on the images."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _Leaves().trace(network)
    except Exception as error:  # a foreign forward may raise anything here
        raise ModelError(
            f"The layers of {type(network).__name__} cannot be followed in their order, so there is no telling where to "
            "round or to cut it. The networks of `protege models` can all be."
        ) from error


@dataclass(frozen=True)
class Bits:
    """Of weights and activations; none leaves them as they are. `ends` are the weights of the first and the last layer."""

    weights: int | None = 8
    activations: int | None = 8
    ends: int | None = 8
    ranges: Ranges = "minmax"


def quantise(network: nn.Module, bits: Bits) -> None:
    """Make this plain network a rounded one, in place; names and weights stay, steps and ranges join them."""
    graph = graph_of(network)
    layers = [node for node in graph.nodes if part_of(network, node, LAYERS)]
    if bits.activations:
        for node in graph.nodes:
            if needs_rounding(network, node):
                round_output(network.get_submodule(str(node.target)), bits.activations, bits.ranges)
        for path in first_layers(network, graph):
            round_input(network.get_submodule(path), max(bits.activations, 8), bits.ranges)  # images keep their 8 bits
    for node in layers:
        count = bits.ends if node in (layers[0], layers[-1]) else bits.weights
        layer = network.get_submodule(str(node.target))
        if count and not isinstance(layer, RoundedWeights):
            round_weights(layer, count, bits.ranges, around(network, node))


def around(network: nn.Module, layer: fx.Node) -> Around | None:
    """The grid that this layer reads, if it is on one, and the batch norm that alone reads the layer."""
    grid = grid_of(network, layer)
    norm = part_of(network, next(iter(layer.users)), (nn.BatchNorm2d,)) if len(layer.users) == 1 else None
    assert norm is None or isinstance(norm, nn.BatchNorm2d)
    return None if grid is None else Around(grid, norm)


def grid_of(network: nn.Module, layer: fx.Node) -> RoundedOutput | None:
    """Where what the layer reads was last rounded, if only moves lie between."""
    found = getattr(network.get_submodule(str(layer.target)), "rounding_in", None)
    node = layer.args[0]
    while found is None and isinstance(node, fx.Node) and node.op != "placeholder":
        found = getattr(network.get_submodule(str(node.target)), "rounding", None) if node.op == "call_module" else None
        if found is None and not moves(network, node):
            return None
        node = node.args[0]
    return found


def moves(network: nn.Module, node: fx.Node) -> bool:
    """Whether it only moves values, so that they stay on their grid."""
    return part_of(network, node, MOVES) is not None or node.target in MOVING


def part_of(network: nn.Module, node: fx.Node, kinds: tuple[type[nn.Module], ...]) -> nn.Module | None:
    """The module that this node calls, if it is one of these kinds."""
    if node.op != "call_module":
        return None
    part = network.get_submodule(str(node.target))
    return part if isinstance(part, kinds) else None


def needs_rounding(network: nn.Module, node: fx.Node) -> bool:
    """Whether what this node makes is a new, whole tensor that another layer reads."""
    if node.op != "call_module" or part_of(network, node, MOVES) or only_leads_out(network, node):
        return False
    if len(node.users) == 1:
        user = next(iter(node.users))
        if part_of(network, node, (nn.Conv2d,)) and part_of(network, user, (nn.BatchNorm2d,)):
            return False
        if part_of(network, node, (nn.Conv2d, nn.BatchNorm2d, *JOINS)) and part_of(network, user, ACTIVATIONS):
            return False
    return True


def only_leads_out(network: nn.Module, node: fx.Node) -> bool:
    """Whether nothing but the network's output is made of it."""
    return all(user.op == "output" for user in node.users)


def first_layers(network: nn.Module, graph: fx.Graph) -> list[str]:
    """Paths of what reads the images."""
    images = next(node for node in graph.nodes if node.op == "placeholder")
    return [str(user.target) for user in images.users if user.op == "call_module"]
