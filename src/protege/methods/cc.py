"""Peng et al. 2019, Correlation Congruence for Knowledge Distillation. arXiv:1904.01802."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import F, Tensor, nn, torch
from protege.methods.base import Batch, Method, Outputs, Progress, Shapes
from protege.methods.stages import full_precision, pooled_vectors

USUAL_WEIGHT = {"neighbours": 0.02, "kernel": 100.0}


class CC(Method):
    """Make images correlate with one another as they do for the teacher."""

    reads: ClassVar[tuple[str, ...]] = ("pooled",)
    family: ClassVar[str] = "relations"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + correlation_weight * C; kernel: C = mean((K_s - K_t)^2), K a Gaussian kernel as its "
        "Taylor series up to the power order; neighbours: C = mean_b sum_d |e_s - e_t|_b |e_s - e_t|_{b+1} on learnt embeddings e"
    )
    source: ClassVar[str] = (
        "neighbours and .02: the CIFAR-100 comparison of CRD (2019); kernel: the paper's own form, order 2, width .4 and "
        "weight 100 as in the CIFAR-10 script of Knowledge-Distillation-Zoo, by its README not chosen with care"
    )

    name: Literal["cc"] = "cc"
    form: Literal["neighbours", "kernel"] = Field(
        default="neighbours", description="what most tables call CC, or the paper's kernel"
    )
    correlation_weight: float | None = Field(
        default=None, ge=0, description="weight of the correlations; 0.02 (neighbours) or 100 (kernel) unless given"
    )
    dim: int = Field(default=128, ge=1, description="width of the learnt embeddings of `neighbours`")
    order: int = Field(default=2, ge=1, description="terms of the expansion of `kernel`, beyond the constant")
    width: float = Field(default=0.4, gt=0, description="inverse width of `kernel`")
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        if self.form == "kernel":
            return nn.Module()
        from protege.methods.adapters import Embeddings

        return Embeddings(student.features["pooled"][0], teacher.features["pooled"][0], self.dim)

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        mine, theirs = pooled_vectors(student, teacher)
        if self.form == "kernel":
            gap = F.mse_loss(kernel(mine, self.width, self.order), kernel(theirs, self.width, self.order))
        else:
            gap = neighbour_gap(*(embedded.to(mine.dtype) for embedded in adapters(mine, theirs)))
        weight = USUAL_WEIGHT[self.form] if self.correlation_weight is None else self.correlation_weight
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "correlation": weight * gap,
        }


def neighbour_gap(student: Tensor, teacher: Tensor) -> Tensor:
    """Disagreement of each image times that of the next in the batch; nothing for a batch of one."""
    gap = (student - teacher).abs()
    return (gap[:-1] * gap[1:]).sum() / max(1, len(gap) - 1)


def kernel(vectors: Tensor, width: float, order: int) -> Tensor:
    """Gaussian kernel of unit vectors, [B, B], by its Taylor series in their cosine."""
    unit = F.normalize(vectors)
    with full_precision(unit):
        cosine = unit @ unit.T
    series = [(2 * width) ** power / math.factorial(power) * cosine**power for power in range(order + 1)]
    return math.exp(-2 * width) * torch.stack(series).sum(0)
