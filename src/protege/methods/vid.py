"""Ahn et al. 2019, Variational Information Distillation for Knowledge Transfer. arXiv:1904.05835."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import Tensor, nn, torch
from protege.methods.base import Batch, Method, Outputs, Progress, Shapes
from protege.methods.stages import matched_stages, same_size, stage_maps


class VID(Method):
    """Raise a bound on what the student's maps know of the teacher's, with a variance learnt for each channel."""

    reads: ClassVar[tuple[str, ...]] = ("stages",)
    family: ClassVar[str] = "features"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + information_weight * sum over stages of mean((mu(F_s) - F_t)^2 / var + log var) / 2"
    )
    source: ClassVar[str] = "all stages, weight 1, variance from 5 and above 1e-5: the authors' code and CRD (2019)"

    name: Literal["vid"] = "vid"
    information_weight: float = Field(
        default=1.0, ge=0, description="weight of the Gaussian log-likelihood, all stages together"
    )
    initial_variance: float = Field(default=5.0, gt=1e-3, description="of every channel before training")
    variance_floor: float = Field(default=1e-5, gt=0, lt=1e-3, description="which the learnt variance stays above")
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        from protege.methods.adapters import GaussianRegressor, PerStage

        widths = [
            (student.features[mine][0], teacher.features[theirs][0])
            for mine, theirs in matched_stages(student, teacher)
        ]
        return PerStage(GaussianRegressor(*pair, self.initial_variance, self.variance_floor) for pair in widths)

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        pairs = [same_size(mine, theirs) for mine, theirs in stage_maps(student, teacher)]
        mine, theirs = zip(*pairs, strict=True)
        losses = [
            surprise(mean.to(goal.dtype), goal, variance)
            for (mean, variance), goal in zip(adapters(mine), theirs, strict=True)
        ]
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "information": self.information_weight * torch.stack(losses).sum(),
        }


def surprise(mean: Tensor, target: Tensor, variance: Tensor) -> Tensor:
    """Gaussian negative log-likelihood without its constant, averaged over all values; it may fall below zero."""
    return 0.5 * ((mean - target).square() / variance + variance.log()).mean()
