"""Yang et al. 2021, Knowledge Distillation via Softmax Regression Representation Learning. ICLR 2021."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import F, Tensor, nn
from protege.methods.base import Batch, Classifier, Method, Outputs, Progress, Shapes, at_least_float32
from protege.methods.stages import classifier_over, full_precision, pooled_vectors


class SRRL(Method):
    """Give the student pooled features from which the teacher's classifier reads what it reads from its own."""

    reads: ClassVar[tuple[str, ...]] = ("logits", "pooled", "classifier")
    family: ClassVar[str] = "features"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + feature_weight * MSE(g(f_s), f_t) + regression_weight * "
        "MSE(teacher's classifier(g(f_s)), z_t)"
    )
    source: ClassVar[str] = (
        "both weights 1: the authors' code and the CIFAR-100 comparison of SimKD (2022); g of pooled features as in the "
        "latter, while the authors project the map and pool what comes out"
    )

    name: Literal["srrl"] = "srrl"
    feature_weight: float = Field(default=1.0, ge=0, description="weight of the pooled features")
    regression_weight: float = Field(
        default=1.0, ge=0, description="weight of what the teacher's classifier reads from them"
    )
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        from protege.methods.adapters import VectorProjector

        (narrow,), (wide,) = student.features["pooled"], teacher.features["pooled"]
        classifier_over(teacher, wide, "teacher")
        return VectorProjector(narrow, wide)

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        mine, theirs = pooled_vectors(student, teacher)
        adapted = adapters(mine).to(theirs.dtype)
        read = read_by(classifier_over(teacher, theirs.shape[1], "teacher"), adapted)
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "features": self.feature_weight * F.mse_loss(adapted, theirs),
            "regression": self.regression_weight * F.mse_loss(read, at_least_float32(teacher.logits.detach())),
        }


def read_by(classifier: Classifier, vectors: Tensor) -> Tensor:
    """Logits that a frozen classifier gives these features."""
    bias = None if classifier.bias is None else at_least_float32(classifier.bias.detach())
    with full_precision(vectors):
        return F.linear(vectors, at_least_float32(classifier.weight.detach()), bias)
