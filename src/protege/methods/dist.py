"""Huang et al. 2022, Knowledge Distillation from A Stronger Teacher. arXiv:2205.10536."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import F, Tensor, nn, torch
from protege.methods.base import Batch, Method, Outputs, Progress, at_least_float32, softened_teacher


class DIST(Method):
    """Correlate with the teacher's probabilities instead of matching them: within an example, and within a class.

    What does not vary in the teacher has no correlation and counts 0; so the second part of a batch of one is 0.
    """

    family: ClassVar[str] = "logits"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + T^2 * (inter_weight * mean over examples of (1 - r) + intra_weight * mean "
        "over classes of (1 - r)), r Pearson's correlation of the probabilities at T"
    )
    source: ClassVar[str] = "the authors' CIFAR-100 recipe: T 4, both weights 2, labels 1"

    name: Literal["dist"] = "dist"
    temperature: float = Field(default=4.0, gt=0, description="divides both logits before the softmax")
    inter_weight: float = Field(default=2.0, ge=0, description="correlation over the classes of one example")
    intra_weight: float = Field(default=2.0, ge=0, description="correlation over the examples of one class")
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        probable = F.softmax(at_least_float32(student.logits) / self.temperature, dim=1)
        taught = softened_teacher(teacher, self.temperature).exp()
        scale = self.temperature**2
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "inter": self.inter_weight * scale * uncorrelated(probable, taught).mean(),
            "intra": self.intra_weight * scale * uncorrelated(probable.t(), taught.t()).mean(),
        }


def uncorrelated(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - Pearson's correlation of each row, [rows]; 0 where the teacher's row does not vary."""
    rounding = (1e-6 * teacher.norm(dim=1)).clamp_min(1e-8)
    student = student - student.mean(1, keepdim=True)
    teacher = teacher - teacher.mean(1, keepdim=True)
    return torch.where(teacher.norm(dim=1) > rounding, 1 - F.cosine_similarity(student, teacher, dim=1), 0.0)
