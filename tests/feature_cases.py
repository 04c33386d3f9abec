"""What the tests of feature, relation and contrast methods share: double precision, and sums written out slowly."""

from __future__ import annotations

import math
from itertools import permutations

import torch
from method_cases import LAST, Case, make_case
from torch import Tensor, nn

from protege.methods import Method, Progress

FIRST = Progress(epoch=0, epochs=100)
NAMES = (
    "feature", "fitnet", "at", "sp", "cc", "vid", "pkt", "nst", "ofd", "fsp", "ft", "ab", "reviewkd", "simkd", "catkd", "sdd",
    "srrl", "semckd", "rkd", "crd",
)  # fmt: skip

# Networks that people pair: (channels, height, width) of each stage, widths a quarter of the real ones.
RESNET_3 = ((8, 16, 16), (16, 8, 8), (32, 4, 4))
RESNET_4 = ((16, 16, 16), (32, 8, 8), (64, 4, 4), (128, 2, 2))
VGG = ((16, 16, 16), (32, 8, 8), (64, 4, 4), (64, 2, 2), (64, 2, 2))
MOBILE = ((6, 16, 16), (8, 8, 8), (24, 4, 4), (40, 2, 2))
ODD = ((6, 7, 7), (9, 5, 5), (12, 3, 3))
KINDS = {"resnet-3": RESNET_3, "resnet-4": RESNET_4, "vgg": VGG, "mobile": MOBILE, "odd": ODD}
PAIRS = list(permutations(KINDS, 2))


def doubles(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def maps(batch: int, *shape: int, seed: int = 0) -> Tensor:
    return doubles(batch, *shape, seed=seed)


def precise_case(**options: object) -> Case:
    return make_case(dtype=torch.float64, **options)  # type: ignore[arg-type]


def precise_terms(method: Method, case: Case, progress: Progress = LAST) -> tuple[dict[str, Tensor], nn.Module]:
    adapters = case.adapters(method).double()
    return case.terms(method, adapters, progress), adapters


def rotation(size: int) -> Tensor:
    return torch.linalg.qr(doubles(size, size, seed=99))[0]


def rows(values: Tensor) -> list[list[float]]:
    return values.detach().flatten(1).tolist()


def norm(vector: list[float]) -> float:
    return math.sqrt(sum(value * value for value in vector))


def dot(left: list[float], right: list[float]) -> float:
    return sum(one * other for one, other in zip(left, right, strict=True))
