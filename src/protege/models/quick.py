"""Wide, short networks that learn CIFAR in a few epochs, after Jordan 2024 (arXiv:2404.00498).

A 2x2 convolution, three groups of two 3x3 convolutions, the larger pooled part first; norms whose scales stay 1, quick to follow
(momentum .4); GELU; logits that begin small. What makes them quick besides are ordinary options: `model.whiten`, `model.dirac`,
`optim.norm_bias_lr`, `optim.look_ahead`, `views.alternate`, `views.cutout` (`protege train --recipe fast-teacher`).
"""

from __future__ import annotations

from torch import Tensor, nn

KERNEL = 2  # of the first convolution
FIRST = 2 * 3 * KERNEL**2  # its outputs: both signs of every direction that a patch can have
QUIETER = 9  # what the classifier's inputs are divided by
MOMENTUM = 0.4


def norm(channels: int) -> nn.BatchNorm2d:
    """Its bias alone is trained."""
    made = nn.BatchNorm2d(channels, eps=1e-12, momentum=MOMENTUM)
    made.weight.requires_grad_(False)
    return made


class Group(nn.Module):
    """Halves the side."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2)
        self.bn1 = norm(width)
        self.act1 = nn.GELU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = norm(width)
        self.act2 = nn.GELU()

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.act1(self.bn1(self.pool(self.conv1(images))))
        return self.act2(self.bn2(self.conv2(hidden)))


class Quick(nn.Module):
    """`widths` are those of the three groups."""

    def __init__(self, classes: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, FIRST, KERNEL)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]
        self.act = nn.GELU()
        self.group1 = Group(FIRST, widths[0])
        self.group2 = Group(widths[0], widths[1])
        self.group3 = Group(widths[1], widths[2])
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.fc = nn.Linear(widths[2], classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.group3(self.group2(self.group1(self.act(self.conv(images)))))
        return self.fc(self.pool(hidden).flatten(1) / QUIETER)
