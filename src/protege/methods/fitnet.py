"""Romero et al. 2015, FitNets: Hints for Thin Deep Nets. arXiv:1412.6550."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import F, Tensor, nn
from protege.methods.base import Batch, Method, Outputs, Progress, Shapes
from protege.methods.stages import chosen_pair, pair_of


class FitNet(Method):
    """Let a regressor rebuild one of the teacher's middle maps from the student's."""

    reads: ClassVar[tuple[str, ...]] = ("stages",)
    family: ClassVar[str] = "features"
    formula: ClassVar[str] = "ce_weight * CE(labels) + hint_weight * MSE(regressor(F_s), F_t) at one stage"
    source: ClassVar[str] = (
        "hint at stage 2, weight 100, both terms at once: the CIFAR-100 comparison of CRD (2019); "
        "the paper trains the hint first"
    )

    name: Literal["fitnet"] = "fitnet"
    stage: int = Field(default=2, description="which of the matched stages is compared, from 1; -1 is the deepest")
    hint_weight: float = Field(default=100.0, ge=0, description="weight of the teacher's map")
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        from protege.methods.adapters import connector

        mine, theirs = chosen_pair(student, teacher, self.stage)
        return connector(student.features[mine], teacher.features[theirs]).append(nn.ReLU())

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        mine, theirs = pair_of(student, teacher, *chosen_pair(student, teacher, self.stage))
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "hint": self.hint_weight * F.mse_loss(adapters(mine).to(theirs.dtype), theirs),
        }
