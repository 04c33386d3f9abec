"""Heo et al. 2019, Distillation of Activation Boundaries Formed by Hidden Neurons. arXiv:1811.03233."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import Tensor, nn, torch
from protege.methods.base import Batch, Method, Outputs, Progress, Shapes
from protege.methods.stages import matched_stages, same_size, stage_maps


class AB(Method):
    """Start the student with neurons that fire where the teacher's do; then train it on the labels alone."""

    reads: ClassVar[tuple[str, ...]] = ("preactivations",)
    family: ClassVar[str] = "features"
    formula: ClassVar[str] = (
        "first boundary_weight * sum over stages of 2^-(stages deeper) * [(F_s + margin)^2 where F_t <= 0 and "
        "F_s > -margin, (F_s - margin)^2 where F_t > 0 and F_s <= margin] / B; then ce_weight * CE(labels)"
    )
    source: ClassVar[str] = (
        "weight 3/1000 and margin 1: the authors' code; 30 epochs: the CIFAR-100 comparison of CRD (2019)"
    )

    name: Literal["ab"] = "ab"
    boundary_weight: float = Field(
        default=0.003, gt=0, description="weight of the boundaries, which are summed over places and channels"
    )
    margin: float = Field(default=1.0, ge=0, description="how far on the right side a neuron must be")
    pretraining_epochs: int = Field(
        default=30, ge=1, description="first epochs, of boundaries only; at most half of the run"
    )
    ce_weight: float = Field(default=1.0, gt=0, description="weight of the labels, afterwards")

    def prepares(self, progress: Progress) -> bool:
        return progress.epoch < progress.shortened(self.pretraining_epochs)

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        from protege.methods.adapters import PerStage, connector

        shapes = [
            (student.features[mine], teacher.features[theirs])
            for mine, theirs in matched_stages(student, teacher, "_pre")
        ]
        return PerStage(nn.Identity() if narrow == wide else connector(narrow, wide) for narrow, wide in shapes)

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        if not self.prepares(progress):
            return {"labels": self.ce_weight * self.label_loss(student.logits, batch)}
        mine, theirs = zip(*stage_maps(student, teacher, "_pre"), strict=True)
        gaps = [
            boundary_gap(*same_size(maps.to(goal.dtype), goal), self.margin) / 2**deeper
            for maps, goal, deeper in zip(adapters(mine), theirs, reversed(range(len(theirs))), strict=True)
        ]
        return {"boundaries": self.boundary_weight * torch.stack(gaps).sum()}


def boundary_gap(student: Tensor, teacher: Tensor, margin: float) -> Tensor:
    """Squared distance of each neuron to the teacher's side of its boundary plus `margin`, summed over an image."""
    fires = teacher > 0
    short = torch.where(fires, margin - student, margin + student).clamp_min(0)
    return short.square().sum() / len(student)
