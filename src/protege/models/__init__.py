"""Networks by name. The names cost no torch; `build` imports the family it needs.

A new network is a class in `models/<family>.py` and a line in `MODELS`; those of timm and torchvision need neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

from protege.data.outside.code import is_own
from protege.errors import ModelError, suggest
from protege.models.config import ModelConfig

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "EXTERNAL",
    "MODELS",
    "Architecture",
    "ModelConfig",
    "architecture",
    "build",
    "check",
    "is_network",
    "model_names",
]

EXTERNAL = ("timm:", "torchvision:")


@dataclass(frozen=True)
class Architecture:
    """A network of our own, and where its stages are. A path may end in `:input`: what enters the module."""

    family: str  # module in protege.models
    network: str  # class in that module, called with the number of classes and `arguments`
    arguments: tuple[object, ...]
    stages: Mapping[str, str]  # shallowest first
    preactivations: Mapping[str, str]
    summary: str
    classifier: str = "fc"
    stems: tuple[str, ...] = ("cifar",)
    pooled: Mapping[str, str] = field(
        default_factory=dict
    )  # "pooled" where it is not what the classifier gets; "last", its map

    @property
    def paths(self) -> dict[str, str]:
        """All that can be read by name."""
        return {**self.stages, **self.preactivations, **self.pooled}

    def build(self, classes: int, stem: str | None = None) -> nn.Module:
        network = getattr(import_module(f"protege.models.{self.family}"), self.network)
        chosen = (stem or self.stems[0],) if len(self.stems) > 1 else ()
        return network(classes, *self.arguments, *chosen)


def _stages(*paths: str) -> dict[str, str]:
    return {f"stage{number}": path for number, path in enumerate(paths, 1)}


def _before(*paths: str) -> dict[str, str]:
    return {f"stage{number}_pre": path for number, path in enumerate(paths, 1)}


def _resnet(block: str, *blocks: int) -> Architecture:
    last = {"basic": "relu2", "bottleneck": "relu3"}[block]
    return Architecture(
        "resnet",
        "ResNet",
        (block, blocks),
        _stages("layer1", "layer2", "layer3", "layer4"),
        _before(*(f"layer{stage}.{count - 1}.{last}:input" for stage, count in enumerate(blocks, 1))),
        f"{block} blocks {'-'.join(map(str, blocks))}; stem cifar or imagenet",
        stems=("cifar", "imagenet"),
    )


def _cifar_resnet(depth: int, *widths: int) -> Architecture:
    blocks = (depth - 2) // 6
    return Architecture(
        "cifar_resnet",
        "CifarResNet",
        (blocks, widths),
        _stages("layer1", "layer2", "layer3"),
        _before(*(f"layer{stage}.{blocks - 1}.relu2:input" for stage in (1, 2, 3))),
        f"basic blocks {blocks}-{blocks}-{blocks}, widths {'-'.join(map(str, widths[1:]))}",
    )


def _wide(depth: int, widen: int) -> Architecture:
    blocks = (depth - 4) // 6
    return Architecture(
        "wrn",
        "WideResNet",
        (blocks, widen),
        _stages("block1", "block2", "block3"),
        _before("block2.layer.0.relu1:input", "block3.layer.0.relu1:input", "relu:input"),
        f"pre-activation blocks {blocks}-{blocks}-{blocks}, {widen} x widths 16-32-64",
        pooled={"last": "relu"},  # a norm and a ReLU lie between the last stage and the pooling
    )


def _vgg(*depths: int) -> Architecture:
    return Architecture(
        "vgg",
        "VGG",
        (depths,),
        _stages("relu1", "relu2", "relu3", "relu4"),
        _before("relu1:input", "relu2:input", "relu3:input", "relu4:input"),
        f"plain convolutions {'-'.join(map(str, depths))}, batch norm",
        classifier="classifier",
    )


def _quick(*widths: int) -> Architecture:
    return Architecture(
        "quick",
        "Quick",
        (widths,),
        _stages("group1", "group2", "group3"),
        _before("group1.act2:input", "group2.act2:input", "group3.act2:input"),
        f"learns fast: six wide convolutions of {'-'.join(map(str, widths))} channels; see `--recipe fast-teacher`",
        pooled={"last": "group3"},
    )


def _mobilenet(name: str, summary: str) -> Architecture:
    ends = ("features.3", "features.6", "features.13", "features.17")  # linear bottlenecks: nothing to undo
    return Architecture(
        "mobilenet",
        "MobileNetV2",
        (name,),
        _stages(*ends),
        _before(*ends),
        summary,
        classifier="classifier.1",
        pooled={"pooled": "classifier:input", "last": "features.18"},  # before dropout
    )


def _shufflenet(network: str, arguments: tuple[object, ...], last: str, summary: str) -> Architecture:
    return Architecture(
        "shufflenet",
        network,
        arguments,
        _stages("layer1", "layer2", "layer3"),
        _before(*(f"layer{stage}.{blocks - 1}.{last}:input" for stage, blocks in enumerate((4, 8, 4), 1))),
        summary,
        classifier="linear",
        pooled={"last": "relu2"} if network == "ShuffleNetV2" else {},
    )


MODELS: dict[str, Architecture] = {
    "resnet8": _cifar_resnet(8, 16, 16, 32, 64),
    "resnet14": _cifar_resnet(14, 16, 16, 32, 64),
    "resnet20": _cifar_resnet(20, 16, 16, 32, 64),
    "resnet32": _cifar_resnet(32, 16, 16, 32, 64),
    "resnet44": _cifar_resnet(44, 16, 16, 32, 64),
    "resnet56": _cifar_resnet(56, 16, 16, 32, 64),
    "resnet110": _cifar_resnet(110, 16, 16, 32, 64),
    "resnet8x4": _cifar_resnet(8, 32, 64, 128, 256),
    "resnet32x4": _cifar_resnet(32, 32, 64, 128, 256),
    "resnet8_24": _cifar_resnet(8, 24, 24, 48, 96),
    "resnet8_32": _cifar_resnet(8, 32, 32, 64, 128),
    "resnet8_40": _cifar_resnet(8, 40, 40, 80, 160),
    "resnet18": _resnet("basic", 2, 2, 2, 2),
    "resnet34": _resnet("basic", 3, 4, 6, 3),
    "resnet50": _resnet("bottleneck", 3, 4, 6, 3),
    "resnet101": _resnet("bottleneck", 3, 4, 23, 3),
    "wrn_16_1": _wide(16, 1),
    "wrn_16_2": _wide(16, 2),
    "wrn_40_1": _wide(40, 1),
    "wrn_40_2": _wide(40, 2),
    "wrn_40_4": _wide(40, 4),
    "wrn_28_10": _wide(28, 10),
    "vgg8": _vgg(1, 1, 1, 1, 1),
    "vgg11": _vgg(1, 1, 2, 2, 2),
    "vgg13": _vgg(2, 2, 2, 2, 2),
    "vgg16": _vgg(2, 2, 3, 3, 3),
    "vgg19": _vgg(2, 2, 4, 4, 4),
    "quick_tiny": _quick(16, 32, 32),
    "quick_small": _quick(32, 96, 96),
    "quick": _quick(64, 256, 256),
    "quick_wide": _quick(128, 384, 384),
    "mobilenet_v2": _mobilenet("mobilenet_v2", "torchvision's with first stride 1 (24.5M multiply-adds at 32x32)"),
    "mobilenet_v2_s1": _mobilenet(
        "mobilenet_v2_s1", "first stride and stage 2's stride 1 (88.0M multiply-adds at 32x32)"
    ),
    "mobilenet_v2_half": _mobilenet(
        "mobilenet_v2_half", "the literature's half-width one: first stride 2, stage 2's stride 1"
    ),
    "shufflenet_v1": _shufflenet("ShuffleNetV1", (), "relu3", "three groups, stages of 240-480-960 channels"),
    "shufflenet_v2": _shufflenet("ShuffleNetV2", ((116, 232, 464),), "relu2", "1x: stages of 116-232-464 channels"),
    "shufflenet_v2_x1_5": _shufflenet(
        "ShuffleNetV2", ((176, 352, 704),), "relu2", "1.5x: stages of 176-352-704 channels"
    ),
}


def model_names() -> list[str]:
    """Our own networks, family by family; timm's and torchvision's come on top."""
    return list(MODELS)


def is_network(name: str) -> bool:
    """Whether this can be built: ours, a library's, or one of the user's own."""
    return name in MODELS or name.startswith(EXTERNAL) or is_own(name)


def architecture(name: str) -> Architecture:
    if name not in MODELS:
        raise ModelError(
            f"There is no model '{name}'.{suggest(name, list(MODELS))} "
            "`protege models` lists them; others are written timm:NAME or torchvision:NAME, your own path/to/file.py:NAME."
        )
    return MODELS[name]


def check(config: ModelConfig, where: str = "model") -> None:
    """Refuse, without torch, a name that nobody knows or a stem that the network does not have. `where` it is described."""
    if config.name.startswith(EXTERNAL) or is_own(config.name):
        stems: tuple[str, ...] = ()
    else:
        stems = architecture(config.name).stems
    if config.stem is not None and config.stem not in stems:
        with_choice = ", ".join(name for name, made in MODELS.items() if "imagenet" in made.stems)
        offered = f"has only the {stems[0]} stem" if stems else "brings its own stem"
        raise ModelError(
            f"{where}.stem {config.stem} does not fit '{config.name}', which {offered}. "
            f"Leave it out, or take a network with both: {with_choice}."
        )


def build(config: ModelConfig, classes: int, where: str = "model") -> nn.Module:
    """The plain network, in float32 on the default device, with fresh weights or those of `config.weights`."""
    check(config, where)
    if classes < 1:
        raise ModelError(f"A classifier needs at least one class, not {classes}.")
    if config.name.startswith(EXTERNAL):
        from protege.models.external import build_external

        network = build_external(config.name, classes)
    elif is_own(config.name):
        from protege.models.own import build_own

        network = build_own(config.name, classes, config.args or {}, where)
    else:
        network = architecture(config.name).build(classes, config.stem)
    if config.dirac:
        from protege.models.initialisation import dirac

        dirac(network)
    fresh = _with_new_head(network, config, classes) if config.head else None
    if config.weights is not None:
        from protege.models.weights import load_weights

        load_weights(network, config.weights, where, fresh)
    return network


def _with_new_head(network: nn.Module, config: ModelConfig, classes: int) -> str:
    """Path of the classifier, which is for so many classes now."""
    from protege.models.discovery import discover
    from protege.models.head import renew

    known = MODELS.get(config.name)
    path = config.classifier or (known.classifier if known else discover(network).classifier)
    renew(network, path, classes)
    return path
