"""Guo et al. 2023, Class Attention Transfer Based Knowledge Distillation. arXiv:2304.12777."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from protege.errors import ShapeMismatch
from protege.lazy import F, Tensor, nn
from protege.methods.base import Batch, Classifier, Method, Outputs, Progress, Shapes, at_least_float32
from protege.methods.stages import classifier_over, full_precision, last_map, matched_stages, pair_of, pooled_to


class CATKD(Method):
    """Show the student where the teacher sees evidence for each class: its class activation maps."""

    reads: ClassVar[tuple[str, ...]] = ("stages", "classifier")
    family: ClassVar[str] = "features"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + attention_weight * MSE(CAM_s, CAM_t), CAM = classifier weights on the last map, "
        "averaged to resolution^2 places"
    )
    source: ClassVar[str] = (
        "weight 400, unit maps and 2 x 2 places: defaults of the authors' code; per pair in the presets"
    )
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "resnet56 -> resnet20": {"attention_weight": 0.7, "unit": False},
        "resnet110 -> resnet32": {"attention_weight": 1.8, "unit": False},
        "resnet32x4 -> resnet8x4": {"attention_weight": 15, "unit": False},
        "wrn_40_2 -> wrn_16_2": {"attention_weight": 12, "unit": False},
        "wrn_40_2 -> wrn_40_1": {"attention_weight": 1.5, "unit": False},
        "vgg13 -> vgg8": {"attention_weight": 4.5, "unit": False},
        "resnet50 -> mobilenet_v2_half": {"attention_weight": 40},
        "vgg13 -> mobilenet_v2_half": {"attention_weight": 15},
        "resnet32x4 -> shufflenet_v1": {"attention_weight": 600, "resolution": 4},
        "resnet32x4 -> shufflenet_v2": {"attention_weight": 600, "resolution": 4},
        "wrn_40_2 -> shufflenet_v1": {"attention_weight": 80, "resolution": 4},
    }

    name: Literal["catkd"] = "catkd"
    attention_weight: float = Field(default=400.0, ge=0, description="weight of the class activation maps")
    unit: bool = Field(default=True, description="compare the maps' shapes only, each class's map made of unit length")
    resolution: int = Field(default=2, ge=1, description="places a side that the maps are averaged to")
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        readable_by_class(student, teacher, "CAT-KD")
        return nn.Module()

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        mine, theirs = pair_of(student, teacher, last_map(student), last_map(teacher))
        seen = self._maps(mine, classifier_over(student, mine.shape[1], "student"))
        goal = self._maps(theirs, classifier_over(teacher, theirs.shape[1], "teacher")).detach()
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "attention": self.attention_weight * F.mse_loss(seen, goal),
        }

    def _maps(self, features: Tensor, classifier: Classifier) -> Tensor:
        maps = class_maps(features, classifier, self.resolution)
        return F.normalize(maps, dim=2) if self.unit else maps


def readable_by_class(student: Shapes, teacher: Shapes, method: str) -> None:
    """An error where the last maps cannot be read by their classifiers, or not of the same classes."""
    matched_stages(student, teacher)  # says at once where there is nothing to compare
    if student.classes != teacher.classes:
        raise ShapeMismatch(
            f"{method} compares classes one by one, but the student knows {student.classes} and the teacher "
            f"{teacher.classes}. Choose a teacher of the same data."
        )
    for network, owner in ((student, "student"), (teacher, "teacher")):
        classifier_over(network, network.features[last_map(network)][0], owner)


def class_maps(features: Tensor, classifier: Classifier, resolution: int) -> Tensor:
    """How much each place speaks for each class, [B, classes, resolution^2]."""
    places = pooled_to(features, (resolution, resolution)).flatten(2)
    with full_precision(places):
        return at_least_float32(classifier.weight) @ places
