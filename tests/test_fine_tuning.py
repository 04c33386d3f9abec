"""Weights of a thousand classes on data of ten: another last layer, a lower rate for the rest, and parts that stay as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile_world import command
from torch import Tensor, nn

from protege import runs as runs_room
from protege.errors import ModelError
from protege.models import ModelConfig, build
from protege.models.freezing import freeze
from protege.models.network import wrap
from protege.models.weights import read_weights
from protege.runs import Run
from protege.runs.config import OptimConfig, Place, check_run
from protege.runs.identity import run_id
from protege.train import train
from protege.train.optim import build_optimizer, set_learning_rate

BASE: dict[str, Any] = {
    "data": {"name": "cifar10-mini", "limit": 120, "heldout": 60},
    "optim": {"epochs": 2, "batch_size": 32, "lr": 0.05, "rest_lr": 0.005},
}


@pytest.fixture
def thousand(tmp_path: Path) -> Path:
    """A resnet8 for a thousand classes, whose norms have seen something."""
    torch.manual_seed(1)
    network = build(ModelConfig(name="resnet8"), 1000)
    network.train()(torch.randn(16, 3, 32, 32))
    torch.save({"state_dict": network.state_dict()}, tmp_path / "thousand.pth")
    return tmp_path / "thousand.pth"


def tuned(file: Path, runs: Path, **model: Any) -> Run:
    return train(
        {**BASE, "model": {"name": "resnet8", "weights": str(file), "head": "new", **model}},
        Place(runs=runs, quiet=True),
    )


def weights_of(run: Run) -> dict[str, Tensor]:
    return runs_room.read_weights(run.weights_file())[0]


def test_another_number_of_classes_wants_a_new_head(thousand: Path, runs: Path) -> None:
    with pytest.raises(ModelError, match=r"is for 1000 classes, the network's for 10: give model\.head new"):
        train({**BASE, "model": {"name": "resnet8", "weights": str(thousand)}}, Place(runs=runs, quiet=True))
    network = build(ModelConfig(name="resnet8", weights=str(thousand), head="new"), 10)
    theirs = read_weights(thousand)
    assert network.get_parameter("fc.weight").shape == (10, 64)
    assert torch.equal(network.get_parameter("conv1.weight"), theirs["conv1.weight"])


def test_a_network_of_ones_own_that_takes_no_number_gets_a_last_layer_too(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef thousand():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1000))\n"
    )
    config = ModelConfig(name=f"{tmp_path}/net.py:thousand", head="new")
    assert build(config, 10)(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_what_is_frozen_stays_bit_for_bit_norms_included(thousand: Path, runs: Path) -> None:
    theirs, after = read_weights(thousand), weights_of(tuned(thousand, runs, frozen="stage2"))
    frozen = [name for name in after if not name.startswith(("layer3", "fc"))]
    assert any("running_mean" in name for name in frozen)
    assert all(torch.equal(after[name], theirs[name]) for name in frozen)
    moved = [name for name in after if name.startswith("layer3") and "num_batches" not in name]
    assert all(not torch.equal(after[name], theirs[name]) for name in moved)


def test_a_frozen_network_ends_in_the_same_bits_after_a_stop(
    thousand: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from protege.errors import Stopped
    from protege.train.loop import Training

    whole = weights_of(tuned(thousand, tmp_path / "whole", frozen="stage1"))
    end = Training.end_epoch

    def stop_after_the_first(self: Training, seconds: float) -> None:
        end(self, seconds)
        self.save()
        raise Stopped("here")

    with monkeypatch.context() as patch:
        patch.setattr(Training, "end_epoch", stop_after_the_first)
        with pytest.raises(Stopped):
            tuned(thousand, tmp_path / "cut", frozen="stage1")
    resumed = weights_of(tuned(thousand, tmp_path / "cut", frozen="stage1"))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_stage_is_frozen_with_all_before_it_and_a_module_alone() -> None:
    def still(*names: str) -> set[str]:
        network = wrap(build(ModelConfig(name="resnet8"), 10), ModelConfig(name="resnet8"))
        freeze(network, names, 32)
        return {
            name.partition(".")[0] for name, weight in network.module.named_parameters() if not weight.requires_grad
        }

    assert still("stage2") == {"conv1", "bn1", "layer1", "layer2"}
    assert still("layer2") == {"layer2"}
    assert still("layer2.0.conv1", "bn1") == {"layer2", "bn1"}


def test_what_cannot_be_frozen_is_said() -> None:
    network = wrap(build(ModelConfig(name="resnet8"), 10), ModelConfig(name="resnet8"))
    with pytest.raises(ModelError, match=r"model\.frozen stagee2: .* Did you mean 'stage2'"):
        freeze(network, ["stagee2"], 32)
    with pytest.raises(ModelError, match="leaves nothing"):
        freeze(network, ["stage3", "fc"], 32)


def test_frozen_norms_are_at_rest_whatever_mode_the_network_is_put_in() -> None:
    network = wrap(build(ModelConfig(name="resnet8"), 10), ModelConfig(name="resnet8"))
    freeze(network, ["stage1"], 32)
    nn.Sequential(network).train()
    assert not network.module.get_submodule("bn1").training
    assert network.module.get_submodule("layer3.0.bn1").training


def test_the_rest_moves_at_its_own_share_of_every_rate() -> None:
    network = wrap(build(ModelConfig(name="resnet8"), 10), ModelConfig(name="resnet8"))
    optimizer = build_optimizer(nn.Sequential(network, nn.Linear(3, 3)), OptimConfig(lr=0.1, rest_lr=0.01))
    set_learning_rate(optimizer, 0.05)
    quick, slow = optimizer.param_groups
    assert quick["lr"] == 0.05 and slow["lr"] == pytest.approx(0.005)
    assert [len(weight.shape) for weight in quick["params"]] == [2, 1, 2, 1]  # fc of the network, and what is beside it
    assert len(slow["params"]) == len(list(network.module.parameters())) - 2


def test_descriptions_that_use_none_of_this_keep_their_ids_and_records() -> None:
    config = check_run({"optim": {"precision": "fp32"}})
    assert run_id(config, "data", [], Path("nowhere")) == "resnet20-supervised-843fded1997d"
    told = config.model_dump(mode="json")
    assert not {"args", "head", "frozen"} & told["model"].keys()
    assert "rest_lr" not in told["optim"]


def test_each_of_these_fields_is_in_the_id(thousand: Path) -> None:
    base = {"model": {"name": "resnet8", "weights": str(thousand)}}
    ids = {
        run_id(check_run(description), "data", [], Path("nowhere"))
        for description in (
            base,
            {"model": {**base["model"], "head": "new"}},
            {"model": {**base["model"], "frozen": ["stage1"]}},
            {**base, "optim": {"rest_lr": 0.01}},
        )
    }
    assert len(ids) == 4


def test_a_tuned_network_teaches(thousand: Path, runs: Path, tmp_path: Path) -> None:
    """In three commands, as they are typed."""
    tiny = [
        "--data",
        "cifar10-mini",
        "--data.limit",
        "100",
        "--optim.epochs",
        "1",
        "--runs",
        str(runs),
        "--quiet",
        "--json",
    ]
    tune = ["--model", "resnet8", "--model.weights", str(thousand), "--model.head", "new", "--model.frozen", "stage1"]
    teacher = command(["train", *tiny, *tune, "--optim.rest-lr", "0.01"])
    assert teacher.code == 0, teacher.err
    student = command(["train", *tiny, "--model", "resnet8", "--teacher", json.loads(teacher.out)["id"]])
    assert student.code == 0, student.err
    scores = command(["evaluate", json.loads(student.out)["id"], "--runs", str(runs), "--json"])
    assert "teacher" in json.loads(scores.out)
