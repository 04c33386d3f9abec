"""Zhou et al. 2021, Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance Tradeoff Perspective.
arXiv:2102.00650."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import F, Tensor, nn, torch
from protege.methods.base import (
    Batch,
    Method,
    Outputs,
    Progress,
    at_least_float32,
    divergence,
    over_labels,
    softened_teacher,
)


class WSLD(Method):
    """Listen to the teacher where it knows the label better than the student: bias against variance, image by image."""

    family: ClassVar[str] = "logits"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + kd_weight * T^2 * w * KL(teacher at T || student at T), "
        "w = 1 - exp(-CE(student) / CE(teacher)), held fixed"
    )
    source: ClassVar[str] = "the authors' recipe: T 2, 2.5, labels 1"

    name: Literal["wsld"] = "wsld"
    temperature: float = Field(
        default=2.0, gt=0, description="divides both logits before the softmax; the weights are taken at 1"
    )
    kd_weight: float = Field(default=2.5, ge=0, description="weight of the teacher's word")
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        log_student = F.log_softmax(at_least_float32(student.logits.detach()), dim=1)
        weight = need(log_student, softened_teacher(teacher, 1.0), batch)
        apart = divergence(student.logits, softened_teacher(teacher, self.temperature), self.temperature)
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "teacher": self.kd_weight * (weight * apart).mean(),
        }


def need(student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """1 - exp(-CE(student) / CE(teacher)), [B], of log probabilities: 1 where the teacher knows better, .63 at par."""
    mistaken, taught = (over_labels(batch, lambda labels, p=p: surprise(p, labels)) for p in (student, teacher))
    return -torch.expm1(-mistaken / taught.clamp_min(1e-7))


def surprise(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each example with its label, [B]."""
    return F.nll_loss(log_probabilities, labels, reduction="none")
