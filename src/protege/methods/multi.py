"""Several teachers, weighed. By confidence as in Zhang, Chen, Wang 2022, Confidence-Aware Multi-Teacher Knowledge
Distillation. arXiv:2201.00007."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from protege.errors import ConfigError
from protege.lazy import F, Tensor, nn, torch
from protege.methods.base import Batch, Method, Outputs, Progress, divergence, over_labels, softened_members
from protege.methods.uncertainty import entropy


class Multi(Method):
    """KD from several teachers, each weighed: all alike, as you say, or image by image.

    Probabilities are averaged, never logits: so the weighted sum of the KLs is the KL to the mean, but for a constant.
    `confidence` looks at the labels, `entropy` does not. One teacher alone has all the weight.
    """

    family: ClassVar[str] = "many"
    paper: ClassVar[str] = (
        "mean: Hinton et al. 2015. arXiv:1503.02531; confidence: Zhang et al. 2022, Confidence-Aware Multi-Teacher "
        "Knowledge Distillation. arXiv:2201.00007"
    )
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + kd_weight * T^2 * KL(sum of w_k teacher_k at T || student at T); confidence: "
        "w_k = (1 - softmax over k of CE(teacher_k, labels)) / (K - 1); entropy: the same of H(teacher_k)"
    )
    source: ClassVar[str] = (
        "the confidence paper's T 4; weights .1/.9 as in KD (the paper: 1 and 1, with features besides)"
    )

    name: Literal["multi"] = "multi"
    weighting: Literal["mean", "fixed", "confidence", "entropy"] = Field(
        default="mean", description="how the teachers are weighed"
    )
    weights: tuple[float, ...] = Field(
        default=(), description="one for each teacher, for fixed; they are divided by their sum"
    )
    temperature: float = Field(
        default=4.0, gt=0, description="divides all logits before the softmax; weights are taken at 1"
    )
    kd_weight: float = Field(default=0.9, ge=0, description="weight of the teachers' word")
    ce_weight: float = Field(default=0.1, ge=0, description="weight of the labels")

    @model_validator(mode="after")
    def _weights_when_fixed(self) -> Self:
        if (self.weighting == "fixed") != bool(self.weights):
            raise ValueError("weights (one number for each teacher) belong to weighting: fixed, and it needs them")
        if self.weights and (min(self.weights) < 0 or sum(self.weights) == 0):
            raise ValueError(f"weights must be 0 or more and not all 0, not {list(self.weights)}")
        return self

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        softened = softened_members(teacher, self.temperature)
        mean = (softened + self.shares(teacher, batch).log()[..., None]).logsumexp(0)
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "teacher": self.kd_weight * divergence(student.logits, mean, self.temperature).mean(),
        }

    def shares(self, teacher: Outputs, batch: Batch) -> Tensor:
        """Weight of each teacher for each example, [K, B]; sums to 1 over the teachers."""
        plain = softened_members(teacher, 1.0)
        teachers = len(plain)
        if self.weighting == "fixed":
            if len(self.weights) != teachers:
                raise ConfigError(f"multi: {len(self.weights)} weights for {teachers} teachers. Give one for each.")
            given = torch.stack([torch.full_like(plain[0, :, 0], weight) for weight in self.weights])
            return given / sum(self.weights)
        if self.weighting == "mean" or teachers == 1:
            return torch.full_like(plain[..., 0], 1 / teachers)
        doubt = self.mistakes(plain, batch) if self.weighting == "confidence" else entropy(plain)
        return (1 - F.softmax(doubt, dim=0)) / (teachers - 1)

    def mistakes(self, plain: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy of each teacher with the labels, [K, B]."""
        return torch.stack(
            [over_labels(batch, lambda labels, p=p: F.nll_loss(p, labels, reduction="none")) for p in plain]
        )
