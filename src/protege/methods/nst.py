"""Huang, Wang 2017, Like What You Like: Knowledge Distill via Neuron Selectivity Transfer. arXiv:1707.01219."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import F, Tensor, nn, torch
from protege.methods.base import Batch, Method, Outputs, Progress, Shapes
from protege.methods.stages import full_precision, matched_stages, same_size, stage_maps


class NST(Method):
    """Give the student's channels the distribution of the teacher's, as patterns over places, in whatever order."""

    reads: ClassVar[tuple[str, ...]] = ("stages",)
    family: ClassVar[str] = "features"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + selectivity_weight * sum over stages of MMD^2 with kernel (x.y)^2 between unit "
        "channel patterns"
    )
    source: ClassVar[str] = "weight 50: the paper, and the CIFAR-100 comparison of CRD (2019)"

    name: Literal["nst"] = "nst"
    selectivity_weight: float = Field(
        default=50.0, ge=0, description="weight of the channel patterns, all stages together"
    )
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        matched_stages(student, teacher)  # says at once where there is nothing to compare
        return nn.Module()

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        gaps = [selectivity_gap(*same_size(mine, theirs)) for mine, theirs in stage_maps(student, teacher)]
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "selectivity": self.selectivity_weight * torch.stack(gaps).sum(),
        }


def selectivity_gap(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared maximum mean discrepancy between the channels of equal-sized maps, averaged over the batch."""
    mine, theirs = F.normalize(student.flatten(2), dim=2), F.normalize(teacher.flatten(2), dim=2)
    with full_precision(mine):
        return _kernel_mean(mine, mine) + _kernel_mean(theirs, theirs) - 2 * _kernel_mean(mine, theirs)


def _kernel_mean(left: Tensor, right: Tensor) -> Tensor:
    """Mean of (x.y)^2 over all pairs of channels, through whichever product is smaller: by channel or by place."""
    if left.shape[2] ** 2 < left.shape[1] * right.shape[1]:
        by_place = (left.transpose(1, 2) @ left) * (right.transpose(1, 2) @ right)
        return by_place.sum((1, 2)).mean() / (left.shape[1] * right.shape[1])
    return (left @ right.transpose(1, 2)).square().mean()
