"""Yuan et al. 2020, Revisiting Knowledge Distillation via Label Smoothing Regularization. arXiv:1909.11723."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import F, Tensor, nn, torch
from protege.methods.base import Batch, Method, Outputs, Progress, at_least_float32, divergence, over_labels


class TfKD(Method):
    """Learn from a teacher made by hand, always right and equally fond of all other classes. No network teaches.

    Softened as the paper writes it: both sides at T, times T^2. The authors' code has another loss: it softens its
    probabilities as if they were logits, leaves the student unsoftened, and multiplies by 100 over the number of classes.
    On a sure student that pulls about twenty times as hard, so at the default `kd_weight` this is the weaker one.
    """

    needs_teacher: ClassVar[bool] = False
    family: ClassVar[str] = "none"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + kd_weight * T^2 * KL(virtual at T || student at T), "
        "virtual: probability correct on the label, the rest shared alike"
    )
    source: ClassVar[str] = (
        "correct .99, T 20 and .9/.1: the authors' for ResNet-18 on CIFAR-100, but of their own loss; "
        "kd_weight 2 pulls about as hard as that"
    )

    name: Literal["tfkd"] = "tfkd"
    correct: float = Field(default=0.99, gt=0, lt=1, description="the virtual teacher's probability of the right class")
    temperature: float = Field(default=20.0, gt=0, description="divides both logits before the softmax")
    kd_weight: float = Field(default=0.1, ge=0, description="weight of the virtual teacher's word")
    ce_weight: float = Field(default=0.9, ge=0, description="weight of the labels")

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        apart = over_labels(
            batch, lambda labels: divergence(student.logits, self.softened(student.logits, labels), self.temperature)
        )
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "teacher": self.kd_weight * apart.mean(),
        }

    def softened(self, like: Tensor, labels: Tensor) -> Tensor:
        """Log of the virtual teacher's probabilities at T, [B, C]."""
        others = (1 - self.correct) / max(like.shape[1] - 1, 1)
        probable = torch.full_like(at_least_float32(like.detach()), others).scatter(1, labels[:, None], self.correct)
        return F.log_softmax(probable.log() / self.temperature, dim=1)
