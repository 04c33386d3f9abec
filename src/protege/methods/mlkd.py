"""Jin et al. 2023, Multi-Level Logit Distillation. CVPR 2023."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from protege.lazy import F, Tensor, nn, torch
from protege.methods.base import Batch, Method, Outputs, Progress, at_least_float32, divergence, softened_teacher
from protege.methods.ls import standardised


def standardised_preset(weight: float) -> dict[str, Any]:
    """Settings of the LSKD authors, who weigh all three parts alike and name a weight for each pair."""
    weights = dict.fromkeys(("instance_weight", "class_weight", "batch_weight"), weight)
    return {"standardise": True, "temperatures": (2, 3, 5, 2, 6), **weights}


class MLKD(Method):
    """Match the teacher example by example, class by class and over the batch, each at several temperatures.

    The masks keep the half of the examples (and classes) that the teacher is least sure of, before anything is
    averaged; the authors' code averages first, which only halves the loss. It compares whatever views the run shows:
    the authors show two of each image, one strongly augmented, at twice the cost. The class part grows with the batch.
    The authors of `standardise` use it example by example alone, with weights of 6 or 9 (presets), T 2 twice and no T 4.
    """

    family: ClassVar[str] = "logits"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + sum over T of (instance_weight * T^2 * KL + class_weight * |P't P - S't S|^2 / C "
        "+ batch_weight * |P P't - S S't|^2 / B), P and S the probabilities [B, C] at T"
    )
    source: ClassVar[str] = (
        "the authors' CIFAR-100 configuration: T 2 to 6, .1, .9 for every part; with `standardise`: code and log names "
        "of the LSKD authors"
    )
    variants: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
        "standardised": {
            "resnet32x4 -> resnet8x4": standardised_preset(9),
            "resnet110 -> resnet20": standardised_preset(9),
            "resnet110 -> resnet32": standardised_preset(9),
            "wrn_40_2 -> wrn_16_2": standardised_preset(9),
            "wrn_40_2 -> wrn_40_1": standardised_preset(9),
            "wrn_40_2 -> resnet8x4": standardised_preset(9),
            "resnet32x4 -> wrn_16_2": standardised_preset(9),
            "resnet32x4 -> wrn_40_2": standardised_preset(9),
            "resnet50 -> mobilenet_v2_half": standardised_preset(9),
            "vgg13 -> vgg8": standardised_preset(6),
            "vgg13 -> mobilenet_v2_half": standardised_preset(6),
            "resnet32x4 -> shufflenet_v2": standardised_preset(6),
        }
    }

    name: Literal["mlkd"] = "mlkd"
    temperatures: tuple[float, ...] = Field(
        default=(2.0, 3.0, 4.0, 5.0, 6.0), min_length=1, description="each adds all three parts"
    )
    kept: float = Field(
        default=0.5, gt=0, le=1, description="share of examples and classes compared, the least certain; 1 is all"
    )
    instance_weight: float = Field(default=0.9, ge=0, description="softened probabilities of each example")
    class_weight: float = Field(default=0.9, ge=0, description="how classes go together over the batch")
    batch_weight: float = Field(default=0.9, ge=0, description="how examples resemble each other")
    ce_weight: float = Field(default=0.1, ge=0, description="weight of the labels")
    standardise: bool = Field(
        default=False,
        description="compare each example's logits at mean 0 and deviation 1, as in `ls`; wants the weights of its presets",
    )

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        sure = softened_teacher(teacher, 1.0).exp()
        examples = least(sure.amax(1), self.kept)
        classes = least(sure.sum(0), self.kept)
        levels = [self.levels(student, teacher, t, examples, classes) for t in self.temperatures]
        instance, classwise, batchwise = torch.stack(levels).sum(0)
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "instance": self.instance_weight * instance,
            "class": self.class_weight * classwise,
            "batch": self.batch_weight * batchwise,
        }

    def levels(
        self, student: Outputs, teacher: Outputs, temperature: float, examples: Tensor, classes: Tensor
    ) -> Tensor:
        """The instance, class and batch part at one temperature, unweighted, [3]. Only the first is ever standardised."""
        taught, mine = (standardised(teacher), standardised(student)) if self.standardise else (teacher, student)
        instance = (divergence(mine.logits, softened_teacher(taught, temperature), temperature) * examples).mean()
        probable = F.softmax(at_least_float32(student.logits) / temperature, dim=1)
        target = softened_teacher(teacher, temperature).exp()
        classwise = (gram(probable.t()) - gram(target.t())).square().sum(1) * classes
        batchwise = (gram(probable) - gram(target)).square().sum(1) * examples
        return torch.stack([instance, classwise.mean(), batchwise.mean()])


def least(value: Tensor, share: float) -> Tensor:
    """1 where `value` is among its smallest `share`, else 0."""
    return (value <= torch.quantile(value, share)).to(value.dtype)


def gram(rows: Tensor) -> Tensor:
    """Inner products of all rows. Autocast would take them in half precision, where their differences drown."""
    with torch.autocast(rows.device.type, enabled=False):
        return rows @ rows.t()
