"""Zhao et al. 2022, Decoupled Knowledge Distillation. arXiv:2203.08679."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from protege.lazy import F, Tensor, nn, torch
from protege.methods.base import (
    Batch,
    Method,
    Outputs,
    Progress,
    at_least_float32,
    divergence,
    over_labels,
    softened_teacher,
)
from protege.methods.ls import standardised


def standardised_preset(weight: float, others: float, temperature: float = 2) -> dict[str, Any]:
    """Settings of the LSKD authors, who multiply both of DKD's weights, 1 and `others`, by a weight for each pair."""
    weights = {"target_weight": weight, "others_weight": weight * others}
    return {"standardise": True, "temperature": temperature, **weights}


class DKD(Method):
    """Weigh what the teacher says of the right class apart from what it says of the others.

    With two classes there is one other class and nothing to compare among the others: that part is exactly 0.
    """

    family: ClassVar[str] = "logits"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + w * T^2 * (target_weight * KL([t_y, 1 - t_y] || [s_y, 1 - s_y]) + others_weight * "
        "KL(t' || s')), t and s the probabilities at T, y the right class, t' and s' without it and normalised anew; "
        "w = min(1, epoch / warmup_epochs), epochs from 1"
    )
    source: ClassVar[str] = (
        "the authors' CIFAR-100 configurations; with `standardise`: the names of the LSKD authors' log files"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "resnet56 -> resnet20": {"others_weight": 2},
        "resnet110 -> resnet32": {"others_weight": 2},
        "resnet32x4 -> resnet8x4": {"others_weight": 8},
        "resnet32x4 -> shufflenet_v1": {"others_weight": 8},
        "resnet32x4 -> shufflenet_v2": {"others_weight": 8},
        "wrn_40_2 -> shufflenet_v1": {"others_weight": 8},
        "resnet50 -> mobilenet_v2_half": {"others_weight": 8},
        "vgg13 -> vgg8": {"others_weight": 6},
        "vgg13 -> mobilenet_v2_half": {"others_weight": 6},
        "wrn_40_2 -> wrn_16_2": {"others_weight": 6},
        "wrn_40_2 -> wrn_40_1": {"others_weight": 6},
    }
    variants: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        "standardised": {
            "resnet56 -> resnet20": standardised_preset(18, 2, temperature=3),
            "resnet110 -> resnet20": standardised_preset(15, 2),
            "resnet110 -> resnet32": standardised_preset(15, 2),
            "resnet32x4 -> resnet8x4": standardised_preset(9, 8),
            "resnet32x4 -> shufflenet_v2": standardised_preset(9, 8),
            "resnet32x4 -> wrn_16_2": standardised_preset(9, 2),
            "resnet32x4 -> wrn_40_2": standardised_preset(9, 8),
            "wrn_40_2 -> wrn_16_2": standardised_preset(12, 2),
            "wrn_40_2 -> wrn_40_1": standardised_preset(12, 2),
            "wrn_40_2 -> resnet8x4": standardised_preset(18, 2),
            "wrn_40_2 -> mobilenet_v2_half": standardised_preset(15, 2),
            "vgg13 -> vgg8": standardised_preset(15, 2),
            "vgg13 -> mobilenet_v2_half": standardised_preset(9, 2, temperature=3),
            "resnet50 -> mobilenet_v2_half": standardised_preset(15, 2),
        }
    }

    name: Literal["dkd"] = "dkd"
    target_weight: float = Field(default=1.0, ge=0, description="right class against the rest")
    others_weight: float = Field(default=8.0, ge=0, description="comparison among the wrong classes; 2, 6 or 8 by pair")
    temperature: float = Field(default=4.0, gt=0, description="divides both logits before the softmax")
    warmup_epochs: int = Field(
        default=20, ge=0, description="epochs over which both parts grow to their weight; at most half of the run"
    )
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")
    standardise: bool = Field(
        default=False,
        description="give both logits mean 0 and deviation 1 first, as in `ls`; nearly mute without the weights of its presets",
    )

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        taught, mine = (standardised(teacher), standardised(student)) if self.standardise else (teacher, student)
        softened = softened_teacher(taught, self.temperature)
        warmed = progress.warmed(self.warmup_epochs)
        target = over_labels(batch, lambda labels: target_kl(mine.logits, softened, labels, self.temperature))
        others = over_labels(batch, lambda labels: others_kl(mine.logits, softened, labels, self.temperature))
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "target": warmed * self.target_weight * target.mean(),
            "others": warmed * self.others_weight * others.mean(),
        }


def target_kl(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """KL between (right class, all others together), [B], times T^2; `teacher` is the log of softened probabilities."""
    softened = F.log_softmax(at_least_float32(student) / temperature, dim=1)
    mine, theirs = right_and_rest(softened, labels), right_and_rest(teacher, labels)
    apart = F.kl_div(mine, theirs, reduction="none", log_target=True)
    return apart.sum(1) * temperature**2


def others_kl(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """KL among the wrong classes alone, [B], times T^2; `teacher` is the log of softened probabilities."""
    others = F.log_softmax(wrong(teacher, labels), dim=1)
    return divergence(wrong(student, labels), others, temperature)


def wrong(logits: Tensor, labels: Tensor) -> Tensor:
    """All but the right class, [B, C-1]: those after it first, then those before it."""
    classes = logits.shape[1]
    others = torch.arange(1, classes, device=logits.device)
    return logits.gather(1, (labels[:, None] + others) % classes)


def right_and_rest(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """Log probability of the right class and of all others together, [B, 2]; never a log of what underflowed."""
    right = log_probabilities.gather(1, labels[:, None])
    rest = wrong(log_probabilities, labels).logsumexp(1, keepdim=True)
    return torch.cat([right, rest], dim=1)
