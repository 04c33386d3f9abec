"""Zagoruyko, Komodakis 2017, Paying More Attention to Attention. arXiv:1612.03928."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import F, Tensor, nn, torch
from protege.methods.base import Batch, Method, Outputs, Progress, Shapes
from protege.methods.stages import matched_stages, same_size, stage_maps


class AT(Method):
    """Look where the teacher looks: match the energy of each place, summed over channels, at every stage."""

    reads: ClassVar[tuple[str, ...]] = ("stages",)
    family: ClassVar[str] = "features"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + attention_weight * sum over stages of mean((A_s - A_t)^2), A = unit(mean_c |F|^power)"
    )
    source: ClassVar[str] = "power 2, weight 1000: the paper, and the CIFAR-100 comparison of CRD (2019)"

    name: Literal["at"] = "at"
    attention_weight: float = Field(
        default=1000.0, ge=0, description="weight of the attention maps, all stages together"
    )
    power: float = Field(default=2.0, ge=1, description="to which channels are raised before they are averaged")
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        matched_stages(student, teacher)  # says at once where there is nothing to compare
        return nn.Module()

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        gaps = [attention_gap(*same_size(mine, theirs), self.power) for mine, theirs in stage_maps(student, teacher)]
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "attention": self.attention_weight * torch.stack(gaps).sum(),
        }


def attention_gap(student: Tensor, teacher: Tensor, power: float = 2.0) -> Tensor:
    """Mean squared difference of two unit attention maps; blind to the scale of either network's features."""
    return (attention(student, power) - attention(teacher, power)).square().mean()


def attention(maps: Tensor, power: float) -> Tensor:
    return F.normalize(maps.abs().pow(power).mean(1).flatten(1))
