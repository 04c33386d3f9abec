"""Reading features by name, from our networks and from foreign ones."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from protege.errors import ModelError
from protege.models import MODELS, ModelConfig, build, model_names
from protege.models.capture import Capture
from protege.models.network import Network, Reader, wrap

ALL = ("logits", "pooled", "stages", "preactivations")


def own(name: str, classes: int = 10) -> Network:
    torch.manual_seed(0)
    config = ModelConfig(name=name)
    return wrap(build(config, classes), config)


def images(size: int = 32, count: int = 2) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def foreign() -> nn.Sequential:
    """Two maps, 8x8 and 4x4 on 8x8 images, and a classifier."""
    return nn.Sequential(
        OrderedDict(
            wide=nn.Conv2d(3, 4, 3, padding=1),
            act=nn.ReLU(),
            narrow=nn.Conv2d(4, 6, 3, stride=2, padding=1),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            head=nn.Linear(6, 5),
        )
    )


def hook_count(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "resnet50", "vgg8", "shufflenet_v1", "shufflenet_v2"])
def test_a_stage_is_the_relu_of_its_preactivation(name: str) -> None:
    features = own(name).eval()(images(), ALL)[1]
    stages = [stage for stage in features if f"{stage}_pre" in features]
    assert len(stages) >= 3
    for stage in stages:
        assert torch.equal(features[stage], features[f"{stage}_pre"].relu())
        assert (features[f"{stage}_pre"] < 0).any()


def test_a_wide_resnets_preactivation_is_its_stage_after_the_next_batch_norm() -> None:
    network = own("wrn_16_1").eval()
    features = network(images(), ALL)[1]
    assert torch.equal(features["stage3_pre"], network.module.get_submodule("bn1")(features["stage3"]))


def test_a_linear_bottleneck_is_its_own_preactivation() -> None:
    features = own("mobilenet_v2_half").eval()(images(), ALL)[1]
    assert torch.equal(features["stage2_pre"], features["stage2"])


@pytest.mark.parametrize("name", model_names())
def test_all_features_of_every_network_can_be_read(name: str) -> None:
    config = ModelConfig(name=name)
    with torch.device("meta"):
        network = wrap(build(config, 10), config)
        logits, features = network(torch.zeros(2, 3, 32, 32), ALL)
        weight, bias = network.classifier_parameters()
    assert logits.shape == (2, 10)
    assert {stage: tuple(feature.shape[1:]) for stage, feature in features.items()} == network.shapes(32)
    assert weight.shape == (10, features["pooled"].shape[1])
    assert (bias is None) == name.startswith("quick")  # as published
    sides = [features[stage].shape[2] for stage in MODELS[name].stages]
    assert sides == sorted(sides, reverse=True)


def test_logits_are_the_classifier_of_the_pooled_feature() -> None:
    network = own("resnet8").eval()
    logits, features = network(images(), ("logits", "pooled"))
    weight, bias = network.classifier_parameters()
    assert bias is not None
    torch.testing.assert_close(logits, features["pooled"] @ weight.T + bias)


def test_the_pooled_feature_of_mobilenet_is_read_before_dropout() -> None:
    """Stage 4 through the last convolution and the pool, with nothing zeroed, even in training."""
    network = own("mobilenet_v2").train()
    pooled = network(images(count=8), ("pooled",))[1]["pooled"]
    assert pooled.shape == (8, 1280)
    assert pooled.count_nonzero() > 0.9 * pooled.numel()


def test_reading_changes_no_logits() -> None:
    network = own("resnet8").eval()
    assert torch.equal(network(images())[0], network(images(), ALL)[0])


def test_gradients_flow_through_features() -> None:
    network = own("resnet8")
    network(images(), ("stages",))[1]["stage1"].sum().backward()
    first = network.module.get_submodule("conv1").weight
    assert isinstance(first, Tensor)
    assert first.grad is not None
    assert network.classifier_parameters()[0].grad is None


def test_no_hook_stays_behind() -> None:
    network = own("resnet8")
    for _ in range(3):
        network(images(), ALL)
        network.features(images(), ("stages",))
        network.shapes(32)
    assert hook_count(network) == 0


def test_no_hook_stays_behind_when_the_forward_pass_fails() -> None:
    network = own("resnet8")
    with pytest.raises(RuntimeError, match="channels"):
        network(torch.zeros(1, 5, 32, 32), ALL)
    assert hook_count(network) == 0
    assert set(network(images(), ("pooled",))[1]) == {"pooled"}


def test_there_are_no_hooks_when_only_logits_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Capture, "attach", lambda *_: pytest.fail("attached hooks"))
    assert own("resnet8")(images(), ("logits", "classifier"))[1] == {}


def test_reading_features_alone_ends_the_forward_pass_at_the_deepest() -> None:
    network = own("resnet8").eval()
    ran: list[str] = []
    for name in ("layer2", "layer3", "fc"):
        network.module.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
    features = network.features(images(), ("stage1", "stage2"))
    assert ran == ["layer2"]
    expected = network(images(), ("stage1", "stage2"))[1]
    assert all(torch.equal(features[stage], expected[stage]) for stage in ("stage1", "stage2"))
    assert list(network.features(images(), ("logits",))) == []


def test_one_name_can_be_read_alone_and_order_is_from_shallow_to_deep() -> None:
    network = own("resnet8")
    assert list(network(images(), ("stage3",))[1]) == ["stage3"]
    assert list(network(images(), ("pooled", "stages"))[1]) == ["stage1", "stage2", "stage3", "pooled"]


def test_what_a_network_does_not_offer_is_refused_with_what_it_does() -> None:
    network = Network(foreign(), {"stage1": "act"}, "head")
    with pytest.raises(ModelError, match=r"'preactivations' cannot be read.*offers: stage1, pooled"):
        network(images(8), ("preactivations",))
    with pytest.raises(ModelError, match="'stage7'"):
        own("resnet8")(images(), ("stage7",))


def test_a_foreign_module_is_read_by_its_paths() -> None:
    module = foreign().eval()
    network = Network(module, {"stage1": "act", "stage1_pre": "act:input", "stage2": "narrow"}, "head")
    logits, features = network(images(8), ALL)
    assert torch.equal(logits, module(images(8)))
    assert torch.equal(features["stage1_pre"], module.get_submodule("wide")(images(8)))
    assert torch.equal(features["stage1"], features["stage1_pre"].relu())
    assert network.shapes(8) == {"stage1": (4, 8, 8), "stage1_pre": (4, 8, 8), "stage2": (6, 4, 4), "pooled": (6,)}


def test_a_wrong_path_brings_the_nearest_ones() -> None:
    with pytest.raises(ModelError, match=r"no module 'layr2'\. Near it:.*layer2"):
        Network(build(ModelConfig(name="resnet8"), 10), {"stage1": "layr2"}, "fc")
    with pytest.raises(ModelError, match=r"Sequential has no module 'hed'\. Near it: head"):
        Network(foreign(), {}, "hed")


def test_a_module_that_runs_twice_cannot_be_a_stage() -> None:
    again = nn.ReLU()
    network = Network(nn.Sequential(again, again, nn.Flatten(), nn.Linear(12, 2)), {"stage1": "0"}, "3")
    with pytest.raises(ModelError, match="stage1: the module '0' runs more than once"):
        network(images(2), ("stages",))


def test_a_module_that_never_runs_cannot_be_a_stage() -> None:
    module = foreign()
    module.get_submodule("narrow").add_module("unused", nn.ReLU())
    with pytest.raises(ModelError, match=r"stage1: the module 'narrow\.unused' did not run"):
        Network(module, {"stage1": "narrow.unused"}, "head")(images(8), ("stages",))


def test_a_feature_that_is_overwritten_in_place_is_refused_instead_of_being_wrong() -> None:
    module = foreign()
    module.act = nn.ReLU(inplace=True)
    with pytest.raises(ModelError, match=r"stage1: the module 'wide'.*overwrites in place"):
        Network(module, {"stage1": "wide"}, "head")(images(8), ("stages",))


def test_shapes_leave_batch_norms_and_training_mode_alone() -> None:
    network = own("resnet8").train()
    frozen = network.module.get_submodule("layer1")
    frozen.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.shapes(32)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training
    assert not frozen.training
    assert network.module.get_submodule("layer2").training


def test_tokens_keep_their_shape() -> None:
    module = nn.Sequential(nn.Flatten(2), nn.Linear(16, 8), nn.Flatten(), nn.Linear(24, 5))
    assert Network(module, {"stage1": "1"}, "3").shapes(4) == {"stage1": (3, 8), "pooled": (24,)}


def test_of_several_outputs_the_first_is_read() -> None:
    class Two(nn.Module):
        def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
            return hidden.flatten(1), hidden

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.two, self.head = Two(), nn.Linear(12, 3)

        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            flat, rest = self.two(images)
            return self.head(flat), rest

    logits, features = Network(Whole(), {"stage1": "two"}, "head")(images(2), ("stages",))
    assert logits.shape == (2, 3)
    assert features["stage1"].shape == (2, 12)


def test_the_config_names_stages_before_our_own_table_does() -> None:
    config = ModelConfig(name="resnet8", stages={"stage1": "relu", "stage2": "layer3"})
    assert wrap(build(config, 10), config).shapes(32) == {"stage1": (16, 32, 32), "stage2": (64, 8, 8), "pooled": (64,)}


def test_stages_of_an_unknown_network_are_where_its_resolution_falls() -> None:
    """A residual network behind other names: its stem and its pool are no stages."""
    module = build(ModelConfig(name="resnet18", stem="imagenet"), 10)
    network = wrap(module)
    assert network.classifier == "fc"
    assert [network.stages[name] for name in network.names(("stages",))] == ["layer1", "layer2", "layer3", "layer4"]
    assert module.training


@pytest.mark.parametrize("name", ["wrn_16_1", "shufflenet_v2", "resnet20"])
def test_discovery_finds_what_our_own_table_says(name: str) -> None:
    network = own(name)
    found = wrap(network.module)
    expected = {
        name: path for name, path in network.paths(("stages",)).items() if name != "last"
    }  # which only a table knows
    assert found.paths(("stages",)) == expected
    assert found.classifier == network.classifier


@pytest.mark.parametrize("name", ["wrn_16_1", "shufflenet_v2", "mobilenet_v2_half"])
def test_the_last_map_is_the_one_whose_mean_is_the_pooled_feature(name: str) -> None:
    network = own(name).eval()
    _, features = network(torch.rand(2, 3, 32, 32), ("stages", "pooled"))
    torch.testing.assert_close(features["last"].mean((2, 3)), features["pooled"])


def test_norms_are_those_that_feed_the_pre_activations() -> None:
    network = own("resnet20")
    norms = network.norms()
    assert set(norms) == {"stage1_pre", "stage2_pre", "stage3_pre"}
    assert norms["stage3_pre"][0] is network.module.get_submodule("layer3.2.bn2").weight


def test_layers_are_stages_where_a_network_has_no_parts() -> None:
    network = wrap(foreign(), image_size=8)
    assert network.paths(("stages",)) == {"stage1": "act", "stage2": "narrow"}
    assert network.classifier == "head"


def test_stages_of_a_transformer_are_evenly_spaced_blocks() -> None:
    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 4, stride=4)
            self.blocks = nn.ModuleList(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8)) for _ in range(8))
            self.head = nn.Linear(8, 5)

        def forward(self, images: Tensor) -> Tensor:
            tokens = self.patches(images).flatten(2).mT
            for block in self.blocks:
                tokens = tokens + block(tokens)
            return self.head(tokens.mean(1))

    network = wrap(Transformer())
    assert list(network.paths(("stages",)).values()) == ["blocks.1", "blocks.3", "blocks.5", "blocks.7"]
    assert network.shapes(32)["stage4"] == (64, 8)


@pytest.mark.parametrize("told", [{"default_cfg": {"input_size": (3, 48, 48)}}, {"image_size": 48}])
def test_discovery_uses_the_image_size_that_a_network_was_made_for(told: dict[str, object]) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 48 * 48, 2))
    for name, value in told.items():
        setattr(module, name, value)
    assert wrap(module).classifier == "1"


def test_discovery_tries_the_usual_image_sizes() -> None:
    assert wrap(nn.Sequential(nn.Flatten(), nn.Linear(3 * 224 * 224, 2))).classifier == "1"


def test_a_1x1_convolution_can_be_the_classifier() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    network = wrap(module)
    assert network.classifier == "1"
    logits, features = network(images(), ("pooled",))
    weight, bias = network.classifier_parameters()
    assert bias is not None
    torch.testing.assert_close(logits, features["pooled"] @ weight.T + bias)


def test_discovery_passes_over_what_runs_twice() -> None:
    class Again(nn.Module):
        """Its block is asked twice, as transformers share one."""

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.block = nn.Conv2d(3, 4, 3, 2, 1), nn.Sequential(nn.Conv2d(4, 4, 3, 1, 1))
            self.deep, self.head = nn.Conv2d(4, 4, 3, 2, 1), nn.Linear(4, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(self.deep(self.block(self.block(self.stem(images)))).mean((2, 3)))

    network = wrap(Again(), image_size=16)
    _, features = network(torch.zeros(1, 3, 16, 16), ("stages",))
    assert {name: path for name, path in network.stages.items() if name in features} == {
        "stage1": "stem",
        "stage2": "deep",
    }


def test_discovery_passes_over_what_a_later_layer_overwrites() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.Flatten())
    module.append(nn.Linear(5 * 13 * 13, 2))
    network = wrap(module)
    assert network.paths(("stages",)) == {"stage1": "1", "stage2": "3"}
    network(images(), ("stages",))


def test_a_network_without_a_linear_layer_at_its_end_asks_for_its_name() -> None:
    with pytest.raises(ModelError, match="`classifier: fc`"):
        wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()))


def test_a_size_that_the_network_does_not_take_is_named() -> None:
    with pytest.raises(ModelError, match="Sequential does not take 9x9 colour images"):
        wrap(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2)), image_size=9)


def test_a_reader_is_one_graph_and_reads_the_same() -> None:
    network = own("resnet8").eval()
    reader = Reader(network, ("pooled", "stages", "preactivations"))
    compiled = torch.compile(reader, backend="eager", fullgraph=True)
    for seed in range(2):
        batch = images() + seed
        logits, features = compiled(batch)
        expected = reader(batch)
        assert torch.equal(logits, expected[0])
        assert all(torch.equal(features[name], expected[1][name]) for name in network.names(("stages", "pooled")))
    assert reader.capture.found == {}


def test_a_reader_stays_out_of_the_way_of_other_passes() -> None:
    network = own("resnet8").eval()
    reader = Reader(network, ("stages",))
    features = network(images(), ("pooled",))[1]
    assert list(features) == ["pooled"]
    assert list(reader(images())[1]) == ["stage1", "stage2", "stage3"]
    reader.close()
    assert hook_count(network) == 0


def test_reading_inside_a_compiled_module_is_refused_instead_of_being_stale() -> None:
    network = own("resnet8").eval()
    network.module = torch.compile(network.module, backend="eager")  # pyright: ignore[reportAttributeAccessIssue]
    network(images())
    with pytest.raises(ModelError, match="compile a Reader"):
        network(images(), ("stages",))
