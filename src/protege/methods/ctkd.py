"""Li et al. 2023, Curriculum Temperature for Knowledge Distillation. arXiv:2211.16231."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from protege.lazy import Tensor, nn, torch
from protege.methods.base import Batch, Method, Outputs, Progress, Shapes, divergence, softened_teacher


class CTKD(Method):
    """KD whose temperature is learned against the student: it moves to where the two differ most, gently at first.

    The temperature is trained by the student's optimiser, with its learning rate and weight decay.
    """

    family: ClassVar[str] = "logits"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + kd_weight * T^2 * KL(teacher at T || student at T); "
        "T = lowest + (highest - lowest) * sigmoid(raw), and raw ascends the loss at a strength that grows by a cosine"
    )
    source: ClassVar[str] = "the authors' CIFAR-100 recipe: T in [1, 21] from 15.6, 10 epochs of curriculum, .1/.9"

    name: Literal["ctkd"] = "ctkd"
    lowest: float = Field(default=1.0, gt=0, description="least temperature")
    highest: float = Field(default=21.0, gt=0, description="greatest temperature")
    ramp_epochs: int = Field(
        default=10,
        ge=0,
        description="epochs until the temperature opposes the student at full strength; at most half of the run",
    )
    kd_weight: float = Field(default=0.9, ge=0, description="weight of the teacher's word")
    ce_weight: float = Field(default=0.1, ge=0, description="weight of the labels")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.lowest >= self.highest:
            raise ValueError(f"lowest ({self.lowest:g}) must be under highest ({self.highest:g}); for a fixed T use kd")
        return self

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        module = nn.Module()
        module.register_parameter("raw", nn.Parameter(torch.ones(())))
        return module

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        strength = (1 - math.cos(math.pi * progress.warmed(self.ramp_epochs))) / 2
        raw = opposed(adapters.get_parameter("raw"), strength)
        temperature = self.lowest + (self.highest - self.lowest) * torch.sigmoid(raw)
        apart = divergence(student.logits, softened_teacher(teacher, temperature), temperature)
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "teacher": self.kd_weight * apart.mean(),
        }


def opposed(value: Tensor, strength: float) -> Tensor:
    """`value` itself, with its gradient turned round and scaled: what descends the loss elsewhere ascends it here."""
    held = value.detach()
    return held + strength * (held - value)
