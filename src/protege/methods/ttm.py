"""Zheng and Yang 2024, Knowledge Distillation Based on Transformed Teacher Matching. arXiv:2402.11148."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import Tensor, nn
from protege.methods.base import Batch, Method, Outputs, Progress, divergence, softened_teacher


class TTM(Method):
    """Soften the teacher alone: the student's plain probabilities match the teacher's raised to the power 1/T.

    No T^2 here: the student is not softened, so its gradients keep their scale. The weighted form listens more where
    the teacher is smooth; its weight lies between 1 and C^(1 - 1/T), so it needs a much smaller `kd_weight`.
    """

    family: ClassVar[str] = "logits"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + kd_weight * KL(teacher^(1/T) normalised || student); "
        "weighted: each KL times the sum over classes of teacher^(1/T)"
    )
    source: ClassVar[str] = (
        "T 4 and 36: what weighs as .1/.9 does in KD (the paper's eq. 19); presets from its table 8 and 9"
    )
    presets: ClassVar[Mapping[str, Mapping[str, float]]] = {
        "resnet56 -> resnet20": {"temperature": 10 / 3, "kd_weight": 7},
        "resnet110 -> resnet20": {"temperature": 5, "kd_weight": 8},
        "resnet110 -> resnet32": {"temperature": 10, "kd_weight": 33},
        "resnet32x4 -> resnet8x4": {"temperature": 10, "kd_weight": 100},
        "vgg13 -> vgg8": {"temperature": 10, "kd_weight": 45},
        "wrn_40_2 -> wrn_16_2": {"temperature": 10, "kd_weight": 101},
        "wrn_40_2 -> wrn_40_1": {"temperature": 10, "kd_weight": 76},
        "vgg13 -> mobilenet_v2_half": {"temperature": 5, "kd_weight": 16},
        "resnet50 -> mobilenet_v2_half": {"temperature": 5, "kd_weight": 20},
        "resnet50 -> vgg8": {"temperature": 10, "kd_weight": 70},
        "resnet32x4 -> shufflenet_v1": {"temperature": 5, "kd_weight": 12},
        "resnet32x4 -> shufflenet_v2": {"temperature": 2.5, "kd_weight": 40},
        "wrn_40_2 -> shufflenet_v1": {"temperature": 10 / 3, "kd_weight": 8},
    }

    name: Literal["ttm"] = "ttm"
    temperature: float = Field(
        default=4.0, ge=1, description="divides the teacher's logits; the student's stay as they are"
    )
    weighted: bool = Field(default=False, description="weigh each example by how smooth the teacher is (WTTM)")
    kd_weight: float = Field(default=36.0, ge=0, description="weight of the teacher's word; about 3 when weighted")
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        apart = divergence(student.logits, softened_teacher(teacher, self.temperature))
        if self.weighted:
            apart = smoothness(softened_teacher(teacher, 1.0), self.temperature) * apart
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "teacher": self.kd_weight * apart.mean(),
        }


def smoothness(teacher: Tensor, temperature: float) -> Tensor:
    """Sum over classes of probability^(1/T), [B]: 1 where one class has it all, C^(1 - 1/T) where all share alike."""
    return (teacher / temperature).logsumexp(1).exp()
