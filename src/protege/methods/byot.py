"""Zhang et al. 2019, Be Your Own Teacher. arXiv:1905.08094."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.errors import ShapeMismatch
from protege.lazy import Tensor, nn, torch
from protege.methods.base import Batch, Method, Outputs, Progress, Shapes, at_least_float32, softened_kl


class BYOT(Method):
    """The student's deepest layer teaches exits hung on its earlier stages. No teacher; exits go when training ends."""

    reads: ClassVar[tuple[str, ...]] = ("logits", "stages", "pooled")
    needs_teacher: ClassVar[bool] = False
    family: ClassVar[str] = "none"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + sum over exits of exits_weight * CE(labels) + kd_weight * T^2 * KL(deepest || exit) "
        "at T + feature_weight * |exit's feature - deepest's|^2, the deepest held fixed"
    )
    source: ClassVar[str] = (
        "T 3 and .7/.3 for each exit: MMRazor's CIFAR-100 settings; its .03 belongs to another quantity, the root of the "
        "distance summed over the batch, on all exits but the deepest"
    )

    name: Literal["byot"] = "byot"
    temperature: float = Field(
        default=3.0, gt=0, description="divides the logits of exits and deepest layer before the softmax"
    )
    exits_weight: float = Field(default=0.7, ge=0, description="labels, for each exit")
    kd_weight: float = Field(default=0.3, ge=0, description="the deepest layer's word, for each exit")
    feature_weight: float = Field(
        default=0.03, ge=0, description="squared distance of pooled features, mean over images, for each exit"
    )
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels for the student itself")

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        from protege.methods.exits import Exit

        *shallow, deepest = student.stages() or [""]
        if not shallow:
            raise ShapeMismatch(
                "byot hangs exits on the stages before the last, but this student has fewer than two stages."
            )
        final_size, width = max(student.features[deepest][1:]), student.features["pooled"][0]
        exits = [Exit(student.features[stage], final_size, width, student.classes) for stage in shallow]
        return nn.ModuleDict(dict(zip(shallow, exits, strict=True)))

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        exits = [leave(student.features[stage]) for stage, leave in adapters.named_children()]
        deepest = at_least_float32(student.features["pooled"].detach())
        apart = [(at_least_float32(pooled) - deepest).square().sum(1).mean() for pooled, _ in exits]
        return {
            "labels": self.ce_weight * self.label_loss(student.logits, batch),
            "exits": self.exits_weight * torch.stack([self.label_loss(logits, batch) for _, logits in exits]).sum(),
            "deepest": self.kd_weight
            * torch.stack([softened_kl(logits, student.logits, self.temperature) for _, logits in exits]).sum(),
            "features": self.feature_weight * torch.stack(apart).sum(),
        }
