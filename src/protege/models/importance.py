"""How much a network would miss each of its channels: by the size of its weights, or by what its loss would rise."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protege.models.channels import Channels, Layer
from protege.models.probing import evaluating

Examples = tuple[Tensor, Tensor]  # images as the network sees them, and labels


def by_magnitude(network: nn.Module, channels: Channels) -> Tensor:
    """Of each label that stands for a group: the mean norm of the weights that make and read it, where a layer's mean is 1."""
    roots = channels.roots()
    total, count = torch.zeros(len(roots)), torch.zeros(len(roots))
    for layer in channels.layers.values():
        weight = network.get_submodule(layer.path).weight
        for labels, slices in slices_of(layer, weight.detach()) if isinstance(weight, Tensor) else []:
            norms = slices.reshape(len(slices), -1).norm(dim=1)
            total.index_add_(0, roots[labels], norms / norms.mean().clamp(min=1e-12))
            count.index_add_(0, roots[labels], torch.ones(len(labels)))
    return total / count.clamp(min=1)


def slices_of(layer: Layer, weight: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The weights that belong to each channel that is made, and to each that is read."""
    if layer.passes:
        return [(layer.makes, weight)]
    return [(layer.makes, weight), (layer.reads, columns_of(layer, weight))]


def columns_of(layer: Layer, weight: Tensor) -> Tensor:
    """[channels that are read, weights]: of a grouped convolution each is read by its own group alone."""
    parts = weight.flatten(2) if weight.ndim > 2 else weight.unsqueeze(2)
    groups = parts.unflatten(0, (layer.groups, -1)).transpose(1, 2)  # [groups, read in each, made, places]
    return groups.flatten(0, 1).flatten(1)


def by_first_order(network: nn.Module, channels: Channels, batches: Iterable[Examples]) -> Tensor:
    """Of each label that stands for a group: how far silencing it moves the loss of a batch, to first order (Molchanov et
    al. 2019, arXiv:1906.10771): |sum of weight x gradient| over all that read it, mean over batches."""
    roots = channels.roots()
    readers = [layer for layer in channels.layers.values() if not layer.passes]
    weights = [network.get_parameter(f"{layer.path}.weight") for layer in readers]
    nothing = torch.zeros(len(roots), dtype=weights[0].dtype)
    total, seen = nothing.clone(), 0
    with evaluating(network), torch.enable_grad():
        for images, labels in batches:
            loss = F.cross_entropy(network(images), labels)
            gradients = torch.autograd.grad(loss, weights)
            moved = nothing.clone()
            for layer, weight, gradient in zip(readers, weights, gradients, strict=True):
                change = columns_of(layer, (weight * gradient).detach()).sum(1)
                moved.index_add_(0, roots[layer.reads], change)
            total, seen = total + moved.abs(), seen + 1
    return total / max(seen, 1)
