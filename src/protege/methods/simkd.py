"""Chen et al. 2022, Knowledge Distillation with the Reused Teacher Classifier. arXiv:2203.14001."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import F, Tensor, nn
from protege.methods.base import Batch, Method, Outputs, Progress, Shapes, at_least_float32
from protege.methods.stages import classifier_over, last_map, matched_stages, pair_of, pooled_to, smaller_size


class SimKD(Method):
    """Teach the last map alone, and let the teacher's own classifier read it, in the deployed student too."""

    reads: ClassVar[tuple[str, ...]] = ("stages", "classifier")
    family: ClassVar[str] = "features"
    formula: ClassVar[str] = (
        "feature_weight * MSE(projector(F_s), F_t) at the last stage; "
        "logits = teacher's classifier(pooled projector(F_s)), on which ce_weight * CE(labels)"
    )
    source: ClassVar[str] = "weight 1, reduction 2, no labels: the authors' code"
    adds: ClassVar[str] = "a projector of three convolutions and the teacher's classifier in place of its own"

    name: Literal["simkd"] = "simkd"
    feature_weight: float = Field(default=1.0, ge=0, description="weight of the teacher's last map")
    reduction: int = Field(
        default=2,
        ge=1,
        description="the projector's inner width is the teacher's divided by this; larger is smaller and less accurate",
    )
    ce_weight: float = Field(
        default=0.0, ge=0, description="weight of the labels, on the deployed logits; the paper uses none"
    )

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        from protege.methods.adapters import ReusedClassifier

        matched_stages(student, teacher)  # says at once where there is nothing to compare
        mine, theirs = last_map(student), last_map(teacher)
        (narrow, *_), (wide, *_) = student.features[mine], teacher.features[theirs]
        classifier = classifier_over(teacher, wide, "teacher")
        size = smaller_size(student.features[mine], teacher.features[theirs])
        return ReusedClassifier(narrow, classifier.weight, classifier.bias, self.reduction, size)

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        mine, theirs = pair_of(student, teacher, last_map(student), last_map(teacher))
        projected, logits = adapters(mine)
        goal = pooled_to(theirs, tuple(projected.shape[-2:]))
        return {
            "labels": self.ce_weight * self.label_loss(logits, batch),
            "maps": self.feature_weight * F.mse_loss(projected.to(goal.dtype), goal),
        }

    def predict(self, student: Outputs, adapters: nn.Module) -> Tensor:
        return adapters(at_least_float32(student.features[last_map(student)]))[1]
