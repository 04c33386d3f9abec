"""First weights, as each family's papers draw them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protege.errors import ModelError

SMALLEST = 5e-4  # added to variances: what hardly varies is not blown up to the size of the rest


def fan_out(network: nn.Module) -> None:
    """Convolutions as in He et al. 2015 (arXiv:1502.01852): variance 2 / (outputs x kernel area), no bias."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def dirac(network: nn.Module) -> None:
    """Each convolution begins by passing on its inputs, as far as it has outputs; further outputs stay as drawn."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == 1:
            nn.init.dirac_(module.weight.data[: module.in_channels])


@torch.no_grad()
def whiten(network: nn.Module, images: Tensor) -> None:
    """Fix the first convolution to the main directions of patches of `images` (normalised), each scaled to variance 1.

    Every direction has two outputs, one of each sign; outputs beyond all directions stay as drawn, and fixed as well.
    """
    layer = first_convolution(network)
    directions = patch_directions(images, layer)[: layer.out_channels // 2]
    found = torch.cat([directions, -directions]).reshape(-1, *layer.weight.shape[1:])
    layer.weight[: len(found)] = found.to(layer.weight)
    layer.weight.requires_grad_(False)


def first_convolution(network: nn.Module) -> nn.Conv2d:
    """The one that sees the image."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and (module.in_channels, module.groups) == (3, 1):
            return module
    raise ModelError("model.whiten is for networks that begin with a convolution; this one has none. Leave it out.")


def patch_directions(images: Tensor, layer: nn.Conv2d) -> Tensor:
    """[directions, values of a patch], the most varied first; signs are chosen so that the same images give the same ones."""
    area = layer.weight[0].numel()
    covariance, patches = torch.zeros(area, area, dtype=torch.float64), 0
    for some in images.split(500):
        flat = F.unfold(some, layer.weight.shape[2:]).transpose(0, 1).flatten(1)
        covariance += (flat @ flat.T).double()
        patches += flat.shape[1]
    variances, directions = torch.linalg.eigh(covariance / patches)
    directions = directions.T / (variances + SMALLEST).sqrt()[:, None]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    return (directions * largest.sign()).flip(0)


def small_classifier(layer: nn.Linear) -> None:
    """Standard deviation .01 and no bias: the first predictions are nearly uniform."""
    nn.init.normal_(layer.weight, 0, 0.01)
    nn.init.zeros_(layer.bias)
