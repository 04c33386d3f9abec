"""Fewer channels: what is left computes what the whole network computes with the others silenced, in every family."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protege import runs
from protege.errors import ModelError
from protege.models import MODELS, ModelConfig, build
from protege.models.channels import channels_of
from protege.models.cutting import cut, is_cut, rows_as_labels, shape_like
from protege.models.importance import by_first_order, by_magnitude
from protege.models.measure import multiply_adds
from protege.models.pruning import NEAR, prune
from protege.models.weights import load_weights

ONE_OF_EACH = ["resnet8", "resnet50", "wrn_16_1", "vgg8", "mobilenet_v2_half", "shufflenet_v1", "shufflenet_v2"]


def moved(network: nn.Module) -> nn.Module:
    """With norms as training leaves them: no channel is like another."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None and part.running_var is not None
            part.weight.data.uniform_(0.5, 1.5)
            part.bias.data.normal_(0, 0.3)
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 1.5)
    return network.eval()


def family(name: str) -> nn.Module:
    torch.manual_seed(0)
    return moved(build(ModelConfig(name=name), 10))


def silenced(network: nn.Module, kept: Mapping[str, Sequence[int]], size: int) -> nn.Module:
    """The whole network, where each layer reads zeros for what was taken away."""
    whole, channels = copy.deepcopy(network), channels_of(network, size)
    stays = rows_as_labels(channels, kept)
    for path, layer in channels.layers.items():
        if not layer.passes:
            part, heard = whole.get_submodule(path), stays[layer.reads].float()
            part.register_forward_pre_hook(lambda part, given, heard=heard: (_masked(part, given[0], heard),))
    return whole


def _masked(part: nn.Module, values: Tensor, heard: Tensor) -> Tensor:
    return values * (heard if isinstance(part, nn.Linear) else heard.reshape(1, -1, 1, 1))


def agrees(network: nn.Module, share: float, uniform: bool, size: int = 32) -> None:
    whole, images = copy.deepcopy(network), torch.randn(2, 3, size, size)
    found = prune(network, share, size, batches=None, uniform=uniform)
    assert found.multiply_adds == multiply_adds(network, size)
    assert abs(found.share - share) <= NEAR * share
    with torch.no_grad():
        made, expected = network(images), silenced(whole, found.kept, size)(images)
    assert (made - expected).norm() < 1e-4 * expected.norm()
    assert (expected - whole(images)).norm() > 1e-3 * expected.norm()  # that something was silenced


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_what_is_left_computes_what_the_silenced_network_does(name: str) -> None:
    agrees(family(name), 0.5, uniform=False)


@pytest.mark.parametrize("name", ["resnet8", "mobilenet_v2_half", "shufflenet_v1"])
def test_so_does_a_quarter_taken_from_all_blocks_alike(name: str) -> None:
    agrees(family(name), 0.25, uniform=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MODELS if name not in ONE_OF_EACH])
def test_so_does_every_network_of_the_catalogue(name: str) -> None:
    """`pytest -m slow tests/test_models_pruning.py`: two minutes."""
    agrees(family(name), 0.5, uniform=False)


# ---- networks from elsewhere ----


class Gated(nn.Module):
    """A squeezed gate, a concatenation, a map laid out by a view."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 12, 3, 2, 1), nn.Conv2d(12, 8, 3, 2, 1)
        self.down, self.up = nn.Linear(12, 6), nn.Linear(6, 12)
        self.norm = nn.BatchNorm2d(20)
        self.last = nn.Linear(20 * 16, 5)

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.relu(self.first(images))
        gate = torch.sigmoid(self.up(F.relu(self.down(hidden.mean((2, 3))))))
        hidden = hidden * gate[:, :, None, None]
        both = self.norm(torch.cat([F.max_pool2d(hidden, 2), self.second(hidden)], 1))
        return self.last(both.view(both.size(0), -1))


class Split(nn.Module):
    """One half is the gate of the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 24, 3, 1, 1), nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Tensor:
        values, gate = self.first(images).chunk(2, 1)
        return self.last((values * gate.sigmoid()).mean((2, 3)))


class Attending(nn.Module):
    """Patches, a token of its own, attention, and the two layers after it, which alone have channels to spare."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.norm, self.attention = nn.LayerNorm(16), nn.MultiheadAttention(16, 2, batch_first=True)
        self.wide, self.narrow, self.last = nn.Linear(16, 64), nn.Linear(64, 16), nn.Linear(16, 5)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(tokens.shape[0], -1, -1), tokens], 1)
        said = self.norm(tokens)
        tokens = tokens + self.attention(said, said, said, need_weights=False)[0]
        tokens = tokens + self.narrow(F.gelu(self.wide(tokens)))
        return self.last(tokens[:, 0])


class Twice(nn.Module):
    """The same convolution read twice: it stays whole, what leads to the last layer does not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.same, self.wide = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 32, 3)
        self.last = nn.Linear(32, 5)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.wide(self.same(self.same(self.first(images)).relu()).relu())
        return self.last(hidden.relu().mean((2, 3)))


@pytest.mark.parametrize(("network", "share"), [(Gated, 0.5), (Split, 0.5), (Attending, 0.8), (Twice, 0.7)])
def test_networks_from_elsewhere_are_cut_where_their_channels_can_be_told(
    network: Callable[[], nn.Module], share: float
) -> None:
    torch.manual_seed(0)
    agrees(moved(network()), share, uniform=False, size=16)


class Depending(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)) if images.sum() > 0 else images.amax((2, 3))


def test_a_network_that_cannot_be_followed_is_one_line() -> None:
    with pytest.raises(ModelError, match="Depending cannot be followed"):
        prune(Depending(), 0.5, 16, batches=None, uniform=True)


class Counting(nn.Module):
    """Its forward pass knows the number of its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, 1, 1), nn.Linear(8 * 16, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.first(images).reshape(images.shape[0], 8 * 16))


def test_a_network_that_counts_its_channels_is_one_line() -> None:
    with pytest.raises(ModelError) as said:
        prune(Counting(), 0.5, 4, batches=None, uniform=True)
    assert "Counting cannot be followed, so it cannot be pruned" in str(said.value)
    assert "\n" not in str(said.value)


def test_a_network_of_one_layer_has_no_channel_to_spare() -> None:
    with pytest.raises(ModelError, match="cannot be pruned"):
        prune(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 5)), 0.5, 4, batches=None, uniform=True)


def test_a_share_that_cannot_be_met_says_what_can() -> None:
    with pytest.raises(ModelError, match=r"0.01 cannot be met: the nearest that can be cut keeps 0\.\d+"):
        prune(family("resnet8"), 0.01, 32, batches=None, uniform=True)


# ---- which channels stay ----


def test_what_is_near_zero_goes_first_by_magnitude() -> None:
    network = family("vgg8")
    convolution = network.get_submodule("block1.0")
    convolution.weight.data[::2] *= 1e-3  # type: ignore[operator, union-attr, index]
    network.get_submodule("block1.1").weight.data[::2] *= 1e-3  # type: ignore[operator, union-attr, index]
    network.get_submodule("block2.0").weight.data[:, ::2] *= 1e-3  # type: ignore[operator, union-attr, index]
    found = prune(network, 0.8, 32, batches=None, uniform=False)
    assert found.kept["block1.0"] == list(range(1, 128, 2))


def examples(count: int = 2) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        yield torch.randn(16, 3, 32, 32, generator=generator), torch.randint(0, 10, (16,), generator=generator)


def test_first_order_importance_is_what_silencing_a_little_does_to_the_loss() -> None:
    """Against the loss itself, with what reads one group of channels turned down by a thousandth."""
    network, (images, labels) = family("resnet8").double(), next(examples(1))
    images = images.double()
    channels = channels_of(network, 32)
    missed = by_first_order(network, channels, [(images, labels)])
    roots, step = channels.roots(), 1e-4
    for root in (channels.blocks()[0][3], channels.blocks()[-1][5]):
        other = copy.deepcopy(network)
        for layer in channels.layers.values():
            if not layer.passes:
                weight = other.get_parameter(f"{layer.path}.weight")
                weight.data[:, roots[layer.reads] == root] *= 1 - step
        with torch.no_grad():
            rise = F.cross_entropy(other(images), labels) - F.cross_entropy(network(images), labels)
        assert missed[root].item() == pytest.approx(abs(rise.item()) / step, rel=0.01, abs=1e-6)


def test_measuring_importance_leaves_the_network_as_it_was() -> None:
    network = family("resnet8").train()
    before = copy.deepcopy(network.state_dict())
    by_first_order(network, channels_of(network, 32), examples())
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_importance_by_magnitude_does_not_depend_on_the_scale_of_a_layer() -> None:
    network = family("resnet8")
    channels = channels_of(network, 32)
    before = by_magnitude(network, channels)
    network.get_submodule("layer1.0.conv1").weight.data *= 100  # type: ignore[operator, union-attr]
    torch.testing.assert_close(by_magnitude(network, channels), before)


def test_uniform_takes_from_all_blocks_alike() -> None:
    network = family("vgg8")
    found = prune(network, 0.5, 32, batches=None, uniform=True)
    widths = {"block0.0": 64, "block1.0": 128, "block2.0": 256, "block3.0": 512, "block4.0": 512}
    shares = [len(found.kept[path]) / width for path, width in widths.items()]
    assert max(shares) - min(shares) < 0.02


def test_no_block_loses_all_its_channels() -> None:
    network = family("resnet20")
    network.get_submodule("layer2.1.conv1").weight.data *= 0  # type: ignore[operator, union-attr]
    network.get_submodule("layer2.1.bn1").weight.data *= 0  # type: ignore[operator, union-attr]
    found = prune(network, 0.5, 32, batches=None, uniform=False)
    assert len(found.kept["layer2.1.conv1"]) == 32 // 8


# ---- shapes from weights ----


@pytest.mark.parametrize("name", ["resnet8", "shufflenet_v1", "mobilenet_v2_half"])
def test_weights_tell_the_shapes_of_the_network_that_they_are_of(name: str, tmp_path: Path) -> None:
    network, images = family(name), torch.randn(2, 3, 32, 32)
    prune(network, 0.5, 32, batches=None, uniform=False)
    file = tmp_path / "model.safetensors"
    runs.write_weights(file, network.state_dict(), {"pruned": is_cut(network)})
    again = build(ModelConfig(name=name, weights=str(file)), 10).eval()
    assert is_cut(again)
    with torch.no_grad():
        torch.testing.assert_close(again(images), network(images))
    prune(again, 0.5, 32, batches=None, uniform=True)  # a chain


def test_a_narrower_network_is_no_pruned_one_unless_its_file_says_so(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    runs.write_weights(file, build(ModelConfig(name="resnet8"), 10).state_dict())
    with pytest.raises(ModelError, match="of another network"):
        load_weights(build(ModelConfig(name="resnet8x4"), 10), file)


def test_shapes_that_are_no_part_of_the_network_are_refused() -> None:
    network = family("resnet8")
    wider = {"conv1.weight": torch.zeros(17, 3, 3, 3)}
    with pytest.raises(ModelError, match=r"conv1.weight is \[17, 3, 3, 3\]"):
        shape_like(network, wider)


@pytest.mark.parametrize("kept", [{"conv1": []}, {"conv1": [16]}, {"nowhere": [0]}, {"bn1": [0]}])
def test_channels_that_the_network_has_not_are_refused(kept: dict[str, list[int]]) -> None:
    with pytest.raises(ModelError, match="are not this network's"):
        cut(family("resnet8"), kept, 32)
