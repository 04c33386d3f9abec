"""Depthwise convolutions are spared from bf16 on CPUs; everything else about the network stays as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from protege.data import load
from protege.methods.base import Shapes
from protege.models import build
from protege.models.config import ModelConfig
from protege.models.depthwise import DepthwiseInFp32, spare_depthwise
from protege.models.folding import fold_batchnorm
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
        spare_depthwise(network(name))(BATCH).float().sum().backward()
    assert convolutions.seen == {(True, torch.float32), (False, torch.bfloat16)}


def test_without_bf16_nothing_changes() -> None:
    plain = network("mobilenet_v2_half")
    spared = spare_depthwise(copy.deepcopy(plain))
    assert any(isinstance(part, DepthwiseInFp32) for part in spared.modules())
    assert spared.state_dict().keys() == plain.state_dict().keys()
    assert torch.equal(spared.eval()(BATCH), plain.eval()(BATCH))


def test_what_is_not_depthwise_stays_as_it_is() -> None:
    grouped = nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2), nn.Conv2d(8, 8, 1), nn.Conv2d(1, 4, 3), nn.Conv2d(4, 8, 3, groups=4)
    )
    assert [type(part) for part in spare_depthwise(grouped)] == [nn.Conv2d] * 3 + [DepthwiseInFp32]


def test_folding_comes_before() -> None:
    folded = spare_depthwise(fold_batchnorm(network("mobilenet_v2_half")))
    assert any(isinstance(part, DepthwiseInFp32) for part in folded.modules())
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())


def test_students_are_spared() -> None:
    config = check_run({"data": {"name": "cifar10-mini", "limit": 20}, "model": "mobilenet_v2_half"})
    learner = Learner.fresh(config, load(config.data, None), Shapes(0))
    assert any(isinstance(part, DepthwiseInFp32) for part in learner.student.modules())
