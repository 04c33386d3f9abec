"""What was measured: a row for each way to train, and what its figures should be read with."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from pydantic import Field

from protege.runs.config import Measured
from protege.train.bench.limits import Rates
from protege.train.bench.variants import STRONG, Pair, Setting, Variant, What


class Row(Measured):
    """One way to train one pair."""

    pair: Pair
    what: What
    variant: Variant
    images_per_second: tuple[float, ...] = Field(default=(), description="one of each round")
    against: tuple[float, ...] = Field(default=(), description="of the first variant, in the same rounds")
    limit: float | None = Field(default=None, description="images a second that this machine could reach at best")
    peak_memory: int = Field(default=0, description="bytes; of slots, all together")
    problem: str = Field(default="", description="why there is no figure")

    @property
    def speed(self) -> float:
        """Median images a second; nan where it was not measured."""
        return median(self.images_per_second) if self.images_per_second else float("nan")

    @property
    def ratio(self) -> float:
        """To the first variant of its group: of the medians."""
        return self.speed / median(self.against) if self.against else float("nan")

    @property
    def ratios(self) -> tuple[float, ...]:
        """Of each round: their spread is what a busy machine does to the figure."""
        return tuple(mine / theirs for mine, theirs in zip(self.images_per_second, self.against, strict=True))

    @property
    def fraction(self) -> float:
        """Of the machine's limit."""
        return self.speed / self.limit if self.limit else float("nan")


class Load(Measured):
    """What else the machine did: the load average of a minute, seen once a round."""

    before: float
    seen: tuple[float, ...] = ()


class Outcome(Measured):
    """All that one command measured, and what its figures should be read with."""

    command: str
    date: str
    environment: dict[str, Any]
    setting: Setting
    rounds: int
    minutes: float = Field(description="that it took")
    load: Load
    rates: Rates
    rows: tuple[Row, ...] = ()

    @property
    def quiet(self) -> bool:
        """Whether nobody else wanted the cores when it began; our own processes make load from then on."""
        return self.load.before < 0.5

    def group(self, pair: Pair, what: What) -> list[Row]:
        return [row for row in self.rows if row.pair == pair and row.what == what]

    def row(self, pair: Pair, what: What, name: str) -> Row | None:
        return next((row for row in self.group(pair, what) if row.variant.name == name), None)

    def over_strong(self, row: Row) -> float:
        """Its speed in units of the reference as a careful user runs it, measured in the same turns."""
        strong = self.row(row.pair, row.what, STRONG)
        return row.speed / strong.speed if strong else float("nan")

    @property
    def pairs(self) -> list[Pair]:
        return list(dict.fromkeys(row.pair for row in self.rows))


class Factor(Measured):
    """How much quicker one change alone makes it."""

    adds: str
    gain: float


def factors(rows: Sequence[Row], goal: str) -> list[Factor]:
    """The changes that lead from the reference to the variant called `goal`, in order; their product is its ratio."""
    by_name = {row.variant.name: row for row in rows if row.images_per_second}
    found: list[Factor] = []
    row = by_name.get(goal)
    while row is not None and row.variant.to:
        before = by_name.get(row.variant.to)
        if before is None:
            return []
        found.append(Factor(adds=row.variant.adds, gain=row.speed / before.speed))
        row = before
    return found[::-1]
