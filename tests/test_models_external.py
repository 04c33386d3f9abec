"""Networks of timm and torchvision: by name, without a download, with an error that says what to install."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from protege.errors import MissingExtra, ModelError
from protege.models import ModelConfig, build
from protege.models.measure import describe
from protege.models.network import wrap

INSTALL = r'pip install "protege\[timm\]"'


def fake_network(classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
    )


@pytest.fixture
def fake_timm(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Stands for timm and keeps what it was asked for."""
    asked: list[dict[str, object]] = []

    def create_model(name: str, pretrained: bool, num_classes: int) -> nn.Module:
        asked.append({"name": name, "pretrained": pretrained, "num_classes": num_classes})
        if name == "a_detector":
            raise TypeError("unexpected keyword argument 'num_classes'")
        return fake_network(num_classes)

    timm = ModuleType("timm")
    timm.list_models = lambda: ["tiny_vit", "a_detector"]  # pyright: ignore[reportAttributeAccessIssue]
    timm.create_model = create_model  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "timm", timm)
    return asked


def test_a_timm_name_builds_with_our_classes_and_without_a_download(fake_timm: list[dict[str, object]]) -> None:
    network = build(ModelConfig(name="timm:tiny_vit"), 7)
    assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
    assert fake_timm == [{"name": "tiny_vit", "pretrained": False, "num_classes": 7}]


def test_a_timm_name_may_carry_the_tag_of_its_weights(fake_timm: list[dict[str, object]]) -> None:
    build(ModelConfig(name="timm:tiny_vit.in1k"), 7)
    assert fake_timm[0]["name"] == "tiny_vit.in1k"


@pytest.mark.usefixtures("fake_timm")
def test_an_unknown_timm_name_brings_the_nearest_one() -> None:
    with pytest.raises(ModelError, match=r"timm has no image classifier 'tiny_vti'\. Did you mean 'tiny_vit'"):
        build(ModelConfig(name="timm:tiny_vti"), 7)


@pytest.mark.usefixtures("fake_timm")
def test_a_timm_network_that_cannot_be_made_says_why() -> None:
    with pytest.raises(ModelError, match="timm cannot make 'a_detector' as an image classifier: unexpected keyword"):
        build(ModelConfig(name="timm:a_detector"), 7)


@pytest.mark.usefixtures("fake_timm")
def test_foreign_activations_do_not_overwrite_what_is_read() -> None:
    config = ModelConfig(name="timm:tiny_vit", stages={"stage1": "0"})
    network = wrap(build(config, 7), config)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(network(images, ("stages",))[1]["stage1"], network.module.get_submodule("0")(images))


@pytest.mark.usefixtures("fake_timm")
def test_a_foreign_network_is_described_like_our_own() -> None:
    row = describe("timm:tiny_vit", 7, 32)
    assert row["parameters"] == 3 * 4 * 9 + 4 + 4 * 7 + 7
    assert row["multiply_adds"] == 27 * 4 * 30 * 30 + 4 * 7
    assert row["stages"] == {"stage1": (4, 30, 30)}


def test_a_torchvision_name_builds_without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def get_model(name: str, weights: None, num_classes: int) -> nn.Module:
        asked.append((name, weights))
        return fake_network(num_classes)

    torchvision = ModuleType("torchvision")
    torchvision.models = SimpleNamespace(list_models=lambda module: ["resnet18"], get_model=get_model)  # pyright: ignore
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)
    assert build(ModelConfig(name="torchvision:resnet18"), 7)(torch.zeros(1, 3, 8, 8)).shape == (1, 7)
    assert asked == [("resnet18", None)]
    with pytest.raises(ModelError, match="Did you mean 'resnet18'"):
        build(ModelConfig(name="torchvision:resnet81"), 7)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_library_that_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)  # makes `import` fail
    with pytest.raises(MissingExtra, match=INSTALL):
        build(ModelConfig(name=f"{library}:resnet18"), 10)


def test_a_torchvision_made_for_another_torch_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    with pytest.raises(MissingExtra, match=f"installed but does not start: operator torchvision::nms.*{INSTALL}"):
        build(ModelConfig(name="torchvision:resnet18"), 10)


def installed(library: str) -> bool:
    try:
        importlib.import_module(library)
    except (ImportError, RuntimeError):
        return False
    return True


@pytest.mark.skipif(not installed("torchvision"), reason="torchvision cannot be imported here")
def test_our_resnet_is_torchvisions(tmp_path: Path) -> None:
    theirs = build(ModelConfig(name="torchvision:resnet18"), 10).eval()
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours = build(ModelConfig(name="resnet18", stem="imagenet", weights=str(tmp_path / "theirs.pth")), 10).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


@pytest.mark.skipif(not installed("timm"), reason="timm cannot be imported here")
def test_a_real_timm_network_shows_its_stages() -> None:
    config = ModelConfig(name="timm:resnet18")
    network = wrap(build(config, 10), config)
    assert list(network.paths(("stages",)).values()) == ["layer1", "layer2", "layer3", "layer4"]
