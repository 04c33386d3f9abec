"""The layer that makes logits, begun afresh: for a network whose weights were trained for other classes."""

from __future__ import annotations

from torch import nn

from protege.errors import ModelError


def renew(network: nn.Module, path: str, classes: int) -> None:
    """Another last layer for so many classes, where the network's own is for others."""
    layer = network.get_submodule(path)
    if isinstance(layer, nn.Linear) and type(layer) is nn.Linear:
        if layer.out_features != classes:
            network.set_submodule(path, nn.Linear(layer.in_features, classes, layer.bias is not None))
    elif isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
        if layer.out_channels != classes:
            network.set_submodule(path, nn.Conv2d(layer.in_channels, classes, 1, bias=layer.bias is not None))
    else:
        raise ModelError(
            f"The classifier '{path}' is a {type(layer).__name__}, which is not made anew. Name the last linear layer "
            "with model.classifier."
        )
