"""Weights from files: ours, others', and those that must not be read."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from protege.errors import ModelError
from protege.models import ModelConfig, build
from protege.models.network import load_weights, wrap


def network(name: str = "resnet8", classes: int = 10, stem: str | None = None) -> nn.Module:
    return build(ModelConfig.model_validate({"name": name, "stem": stem}), classes)


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(left, right) for left, right in pairs)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_weights_come_back_from_a_file(tmp_path: Path, suffix: str) -> None:
    trained, file = network(), tmp_path / f"weights{suffix}"
    trained.get_submodule("bn1").running_mean.fill_(3.0)  # pyright: ignore
    save_file(trained.state_dict(), file) if suffix == ".safetensors" else torch.save(trained.state_dict(), file)
    assert same(build(ModelConfig(name="resnet8", weights=str(file)), 10), trained)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "net", "student"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module.model."])
def test_wrappers_and_prefixes_of_other_projects_are_taken_off(tmp_path: Path, wrapper: str, prefix: str) -> None:
    trained, file = network(), tmp_path / "teacher.pth"
    weights = {prefix + name: value for name, value in trained.state_dict().items()}
    torch.save({"epoch": 200, wrapper: weights, "best_acc": 75.6}, file)
    fresh = network()
    load_weights(fresh, file)
    assert same(fresh, trained)


def test_names_of_other_cifar_code_bases_are_understood(tmp_path: Path) -> None:
    """They call `downsample` a shortcut and `fc` linear."""
    trained, file = network("resnet18"), tmp_path / "theirs.pth"
    theirs = {
        name.replace(".downsample.", ".shortcut.").replace("fc.", "linear."): value
        for name, value in trained.state_dict().items()
    }
    torch.save(theirs, file)
    fresh = network("resnet18")
    load_weights(fresh, file)
    assert same(fresh, trained)


def test_old_files_without_batch_counts_load(tmp_path: Path) -> None:
    trained, file = network(), tmp_path / "old.pth"
    torch.save({name: value for name, value in trained.state_dict().items() if "num_batches" not in name}, file)
    load_weights(network(), file)


def test_half_precision_files_fill_a_network_of_full_precision(tmp_path: Path) -> None:
    file = tmp_path / "half.safetensors"
    save_file(
        {name: value.half() if value.is_floating_point() else value for name, value in network().state_dict().items()},
        file,
    )
    fresh = network()
    load_weights(fresh, file)
    assert {value.dtype for value in fresh.parameters()} == {torch.float32}


def test_a_wrapped_network_takes_the_weights_of_what_it_wraps(tmp_path: Path) -> None:
    trained, file = network(), tmp_path / "weights.safetensors"
    save_file(trained.state_dict(), file)
    wrapped = wrap(network(), ModelConfig(name="resnet8"))
    load_weights(wrapped, file)
    assert same(wrapped.module, trained)


def test_another_number_of_classes_is_named(tmp_path: Path) -> None:
    file = tmp_path / "hundred.pth"
    torch.save(network(classes=100).state_dict(), file)
    with pytest.raises(
        ModelError,
        match=r"hundred\.pth does not fit: its classifier 'fc' is for 100 classes, the network's for 10: give model\.head new",
    ):
        load_weights(network(), file)


def test_the_other_stem_is_named(tmp_path: Path) -> None:
    file = tmp_path / "imagenet.pth"
    torch.save(network("resnet18", 10, "imagenet").state_dict(), file)
    with pytest.raises(ModelError, match=r"first convolution is 7 wide, the network's 3: give model\.stem imagenet"):
        load_weights(network("resnet18"), file)
    load_weights(network("resnet18", 10, "imagenet"), file)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    """A second block in each of 3 stages: 2 convolutions and 2 batch norms of 5 values, 36 in all, 6 of them counts."""
    shallower, deeper, wider = (tmp_path / f"{name}.pth" for name in ("resnet8", "resnet14", "wider"))
    torch.save(network().state_dict(), shallower)
    torch.save(network("resnet14").state_dict(), deeper)
    torch.save(network("shufflenet_v2_x1_5").state_dict(), wider)
    with pytest.raises(ModelError, match=r"another network: 36 unknown to this one \(layer1\.1\.conv1\.weight"):
        load_weights(network(), deeper)
    with pytest.raises(ModelError, match="another network: 30 missing"):
        load_weights(network("resnet14"), shallower)
    with pytest.raises(
        ModelError, match=r"layer1\.0\.conv2\.weight is \[88, 24, 1, 1\] in the file and \[58, 24, 1, 1\]"
    ):
        load_weights(network("shufflenet_v2"), wider)


def test_a_refused_file_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    file, fresh = tmp_path / "hundred.pth", network()
    torch.save(network(classes=100).state_dict(), file)
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    with pytest.raises(ModelError):
        load_weights(fresh, file)
    assert all(torch.equal(value, before[name]) for name, value in fresh.state_dict().items())


def test_a_file_that_would_run_code_is_refused_unread(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # pyright: ignore[reportReturnType]

    file = tmp_path / "bomb.pth"
    torch.save({"state_dict": network().state_dict(), "extra": Bomb()}, file)
    with pytest.raises(ModelError, match=r"bomb\.pth .*could run code, so it was refused"):
        load_weights(network(), file)
    file.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError, match=r"bomb\.pth"):
        load_weights(network(), file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["noise.pth", "noise.safetensors", "empty.pt", "empty.safetensors"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"" if name.startswith("empty") else b"not weights at all")
    with pytest.raises(ModelError, match=name):
        load_weights(network(), tmp_path / name)


def test_a_half_written_file_is_named(tmp_path: Path) -> None:
    whole, part = tmp_path / "whole.pth", tmp_path / "part.pth"
    torch.save(network().state_dict(), whole)
    part.write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"part\.pth is damaged"):
        load_weights(network(), part)


def test_files_that_are_no_weights_say_what_they_are(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"optimizer": {"lr": 0.1}, "epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="holds a list, not weights"):
        load_weights(network(), tmp_path / "list.pth")
    with pytest.raises(ModelError, match="it holds: 'optimizer', 'epoch'"):
        load_weights(network(), tmp_path / "other.pth")
    with pytest.raises(ModelError, match="There is no weights file"):
        load_weights(network(), tmp_path / "gone.pth")
    (tmp_path / "weights.onnx").touch()
    with pytest.raises(ModelError, match=r"must end in \.safetensors, \.pth, \.pt, "):
        load_weights(network(), tmp_path / "weights.onnx")


def test_weights_reach_the_logits(tmp_path: Path) -> None:
    trained, file = network().eval(), tmp_path / "weights.safetensors"
    save_file(trained.state_dict(), file)
    images: Tensor = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(build(ModelConfig(name="resnet8", weights=str(file)), 10).eval()(images), trained(images))
