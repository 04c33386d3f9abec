"""What is done to an image before a network sees it, described without touching a pixel."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from protege.data.config import separated
from protege.data.fields import Fields, not_given
from protege.errors import suggest

SHORTHANDS: dict[str, dict[str, object]] = {
    "crop-flip": {},
    "none": {"crop": "none", "flip": False},
    "mixup": {"mix": "mixup", "mix_concentration": 0.2},
    "cutmix": {"mix": "cutmix"},
    "randaugment": {"policy": "randaugment"},
    "trivialaugment": {"policy": "trivialaugment"},
}
Range = Annotated[tuple[float, float], BeforeValidator(separated)]


class ViewsConfig(Fields):
    """Crop, flip, policy, cutout and mix, in this order; or one word: "crop-flip" is the default, "none" changes nothing."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    crop: Literal["pad", "resized", "none"] = Field(
        default="pad", description="pad: black border, then a crop of the old size; resized: a random box, resized"
    )
    padding: int = Field(default=4, ge=0, description="width of the black border in pixels, for crop pad")
    flip: bool = Field(
        default=True, description="mirror every second image, left to right; wrong for digits and letters"
    )
    alternate: bool = Field(
        default=False,
        exclude_if=not_given,
        description="mirror each image in every second epoch, the first by lot, in place of a lot in each",
    )
    scale: Range = Field(default=(0.08, 1.0), description="share of the area in a box, for crop resized")
    ratio: Range = Field(default=(3 / 4, 4 / 3), description="width : height of a box, for crop resized")
    policy: Literal["none", "randaugment", "trivialaugment"] = Field(
        default="none", description="operations on colour and shape"
    )
    policy_ops: int = Field(default=2, ge=1, le=14, description="operations per image, for RandAugment")
    policy_magnitude: int = Field(default=10, ge=0, le=30, description="strength of 30, for RandAugment")
    cutout: int | None = Field(
        default=None, gt=0, exclude_if=not_given, description="side in pixels of a grey square somewhere in each image"
    )
    mix: Literal["none", "mixup", "cutmix"] = Field(
        default="none", description="blend with another image, or paste a box of it"
    )
    mix_concentration: float = Field(
        default=1.0,
        gt=0,
        description="both parameters of the shares' Beta distribution; usually 1 for CutMix, 0.2 for mixup",
    )
    mix_probability: float = Field(default=1.0, ge=0, le=1, description="share of the images that are mixed at all")
    seed: int | None = Field(
        default=None,
        ge=0,
        description="of the views alone, else the run's; a fixed one lets runs share what a teacher said",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value not in SHORTHANDS:
            known = ", ".join(SHORTHANDS)
            raise ValueError(f"No views are called '{value}': write one of {known}.{suggest(value, list(SHORTHANDS))}")
        return SHORTHANDS[value]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.alternate and not self.flip:
            raise ValueError("alternate says when images are mirrored, and flip false that none is: give one of them.")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale is {self.scale}: two shares of the area are needed, 0 < smallest <= largest <= 1.")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio is {self.ratio}: two positive ratios are needed, the narrowest first.")
        return self
