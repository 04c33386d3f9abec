"""Sun et al. 2024, Logit Standardization in Knowledge Distillation. arXiv:2403.01427."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import Field

from protege.lazy import Tensor, nn
from protege.methods.base import (
    Batch,
    Method,
    Outputs,
    Progress,
    at_least_float32,
    divergence,
    softened_teacher,
)


class LS(Method):
    """Match the teacher's logits up to shift and scale, so that a small student need not copy their size."""

    family: ClassVar[str] = "logits"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + kd_weight * T^2 * KL(z(teacher) at T || z(student) at T), z = (x - mean) / std"
    )
    source: ClassVar[str] = "the authors' CIFAR-100 recipe for KD: T 2, .1, 9; presets: the names of their log files"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "resnet56 -> resnet20": {"temperature": 2, "kd_weight": 9},
        "resnet110 -> resnet20": {"temperature": 4, "kd_weight": 12},
        "resnet110 -> resnet32": {"temperature": 2, "kd_weight": 9},
        "resnet32x4 -> resnet8x4": {"temperature": 2, "kd_weight": 9},
        "wrn_40_2 -> wrn_16_2": {"temperature": 2, "kd_weight": 9},
        "wrn_40_2 -> wrn_40_1": {"temperature": 2, "kd_weight": 9},
        "vgg13 -> vgg8": {"temperature": 3, "kd_weight": 9},
        "vgg13 -> mobilenet_v2_half": {"temperature": 3, "kd_weight": 9},
        "resnet50 -> mobilenet_v2_half": {"temperature": 3, "kd_weight": 1},
        "resnet32x4 -> shufflenet_v2": {"temperature": 2, "kd_weight": 9},
        "resnet32x4 -> wrn_16_2": {"temperature": 3, "kd_weight": 9},
        "resnet32x4 -> wrn_40_2": {"temperature": 3, "kd_weight": 9},
        "wrn_40_2 -> resnet8x4": {"temperature": 2, "kd_weight": 9},
        "wrn_40_2 -> mobilenet_v2_half": {"temperature": 3, "kd_weight": 9},
    }

    name: Literal["ls"] = "ls"
    temperature: float = Field(default=2.0, gt=0, description="divides both standardised logits before the softmax")
    kd_weight: float = Field(
        default=9.0, ge=0, description="weight of the teacher's word; large, for standardised logits are small"
    )
    ce_weight: float = Field(default=0.1, ge=0, description="weight of the labels")

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        taught = softened_teacher(standardised(teacher), self.temperature)
        apart = divergence(standardised(student).logits, taught, self.temperature)
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "teacher": self.kd_weight * apart.mean(),
        }


def standardised(outputs: Outputs) -> Outputs:
    """The same outputs with each example's logits at mean 0 and standard deviation 1 over the classes.

    Deviations below .01 count as .01: a head that starts at zero would otherwise get infinite gradients.
    """
    logits = at_least_float32(outputs.logits)
    centred = logits - logits.mean(1, keepdim=True)
    scaled = centred / logits.std(1, keepdim=True).clamp_min(1e-2)
    return replace(outputs, logits=scaled, members=tuple(standardised(member) for member in outputs.members))
