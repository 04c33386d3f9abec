"""Depthwise convolutions, and strided ones on tiny images, are spared from bf16 on CPUs; all else of the network stays as it was."""

from __future__ import annotations

import copy
from itertools import product

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from protege.data import load
from protege.methods.base import Shapes
from protege.models import build
from protege.models.config import ModelConfig
from protege.models.folding import fold_batchnorm
from protege.models.rounding import round_weights
from protege.models.spared import DepthwiseInFp32, StridedInFp32, spare
from protege.runs.config import check_run
from protege.train.learner import Learner

BATCH = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Convolutions(TorchDispatchMode):
    """Notes in which type each convolution computes: (depthwise, dtype)."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[bool, torch.dtype]] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func is torch.ops.aten.convolution.default:
            self.seen.add((args[8] > 1, args[0].dtype))
        return func(*args, **(kwargs or {}))


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build(ModelConfig(name=name), 10)


@pytest.mark.parametrize("name", ["mobilenet_v2_half", "shufflenet_v2"])
def test_only_depthwise_convolutions_compute_in_fp32_under_bf16(name: str) -> None:
    with Convolutions() as convolutions, torch.autocast("cpu", torch.bfloat16):
        spare(network(name))(BATCH).float().sum().backward()
    assert convolutions.seen == {(True, torch.float32), (False, torch.bfloat16)}


def test_without_bf16_nothing_changes() -> None:
    plain = network("mobilenet_v2_half")
    spared = spare(copy.deepcopy(plain))
    assert any(isinstance(part, DepthwiseInFp32) for part in spared.modules())
    assert spared.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(spared.eval()(BATCH), plain.eval()(BATCH))


def test_what_is_not_depthwise_stays_as_it_is() -> None:
    grouped = nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d(8, 8, 1), nn.Conv2d(1, 4, 3), nn.Conv2d(4, 8, 3, groups=4)
    )
    assert [type(part) for part in spare(grouped)] == [nn.Conv2d] * 3 + [DepthwiseInFp32]


def test_folding_comes_before() -> None:
    folded = spare(fold_batchnorm(network("mobilenet_v2_half")))
    assert any(isinstance(part, DepthwiseInFp32) for part in folded.modules())
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())


def test_students_are_spared() -> None:
    config = check_run({"data": {"name": "cifar10-mini", "limit": 20}, "model": "mobilenet_v2_half"})
    learner = Learner.fresh(config, load(config.data, None), Shapes(0))
    assert any(isinstance(part, DepthwiseInFp32) for part in learner.student.modules())


def gradient(layer: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        said = layer(images)
    layer.zero_grad()
    said.float().square().sum().backward()
    (weight,) = layer.parameters()
    assert weight.grad is not None
    return weight.grad.clone()


def same_gradient(layer: nn.Module) -> torch.Tensor:
    """Of 64 channels of one pixel, again and again, with rubbish in the memory in between."""
    images = torch.randn(32, 64, 1, 1, generator=torch.Generator().manual_seed(0))
    seen = []
    for _ in range(8):
        seen.append(gradient(layer, images))
        soil(seen[0])
    assert all(torch.equal(one, seen[0]) for one in seen)
    return seen[0]


def soil(like: torch.Tensor) -> None:
    """Leave numbers that are none in memory that is given back."""
    rubbish = [
        torch.full_like(like, torch.nan, dtype=kind) for kind in (torch.float32, torch.bfloat16) for _ in range(3)
    ]
    del rubbish


def test_gradients_of_weights_that_meet_no_pixel_are_nought_whatever_lay_in_memory() -> None:
    """A ResNet with a stem for photographs is down to one pixel before its last stage where images are small."""
    (layer,) = spare(nn.Sequential(nn.Conv2d(64, 64, 3, stride=2, padding=1, bias=False)))
    seen = same_gradient(layer)
    assert seen[:, :, 1, 1].all() and seen.count_nonzero() == 64 * 64


def test_so_are_those_of_convolutions_with_rounded_weights() -> None:
    (layer,) = spare(nn.Sequential(nn.Conv2d(64, 64, 3, stride=2, padding=1, bias=False)))
    round_weights(layer, 8, "minmax")
    same_gradient(layer)


SHAPES = [shape for shape in product(range(1, 8), (2, 3, 5), (2, 3), (0, 1, 2), (1, 2)) if shape[3] < shape[1]]


def test_strided_convolutions_are_spared_exactly_where_a_weight_meets_no_pixel() -> None:
    """Told from autograd in fp32: where all pixels are ones, a weight that met one has a gradient."""
    for size, kernel, stride, padding, dilation in SHAPES:
        if size + 2 * padding < dilation * (kernel - 1) + 1:
            continue
        layer = StridedInFp32(1, 1, kernel, stride, padding, dilation, bias=False)
        images = torch.ones(1, 1, size, size)
        layer(images).sum().backward()
        assert layer.weight.grad is not None
        assert layer.is_spared(images) == bool((layer.weight.grad == 0).any()), (
            size,
            kernel,
            stride,
            padding,
            dilation,
        )


def test_other_strided_convolutions_compute_in_bf16() -> None:
    with Convolutions() as convolutions, torch.autocast("cpu", torch.bfloat16):
        spare(network("resnet8"))(BATCH).float().sum().backward()
    assert convolutions.seen == {(False, torch.bfloat16)}
