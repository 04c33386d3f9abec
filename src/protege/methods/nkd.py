"""Yang et al. 2023, From Knowledge Distillation to Self-Knowledge Distillation. arXiv:2303.13005."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import F, Tensor, nn
from protege.methods.base import (
    Batch,
    Method,
    Outputs,
    Progress,
    at_least_float32,
    over_labels,
    softened_teacher,
)
from protege.methods.dkd import wrong


class NKD(Method):
    """Let the teacher's confidence weigh the right class, and match the wrong classes among themselves.

    Both parts are cross-entropies, as published: they do not reach 0 when student and teacher agree.
    """

    family: ClassVar[str] = "logits"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) - target_weight * t_y log s_y - others_weight * T^2 * sum over the wrong of t' log s', "
        "t' and s' at T and without the right class"
    )
    source: ClassVar[str] = "the authors' CIFAR-100 configuration: T 3, others_weight 3.5 (ImageNet: T 1, 1.5)"

    name: Literal["nkd"] = "nkd"
    target_weight: float = Field(
        default=1.0, ge=0, description="right class, weighed by the teacher's probability of it"
    )
    others_weight: float = Field(default=3.5, ge=0, description="comparison among the wrong classes")
    temperature: float = Field(
        default=3.0, gt=0, description="divides the wrong classes' logits; the right class is not softened"
    )
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        log_student = F.log_softmax(at_least_float32(student.logits), dim=1)
        sharp, softened = softened_teacher(teacher, 1.0), softened_teacher(teacher, self.temperature)
        target = over_labels(batch, lambda labels: target_part(log_student, sharp, labels))
        others = over_labels(batch, lambda labels: others_part(student.logits, softened, labels, self.temperature))
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "target": self.target_weight * target.mean(),
            "others": self.others_weight * others.mean(),
        }


def target_part(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with the right class times the teacher's probability of it, [B]; both are log probabilities."""
    right = labels[:, None]
    return -(teacher.gather(1, right).exp() * student.gather(1, right)).squeeze(1)


def others_part(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Cross-entropy among the wrong classes, [B], times T^2; `teacher` is the log of softened probabilities."""
    log_student = F.log_softmax(at_least_float32(wrong(student, labels)) / temperature, dim=1)
    others = F.softmax(wrong(teacher, labels), dim=1)
    return -(others * log_student).sum(1) * temperature**2
