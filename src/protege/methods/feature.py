"""Yasar 2026, capacity gap and Feature-KD on CIFAR-10. arXiv:2605.31191."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from protege.lazy import F, Tensor, nn, torch
from protege.methods.base import Batch, Method, Outputs, Progress, Shapes
from protege.methods.stages import matched_stages, pooled_to, stage_maps


class Feature(Method):
    """Bring every stage's map near the teacher's, through a 1x1 convolution that learns along; no logits."""

    reads: ClassVar[tuple[str, ...]] = ("stages",)
    family: ClassVar[str] = "features"
    formula: ClassVar[str] = (
        "(1 - kd_weight) * CE(labels) + kd_weight * [mean over stages of MSE(P F_s, F_t) "
        "+ cosine_weight * mean over stages of (1 - cos(pooled P F_s, pooled F_t))]"
    )
    source: ClassVar[str] = "the study's code; it compared kd_weight .3, .5 and .7"

    name: Literal["feature"] = "feature"
    kd_weight: float = Field(default=0.5, ge=0, description="weight of the teacher's maps")
    ce_weight: float | None = Field(default=None, ge=0, description="weight of the labels; 1 - kd_weight unless given")
    cosine_weight: float = Field(
        default=0.5, ge=0, description="direction of the pooled features, against their values"
    )

    @model_validator(mode="after")
    def _labels_keep_a_weight(self) -> Self:
        if self.ce_weight is None and self.kd_weight > 1:
            raise ValueError(
                f"kd_weight {self.kd_weight:g} leaves the labels a negative weight: give ce_weight as well"
            )
        return self

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        from protege.methods.adapters import PerStage, projector

        pairs = matched_stages(student, teacher)
        return PerStage(projector(student.features[mine][0], teacher.features[theirs][0]) for mine, theirs in pairs)

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        mine, theirs = zip(*stage_maps(student, teacher), strict=True)
        projected = [
            pooled_to(maps.to(goal.dtype), tuple(goal.shape[-2:]))
            for maps, goal in zip(adapters(mine), theirs, strict=True)
        ]
        pairs = list(zip(projected, theirs, strict=True))
        distance = torch.stack([F.mse_loss(maps, goal) for maps, goal in pairs]).mean()
        turn = torch.stack([pooled_turn(maps, goal) for maps, goal in pairs]).mean()
        ce_weight = 1 - self.kd_weight if self.ce_weight is None else self.ce_weight
        return {
            "labels": ce_weight * self.label_loss(student.logits, batch),
            "maps": self.kd_weight * distance,
            "directions": self.kd_weight * self.cosine_weight * turn,
        }


def pooled_turn(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of the globally averaged maps, averaged over the batch."""
    return (1 - F.cosine_similarity(student.mean((2, 3)), teacher.mean((2, 3)), dim=1)).mean()
