"""Features of many dimensions as points in the plane. Planes of several networks are turned alike, so that they can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from protege.lazy import need

Way = Literal["pca", "tsne"]
PERPLEXITY = 30.0


@dataclass(frozen=True)
class Plane:
    points: Tensor  # [N, 2], at mean 0 and mean square radius 1
    kept: float | None  # share of the features' variance that these two directions have; None for t-SNE


def plane(features: Tensor, way: Way = "pca") -> Plane:
    """PCA at once, or t-SNE: neighbours stay neighbours there, while distances and sizes of groups mean nothing."""
    centred = features.double() - features.double().mean(0)
    left, values, _ = torch.linalg.svd(centred, full_matrices=False)
    first = left[:, :2] * values[:2]
    if first.shape[1] < 2:
        first = torch.cat([first, torch.zeros_like(first)], 1)
    if way == "tsne":
        return Plane(_standard(_tsne(centred)), None)
    total = float(values.square().sum())
    return Plane(_standard(first), float(values[:2].square().sum()) / total if total else None)


def _tsne(features: Tensor) -> Tensor:
    manifold = need("sklearn.manifold", "tsne", "--plane tsne")
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    made = manifold.TSNE(init="pca", random_state=0, perplexity=perplexity).fit_transform(features.numpy())
    return torch.from_numpy(made).double()


def _standard(points: Tensor) -> Tensor:
    points = points - points.mean(0)
    radius = points.square().sum(1).mean().sqrt()
    return points / radius if radius > 0 else points


def turned(points: Tensor, towards: Tensor) -> Tensor:
    """Rotated or mirrored so that each image lies as near as it can to its place in the other plane; nothing is stretched."""
    left, _, right = torch.linalg.svd(points.T @ towards)
    return points @ left @ right
