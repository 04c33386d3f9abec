"""Kim et al. 2018, Paraphrasing Complex Network: Network Compression via Factor Transfer. arXiv:1802.04977."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from protege.lazy import F, Tensor, nn
from protege.methods.base import Batch, Method, Outputs, Progress, Shapes
from protege.methods.stages import chosen_pair, pair_of, same_size


class FT(Method):
    """Let an autoencoder boil the teacher's last map down to factors, then have a translator find them in the student.

    While the autoencoder learns, the student learns from the labels alone; afterwards the autoencoder stands still.
    """

    reads: ClassVar[tuple[str, ...]] = ("stages",)
    family: ClassVar[str] = "features"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels), and first MSE(decoder(encoder(F_t)), F_t), then factor_weight * "
        "mean |unit(translator(F_s)) - unit(encoder(F_t))|"
    )
    source: ClassVar[str] = (
        "rate .5, weight 500 and 5 epochs of paraphrasing: the authors' code for CIFAR; the paraphraser's squared error is "
        "the comparison's of CRD (2019), where the authors take the absolute one"
    )

    name: Literal["ft"] = "ft"
    factor_weight: float = Field(default=500.0, ge=0, description="weight of the factors")
    rate: float = Field(default=0.5, gt=0, le=1, description="channels of the factors, as a share of the teacher's")
    paraphraser_epochs: int = Field(
        default=5, ge=1, description="first epochs, in which the autoencoder learns; at most half of the run"
    )
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels")

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        from protege.methods.ft_factors import Factors

        mine, theirs = chosen_pair(student, teacher, -1)
        return Factors(student.features[mine][0], teacher.features[theirs][0], self.rate)

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        mine, theirs = pair_of(student, teacher, *chosen_pair(student, teacher, -1))
        labels = self.ce_weight * self.label_loss(student.logits, batch)
        if progress.epoch < progress.shortened(self.paraphraser_epochs):
            _, rebuilt = adapters(None, theirs)
            return {"labels": labels, "paraphraser": F.mse_loss(rebuilt.to(theirs.dtype), theirs)}
        factors = [factor.to(mine.dtype) for factor in adapters(mine, theirs)]
        return {"labels": labels, "factors": self.factor_weight * factor_gap(*same_size(*factors))}


def factor_gap(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean absolute difference of the two factors, each of unit length per image."""
    return F.l1_loss(F.normalize(student.flatten(1)), F.normalize(teacher.flatten(1)))
