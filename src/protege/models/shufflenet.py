"""Zhang et al. 2018, ShuffleNet (arXiv:1707.01083); Ma et al. 2018, ShuffleNet V2 (arXiv:1807.11164). For 32x32 images.

As in the distillation literature the first convolution is 1x1 with stride 1 and there is no first pool.
Parameter names are those of the CRD and mdistiller repositories. First weights are PyTorch's own, as there.
"""

from __future__ import annotations

from torch import Tensor, nn

from protege.models.joins import Add, Concat

STEM = 24


def shuffled(images: Tensor, groups: int) -> Tensor:
    """Channels dealt out in turn, so that the next groups see all of the last ones."""
    return images.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


def pointwise(inputs: int, outputs: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, groups=groups, bias=False)


def depthwise(channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)


class GroupedBlock(nn.Module):
    """V1: grouped 1x1, shuffle, 3x3 depthwise, grouped 1x1. The input is added, or with stride 2 laid beside it."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int) -> None:
        super().__init__()
        made = outputs - inputs if stride == 2 else outputs
        hidden = made // 4
        self.groups = 1 if inputs == STEM else groups  # so few channels are not worth grouping
        self.conv1 = pointwise(inputs, hidden, self.groups)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.relu1 = nn.ReLU()
        self.conv2 = depthwise(hidden, stride)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.relu2 = nn.ReLU()
        self.conv3 = pointwise(hidden, made, groups)
        self.bn3 = nn.BatchNorm2d(made)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None
        self.join = Add() if self.pool is None else Concat()
        self.relu3 = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        hidden = shuffled(self.relu1(self.bn1(self.conv1(images))), self.groups)
        made = self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(hidden)))))
        return self.relu3(self.join(made, images if self.pool is None else self.pool(images)))


class ShuffleNetV1(nn.Module):
    """Three groups to a convolution; stages of 240, 480 and 960 channels."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = pointwise(3, STEM)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.relu = nn.ReLU()
        self.layer1 = self._stage(STEM, 240, blocks=4)
        self.layer2 = self._stage(240, 480, blocks=8)
        self.layer3 = self._stage(480, 960, blocks=4)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(960, classes)

    @staticmethod
    def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
        same = [GroupedBlock(outputs, outputs, stride=1, groups=3) for _ in range(blocks - 1)]
        return nn.Sequential(GroupedBlock(inputs, outputs, stride=2, groups=3), *same)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.relu(self.bn1(self.conv1(images)))
        hidden = self.layer3(self.layer2(self.layer1(hidden)))
        return self.linear(self.avgpool(hidden).flatten(1))


class SplitBlock(nn.Module):
    """V2, stride 1: half of the channels pass, the other half are worked on.

    The last ReLU runs over both halves, after the shuffle. The half that passes has left a ReLU before, so this changes
    nothing, and what enters this ReLU is the whole pre-activation.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = pointwise(half, half)
        self.bn1 = nn.BatchNorm2d(half)
        self.relu1 = nn.ReLU()
        self.conv2 = depthwise(half, stride=1)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = pointwise(half, half)
        self.bn3 = nn.BatchNorm2d(half)
        self.join = Concat()
        self.relu2 = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        kept, worked = images.chunk(2, 1)
        hidden = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(worked)))))
        return self.relu2(shuffled(self.join(kept, self.bn3(self.conv3(hidden))), 2))


class DownBlock(nn.Module):
    """V2, stride 2: two branches, each to half of the channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.conv1 = depthwise(inputs, stride=2)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv2 = pointwise(inputs, half)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = pointwise(inputs, half)
        self.bn3 = nn.BatchNorm2d(half)
        self.relu1 = nn.ReLU()
        self.conv4 = depthwise(half, stride=2)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = pointwise(half, half)
        self.bn5 = nn.BatchNorm2d(half)
        self.join = Concat()
        self.relu2 = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        short = self.bn2(self.conv2(self.bn1(self.conv1(images))))
        hidden = self.bn4(self.conv4(self.relu1(self.bn3(self.conv3(images)))))
        return self.relu2(shuffled(self.join(short, self.bn5(self.conv5(hidden))), 2))


class ShuffleNetV2(nn.Module):
    """`widths` are the channels of the three stages; the last 1x1 convolution makes 1024 of them."""

    def __init__(self, classes: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        narrow, middle, wide = widths
        self.conv1 = pointwise(3, STEM)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.relu1 = nn.ReLU()
        self.layer1 = self._stage(STEM, narrow, blocks=4)
        self.layer2 = self._stage(narrow, middle, blocks=8)
        self.layer3 = self._stage(middle, wide, blocks=4)
        self.conv2 = pointwise(wide, 1024)
        self.bn2 = nn.BatchNorm2d(1024)
        self.relu2 = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(1024, classes)

    @staticmethod
    def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
        return nn.Sequential(DownBlock(inputs, outputs), *(SplitBlock(outputs) for _ in range(blocks - 1)))

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.relu1(self.bn1(self.conv1(images)))
        hidden = self.layer3(self.layer2(self.layer1(hidden)))
        hidden = self.relu2(self.bn2(self.conv2(hidden)))
        return self.linear(self.avgpool(hidden).flatten(1))
