"""Passalis, Tefas 2018, Learning Deep Representations with Probabilistic Knowledge Transfer. arXiv:1803.10837."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import F, Tensor, nn
from protege.methods.base import Batch, Method, Outputs, Progress
from protege.methods.stages import full_precision, pooled_vectors

SMALL = 1e-7


class PKT(Method):
    """Match the probability that each image would pick each other image as its neighbour."""

    reads: ClassVar[tuple[str, ...]] = ("pooled",)
    family: ClassVar[str] = "relations"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + neighbour_weight * mean_ij P_t log(P_t / P_s), P = (1 + cosine) / 2, its rows summing to 1"
    )
    source: ClassVar[str] = "weight 30000, for a mean over all B^2 pairs: the CIFAR-100 comparison of CRD (2019)"

    name: Literal["pkt"] = "pkt"
    neighbour_weight: float = Field(default=30000.0, ge=0, description="weight of the neighbour probabilities")
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "neighbours": self.neighbour_weight * neighbour_kl(*pooled_vectors(student, teacher)),
        }


def neighbour_kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL of the neighbour probabilities, averaged over all pairs (and so B times smaller than a mean over images)."""
    mine, theirs = neighbours(student), neighbours(teacher)
    return (theirs * ((theirs + SMALL) / (mine + SMALL)).log()).mean()


def neighbours(vectors: Tensor) -> Tensor:
    unit = F.normalize(vectors)
    with full_precision(unit):
        affinity = (unit @ unit.T + 1) / 2
    return affinity / affinity.sum(1, keepdim=True)
