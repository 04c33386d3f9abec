"""Sun et al. 2024, Knowledge Distillation with Refined Logits. arXiv:2408.07703."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import F, Tensor, nn, torch
from protege.methods.base import Batch, Method, Outputs, Progress, at_least_float32, over_labels, softened_teacher
from protege.methods.dkd import right_and_rest

SILENCED = -1e9  # instead of minus infinity, whose differences are no numbers


class RLD(Method):
    """Take from the teacher how sure to be of the right class, and the order of only the classes that it ranks below it.

    A teacher that is wrong lends its sureness to the right class, and what it put above is left out. Where it ranks
    the right class last, nothing is left to compare and that part is 0.
    """

    family: ClassVar[str] = "logits"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + w * (confidence_weight * S^2 * KL([max t, 1 - max t] || [s_y, 1 - s_y]) at S + "
        "others_weight * T^2 * KL(t' || s') at T), y the right class, t' and s' over the classes with teacher's logit "
        "under that of y; S = confidence_temperature; w = min(1, epoch / warmup_epochs), epochs from 1"
    )
    source: ClassVar[str] = (
        "defaults of the authors' code, whose configurations of pairs leave them as they are; its README shows both "
        "temperatures at 4 for vgg13 -> vgg8"
    )

    name: Literal["rld"] = "rld"
    confidence_weight: float = Field(
        default=1.0, ge=0, description="the student's right class against the teacher's first choice"
    )
    others_weight: float = Field(default=8.0, ge=0, description="comparison among the classes below the right one")
    confidence_temperature: float = Field(default=1.0, gt=0, description="divides both logits for the first part")
    temperature: float = Field(default=4.0, gt=0, description="divides both logits for the comparison among classes")
    warmup_epochs: int = Field(
        default=20, ge=0, description="epochs over which both parts grow to their weight; at most half of the run"
    )
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        sure, softened = (softened_teacher(teacher, t) for t in (self.confidence_temperature, self.temperature))
        confidence = over_labels(
            batch, lambda labels: confidence_kl(student.logits, sure, labels, self.confidence_temperature)
        )
        others = over_labels(batch, lambda labels: lower_kl(student.logits, softened, labels, self.temperature))
        warmed = progress.warmed(self.warmup_epochs)
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "confidence": warmed * self.confidence_weight * confidence.mean(),
            "others": warmed * self.others_weight * others.mean(),
        }


def confidence_kl(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """KL between (first choice, rest) of the teacher and (right class, rest) of the student, [B], times T^2.

    `teacher` is the log of softened probabilities.
    """
    mine = right_and_rest(F.log_softmax(at_least_float32(student) / temperature, dim=1), labels)
    theirs = right_and_rest(teacher, teacher.argmax(1))
    return F.kl_div(mine, theirs, reduction="none", log_target=True).sum(1) * temperature**2


def lower_kl(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """KL among the classes that the teacher ranks below the right one, [B], times T^2; `teacher` as above."""
    above = teacher >= teacher.gather(1, labels[:, None])
    mine = (at_least_float32(student) / temperature).masked_fill(above, SILENCED)
    theirs = teacher.masked_fill(above, SILENCED)
    apart = F.kl_div(F.log_softmax(mine, dim=1), F.log_softmax(theirs, dim=1), reduction="none", log_target=True)
    return torch.where(above, 0.0, apart).sum(1) * temperature**2
