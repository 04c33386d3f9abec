"""After Balan, Rathod, Murphy, Welling 2015, Bayesian Dark Knowledge. arXiv:1506.04416.

The teacher is a distribution over networks, and what it does not know it should not teach. Its uncertainty is split as
in Houlsby, Huszar, Ghahramani, Lengyel 2011, Bayesian Active Learning. arXiv:1112.5745.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field

from protege.errors import ConfigError
from protege.lazy import Tensor, nn
from protege.methods.base import (
    Batch,
    Method,
    Outputs,
    Progress,
    divergence,
    softened_members,
    softened_teacher,
)


class Uncertainty(Method):
    """KD that listens less where the teacher is unsure.

    Entropy counts every doubt, also the one that lies in the image; disagreement counts only what more data would
    settle, and needs several teachers. Weights are at most 1 and not scaled up again: an unsure teacher weighs less.
    """

    family: ClassVar[str] = "uncertainty"
    paper: ClassVar[str] = (
        "after Balan et al. 2015, Bayesian Dark Knowledge. arXiv:1506.04416; Houlsby et al. 2011. arXiv:1112.5745"
    )
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + kd_weight * T^2 * w * KL(teacher at T || student at T), "
        "w = (1 - u / max u)^strength, u = H(mean p) or H(mean p) - mean H(p) over the teachers, at T 1"
    )
    source: ClassVar[str] = "KD's T 4 and .1/.9; strength 1 is the straight line from sure to ignorant"

    name: Literal["uncertainty"] = "uncertainty"
    measure: Literal["entropy", "disagreement"] = Field(
        default="entropy", description="disagreement needs several teachers"
    )
    strength: float = Field(
        default=1.0, ge=0, description="0 is plain KD, 1 a straight line, more forgets unsure examples sooner"
    )
    temperature: float = Field(
        default=4.0, gt=0, description="divides both logits before the softmax; uncertainty is taken at 1"
    )
    kd_weight: float = Field(default=0.9, ge=0, description="weight of the teacher's word where it is sure")
    ce_weight: float = Field(default=0.1, ge=0, description="weight of the labels")

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        doubt = relative_entropy(teacher) if self.measure == "entropy" else relative_disagreement(teacher)
        weight = (1 - doubt).clamp(0, 1) ** self.strength
        apart = divergence(student.logits, softened_teacher(teacher, self.temperature), self.temperature)
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "teacher": self.kd_weight * (weight * apart).mean(),
        }


def entropy(log_probabilities: Tensor) -> Tensor:
    """Shannon entropy over the last dimension, in nats."""
    return -(log_probabilities.exp() * log_probabilities).sum(-1)


def relative_entropy(teacher: Outputs) -> Tensor:
    """Entropy of the (mean) probabilities over its maximum, [B]: 0 is sure, 1 knows nothing."""
    return entropy(softened_teacher(teacher, 1.0)) / math.log(teacher.logits.shape[1])


def relative_disagreement(teacher: Outputs) -> Tensor:
    """Mutual information of answer and teacher over its maximum, [B]: 0 where all say the same, however unsure."""
    if len(teacher.members) < 2:
        raise ConfigError("uncertainty: disagreement needs two teachers or more. Name more, or set measure to entropy.")
    each = softened_members(teacher, 1.0)
    known = entropy(softened_teacher(teacher, 1.0)) - entropy(each).mean(0)
    return known / math.log(min(each.shape[0], each.shape[2]))
