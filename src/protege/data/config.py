"""Which images, with which labels, split how: everything that can change what a run sees of its data.

Importable without torch; `protege.data.load` turns a description into pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from protege.data.fields import Fields, not_given
from protege.data.outside.code import allow, is_own
from protege.errors import ConfigError, suggest

DATASETS: dict[str, Callable[..., Any]] = {}  # filled by the package, which every import of this file has gone through


def separated(value: object) -> object:
    """Lets a command line say `apple,bear` or `(apple, bear)` where a file says [apple, bear], and `150` for a list of one."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.strip(" ()[]").removesuffix(",").split(","))
    return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value


Triple = Annotated[tuple[float, float, float], BeforeValidator(separated)]
Classes = Annotated[tuple[int | str, ...], BeforeValidator(separated)]


class DataConfig(Fields):
    """A dataset and its split. A plain string stands for the name alone: `data: cifar100`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(
        description="cifar10, cifar100, cifar10-mini (comes with protege), folder:PATH for images of your own, or "
        "path/to/file.py:NAME for arrays, or a function that returns images and labels"
    )
    labels: Literal["fine", "coarse"] = Field(
        default="fine", description="the 100 classes or the 20 superclasses of CIFAR-100"
    )
    heldout: int | float = Field(
        default=0.1,
        ge=0,
        description="training images kept apart for choosing: a count, or a fraction below 1; 0 keeps none. "
        "A folder that comes with a val/ of its own keeps that one",
    )
    heldout_seed: int = Field(
        default=1234,
        ge=0,
        lt=2**63,
        description="which images are kept apart; the seed of a training run never matters here",
    )
    split: Literal["name", "position"] = Field(
        default="name",
        description="what decides which part a file of a folder is in: its name, so that it stays there when files are "
        "added, or its position among all, as runs had it before there was a choice",
    )
    classes: Classes | None = Field(
        default=None, description="these classes only, by name or index, relabelled 0, 1, 2 in the given order"
    )
    imbalance: float | None = Field(
        default=None,
        ge=1,
        description="long tail: the first class has this many times the training images of the last, on a curve",
    )
    limit: int | None = Field(
        default=None, ge=1, description="at most this many training images, classes in proportion"
    )
    without: str | None = Field(
        default=None,
        exclude_if=not_given,
        description="another dataset, none of whose images is trained on or held out: who learns from this run may be judged by it",
    )
    resplit: Triple | None = Field(
        default=None,
        description="fractions train, heldout, test: pool the official parts and split them anew; replaces `heldout`",
    )
    image_size: int | None = Field(
        default=None,
        ge=8,
        le=1024,
        description="side of the square images in pixels; by default 32 for CIFAR and 64 for folders",
    )
    mean: Triple | None = Field(
        default=None, description="normalisation per channel, pixels from 0 to 1, in place of the data's own"
    )
    std: Triple | None = Field(
        default=None, description="normalisation per channel, pixels from 0 to 1, in place of the data's own"
    )

    def under(self, name: str | None) -> Self:
        """The same data where they are now; whether they are the same their fingerprint says."""
        if name is None:
            return self
        try:
            return self.model_validate(self.model_dump() | {"name": name})
        except ValidationError as error:
            raise ConfigError(f"--data {name}: {error.errors()[0]['msg'].removeprefix('Value error, ')}.") from error

    @model_validator(mode="before")
    @classmethod
    def _a_name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("name", "without")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is None:
            return None
        if is_own(name):
            allow(name)
            return name
        kind, colon, path = name.partition(":")
        if kind == "folder" and colon and path.strip():
            return name
        if kind == "folder":
            raise ValueError(f"'{name}' does not say which folder. Write folder:PATH")
        if name in DATASETS:
            return name
        if Path(name).expanduser().is_dir():
            raise ValueError(f"'{name}' is a folder on this machine, not the name of a dataset. Write folder:{name}")
        known = [known for known in DATASETS if known != "folder"]
        raise ValueError(
            f"No dataset is called '{name}'.{suggest(name, known)} There are {', '.join(known)}, folder:PATH and path/to/file.py:NAME"
        )

    @field_validator("heldout")
    @classmethod
    def _count_or_fraction(cls, heldout: int | float) -> int | float:
        if isinstance(heldout, int) or heldout == 0:
            return int(heldout)
        if heldout < 1:
            return heldout
        if heldout == 1 or heldout != int(heldout):
            raise ValueError(f"{heldout} is neither a fraction below 1 nor a whole number of images")
        return int(heldout)

    @field_validator("classes")
    @classmethod
    def _two_or_more(cls, classes: tuple[int | str, ...] | None) -> tuple[int | str, ...] | None:
        if classes is None:
            return None
        twice = sorted({str(one) for one in classes if classes.count(one) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} named twice")
        if len(classes) < 2:
            raise ValueError(f"{list(classes)} is fewer than the two classes that there must be")
        return classes

    @field_validator("resplit")
    @classmethod
    def _adds_up(cls, resplit: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
        if resplit is None:
            return None
        train, heldout, test = resplit
        if train <= 0 or test <= 0 or heldout < 0:
            raise ValueError(f"{list(resplit)} must leave something to train on and something to test on")
        if abs(sum(resplit) - 1) > 1e-6:
            raise ValueError(f"{list(resplit)} add up to {sum(resplit):g}, not to 1 (train, heldout, test)")
        return resplit

    @field_validator("mean", "std")
    @classmethod
    def _between_0_and_1(cls, value: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
        if value is not None and not all(0 <= one <= 1 for one in value):
            raise ValueError(f"{list(value)} is not on the scale of pixels from 0 to 1; divide by 255")
        return value

    @field_validator("std")
    @classmethod
    def _not_zero(cls, std: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
        if std is not None and 0 in std:
            raise ValueError(f"{list(std)} would divide by zero")
        return std

    @model_validator(mode="after")
    def _coarse_is_of_cifar100(self) -> DataConfig:
        if self.labels == "coarse" and self.name != "cifar100":
            raise ValueError(f"labels: coarse belongs to cifar100; {self.name} has one set of labels. Leave it out")
        return self
