"""Yim et al. 2017, A Gift from Knowledge Distillation. CVPR 2017."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

from pydantic import Field

from protege.errors import ShapeMismatch
from protege.lazy import F, Tensor, nn, torch
from protege.methods.base import Batch, Method, Outputs, Progress, Shapes
from protege.methods.stages import full_precision, matched_stages, same_size, stage_maps


class FSP(Method):
    """Start the student with features that flow as the teacher's do, from stage to stage; then train it on the labels.

    A flow is the product of the channels of one stage with those of the next. The paper has one more, from the stem to
    the first stage: it is there where both networks name what enters that as a stage, `{stage1: "layer1:input", stage2: layer1, ...}`.
    """

    reads: ClassVar[tuple[str, ...]] = ("stages",)
    family: ClassVar[str] = "relations"
    formula: ClassVar[str] = (
        "first flow_weight * sum over neighbouring stages of mean((G_s - G_t)^2), G = F_i F_{i+1}^T / places; "
        "then ce_weight * CE(labels)"
    )
    source: ClassVar[str] = (
        "flow first and labels after, as in the paper; weight 1 and 30 epochs: the CIFAR-100 comparison of CRD (2019), "
        "whose -b 50 multiplies nothing. Both together (0 epochs) has no publication, and at weight 50 diverges at a rate of .1"
    )

    name: Literal["fsp"] = "fsp"
    flow_weight: float = Field(
        default=1.0, gt=0, description="weight of the flow matrices, all pairs of stages together"
    )
    pretraining_epochs: int = Field(
        default=30,
        ge=0,
        description="first epochs, of flow only; at most half of the run. 0 keeps flow and labels together throughout",
    )
    ce_weight: float = Field(default=1.0, gt=0, description="weight of the labels")

    def prepares(self, progress: Progress) -> bool:
        return progress.epoch < progress.shortened(self.pretraining_epochs)

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        pairs = matched_stages(student, teacher)
        if len(pairs) < 2:
            raise ShapeMismatch("FSP compares neighbouring stages, and these networks share only one. Choose at or sp.")
        for mine, theirs in pairs:
            narrow, wide = student.features[mine][0], teacher.features[theirs][0]
            if narrow != wide:
                raise ShapeMismatch(
                    f"FSP compares channels one by one, but {mine} of the student has {narrow} and {theirs} of the teacher "
                    f"{wide}. Choose networks of equal widths, or a method that projects (feature, fitnet, vid) or "
                    "ignores widths (at, sp, nst)."
                )
        return nn.Module()

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        labels = {"labels": self.ce_weight * self.label_loss(student.logits, batch)}
        if self.pretraining_epochs == 0:
            return labels | self._flows(student, teacher)
        return self._flows(student, teacher) if self.prepares(progress) else labels

    def _flows(self, student: Outputs, teacher: Outputs) -> dict[str, Tensor]:
        gaps = [
            F.mse_loss(flow(mine, next_mine), flow(theirs, next_theirs))
            for (mine, theirs), (next_mine, next_theirs) in pairwise(stage_maps(student, teacher))
        ]
        return {"flow": self.flow_weight * torch.stack(gaps).sum()}


def flow(shallow: Tensor, deep: Tensor) -> Tensor:
    """Mean product over places of each channel of one map with each of the next, [B, C_i, C_{i+1}]."""
    shallow, deep = (maps.flatten(2) for maps in same_size(shallow, deep))
    with full_precision(shallow):
        return shallow @ deep.transpose(1, 2) / shallow.shape[2]
