"""Hossain et al. 2025, LumiNet: Perception-Driven Knowledge Distillation via Statistical Logit Calibration.
arXiv:2310.03669."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import Field

from protege.lazy import Tensor, nn
from protege.methods.base import Batch, Method, Outputs, Progress, at_least_float32, divergence, softened_teacher

FLOOR = 1e-5  # added to the variances, as in the authors' code


class LumiNet(Method):
    """Match logits that are seen class by class: at mean 0 and variance 1 over the batch, not over the classes.

    What an example's logits are depends on who else is in the batch; a batch of one says nothing. No T^2 here.
    """

    family: ClassVar[str] = "logits"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + w * kd_weight * KL(p(teacher) at T || p(student) at T), "
        "p = (x - mean) / sqrt(variance + 1e-5) of each class over the batch; w = min(1, epoch / warmup_epochs), epochs from 1"
    )
    source: ClassVar[str] = (
        "the authors' configuration for resnet32x4 -> resnet8x4; their ALPHA is squared in the loss: kd_weight = 33^2"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "resnet32x4 -> resnet8x4": {"temperature": 4, "kd_weight": 33**2, "ce_weight": 2},
        "wrn_40_2 -> wrn_40_1": {"temperature": 8, "kd_weight": 75**2, "ce_weight": 1},
        "vgg13 -> vgg8": {"temperature": 8, "kd_weight": 70**2, "ce_weight": 1},
        "vgg13 -> mobilenet_v2_half": {"temperature": 8, "kd_weight": 70**2, "ce_weight": 2},
        "resnet50 -> mobilenet_v2_half": {"temperature": 8, "kd_weight": 70**2, "ce_weight": 2},
        "wrn_40_2 -> shufflenet_v1": {"temperature": 4, "kd_weight": 35**2, "ce_weight": 1},
    }

    name: Literal["luminet"] = "luminet"
    temperature: float = Field(default=4.0, gt=0, description="divides what was made of both logits before the softmax")
    kd_weight: float = Field(default=1089.0, ge=0, description="weight of the teacher's word; not multiplied by T^2")
    warmup_epochs: int = Field(
        default=20, ge=0, description="epochs over which that weight grows; at most half of the run"
    )
    ce_weight: float = Field(default=2.0, ge=0, description="weight of the labels")

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        taught = softened_teacher(perceived(teacher), self.temperature)
        apart = divergence(perceived(student).logits, taught, self.temperature).mean() / self.temperature**2
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "teacher": progress.warmed(self.warmup_epochs) * self.kd_weight * apart,
        }


def perceived(outputs: Outputs) -> Outputs:
    """The same outputs with the logits of each class at mean 0 and variance 1 over the batch."""
    logits = at_least_float32(outputs.logits)
    variance = logits.var(0, keepdim=True, unbiased=False)
    seen = (logits - logits.mean(0, keepdim=True)) / (variance + FLOOR).sqrt()
    return replace(outputs, logits=seen, members=tuple(perceived(member) for member in outputs.members))
