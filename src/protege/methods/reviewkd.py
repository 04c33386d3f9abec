"""Chen et al. 2021, Distilling Knowledge via Knowledge Review. arXiv:2104.09044."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import F, Tensor, nn, torch
from protege.methods.base import Batch, Method, Outputs, Progress, Shapes
from protege.methods.stages import matched_stages, pair_of, pooled_to


class ReviewKD(Method):
    """Teach the student's shallow stages with the teacher's, after mixing the deeper ones into them."""

    reads: ClassVar[tuple[str, ...]] = ("stages", "preactivations", "pooled")
    family: ClassVar[str] = "features"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + min(1, epoch / warmup_epochs) * review_weight * sum over stages and pooled features of "
        "HCL(fused F_s, F_t); "
        "HCL = mean of MSE at full size and averaged to 4, 2, 1 places a side, weighted 1, 1/2, 1/4, 1/8"
    )
    source: ClassVar[str] = (
        "weight 5 and 20 epochs of warm-up for resnet32x4 -> resnet8x4; the authors use .6 to 8 for other pairs"
    )
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "resnet56 -> resnet20": {"review_weight": 0.6},
        "resnet110 -> resnet32": {"review_weight": 1.0},
        "resnet32x4 -> resnet8x4": {"review_weight": 5.0},
        "resnet32x4 -> shufflenet_v1": {"review_weight": 5.0},
        "resnet32x4 -> shufflenet_v2": {"review_weight": 8.0},
        "wrn_40_2 -> shufflenet_v1": {"review_weight": 5.0},
        "wrn_40_2 -> wrn_16_2": {"review_weight": 5.0},
        "wrn_40_2 -> wrn_40_1": {"review_weight": 5.0},
    }

    name: Literal["reviewkd"] = "reviewkd"
    review_weight: float = Field(
        default=5.0,
        ge=0,
        description="weight of the fused maps, all levels together; does not carry over between pairs",
    )
    warmup_epochs: int = Field(
        default=20, ge=0, description="epochs in which that weight grows; at most half of the run"
    )
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        from protege.methods.reviewkd_fusion import Review

        levels = matched_levels(student, teacher)
        widths = [(student.features[mine][0], teacher.features[theirs][0]) for mine, theirs in levels]
        sizes = [teacher.features[theirs][1:] or (1, 1) for _, theirs in levels]
        return Review(widths, sizes)

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        pairs = [pair_of(student, teacher, *names) for names in matched_levels(student, teacher)]
        mine, theirs = zip(*((_as_map(level), _as_map(goal)) for level, goal in pairs), strict=True)
        losses = [
            hierarchical_gap(fused.to(goal.dtype), goal) for fused, goal in zip(adapters(mine), theirs, strict=True)
        ]
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "review": progress.warmed(self.warmup_epochs) * self.review_weight * torch.stack(losses).sum(),
        }


def matched_levels(student: Shapes | Outputs, teacher: Shapes | Outputs) -> list[tuple[str, str]]:
    """Pooled features first, then stages from the deepest up; the teacher's before the activation where it has one."""
    stages = reversed(matched_stages(student, teacher))
    return [
        ("pooled", "pooled"),
        *((mine, f"{theirs}_pre" if f"{theirs}_pre" in teacher.features else theirs) for mine, theirs in stages),
    ]


def _as_map(features: Tensor) -> Tensor:
    return features[:, :, None, None] if features.ndim == 2 else features


def hierarchical_gap(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared error at full size and at 4, 2 and 1 places a side, each level counting half of the one before."""
    sizes = [size for size in (4, 2, 1) if size < min(student.shape[-2:])]
    gaps = [F.mse_loss(student, teacher)]
    gaps += [F.mse_loss(pooled_to(student, (size, size)), pooled_to(teacher, (size, size))) for size in sizes]
    weights = [0.5**level for level in range(len(gaps))]
    return sum((weight * gap for weight, gap in zip(weights, gaps, strict=True)), torch.zeros_like(gaps[0])) / sum(
        weights
    )
