"""Park et al. 2019, Relational Knowledge Distillation. arXiv:1904.05068."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import F, Tensor, nn
from protege.methods.base import Batch, Method, Outputs, Progress
from protege.methods.stages import full_precision, pooled_vectors


class RKD(Method):
    """Keep the teacher's geometry of a batch: how far images are from one another, and at what angles."""

    reads: ClassVar[tuple[str, ...]] = ("pooled",)
    family: ClassVar[str] = "relations"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + distance_weight * smooth L1 of pairwise distances, each by its own mean "
        "+ angle_weight * smooth L1 of the cosines in all triples"
    )
    source: ClassVar[str] = (
        "25 and 50: the paper, and the CIFAR-100 comparison of CRD (2019); memory grows with the batch's cube"
    )

    name: Literal["rkd"] = "rkd"
    distance_weight: float = Field(default=25.0, ge=0, description="weight of the distances between pairs")
    angle_weight: float = Field(default=50.0, ge=0, description="weight of the angles in triples")
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        mine, theirs = (vectors[None] - vectors[:, None] for vectors in pooled_vectors(student, teacher))
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "distances": self.distance_weight * F.smooth_l1_loss(relative_distances(mine), relative_distances(theirs)),
            "angles": self.angle_weight * F.smooth_l1_loss(angles(mine), angles(theirs)),
        }


def relative_distances(gaps: Tensor) -> Tensor:
    """Lengths of the differences [B, B, D], in units of the mean of those above zero; zero where all points are one."""
    lengths = gaps.norm(dim=2)  # whose gradient is zero, not infinite, where two points are one
    mean = lengths.sum() / (lengths > 0).sum().clamp_min(1)
    return lengths / mean.clamp_min(1e-12)


def angles(gaps: Tensor) -> Tensor:
    """Cosine between the directions from each image to every two others, [B, B, B]."""
    directions = F.normalize(gaps, dim=2)
    with full_precision(directions):
        return directions @ directions.transpose(1, 2)
