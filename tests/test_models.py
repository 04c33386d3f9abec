"""Our own networks: sizes as published, every name runs, first weights as the papers draw them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from protege.errors import ModelError
from protege.models import ModelConfig, architecture, build, check, model_names
from protege.models.measure import describe, multiply_adds, parameter_count

# Parameters for 100 classes as in the CRD code base's zoo, or for 10 as published with the studies that used them.
PUBLISHED = {
    ("resnet18", 10): 11_173_962,
    ("resnet34", 10): 21_282_122,
    ("resnet50", 10): 23_520_842,
    ("resnet20", 100): 278_324,
    ("resnet32", 100): 472_756,
    ("resnet56", 100): 861_620,
    ("resnet110", 100): 1_736_564,
    ("resnet8x4", 100): 1_233_540,
    ("resnet32x4", 100): 7_433_860,
    ("wrn_16_1", 100): 180_916,
    ("wrn_16_2", 100): 703_284,
    ("wrn_40_1", 100): 569_780,
    ("wrn_40_2", 100): 2_255_156,
    ("wrn_28_10", 10): 36_479_194,
    ("vgg8", 100): 3_965_028,
    ("vgg13", 100): 9_462_180,
    ("mobilenet_v2", 10): 2_236_682,
    ("mobilenet_v2_half", 100): 812_836,
    ("shufflenet_v1", 100): 949_258,
    ("shufflenet_v2", 100): 1_355_528,
}
TORCHVISION = {"resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160}
# Millions, one 32x32 image, 10 classes.
MULTIPLY_ADDS = {"resnet18": 555.4, "mobilenet_v2": 24.5, "mobilenet_v2_s1": 88.0, "mobilenet_v2_half": 6.4}
SLOW_HERE = ["resnet34", "resnet50", "resnet101", "resnet32x4", "wrn_40_2", "wrn_40_4", "wrn_28_10", "vgg16", "vgg19"]


@pytest.mark.parametrize(("name", "classes"), PUBLISHED)
def test_parameters_are_as_published(name: str, classes: int) -> None:
    with torch.device("meta"):
        assert parameter_count(build(ModelConfig(name=name), classes)) == PUBLISHED[name, classes]


@pytest.mark.parametrize("name", TORCHVISION)
def test_the_imagenet_stem_gives_torchvisions_parameters(name: str) -> None:
    with torch.device("meta"):
        network = build(ModelConfig(name=name, stem="imagenet"), 1000)
    assert parameter_count(network) == TORCHVISION[name]


@pytest.mark.parametrize("name", MULTIPLY_ADDS)
def test_multiply_adds_are_as_published(name: str) -> None:
    assert describe(name, 10, 32)["multiply_adds"] / 1e6 == pytest.approx(MULTIPLY_ADDS[name], abs=0.05)


def test_multiply_adds_count_one_for_a_multiplication_and_its_addition() -> None:
    """A 3x3 convolution from 3 to 8 channels on 4x4 pixels: 27 products for each of 8 x 16 outputs; then 128 x 10."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(128, 10))
    assert multiply_adds(network, 4) == 27 * 8 * 16 + 128 * 10


def test_multiply_adds_see_into_fused_attention() -> None:
    """Two tokens of width 4: four projections of 4x4 each, and 2x2x4 for the scores and again for the values."""

    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 1, batch_first=True)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            tokens = images.flatten()[:8].reshape(1, 2, 4)
            return self.attention(tokens, tokens, tokens, need_weights=False)[0]

    assert multiply_adds(Attends(), 4) == 4 * 2 * 4 * 4 + 2 * 2 * 2 * 4


@pytest.mark.parametrize("name", [name for name in model_names() if name not in SLOW_HERE])
def test_networks_give_finite_logits(name: str) -> None:
    for classes, image_size in ((10, 32), (100, 64)):
        network = build(ModelConfig(name=name), classes).eval()
        with torch.no_grad():
            logits = network(torch.randn(2, 3, image_size, image_size))
        assert logits.shape == (2, classes)
        assert logits.isfinite().all()


@pytest.mark.parametrize("name", SLOW_HERE)
def test_bigger_networks_give_logits_of_the_right_shape(name: str) -> None:
    with torch.device("meta"):
        network = build(ModelConfig(name=name), 7)
        assert [network(torch.zeros(2, 3, size, size)).shape for size in (32, 64)] == [(2, 7)] * 2


def test_stages_are_those_of_the_distillation_literature() -> None:
    assert describe("resnet32x4")["stages"] == {"stage1": (64, 32, 32), "stage2": (128, 16, 16), "stage3": (256, 8, 8)}
    assert list(describe("mobilenet_v2")["stages"].values()) == [(24, 16, 16), (32, 8, 8), (96, 4, 4), (320, 2, 2)]
    assert list(describe("vgg8")["stages"].values()) == [(128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 4, 4)]
    assert describe("resnet50")["stages"]["stage4"] == (2048, 4, 4)


def test_the_imagenet_stem_sees_a_sixteenth_of_a_small_image() -> None:
    """Stride 2 and a pool of stride 2: the first stage of a 32x32 image is 8x8 instead of 32x32."""
    network = build(ModelConfig(name="resnet18", stem="imagenet"), 10).eval()
    with torch.no_grad():
        images = torch.zeros(1, 3, 32, 32)
        hidden = network.get_submodule("maxpool")(network.get_submodule("conv1")(images))
    assert hidden.shape == (1, 64, 8, 8)


def test_a_stem_that_a_network_does_not_have_is_refused() -> None:
    with pytest.raises(ModelError, match=r"does not fit 'resnet20', which has only the cifar stem.*resnet18, resnet34"):
        build(ModelConfig(name="resnet20", stem="imagenet"), 10)
    with pytest.raises(ModelError, match="brings its own stem"):
        check(ModelConfig(name="timm:resnet18", stem="cifar"))
    check(ModelConfig(name="resnet20", stem="cifar"))


def test_an_unknown_name_brings_the_nearest_one() -> None:
    with pytest.raises(ModelError, match=r"no model 'resnt8x4'\. Did you mean 'resnet8x4'"):
        build(ModelConfig(name="resnt8x4"), 10)
    with pytest.raises(ModelError, match="timm:NAME"):
        architecture("xyz")


def test_a_classifier_without_classes_is_refused() -> None:
    with pytest.raises(ModelError, match="not 0"):
        build(ModelConfig(name="resnet8"), 0)


def test_a_bare_name_describes_a_model() -> None:
    assert ModelConfig.model_validate("resnet8") == ModelConfig(name="resnet8")


def test_a_model_description_is_frozen_and_refuses_what_it_does_not_know() -> None:
    config = ModelConfig(name="resnet8")
    with pytest.raises(ValidationError, match="frozen"):
        config.name = "resnet20"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValidationError, match="steem"):
        ModelConfig.model_validate({"name": "resnet18", "steem": "cifar"})
    with pytest.raises(ValidationError, match="'layer1' cannot name a stage"):
        ModelConfig(name="resnet8", stages={"layer1": "layer1"})
    with pytest.raises(ValidationError, match="at least 1 character"):
        ModelConfig(name="")


def test_every_field_of_a_model_description_says_what_it_is() -> None:
    assert all(field.description for field in ModelConfig.model_fields.values())


def test_names_and_checks_do_not_import_torch() -> None:
    code = (
        "import sys; from protege.models import MODELS, ModelConfig, check, model_names; "
        "check(ModelConfig(name='resnet8')); assert len(model_names()) == len(MODELS); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_convolutions_start_with_the_variance_of_their_fan_out() -> None:
    """64 outputs x 9 pixels: standard deviation sqrt(2 / 576) = 0.0589."""
    torch.manual_seed(0)
    network = build(ModelConfig(name="resnet20"), 10)
    weight = network.get_submodule("layer3.2.conv2").weight
    assert isinstance(weight, torch.Tensor)
    assert weight.std().item() == pytest.approx(0.0589, rel=0.02)


def test_equal_seeds_give_equal_first_weights() -> None:
    def weights() -> list[torch.Tensor]:
        torch.manual_seed(3)
        return list(build(ModelConfig(name="mobilenet_v2_half"), 10).parameters())

    assert all(torch.equal(one, other) for one, other in zip(weights(), weights(), strict=True))


def test_no_activation_works_in_place() -> None:
    """What works in place would overwrite the features that methods read."""
    with torch.device("meta"):
        for name in model_names():
            parts = build(ModelConfig(name=name), 10).modules()
            assert not any(getattr(part, "inplace", False) for part in parts), name
