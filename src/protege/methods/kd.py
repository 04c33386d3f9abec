"""Hinton et al. 2015, Distilling the Knowledge in a Neural Network. arXiv:1503.02531."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from protege.lazy import F, Tensor, nn, torch
from protege.methods.base import Batch, Method, Outputs, Progress, at_least_float32, divergence, softened_teacher
from protege.methods.ls import LS, standardised

Measure = Literal["forward", "reverse", "js", "logits", "hard"]


class KD(Method):
    """Match the teacher's softened probabilities; of several teachers, the mean of theirs.

    `divergence` says how the two are compared. Each has a scale of its own: what is right for the forward KL need not be
    for the others. `logits` and `hard` know no temperature.
    """

    family: ClassVar[str] = "logits"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + kd_weight * D; D of forward: T^2 * KL(t || s), reverse: T^2 * KL(s || t), js: "
        "T^2 * (KL(t || m) + KL(s || m)) / 2 with m = (t + s) / 2, t and s the probabilities at T; logits: mean over classes "
        "of the squared difference; hard: CE(the teacher's first choice)"
    )
    source: ClassVar[str] = (
        "T 4 and .1/.9 as in the CIFAR-100 literature since CRD (2019); with `standardise`, which makes it `ls`: T 2, .1, 9. "
        "Weights of the other divergences are not published with these; hard labels had .5/.5 in DeiT, arXiv:2012.12877"
    )
    variants: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        "standardised": {pair: {"standardise": True, **settings} for pair, settings in LS.presets.items()}
    }

    name: Literal["kd"] = "kd"
    temperature: float = Field(default=4.0, gt=0, description="divides both logits before the softmax")
    kd_weight: float = Field(default=0.9, ge=0, description="weight of the teacher's word")
    ce_weight: float = Field(default=0.1, ge=0, description="weight of the labels")
    divergence: Measure = Field(
        default="forward",
        description="how they are compared: forward or reverse KL, Jensen-Shannon, squared error of logits, or hard labels",
        exclude_if=lambda measure: measure == "forward",  # which ids of runs were made of before there was a choice
    )
    standardise: bool = Field(
        default=False,
        description="give both logits mean 0 and deviation 1 first, as in `ls`; wants its T 2 and kd_weight 9 (presets)",
    )

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        taught, mine = (standardised(teacher), standardised(student)) if self.standardise else (teacher, student)
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "teacher": self.kd_weight * self._apart(mine, taught).mean(),
        }

    def _apart(self, student: Outputs, teacher: Outputs) -> Tensor:
        """How far each example is from what the teacher says of it, [B]."""
        match self.divergence:
            case "logits":
                return (at_least_float32(student.logits) - mean_logits(teacher)).square().mean(1)
            case "hard":
                choice = softened_teacher(teacher, 1.0).argmax(1)
                return F.cross_entropy(at_least_float32(student.logits), choice, reduction="none")
            case "reverse":
                return reverse(student.logits, softened_teacher(teacher, self.temperature), self.temperature)
            case "js":
                return jensen_shannon(student.logits, softened_teacher(teacher, self.temperature), self.temperature)
            case _:
                return divergence(student.logits, softened_teacher(teacher, self.temperature), self.temperature)


def mean_logits(teacher: Outputs) -> Tensor:
    """The teacher's logits, or the mean of the members'; they carry no gradient."""
    return torch.stack([at_least_float32(one.logits.detach()) for one in teacher.members or (teacher,)]).mean(0)


def reverse(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(student at `temperature` || teacher) of each example, [B], times T^2; `teacher` is the log of probabilities."""
    mine = F.log_softmax(at_least_float32(student) / temperature, dim=1)
    return F.kl_div(teacher, mine, reduction="none", log_target=True).sum(1) * temperature**2


def jensen_shannon(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Mean of both KLs to the mixture of student at `temperature` and teacher, [B], times T^2; `teacher` as above."""
    mine = F.log_softmax(at_least_float32(student) / temperature, dim=1)
    mixture = torch.logaddexp(mine, teacher) - math.log(2)
    apart = [F.kl_div(mixture, side, reduction="none", log_target=True).sum(1) for side in (mine, teacher)]
    return (apart[0] + apart[1]) / 2 * temperature**2
