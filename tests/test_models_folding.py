"""Folded networks say the same, and what cannot be proven stays as it is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from protege.models import ModelConfig, build
from protege.models.folding import fold_batchnorm, proven_pairs
from protege.models.network import Network, wrap

# One small network of each family, and how many of its batch norms directly follow a convolution.
FAMILIES = {
    "resnet8": 9,
    "resnet18": 20,
    "resnet50": 53,
    "wrn_16_1": 6,  # of 13: the others come before a convolution, after a sum
    "vgg8": 5,
    "mobilenet_v2": 52,
    "mobilenet_v2_half": 53,
    "shufflenet_v1": 49,
    "shufflenet_v2": 56,
}


def lived_in(module: nn.Module) -> nn.Module:
    """Batch norms as after training: no statistic and no weight is neutral."""
    draw = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.copy_(0.2 * torch.randn(part.running_mean.shape, generator=draw))
            part.running_var.copy_(0.5 + torch.rand(part.running_var.shape, generator=draw))
            part.weight.data.copy_(0.5 + torch.rand(part.weight.shape, generator=draw))
            part.bias.data.copy_(0.2 * torch.randn(part.bias.shape, generator=draw))
    return module.eval()


def small() -> nn.Sequential:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    lived_in(module)
    return module


def images(size: int = 32) -> Tensor:
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))


def norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


@pytest.mark.parametrize("name", FAMILIES)
def test_folding_leaves_logits_and_features_as_they_were(name: str) -> None:
    torch.manual_seed(0)
    config = ModelConfig(name=name)
    network = wrap(lived_in(build(config, 10)), config)
    folded = fold_batchnorm(network)
    assert norms(network) - norms(folded) == FAMILIES[name]
    with torch.no_grad():
        logits, features = network(images(), ("stages", "preactivations", "pooled"))
        folded_logits, folded_features = folded(images(), ("stages", "preactivations", "pooled"))
    torch.testing.assert_close(folded_logits, logits, atol=1e-4, rtol=1e-4)
    for stage, feature in features.items():
        torch.testing.assert_close(folded_features[stage], feature, atol=1e-3, rtol=1e-3)


class Deep(nn.Module):
    """A deep stem, as many have it: a container that ends in a convolution whose norm lies outside."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3))
        self.tail = nn.Sequential(nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 6, 3), nn.BatchNorm2d(6))
        self.fc = nn.Linear(6, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.tail(self.stem(images)).mean((2, 3)))


@pytest.mark.parametrize(
    ("path", "gone"), [("stem", 2), ("tail:input", 2), ("tail", 3), ("stem:input", 3), ("tail.2", 2)]
)
def test_a_stage_that_ends_between_a_convolution_and_its_norm_stays_what_it_was(path: str, gone: int) -> None:
    """Of the three norms, those that lie on one side of what is read are folded all the same."""
    network = Network(lived_in(Deep()), {"stage1": path}, "fc")
    folded = fold_batchnorm(network)
    assert norms(network) - norms(folded) == gone
    with torch.no_grad():
        stages = [one(images(), ("stages",))[1]["stage1"] for one in (network, folded)]
    torch.testing.assert_close(stages[0], stages[1])


def test_folding_is_a_copy_in_evaluation_mode() -> None:
    network = build(ModelConfig(name="resnet8"), 10).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert not fold_batchnorm(network).training
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_convolution_that_something_else_reads_as_well_is_not_folded() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)

        def forward(self, images: Tensor) -> Tensor:
            raw = self.conv(images)
            return self.fc((raw + self.bn(raw)).mean((2, 3)))

    assert_unfolded(lived_in(Shared()))


def test_a_layer_that_runs_twice_is_not_folded() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Linear(3, 2)

        def forward(self, images: Tensor) -> Tensor:
            once = self.bn(self.conv(images))
            return self.fc(self.conv(once).mean((2, 3)))

    assert_unfolded(lived_in(Twice()))


def test_one_layer_under_two_names_is_not_folded() -> None:
    shared = nn.Conv2d(3, 3, 3, padding=1)
    assert_unfolded(
        lived_in(
            nn.Sequential(shared, nn.BatchNorm2d(3), shared, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
        )
    )


def test_a_layer_with_a_hook_is_not_folded() -> None:
    module = small()
    module[0].register_forward_hook(lambda *seen: 2 * seen[2])  # pyright: ignore
    assert_unfolded(module)


def test_a_layer_whose_weights_are_used_elsewhere_is_not_folded() -> None:
    class Borrowed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, images: Tensor) -> Tensor:
            return self.bn(self.conv(images)).mean((2, 3)) + self.conv.weight.sum()

    assert_unfolded(lived_in(Borrowed()))


def test_a_batch_norm_without_running_statistics_is_not_folded() -> None:
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    assert_unfolded(
        nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    )


def test_a_network_that_cannot_be_followed_stays_as_it_is() -> None:
    class Decides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, images: Tensor) -> Tensor:
            hidden = self.bn(self.conv(images))
            return hidden.mean((2, 3)) if hidden.sum() > 0 else hidden.amax((2, 3))

    assert_unfolded(lived_in(Decides()))


def test_what_is_read_between_convolution_and_batch_norm_is_kept() -> None:
    module = small()
    assert proven_pairs(module) == [("0", "1")]
    network = Network(module, {"stage1": "0"}, "4")
    folded = fold_batchnorm(network)
    torch.testing.assert_close(
        folded(images(8), ("stages",))[1]["stage1"], network(images(8), ("stages",))[1]["stage1"]
    )
    assert norms(folded) == 1
    assert norms(fold_batchnorm(module)) == 0


def assert_unfolded(module: nn.Module) -> None:
    folded = fold_batchnorm(module)
    assert norms(folded) == norms(module) > 0
    with torch.no_grad():
        assert torch.equal(folded(images(8)), module(images(8)))
