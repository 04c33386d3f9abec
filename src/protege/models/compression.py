"""A smaller form of a network, described: fewer channels, or fewer bits, trained with the rounding in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from torch import nn

Ranges = Literal["learned", "minmax"]


def usual_ranges(given: dict[str, Any]) -> Ranges:
    """For what was given before them: steps are worth learning where there are few of them."""
    bits = [given[kind] for kind in ("weights", "activations") if given.get(kind) is not None]
    return "minmax" if bits and min(bits) == 8 else "learned"


class CompressConfig(BaseModel):
    """What is taken away from the network that is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prune: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="share of multiply-adds to keep of the network in --init; channels go whole",
    )
    importance: Literal["first_order", "magnitude"] = Field(
        default="first_order",
        description="which channels stay: those whose loss would raise the training loss most, or with the largest weights",
    )
    spread: Literal["global", "uniform"] = Field(
        default="global", description="take the least important channels anywhere, or alike from all layers"
    )
    images: int = Field(default=512, ge=1, description="training images by which first_order is measured")
    weights: Literal[8, 4, 2] | None = Field(
        default=None, description="bits of the weights, rounded while they are trained; 2 means three values"
    )
    activations: Literal[8, 4] | None = Field(
        default=None, description="bits of the activations, rounded while the network is trained"
    )
    ranges: Ranges = Field(
        default_factory=usual_ranges,
        description="learned: step sizes are trained too (LSQ); minmax: taken from the values (at 8 bits unless given)",
    )
    ends: Literal["8", "same", "full"] = Field(
        default="8",
        description="weights of the first and last layer: 8 bits, the same as the others, or full precision",
    )

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.prune is None and not self.rounds:
            raise ValueError("says nothing to take away: give prune, weights or activations")
        return self

    @property
    def rounds(self) -> bool:
        """Whether there are fewer bits."""
        return self.weights is not None or self.activations is not None

    @property
    def bits_of_ends(self) -> int | None:
        if self.weights is None:
            return None
        return {"8": 8, "same": self.weights, "full": None}[self.ends]


def compress(network: nn.Module, config: CompressConfig | None) -> None:
    """Give this plain network the bits that `config` describes, in place, before it is trained or its weights are read."""
    if config is None or not config.rounds:
        return
    from protege.models.quantised import Bits, quantise

    quantise(network, Bits(config.weights, config.activations, config.bits_of_ends, config.ranges))
