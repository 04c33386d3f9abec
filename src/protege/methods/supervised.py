"""No teacher: the labels alone. What every distilled student is compared with, and how teachers are made."""

from __future__ import annotations

from typing import ClassVar, Literal

from protege.lazy import Tensor, nn
from protege.methods.base import Batch, Method, Outputs, Progress


class Supervised(Method):
    """Learn from the labels alone."""

    needs_teacher: ClassVar[bool] = False
    family: ClassVar[str] = "none"
    paper: ClassVar[str] = "none: the baseline"
    formula: ClassVar[str] = "CE(labels)"
    source: ClassVar[str] = "nothing to choose"

    name: Literal["supervised"] = "supervised"

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        return {"labels": self.label_loss(student.logits, batch)}
