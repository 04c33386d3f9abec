"""He et al. 2016, Deep Residual Learning. arXiv:1512.03385. ResNet-18, -34, -50 and -101, named as in torchvision.

Every activation is a module of its own and none works in place, so that whatever enters or leaves one can be read.
The bottleneck strides in its 3x3 convolution (torchvision's "v1.5").
"""

from __future__ import annotations

from torch import Tensor, nn

from protege.models.initialisation import fan_out
from protege.models.joins import Add


def convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """A 1x1 convolution and a batch norm where the shape changes, else nothing (the paper's option B)."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(inputs, width, stride)
        self.add = Add()
        self.relu2 = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        kept = images if self.downsample is None else self.downsample(images)
        hidden = self.relu1(self.bn1(self.conv1(images)))
        return self.relu2(self.add(self.bn2(self.conv2(hidden)), kept))


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up to four times the width."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int = 1) -> None:
        super().__init__()
        outputs = self.expansion * width
        self.conv1 = convolution(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = convolution(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = shortcut(inputs, outputs, stride)
        self.add = Add()
        self.relu3 = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        kept = images if self.downsample is None else self.downsample(images)
        hidden = self.relu1(self.bn1(self.conv1(images)))
        hidden = self.relu2(self.bn2(self.conv2(hidden)))
        return self.relu3(self.add(self.bn3(self.conv3(hidden)), kept))


BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}


def residual_stage(
    block: type[BasicBlock] | type[Bottleneck], inputs: int, width: int, blocks: int, stride: int
) -> nn.Sequential:
    """The first block changes shape, the others keep it."""
    outputs = block.expansion * width
    return nn.Sequential(block(inputs, width, stride), *(block(outputs, width) for _ in range(blocks - 1)))


class ResNet(nn.Module):
    """Four stages, widths 64 to 512. Of a 32x32 image the first sees 32x32 (stem cifar) or only 8x8 (imagenet)."""

    def __init__(self, classes: int, block: str, blocks: tuple[int, int, int, int], stem: str = "cifar") -> None:
        super().__init__()
        imagenet = stem == "imagenet"
        kind = BLOCKS[block]
        grown = kind.expansion
        self.conv1 = convolution(3, 64, 7, stride=2) if imagenet else convolution(3, 64, 3)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if imagenet else nn.Identity()
        self.layer1 = residual_stage(kind, 64, 64, blocks[0], stride=1)
        self.layer2 = residual_stage(kind, 64 * grown, 128, blocks[1], stride=2)
        self.layer3 = residual_stage(kind, 128 * grown, 256, blocks[2], stride=2)
        self.layer4 = residual_stage(kind, 256 * grown, 512, blocks[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * grown, classes)
        fan_out(self)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        hidden = self.layer4(self.layer3(self.layer2(self.layer1(hidden))))
        return self.fc(self.avgpool(hidden).flatten(1))
