"""Chen et al. 2021, Cross-Layer Distillation with Semantic Calibration. arXiv:2012.03236."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import Tensor, nn
from protege.methods.base import Batch, Method, Outputs, Progress, Shapes, at_least_float32, softened_kl
from protege.methods.stages import matched_stages, same_size, stage_names


class SemCKD(Method):
    """Let attention find out which of the teacher's stages each of the student's should learn from."""

    reads: ClassVar[tuple[str, ...]] = ("logits", "stages")
    family: ClassVar[str] = "features"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + kd_weight * T^2 * KL + semantic_weight * mean over images and student stages of "
        "sum over teacher stages of attention * MSE(projector(F_s), F_t)"
    )
    source: ClassVar[str] = "weights 1, 1 and 400 at batch 64: the authors' code for CIFAR-100 (50 for ImageNet)"

    name: Literal["semckd"] = "semckd"
    semantic_weight: float = Field(default=400.0, ge=0, description="weight of the maps")
    kd_weight: float = Field(
        default=1.0, ge=0, description="weight of the teacher's logits, a part of the paper's loss"
    )
    temperature: float = Field(default=4.0, gt=0, description="divides both logits before the softmax")
    anchors: int = Field(
        default=64,
        ge=4,
        description="images of the batch that each image is likened to, for the attention; the paper: the batch size",
    )
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        from protege.methods.semckd_attention import CrossAttention

        matched_stages(student, teacher)  # says at once where there is nothing to compare
        widths = [[network.features[name][0] for name in stage_names(network)] for network in (student, teacher)]
        return CrossAttention(widths[0], widths[1], self.anchors)

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        mine = [at_least_float32(student.features[name]) for name in stage_names(student)]
        theirs = [at_least_float32(teacher.features[name].detach()) for name in stage_names(teacher)]
        pairs = [[same_size(maps, goal) for goal in theirs] for maps in mine]
        attention, projected = adapters(mine, theirs, [[maps for maps, _ in row] for row in pairs])
        goals = [[goal for _, goal in row] for row in pairs]
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "teacher": self.kd_weight * softened_kl(student.logits, teacher.logits.detach(), self.temperature),
            "semantics": self.semantic_weight * attended_gap(attention, projected, goals),
        }


def attended_gap(attention: Tensor, projected: list[list[Tensor]], goals: list[list[Tensor]]) -> Tensor:
    """Squared errors of all pairs of stages, weighed by attention; mean over images and student stages."""
    total = attention.new_zeros(len(attention))
    for row, (maps_row, goals_row) in enumerate(zip(projected, goals, strict=True)):
        for column, (maps, goal) in enumerate(zip(maps_row, goals_row, strict=True)):
            gap = (maps.to(goal.dtype) - goal).square().flatten(1).mean(1)
            total = total + attention[:, row, column] * gap
    return total.mean() / len(projected)
