"""Sandler et al. 2018, MobileNetV2. arXiv:1801.04381. Parameter names as in torchvision.

"MobileNetV2" is several networks in the CIFAR literature; figures of one say nothing of another. At 32x32, 10 classes:

| name               | parameters | multiply-adds | what it is                                                  |
|--------------------|------------|---------------|-------------------------------------------------------------|
| mobilenet_v2       | 2.24M      | 24.5M         | torchvision's with the first stride 2 -> 1                  |
| mobilenet_v2_s1    | 2.24M      | 88.0M         | and stage 2's stride 2 -> 1                                 |
| mobilenet_v2_half  | 0.70M      | 6.4M          | half as wide, first stride 2, stage 2's 1, as in CRD and DKD |
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from protege.models.initialisation import fan_out, small_classifier
from protege.models.joins import Add

STEM, HEAD = 32, 1280
EXPANSION = 6
GROUPS = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))  # width, blocks, stride


@dataclass(frozen=True)
class Variant:
    """What the literature's MobileNetV2s differ in."""

    first_stride: int  # of the first convolution
    second_stride: int  # of the 24-channel group
    width: float = 1.0
    dropout: float = 0.2
    activation: type[nn.Module] = nn.ReLU6
    expand_first: bool = False  # a 1x1 convolution even where nothing is widened


VARIANTS = {
    "mobilenet_v2": Variant(1, 2),
    "mobilenet_v2_s1": Variant(1, 1),
    "mobilenet_v2_half": Variant(2, 1, width=0.5, dropout=0.0, activation=nn.ReLU, expand_first=True),
}


def activated(
    inputs: int, outputs: int, size: int, *, activation: type[nn.Module], stride: int = 1, groups: int = 1
) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), activation())


class InvertedResidual(nn.Module):
    """1x1 up, 3x3 depthwise, 1x1 down without activation: what leaves it is its own pre-activation."""

    def __init__(
        self, inputs: int, hidden: int, outputs: int, *, stride: int, expand: bool, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        self.add = Add() if stride == 1 and inputs == outputs else None
        self.conv = nn.Sequential(
            *([activated(inputs, hidden, 1, activation=activation)] if expand else []),
            activated(hidden, hidden, 3, stride=stride, groups=hidden, activation=activation),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.conv(images) if self.add is None else self.add(images, self.conv(images))


def inverted_residuals(variant: Variant) -> list[nn.Module]:
    """The seventeen blocks; the first does not widen."""
    blocks: list[nn.Module] = []
    inputs = int(STEM * variant.width)
    for group, (width, repeats, own_stride) in enumerate(GROUPS):
        outputs = int(width * variant.width)
        first_stride = variant.second_stride if group == 1 else own_stride
        expansion, expand = (EXPANSION, True) if group else (1, variant.expand_first)
        for stride in (first_stride, *[1] * (repeats - 1)):
            block = InvertedResidual(
                inputs, inputs * expansion, outputs, stride=stride, expand=expand, activation=variant.activation
            )
            blocks.append(block)
            inputs = outputs
    return blocks


class MobileNetV2(nn.Module):
    """One of `VARIANTS`. In training the classifier sees the pooled feature through dropout; not in the half one."""

    def __init__(self, classes: int, name: str = "mobilenet_v2") -> None:
        super().__init__()
        variant = VARIANTS[name]
        stem, last = int(STEM * variant.width), int(GROUPS[-1][0] * variant.width)
        self.features = nn.Sequential(
            activated(3, stem, 3, stride=variant.first_stride, activation=variant.activation),
            *inverted_residuals(variant),
            activated(last, HEAD, 1, activation=variant.activation),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        linear = nn.Linear(HEAD, classes)
        self.classifier = nn.Sequential(nn.Dropout(variant.dropout), linear)
        fan_out(self)
        small_classifier(linear)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(images)).flatten(1))
