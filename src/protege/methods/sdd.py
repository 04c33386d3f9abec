"""Wei et al. 2024, Scaled Decoupled Distillation. arXiv:2403.13512."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from protege.lazy import F, Tensor, nn, torch
from protege.methods.base import (
    Batch,
    Classifier,
    Method,
    Outputs,
    Progress,
    Shapes,
    at_least_float32,
    divergence,
    over_labels,
)
from protege.methods.catkd import readable_by_class
from protege.methods.stages import classifier_over, full_precision, last_map, pair_of, pooled_to


class SDD(Method):
    """Match the teacher region by region: KD on what each network's classifier reads from every part of its last map.

    A region counts double where the teacher is right of it and wrong of the whole, or the reverse. This is the form on
    plain KD; the authors also put it on DKD and NKD.
    """

    reads: ClassVar[tuple[str, ...]] = ("logits", "stages", "classifier")
    family: ClassVar[str] = "features"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + kd_weight * mean over regions r of c_r * T^2 * KL(teacher of r at T || student of r at T); "
        "c_r = complementary_weight where the teacher is right of either r or the whole, else 1"
    )
    source: ClassVar[str] = (
        "the authors' code for SD-KD: T 4, .1/.9, complementary regions twice, 1, 2 and 4 cells a side "
        "(1 and 2 for resnet32x4 -> resnet8x4 and vgg13 -> vgg8)"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "resnet32x4 -> resnet8x4": {"scales": (1, 2)},
        "vgg13 -> vgg8": {"scales": (1, 2)},
    }

    name: Literal["sdd"] = "sdd"
    scales: tuple[int, ...] = Field(
        default=(1, 2, 4),
        min_length=1,
        description="cells a side that the map is cut into; 1 is the whole, and comes first",
    )
    complementary_weight: float = Field(
        default=2.0, ge=0, description="of regions where the teacher is right and wrong of the whole, or the reverse"
    )
    temperature: float = Field(default=4.0, gt=0, description="divides both logits of each region before the softmax")
    kd_weight: float = Field(default=0.9, ge=0, description="weight of the teacher's word, all regions together")
    ce_weight: float = Field(default=0.1, ge=0, description="weight of the labels")

    @model_validator(mode="after")
    def _whole_first(self) -> Self:
        if self.scales[0] != 1 or any(scale < 1 for scale in self.scales):
            raise ValueError(f"scales are cells a side, the whole first: [1, 2, 4], not {list(self.scales)}")
        return self

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        readable_by_class(student, teacher, "SDD")
        return nn.Module()

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        mine, theirs = pair_of(student, teacher, last_map(student), last_map(teacher))
        seen = region_logits(mine, classifier_over(student, mine.shape[1], "student"), self.scales)
        goal = region_logits(theirs, classifier_over(teacher, theirs.shape[1], "teacher"), self.scales).detach()
        apart = over_labels(batch, lambda labels: self._apart(seen, goal, labels))
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "regions": self.kd_weight * apart.mean(),
        }

    def _apart(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Mean over the regions of each example, [B]; both are logits of regions, the whole first."""
        softened = F.log_softmax(teacher / self.temperature, dim=-1)
        apart = [divergence(*pair, self.temperature) for pair in zip(student, softened, strict=True)]
        right = teacher.argmax(-1) == labels
        counts = torch.where(right == right[0], 1.0, self.complementary_weight)
        return (counts * torch.stack(apart)).mean(0)


def region_logits(maps: Tensor, classifier: Classifier, scales: tuple[int, ...]) -> Tensor:
    """What the classifier reads from each cell of each scale, [cells, B, classes]; cells are averages of the finest."""
    finest = pooled_to(maps, (max(scales), max(scales)))
    cells = torch.cat([pooled_to(finest, (scale, scale)).flatten(2) for scale in scales], dim=2).permute(2, 0, 1)
    bias = None if classifier.bias is None else at_least_float32(classifier.bias)
    with full_precision(cells):
        return F.linear(cells, at_least_float32(classifier.weight), bias)
