"""Heo et al. 2019, A Comprehensive Overhaul of Feature Distillation. arXiv:1904.01866."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import Tensor, nn, torch
from protege.methods.base import Batch, Method, Outputs, Progress, Shapes
from protege.methods.stages import matched_stages, same_size, stage_maps


class OFD(Method):
    """Match maps before the ReLU, and ask of a silent teacher neuron only that the student's be as silent."""

    reads: ClassVar[tuple[str, ...]] = ("preactivations",)
    family: ClassVar[str] = "features"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + feature_weight * sum over stages of 2^-(stages deeper) * sum (r(F_s) - max(F_t, m))^2 "
        "/ B, m = E[F_t | F_t < 0] by channel, and nothing where r(F_s) <= max(F_t, m) <= 0"
    )
    source: ClassVar[str] = (
        "weight 1/1000 as in the authors' code for CIFAR-100; on ImageNet they use a tenth of it or less"
    )

    name: Literal["ofd"] = "ofd"
    feature_weight: float = Field(
        default=0.001, ge=0, description="weight of the maps, which are summed over places and channels"
    )
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        from protege.methods.ofd_margins import MarginConnectors

        pairs = matched_stages(student, teacher, "_pre")
        widths = [(student.features[mine][0], teacher.features[theirs][0]) for mine, theirs in pairs]
        return MarginConnectors(widths, [teacher.norms.get(theirs) for _, theirs in pairs])

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        mine, theirs = zip(*stage_maps(student, teacher, "_pre"), strict=True)
        connected, margins = adapters(mine, theirs)
        gaps = [
            partial_gap(*same_size(maps.to(goal.dtype), goal), margin) / 2**deeper
            for maps, goal, margin, deeper in zip(connected, theirs, margins, reversed(range(len(theirs))), strict=True)
        ]
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "maps": self.feature_weight * torch.stack(gaps).sum(),
        }


def partial_gap(student: Tensor, teacher: Tensor, margin: Tensor) -> Tensor:
    """Squared distance to the teacher, no lower than its margin, summed over an image; nothing below a silent goal."""
    goal = torch.maximum(teacher, margin)
    counts = (student > goal) | (goal > 0)
    return ((student - goal).square() * counts).sum() / len(student)
