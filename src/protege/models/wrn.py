"""Zagoruyko and Komodakis 2016, Wide Residual Networks. arXiv:1605.07146.

No dropout, as in the distillation literature. Batch norm and ReLU come *before* each convolution, so a stage ends in a
bare sum; its pre-activation is that sum after the next batch norm. Parameter names are those of the CRD and mdistiller
repositories.
"""

from __future__ import annotations

from torch import Tensor, nn

from protege.models.initialisation import fan_out
from protege.models.joins import Add
from protege.models.resnet import convolution


class PreactivationBlock(nn.Module):
    """Where the width changes, the shortcut too starts from the activated input."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = convolution(inputs, outputs, 3, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.conv2 = convolution(outputs, outputs, 3)
        self.add = Add()
        self.convShortcut = None if inputs == outputs else convolution(inputs, outputs, 1, stride)

    def forward(self, images: Tensor) -> Tensor:
        active = self.relu1(self.bn1(images))
        kept = images if self.convShortcut is None else self.convShortcut(active)
        return self.add(kept, self.conv2(self.relu2(self.bn2(self.conv1(active)))))


class WideStage(nn.Module):
    """Holds its blocks under `layer`, where the literature's weight files look for them."""

    def __init__(self, inputs: int, outputs: int, blocks: int, stride: int) -> None:
        super().__init__()
        first = PreactivationBlock(inputs, outputs, stride)
        self.layer = nn.Sequential(first, *(PreactivationBlock(outputs, outputs, 1) for _ in range(blocks - 1)))

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images)


class WideResNet(nn.Module):
    """Depth 6n + 4: three stages of n blocks, `widen` times as wide as 16, 32, 64."""

    def __init__(self, classes: int, blocks: int, widen: int) -> None:
        super().__init__()
        narrow, middle, wide = 16 * widen, 32 * widen, 64 * widen
        self.conv1 = convolution(3, 16, 3)
        self.block1 = WideStage(16, narrow, blocks, stride=1)
        self.block2 = WideStage(narrow, middle, blocks, stride=2)
        self.block3 = WideStage(middle, wide, blocks, stride=2)
        self.bn1 = nn.BatchNorm2d(wide)
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(wide, classes)
        fan_out(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.block3(self.block2(self.block1(self.conv1(images))))
        hidden = self.relu(self.bn1(hidden))
        return self.fc(self.avgpool(hidden).flatten(1))
