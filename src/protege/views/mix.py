"""Two images in one: mixup (Zhang et al. 2017, arXiv:1710.09412) and CutMix (Yun et al. 2019, arXiv:1905.04899)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from protege.views.box import box
from protege.views.draw import integers, uniform

SHARES = 2**16  # values that a share can have, equally likely


def partners(seed: int, epoch: int, indices: Tensor, positions: Tensor, count: int) -> Tensor:
    """Position of another image for each, drawn over all `count` of the training set; itself only where it is alone."""
    if count == 1:
        return positions
    drawn = integers(seed, "partner", epoch, indices, count - 1)
    return drawn + (drawn >= positions)


def shares(seed: int, epoch: int, indices: Tensor, concentration: float, probability: float) -> Tensor:
    """float32, how much of each image is its own: Beta(concentration, concentration), and 1 for those left unmixed."""
    drawn = _beta(concentration, indices.device)[integers(seed, "share", epoch, indices, SHARES)]
    return torch.where(uniform(seed, "mixed", epoch, indices) < probability, drawn, 1.0)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _beta(concentration: float, device: torch.device) -> Tensor:
    """Quantiles at the middles of SHARES equal parts. Looked up, since computing them would differ between devices."""
    from scipy.special import betaincinv

    quantiles = betaincinv(concentration, concentration, (np.arange(SHARES) + 0.5) / SHARES)
    return torch.from_numpy(quantiles.astype(np.float32)).to(device)


def mixup(own: Tensor, others: Tensor, share: Tensor) -> Tensor:
    """share * own + (1 - share) * others, float32 on the scale of 0 to 255."""
    share = share[:, None, None, None]
    return own.float() * share + others.float() * (1 - share)


def cutmix(
    own: Tensor, others: Tensor, share: Tensor, *, seed: int, epoch: int, indices: Tensor
) -> tuple[Tensor, Tensor]:
    """A box of about 1 - share of the area comes from `others`. Returns the pixels and the exact share that is left."""
    height, width = own.shape[-2:]
    side = (1 - share.double()).sqrt()
    tall, wide = ((side * length).long() // 2 * 2 for length in (height, width))
    inside = box(own, tall, wide, seed=seed, epoch=epoch, indices=indices, purpose="box")
    left = height * width - inside.sum((1, 2))
    exact = left.double() * (1 / (height * width))  # a GPU would not divide by a number like a CPU
    return torch.where(inside[:, None], others, own), exact.float()
