"""Zhang et al. 2018, Deep Mutual Learning. arXiv:1706.00384."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.errors import RunError
from protege.lazy import Tensor, nn, torch
from protege.methods.base import Batch, Method, Outputs, Progress, divergence, softened_teacher


class DML(Method):
    """Students that learn together, each from the labels and from what the others say. No teacher; the first is kept.

    Terms are sums over the students, so that each gets the gradient of its own loss; all take their step at once.
    """

    needs_teacher: ClassVar[bool] = False
    family: ClassVar[str] = "none"
    formula: ClassVar[str] = (
        "sum over students i of ce_weight * CE(labels) + kd_weight * mean over others j of T^2 * KL(j || i), j fixed"
    )
    source: ClassVar[str] = "the paper: T 1, both weights 1, two students"

    name: Literal["dml"] = "dml"
    peers: int = Field(default=2, ge=2, description="students that learn together; training costs as many times more")
    temperature: float = Field(default=1.0, gt=0, description="divides all logits before the softmax")
    kd_weight: float = Field(default=1.0, ge=0, description="weight of the peers' word")
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    @property
    def cohort(self) -> int:
        return self.peers

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        peers = student.members
        if len(peers) < 2:
            raise RunError(f"dml compares {self.peers} students, but was given {max(len(peers), 1)}.")
        labels = torch.stack([self.label_loss(peer.logits, batch) for peer in peers])
        return {"labels": self.ce_weight * labels.sum(), "peers": self.kd_weight * self.apart(peers)}

    def apart(self, peers: tuple[Outputs, ...]) -> Tensor:
        """Sum over the students of their mean distance to the others."""
        softened = [softened_teacher(peer, self.temperature) for peer in peers]
        pairs = [
            divergence(one.logits, softened[j], self.temperature).mean()
            for i, one in enumerate(peers)
            for j in range(len(peers))
            if j != i
        ]
        return torch.stack(pairs).sum() / (len(peers) - 1)
