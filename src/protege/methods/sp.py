"""Tung, Mori 2019, Similarity-Preserving Knowledge Distillation. arXiv:1907.09682."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import F, Tensor, nn
from protege.methods.base import Batch, Method, Outputs, Progress, Shapes
from protege.methods.stages import chosen_pair, full_precision, pair_of


class SP(Method):
    """Images that are alike to the teacher shall be alike to the student; widths and sizes may differ."""

    reads: ClassVar[tuple[str, ...]] = ("stages",)
    family: ClassVar[str] = "relations"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + similarity_weight * ||G_s - G_t||^2 / B^2, G = rows of F F^T made unit"
    )
    source: ClassVar[str] = "last stage, weight 3000: the paper, and the CIFAR-100 comparison of CRD (2019)"

    name: Literal["sp"] = "sp"
    stage: int = Field(default=-1, description="which of the matched stages is compared, from 1; -1 is the deepest")
    similarity_weight: float = Field(default=3000.0, ge=0, description="weight of the similarities within the batch")
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        chosen_pair(student, teacher, self.stage)  # says at once where there is nothing to compare
        return nn.Module()

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        mine, theirs = pair_of(student, teacher, *chosen_pair(student, teacher, self.stage))
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "similarity": self.similarity_weight * similarity_gap(mine, theirs),
        }


def similarity_gap(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the two row-normalised [B, B] similarity matrices."""
    return (similarity(student) - similarity(teacher)).square().mean()


def similarity(features: Tensor) -> Tensor:
    rows = features.flatten(1)
    with full_precision(rows):
        return F.normalize(rows @ rows.T)
