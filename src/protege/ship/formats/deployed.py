"""A run's student as it leaves the house: one module from images to what is wanted of them."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from protege.evaluate import Predictor
from protege.methods.base import Outputs
from protege.models.folding import fold_batchnorm
from protege.models.network import Network
from protege.teacher.speaking import classifier_of


class Student(nn.Module):
    """Normalised images in, logits out: the network and, where its method adds something, that too."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        assert isinstance(predictor.network, Network)
        self.network = predictor.network
        adds = predictor.method is not None and predictor.method.added() != "nothing"
        self.method = predictor.method if adds else None
        self.adapters = predictor.adapters if adds else None

    def forward(self, images: Tensor) -> Tensor:
        if self.method is None or self.adapters is None:
            return self.network(images)[0]
        logits, features = self.network(images, self.method.wants())
        return self.method.predict(Outputs(logits, features, classifier_of(self.network)), self.adapters)

    def folded(self) -> Student:
        """A copy for inference whose batch norms are gone into the convolutions before them."""
        twin = copy.copy(self)
        twin._modules = dict(self._modules)
        twin.network = fold_batchnorm(self.network)
        twin.adapters = None if self.adapters is None else fold_batchnorm(self.adapters)
        return twin.eval().requires_grad_(False)


@dataclass(frozen=True)
class Scale:
    """What pixels from 0 to 255 become before a network sees them."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Raw(nn.Module):
    """uint8 pixels in, probabilities out, so that a device cannot normalise wrongly."""

    factor: Tensor
    shift: Tensor

    def __init__(self, student: nn.Module, scale: Scale, temperature: float) -> None:
        super().__init__()
        self.student, self.temperature = student, temperature
        std = torch.tensor(scale.std, dtype=torch.float64)
        self.register_buffer("factor", (1 / (255 * std)).float().reshape(1, 3, 1, 1))
        self.register_buffer("shift", (torch.tensor(scale.mean, dtype=torch.float64) / std).float().reshape(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        logits = self.student(images.float() * self.factor - self.shift)
        return (logits / self.temperature).softmax(1)
