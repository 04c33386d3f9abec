"""The loop that ours is compared with: what PyTorch's tutorials teach, and most published code is.

A dataset of PIL images, transforms image by image in two worker processes, float32, the teacher asked live at every
step, `.item()` at every step. Written to be read and argued with: nothing here is made slow on purpose, nothing is tuned.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

Transform = Callable[[Image.Image], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]  # images, labels -> loss
TEMPERATURE, KD_WEIGHT, CE_WEIGHT, COSINE_WEIGHT = 4.0, 0.9, 0.1, 0.5


# ---- data ----


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images as PIL sees them, each transformed when it is asked for."""

    def __init__(self, pixels: np.ndarray, labels: Sequence[int], transform: Transform) -> None:
        self.pixels, self.labels, self.transform = pixels, labels, transform  # uint8 [N, H, W, 3]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


class TrainingTransform:
    """Random crop with padding, random flip, to a tensor, normalise."""

    def __init__(self, size: int, mean: Sequence[float], std: Sequence[float], padding: int = 4) -> None:
        self.size, self.padding = size, padding
        self.mean, self.std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))

    def __call__(self, image: Image.Image) -> Tensor:
        padded = ImageOps.expand(image, self.padding)
        left, top = (random.randint(0, side - self.size) for side in padded.size)
        image = padded.crop((left, top, left + self.size, top + self.size))
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        return tensor.sub_(self.mean).div_(self.std)


def loader_of(
    pictures: Pictures, batch_size: int, workers: int, device: torch.device
) -> DataLoader[tuple[Tensor, int]]:
    """Shuffled; the last, smaller batch is left out, so that all steps that are timed are alike."""
    return DataLoader(
        pictures,
        batch_size=min(batch_size, len(pictures)),
        shuffle=True,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        drop_last=True,
    )


# ---- losses ----


def supervised_loss(student: nn.Module) -> Loss:
    return lambda images, labels: F.cross_entropy(student(images), labels)


def logit_kd_loss(student: nn.Module, teacher: nn.Module) -> Loss:
    """Hinton's: the teacher's softened probabilities and the labels."""

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            teacher_logits = teacher(images)
        logits = student(images)
        softened = F.log_softmax(logits / TEMPERATURE, dim=1)
        goal = F.softmax(teacher_logits / TEMPERATURE, dim=1)
        divergence = F.kl_div(softened, goal, reduction="batchmean") * TEMPERATURE**2
        return KD_WEIGHT * divergence + CE_WEIGHT * F.cross_entropy(logits, labels)

    return loss


class FeatureKD(nn.Module):
    """The maps of each stage through a 1x1 convolution towards the teacher's: squared distance, and angle of the means."""

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        stages: Sequence[tuple[str, str]],
        widths: Sequence[tuple[int, int]],
    ) -> None:
        """`stages` are modules of both whose outputs are compared, `widths` their channels."""
        super().__init__()
        self.projections = nn.ModuleList(nn.Conv2d(mine, theirs, 1, bias=False) for mine, theirs in widths)
        self.student, self.teacher = [student], [teacher]  # in lists: they are not parts of this module
        self.mine, self.theirs = (
            kept_outputs(student, [mine for mine, _ in stages]),
            kept_outputs(teacher, [theirs for _, theirs in stages]),
        )
        self.stages = stages

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            self.teacher[0](images)
        logits = self.student[0](images)
        distances, angles = [], []
        for projection, (mine, theirs) in zip(self.projections, self.stages, strict=True):
            goal = self.theirs[theirs]
            maps = F.adaptive_avg_pool2d(projection(self.mine[mine]), (goal.shape[2], goal.shape[3]))
            distances.append(F.mse_loss(maps, goal))
            angles.append(1 - F.cosine_similarity(maps.mean((2, 3)), goal.mean((2, 3))).mean())
        feature_loss = torch.stack(distances).mean() + COSINE_WEIGHT * torch.stack(angles).mean()
        return 0.5 * feature_loss + 0.5 * F.cross_entropy(logits, labels)


def kept_outputs(network: nn.Module, modules: Sequence[str]) -> dict[str, Tensor]:
    """A dictionary that always holds what these modules gave last."""
    kept: dict[str, Tensor] = {}

    def keeper(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            kept[name] = output

        return keep

    for name in modules:
        network.get_submodule(name).register_forward_hook(keeper(name))
    return kept


def in_bf16(loss_of: Loss) -> Loss:
    """The same loss as a careful user computes it: autocast, and images whose channels lie together."""

    def loss(images: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16):
            return loss_of(images.contiguous(memory_format=torch.channels_last), labels)

    return loss


# ---- the loop ----


def sgd(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=5e-4)


def steps(
    student: nn.Module,
    loss_of: Loss,
    loader: DataLoader[tuple[Tensor, int]],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> Iterator[tuple[int, float]]:
    """Epoch after epoch, a step at a time: how many images it saw, and the mean loss of its epoch so far."""
    student.train()
    while True:
        running_loss = 0.0
        for number, (images, labels) in enumerate(loader, 1):
            optimizer.zero_grad()
            loss = loss_of(images.to(device), labels.to(device))
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            yield len(images), running_loss / number
