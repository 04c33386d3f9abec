"""What an arm leaves to a search, and what every search of a study may spend: the same for each arm, by construction.

arms:
  kd: {method: kd, search: {optim.lr: 0.01 0.5 log, method.temperature: [1, 2, 4, 8]}}
search: {trials: 16, stop: halving}
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from protege.errors import quoted
from protege.runs.config import Described
from protege.runs.plain import plain

TRIALS = 16
MOST_TRIALS = 1000
LOOKS = (0.25, 0.5)  # shares of the epochs after which halving looks, and keeps half
DIGITS = 4  # of a number that is tried, so that it can be typed again
# what decides who is judged by what, who teaches, and how long a trial is
FIXED = ("data", "teacher", "seed", "optim.epochs", "evaluate_every", "every_run")


class Axis(Described):
    """The values of one field: `LOW HIGH`, `LOW HIGH log`, or a list of choices. Between two whole numbers only whole ones are tried."""

    low: int | float | None = Field(default=None, description="the least value of a range")
    high: int | float | None = Field(default=None, description="the greatest value of a range")
    log: bool = Field(default=False, description="equal factors are equally likely, and not equal steps")
    choices: tuple[Any, ...] = Field(
        default=(), max_length=MOST_TRIALS, description="the values of a field that is no range"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_words(cls, given: Any) -> Any:
        if isinstance(given, str):
            return in_words(given.split())
        return {"choices": given} if isinstance(given, list | tuple) else given

    @model_validator(mode="after")
    def _can_be_tried(self) -> Self:
        if bool(self.choices) == (self.low is not None or self.high is not None):
            raise ValueError("write a range such as `0.01 0.5 log`, or a list of choices such as [1, 2, 4]")
        if self.choices:
            if self.log or any(one in self.choices[:number] for number, one in enumerate(self.choices)):
                raise ValueError(f"{quoted(list(self.choices))}: choices differ from each other, and have no `log`")
            return self
        if self.low is None or self.high is None or self.low >= self.high:
            raise ValueError(f"a range goes from a low value to a higher one, not from {self.low} to {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a range with `log` begins above 0, not at {self.low:g}")
        return self

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def points(self) -> float:
        """How many values there are."""
        if self.low is None or self.high is None:
            return len(self.choices)
        return self.high - self.low + 1 if self.whole else math.inf

    def ends(self) -> tuple[Any, ...]:
        """Values that must all be right, for those between them to be so."""
        return self.choices or (self.low, self.high)

    def middle(self) -> Any:
        """The value that stands for all of them while nothing is known."""
        if self.low is None or self.high is None:
            return self.choices[0]
        return self.tidy(math.sqrt(self.low * self.high) if self.log else (self.low + self.high) / 2)

    def tidy(self, value: float) -> int | float:
        """The nearest number of a few digits within the range."""
        assert self.low is not None and self.high is not None
        near = round(value) if self.whole else float(f"{value:.{DIGITS}g}")
        return min(max(near, self.low), self.high)

    def said(self) -> str:
        if self.choices:
            return ", ".join(map(str, self.choices))
        return f"{self.low:g} to {self.high:g}{', by factors' if self.log else ''}"


def in_words(words: Sequence[str]) -> dict[str, Any]:
    """`0.01 0.5 log` as a range; anything else as choices."""
    log = words[-1:] == ["log"]
    values = [_value(word) for word in (words[:-1] if log else words)]
    if len(values) == 2 and all(isinstance(value, int | float) for value in values):
        return {"low": values[0], "high": values[1], "log": log}
    if log:
        raise ValueError(f"`{' '.join(words)}`: log goes with two numbers, as in `0.01 0.5 log`")
    return {"choices": values}


def _value(word: str) -> Any:
    try:
        return float(word) if any(mark in word for mark in ".e") else int(word)
    except ValueError:
        return plain(word)


Space = Mapping[str, Axis]


def corners(space: Space) -> Iterator[dict[str, Any]]:
    """The middle, and each end of each field beside the middle of the others."""
    middle = {path: axis.middle() for path, axis in space.items()}
    yield middle
    for path, axis in space.items():
        yield from ({**middle, path: end} for end in axis.ends())


class Search(Described):
    """What each arm with a `search` may spend. They all spend the same: trials, seeds of a trial, epochs of each."""

    trials: int | None = Field(
        default=None, ge=2, le=MOST_TRIALS, description=f"configurations an arm tries; default {TRIALS}"
    )
    minutes: float | None = Field(
        default=None,
        gt=0,
        description="instead of trials: of training, all trials of an arm together, after which no more are begun",
    )
    at_once: int = Field(
        default=4, ge=1, le=100, description="trials of a round: asked together, before any of them is told"
    )
    sampler: Literal["tpe", "gp", "random"] = Field(
        default="tpe",
        description="how the next trials follow from the last: tree-structured Parzen estimators, a Gaussian process, or not at all",
    )
    stop: Literal["never", "halving"] = Field(
        default="never",
        description="halving: the worse half of each round ends after a quarter of the epochs, and half of the rest after half of them",
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="of the sampler; the same study asks for the same trials")

    @model_validator(mode="before")
    @classmethod
    def _number(cls, given: Any) -> Any:
        return {"trials": given} if isinstance(given, int) and not isinstance(given, bool) else given

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if self.trials is not None and self.minutes is not None:
            raise ValueError("trials and minutes are two budgets: give one of them")
        return self

    @property
    def most(self) -> int:
        """Trials of an arm at most."""
        if self.minutes is not None:
            return MOST_TRIALS
        return TRIALS if self.trials is None else self.trials

    def budget(self) -> str:
        return f"{self.most} trials" if self.minutes is None else f"{self.minutes:g} minutes of training"

    def said(self) -> str:
        """What each arm that searches may spend, in a sentence."""
        stops = {
            "never": "each trained to its end",
            "halving": "the worse half of a round stopped after a quarter of the epochs, half of the rest after half of them",
        }
        return f"{self.budget()}, {self.at_once} asked at once ({self.sampler}, seed {self.seed}), {stops[self.stop]}"

    def looks(self, epochs: int, every: int) -> list[int]:
        """Epochs after which half of a round ends: those at which held-out images are looked at."""
        if self.stop == "never":
            return []
        at = (math.ceil(share * epochs / every) * every for share in LOOKS)
        return list(dict.fromkeys(look for look in at if look < epochs))
