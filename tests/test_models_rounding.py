"""Few bits: the grid, its gradients, and networks of every family rounded where a runtime merges layers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from protege.errors import ModelError
from protege.models import MODELS, ModelConfig, build
from protege.models.quantised import Bits, graph_of, quantise
from protege.models.rounding import RoundedLinear, RoundedOutput, RoundedWeights, Step, largest, round_weights, rounded
from protege.ship.formats.calibrate import calibrate
from protege.ship.formats.freeze import frozen
from protege.ship.formats.grid import Grid

ONE_OF_EACH = ["resnet8", "resnet50", "wrn_16_1", "vgg8", "mobilenet_v2_half", "shufflenet_v1", "shufflenet_v2"]


def test_values_go_to_the_nearest_point_and_no_further_than_the_ends() -> None:
    values = torch.tensor([-9.0, -0.26, 0.0, 0.24, 0.26, 9.0])
    assert rounded(values, torch.tensor(0.5), -2, 3).tolist() == [-1.0, -0.5, 0.0, 0.0, 0.5, 1.5]


def test_the_step_has_the_gradient_of_the_paper() -> None:
    """round(v/s) - v/s inside, the end's number outside; values inside pass their gradient on, others none."""
    values = torch.tensor([0.3, -0.6, 5.0, -5.0], requires_grad=True)
    step = torch.tensor(0.5, requires_grad=True)
    rounded(values, step, -2, 3).backward(torch.ones(4))
    inside = [round(0.6) - 0.6, round(-1.2) + 1.2]
    assert step.grad is not None and values.grad is not None
    assert step.grad.item() == pytest.approx(sum(inside) + 3 - 2, abs=1e-6)
    assert values.grad.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(("bits", "levels"), [(8, 255), (4, 15), (2, 3)])
@pytest.mark.parametrize("ranges", ["learned", "minmax"])
def test_weights_have_no_more_values_than_their_bits_tell_apart(bits: int, levels: int, ranges: str) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 2, 3)
    round_weights(layer, bits, ranges)  # type: ignore[arg-type]
    assert isinstance(layer, RoundedWeights)
    numbers, step = layer.whole_numbers()
    assert numbers.abs().max() <= largest(bits) == levels // 2
    torch.testing.assert_close(layer.rounded_weight(), numbers * step[:, None, None, None])


def test_an_activation_keeps_zero_and_its_range() -> None:
    part = RoundedOutput(8, "minmax").train()
    part(torch.tensor([[-1.0, 3.0]]))
    part.eval()
    assert part(torch.zeros(1, 2)).tolist() == [[0, 0]]
    values = torch.linspace(-1, 3, 101)
    assert (part(values) - values).abs().max() <= part.step / 2 + 1e-6


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_folding_batch_norms_into_steps_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights rounded, activations passed as they are: with those rounded, a last bit of a sum can turn a rounding."""
    network, images = prepared(name)
    quantise(network, Bits())
    calibrate(network, [images], "minmax")
    plain, stored = frozen(network)
    assert not any(isinstance(part, RoundedWeights | RoundedOutput) for part in plain.modules())
    assert len(stored) == sum(isinstance(part, nn.Conv2d | nn.Linear) for part in plain.modules())
    for kind in (RoundedOutput, Grid):
        monkeypatch.setattr(kind, "forward", lambda self, values: values)
    with torch.no_grad():
        simulated, shipped = network(images), plain(images)
    assert (simulated - shipped).norm() < 1e-3 * simulated.norm()


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_biases_are_judged_on_the_grid_that_a_runtime_keeps_them_on(name: str, bits: int) -> None:
    """Whole numbers of the steps of input times weight, once norms are folded; of finer ones below 8 bits."""
    network, images = prepared(name)
    quantise(network, Bits(bits))
    calibrate(network, [images], "minmax")
    inputs = {
        path: part.around.grid.step
        for path, part in network.named_modules()
        if isinstance(part, RoundedWeights) and part.around
    }
    plain, stored = frozen(network)
    assert len(inputs) == len(stored)
    for path, one in stored.items():
        step = inputs[path if path in inputs else path.rpartition(".")[0]]
        bias = plain.get_submodule(path).bias
        assert isinstance(bias, Tensor)
        number = bias / (one.step_in_eight_bits * step)
        assert (number - number.round()).abs().max() < 0.05


def test_biases_are_left_alone_while_they_are_trained() -> None:
    network, images = prepared("resnet8")
    quantise(network, Bits())
    calibrate(network, [images], "minmax")
    (layer,) = (part for part in network.modules() if isinstance(part, RoundedLinear))
    judged, bias = layer.used_bias(), layer.bias
    assert judged is not None and bias is not None
    assert 0 < (judged - bias).abs().max() < 1e-3
    assert layer.train().used_bias() is bias


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "vgg8"])
def test_eight_bits_are_near_the_network_that_they_come_from(name: str) -> None:
    """Random networks that are deeper hand on little but noise."""
    network, images = prepared(name)
    with torch.no_grad():
        before = network(images)
        quantise(network, Bits())
        calibrate(network, [images], "minmax")
        after = network(images)
        shipped = frozen(network)[0](images)
    assert 0 < (before - after).norm() < 0.1 * before.norm()
    assert (after - shipped).norm() < 0.03 * before.norm()


def prepared(name: str) -> tuple[nn.Module, Tensor]:
    """A network with statistics of its own, so that its layers hand on numbers of a usual size."""
    torch.manual_seed(0)
    network, images = build(ModelConfig(name=name), 10), torch.randn(16, 3, 16, 16)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    network.train()(images)
    return network.eval(), images


@pytest.mark.parametrize("name", list(MODELS))
def test_every_network_can_be_followed(name: str) -> None:
    with torch.device("meta"):
        network = build(ModelConfig(name=name), 10)
    kinds = [node.op for node in graph_of(network).nodes]
    assert kinds.count("call_module") > 8


def test_a_network_that_depends_on_its_images_is_refused() -> None:
    class Odd(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images if images.sum() > 0 else -images

    with pytest.raises(ModelError, match="cannot be followed"):
        quantise(Odd(), Bits())


def test_ends_can_be_kept_in_more_bits_or_in_full() -> None:
    for ends, bits in ((8, [8, 2, 8]), (2, [2, 2, 2]), (None, [None, 2, None])):
        row = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(4, 2))
        quantise(row, Bits(2, None, ends, "minmax"))
        assert [getattr(row[place], "bits", None) for place in (0, 1, 3)] == bits


def test_steps_are_told_from_weights_that_decay() -> None:
    from protege.runs.config import OptimConfig
    from protege.train.optim import build_optimizer

    network = build(ModelConfig(name="resnet8"), 10)
    quantise(network, Bits(ranges="learned"))
    groups = build_optimizer(network, OptimConfig()).param_groups
    assert all(isinstance(one, Step) for one in groups[1]["params"])
    assert groups[1]["weight_decay"] == 0
    assert len(groups[1]["params"]) == 10 + sum(isinstance(part, RoundedOutput) for part in network.modules())
    assert math.isclose(groups[0]["weight_decay"], 5e-4)


def test_eight_bits_begin_where_nothing_is_cut_off() -> None:
    """A network that was trained in full loses almost nothing at the start: every weight and value of the batch is on the grid."""
    torch.manual_seed(0)
    layer, values = nn.Linear(200, 4), torch.randn(50, 200) ** 3
    weight = layer.weight.detach().clone()
    round_weights(layer, 8, "learned")
    assert isinstance(layer, RoundedWeights)
    assert ((layer.rounded_weight() - weight).abs() <= layer.steps()[:, None] * 0.501).all()
    output = RoundedOutput(8, "learned").train()
    assert ((output(values) - values).abs() <= output.step * 1.001).all()
    few = RoundedOutput(4, "learned").train()
    assert few(values).max() < values.max(), "of sixteen levels none is spent on what is far out"


def test_a_step_that_shrinks_does_not_run_through_zero() -> None:
    """A channel with a step below zero is silent, and stays so: nothing moves its step back."""
    torch.manual_seed(0)
    layer, norm = nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16)
    round_weights(layer, 8, "learned")
    assert isinstance(layer, RoundedWeights)
    optimizer = torch.optim.SGD([*layer.parameters(), *norm.parameters()], lr=0.03, momentum=0.9)
    for _ in range(60):
        images = torch.randn(16, 8, 6, 6)
        optimizer.zero_grad()
        (norm(layer(images)).relu() - images[:, :, 1:-1, 1:-1].repeat(1, 2, 1, 1)).square().mean().backward()
        optimizer.step()
    assert (layer.step > 0.5 * layer.widest()).all()
