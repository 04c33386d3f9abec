"""Hinton, Vinyals, Dean 2015, Distilling the Knowledge in a Neural Network. arXiv:1503.02531."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from protege.lazy import Tensor, nn
from protege.methods.base import Batch, Method, Outputs, Progress, divergence, softened_teacher
from protege.methods.ls import LS, standardised


class KD(Method):
    """Match the teacher's softened probabilities; of several teachers, the mean of theirs."""

    family: ClassVar[str] = "logits"
    paper: ClassVar[str] = "Hinton et al. 2015, Distilling the Knowledge in a Neural Network. arXiv:1503.02531"
    formula: ClassVar[str] = "ce_weight * CE(labels) + kd_weight * T^2 * KL(teacher at T || student at T)"
    source: ClassVar[str] = (
        "T 4 and .1/.9 as in the CIFAR-100 literature since CRD (2019); with `standardise`, which makes it `ls`: T 2, .1, 9"
    )
    variants: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        "standardised": {pair: {"standardise": True, **settings} for pair, settings in LS.presets.items()}
    }

    name: Literal["kd"] = "kd"
    temperature: float = Field(default=4.0, gt=0, description="divides both logits before the softmax")
    kd_weight: float = Field(default=0.9, ge=0, description="weight of the teacher's word")
    ce_weight: float = Field(default=0.1, ge=0, description="weight of the labels")
    standardise: bool = Field(
        default=False,
        description="give both logits mean 0 and deviation 1 first, as in `ls`; wants its T 2 and kd_weight 9 (presets)",
    )

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        taught, mine = (standardised(teacher), standardised(student)) if self.standardise else (teacher, student)
        apart = divergence(mine.logits, softened_teacher(taught, self.temperature), self.temperature)
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "teacher": self.kd_weight * apart.mean(),
        }
