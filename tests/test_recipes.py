"""What makes a network learn fast, piece by piece: each does what it says, and a recipe is nothing but its fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from protege import runs
from protege.cli.options import describe
from protege.errors import ConfigError, ModelError, Stopped
from protege.models import ModelConfig, build
from protege.models.folding import fold_batchnorm
from protege.models.initialisation import whiten
from protege.runs.config import Place, RunConfig, check_run
from protege.runs.recipes import RECIPES
from protege.train import loop
from protege.train.optim import build_optimizer, look_ahead, set_learning_rate
from protege.views import Views, ViewsConfig

TINY: dict[str, Any] = {
    "data": {"name": "cifar10-mini", "limit": 100, "heldout": 50},
    "model": {"name": "resnet8", "dirac": True, "whiten": True},
    "views": {"alternate": True, "cutout": 8},
    "optim": {"epochs": 2, "batch_size": 16, "norm_bias_lr": 4, "look_ahead": 0.9},
}


def trained(root: Path, **place: Any) -> runs.Run:
    return loop.train(check_run(TINY), Place(runs=root, threads=1, quiet=True, **place))


# ---- networks ----


def test_whitened_patches_vary_alike_in_every_direction() -> None:
    """Of correlated noise: the twelve directions of a 2x2 patch have variance 1 and no correlation, and so their negatives."""
    torch.manual_seed(0)
    images = F.avg_pool2d(torch.randn(600, 3, 10, 10), 3, stride=1) + 0.5
    network = build(ModelConfig(name="quick_small"), 10)
    whiten(network, images)
    layer = network.get_submodule("conv")
    assert isinstance(layer, nn.Conv2d) and not layer.weight.requires_grad
    with torch.no_grad():
        said = F.conv2d(images, layer.weight).transpose(0, 1).flatten(1)
    assert torch.allclose(said[:12], -said[12:], atol=1e-5)
    moments = said[:12] @ said[:12].T / said.shape[1]
    assert (moments.diagonal() > 0.8).all() and (moments.diagonal() < 1.001).all()
    assert (moments - moments.diagonal().diag()).abs().max() < 1e-3


def test_a_network_without_a_first_convolution_cannot_be_whitened() -> None:
    with pytest.raises(ModelError, match=r"model\.whiten"):
        whiten(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.zeros(2, 3, 2, 2))


def test_dirac_convolutions_pass_on_what_they_get() -> None:
    torch.manual_seed(0)
    plain = build(ModelConfig(name="quick_small"), 10).get_submodule("group2.conv1")
    torch.manual_seed(0)
    first = build(ModelConfig(name="quick_small", dirac=True), 10).get_submodule("group2.conv1")
    assert isinstance(first, nn.Conv2d) and isinstance(plain, nn.Conv2d)
    images = torch.randn(2, 32, 5, 5)
    assert torch.equal(first(images)[:, :32], images)
    assert torch.equal(first.weight[32:], plain.weight[32:])


def test_a_quick_network_folds_its_second_norms_and_says_the_same() -> None:
    torch.manual_seed(0)
    network = build(ModelConfig(name="quick_small"), 10)
    images = torch.randn(64, 3, 32, 32)
    network(images)  # so that statistics are not those of the start
    folded = fold_batchnorm(network.eval())
    assert isinstance(folded.get_submodule("group3.bn2"), nn.Identity)
    torch.testing.assert_close(folded(images), network(images), atol=1e-4, rtol=1e-4)


# ---- views ----


@pytest.mark.parametrize("crop", ["pad", "none", "resized"])
def test_alternating_flips_show_every_image_both_ways_in_two_epochs(crop: str) -> None:
    views, indices = Views(ViewsConfig(alternate=True, crop=crop), 32), torch.arange(4000)  # type: ignore[arg-type]
    mirrored = [views._mirrored(0, epoch, indices) for epoch in range(4)]
    assert torch.equal(mirrored[0], 1 - mirrored[1]) and torch.equal(mirrored[0], mirrored[2])
    assert 0.45 < mirrored[0].double().mean() < 0.55
    if crop != "resized":
        assert all(torch.equal(views.numbers(0, epoch, indices) % 2, mirrored[epoch]) for epoch in range(4))


def test_alternating_flips_have_the_same_numbered_views_to_remember() -> None:
    plain, alternating = (Views(ViewsConfig(alternate=alternate), 32) for alternate in (False, True))
    assert plain.identity() == alternating.identity() and plain.count == alternating.count
    streams = [Views(ViewsConfig(alternate=one, policy="randaugment"), 32).identity(0) for one in (False, True)]
    assert streams[0] != streams[1]


# ---- optimiser ----


def test_biases_of_norms_go_faster_and_decay_as_before() -> None:
    """By hand: a gradient of nothing leaves the decay, rate x decay x weight, the same for both kinds."""
    layer, norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
    learner = nn.Sequential(layer, norm)
    assert layer.bias is not None
    for bias in (layer.bias, norm.bias):
        nn.init.constant_(bias, 2.0)
    config = check_run({"optim": {"norm_bias_lr": 64, "weight_decay": 0.01, "momentum": 0}}).optim
    optimizer = build_optimizer(learner, config)
    set_learning_rate(optimizer, 0.5)
    for parameter in learner.parameters():
        parameter.grad = torch.zeros_like(parameter)
    norm.bias.grad = torch.ones(4)
    optimizer.step()
    assert layer.bias.tolist() == pytest.approx([2 - 0.5 * 0.01 * 2] * 4)
    assert norm.bias.tolist() == pytest.approx([2 - 0.5 * 64 - 0.5 * 0.01 * 2] * 4)


def test_a_look_ahead_takes_weights_and_mean_to_the_same_place() -> None:
    """At half of training the mean has a memory of .9^5 / 8: it goes most of the way."""
    mean, weights = {"w": torch.zeros(2), "n": torch.tensor(0)}, {"w": torch.ones(2), "n": torch.tensor(3)}
    look_ahead(mean, weights, 0.9, 0.5)
    assert mean["w"].tolist() == pytest.approx([1 - 0.9**5 / 8] * 2)
    assert torch.equal(mean["w"], weights["w"]) and mean["n"] == weights["n"] == 3


def test_broken_off_after_any_step_a_run_of_all_pieces_ends_bit_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks ahead, and in the epoch in which everything is mirrored."""
    whole, step = trained(tmp_path / "whole"), loop.Training.train_batch
    for broken_at in (3, 6):
        left = broken_at

        def break_off(self: Any, *args: Any) -> None:
            nonlocal left
            step(self, *args)
            left -= 1
            if left == 0:
                self.stop.set()

        monkeypatch.setattr(loop.Training, "train_batch", break_off)
        with pytest.raises(Stopped):
            trained(tmp_path / "broken", checkpoint_seconds=0)
    monkeypatch.setattr(loop.Training, "train_batch", step)
    again = trained(tmp_path / "broken", checkpoint_seconds=0)
    assert again.metrics() == whole.metrics()
    kept, expected = (runs.read_weights(run.weights_file())[0] for run in (again, whole))
    assert kept.keys() == expected.keys() and all(torch.equal(kept[name], expected[name]) for name in kept)


def test_two_means_of_the_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match="ema and look_ahead"):
        check_run({"optim": {"ema": 0.9, "look_ahead": 0.9}})
    with pytest.raises(ConfigError, match="alternate"):
        check_run({"views": {"flip": False, "alternate": True}})


# ---- recipes ----


def typed(*arguments: str, recipe: str | None = "fast-teacher") -> RunConfig:
    return describe(None, list(arguments), [], recipe)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_its_fields_and_nothing_else(name: str) -> None:
    options = [
        part for path, value in RECIPES[name].fields.items() for part in (f"--{path.replace('_', '-')}", str(value))
    ]
    assert typed("--seed", "3", recipe=name) == typed("--seed", "3", *options, recipe=None)


def test_what_is_typed_beside_a_recipe_wins() -> None:
    found = typed("--optim.epochs", "40", "--model", "resnet20", "--data", "cifar100")
    assert found.optim.epochs == 40 and found.optim.look_ahead == RECIPES["fast-teacher"].fields["optim.look_ahead"]
    assert found.model == ModelConfig(name="resnet20") and found.data.name == "cifar100"


def test_an_unknown_recipe_brings_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"no recipe 'fast_teacher'.*fast-teacher"):
        typed(recipe="fast_teacher")


def test_descriptions_without_the_pieces_are_written_as_before_there_were_any() -> None:
    plain = check_run({}).model_dump(mode="json")
    used = check_run(TINY).model_dump(mode="json")
    for section, name in (
        ("model", "dirac"),
        ("model", "whiten"),
        ("views", "alternate"),
        ("views", "cutout"),
        ("optim", "look_ahead"),
    ):
        assert name not in plain[section] and name in used[section]
    assert check_run(used) == check_run(TINY)
