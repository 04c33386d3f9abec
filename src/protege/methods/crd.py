"""Tian et al. 2020, Contrastive Representation Distillation. arXiv:1910.10699."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.errors import ShapeMismatch
from protege.lazy import Tensor, nn
from protege.methods.base import Batch, Method, Outputs, Progress, Shapes
from protege.methods.stages import pooled_vectors


class CRD(Method):
    """Tell the teacher's features of the same image from those of many images of other classes, and the reverse."""

    reads: ClassVar[tuple[str, ...]] = ("pooled",)
    family: ClassVar[str] = "relations"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + contrast_weight * both directions of -mean over images of "
        "[log(h+ / (h+ + K/N)) + sum over K negatives of log((K/N) / (h- + K/N))]; "
        "h = exp(e_s . e_t / temperature) / Z, h+ of an image with itself, h- with a negative, e unit embeddings of which "
        "one side's are remembered; K = negatives, N = training images, Z = N * mean of exp(...) in the first batch"
    )
    source: ClassVar[str] = "weight .8, K 16384, temperature .07, momentum .5, 128 dimensions: the authors' code"

    name: Literal["crd"] = "crd"
    contrast_weight: float = Field(default=0.8, ge=0, description="weight of the contrast, both directions together")
    negatives: int = Field(
        default=16384,
        ge=1,
        description="images of other classes drawn for each image, with repeats; at most as many as there are images",
    )
    temperature: float = Field(default=0.07, gt=0, description="divides the cosines")
    momentum: float = Field(
        default=0.5, ge=0, lt=1, description="share of an image's remembered embedding that stays when it is seen again"
    )
    dim: int = Field(default=128, ge=1, description="width of the embeddings")
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        from protege.methods.crd_memory import ContrastMemory

        if student.images < 2:
            raise ShapeMismatch(
                f"CRD remembers every training image, and was told of {student.images}. Choose data of two or more."
            )
        return ContrastMemory(
            (student.features["pooled"][0], teacher.features["pooled"][0]),
            self.dim,
            student.images,
            negatives=min(self.negatives, student.images),
            temperature=self.temperature,
            momentum=self.momentum,
        )

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        mine, theirs = pooled_vectors(student, teacher)
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "contrast": self.contrast_weight * adapters(mine, theirs, batch.indices, batch.labels, progress.epoch),
        }
