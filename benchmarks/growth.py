"""How the time of a study of one teacher grows with its runs: the teacher is asked about each view once, not once a run."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Literal

from pydantic import Field

from protege.runs.config import Measured
from protege.train.bench.outcome import Outcome
from protege.train.bench.tables import table
from protege.train.bench.variants import REFERENCE, Pair

EPOCHS, VIEWS = 200, 162  # of a run at full size: as published, crops with padding 4 and flips
RUNS = (1, 2, 4, 8, 16, 30)


class Grown(Measured):
    """A study of one teacher, really made: seconds of the loop of each of its runs."""

    epochs: int
    images: int
    views: int
    alone: tuple[float, ...] = Field(description="seconds of runs of the student alone, spread over the study")
    first_pass: float = Field(description="seconds in which the teacher was asked about every view")
    runs: tuple[float, ...]


class Growth(Measured):
    """Seconds of one student alone, and of all taught runs up to and with each."""

    pair: Pair
    how: Literal["measured", "computed"]
    about: str = Field(description="what kind of runs")
    alone: float
    runs: tuple[int, ...] = Field(description="how many")
    seconds: tuple[float, ...] = Field(description="of so many runs together, asking the teacher included")
    asking: tuple[float, ...] = Field(description="what of these asking the teacher took")
    reference: tuple[float, ...] | None = Field(default=None, description="of so many runs of the reference loop")

    def times_alone(self, warm: bool = False) -> list[float]:
        """In units of one student alone; `warm`: when all that the teacher has to say is known already."""
        left_out = self.asking if warm else (0.0,) * len(self.asking)
        return [(seconds - less) / self.alone for seconds, less in zip(self.seconds, left_out, strict=True)]

    def reference_times_alone(self) -> list[float]:
        return [seconds / self.alone for seconds in self.reference or ()]


def measured(pair: Pair, grown: Grown) -> Growth:
    """Of a small study that was really made."""
    return Growth(
        pair=pair,
        how="measured",
        about=f"{len(grown.runs)} runs of {grown.epochs} epochs, {grown.images} images in {grown.views} views",
        alone=median(grown.alone),
        runs=tuple(range(1, len(grown.runs) + 1)),
        seconds=tuple(grown.first_pass + sum(grown.runs[:number]) for number in range(1, len(grown.runs) + 1)),
        asking=(grown.first_pass,) * len(grown.runs),
    )


def computed(
    pair: Pair, alone: float, cold: float, warm: float, reference: float, runs: Sequence[int] = RUNS
) -> Growth:
    """Seconds for each training image, from images a second: of the student alone, taught with an empty and with a full
    memory, and of the reference loop. Runs have a seed each, so the teacher is asked about ever fewer new views."""
    ask = max(0.0, 1 / cold - 1 / warm)
    asking = tuple(ask * views_met(number * EPOCHS) for number in runs)
    return Growth(
        pair=pair,
        how="computed",
        about=f"runs of {EPOCHS} epochs in {VIEWS} views, for each training image",
        alone=EPOCHS / alone,
        runs=tuple(runs),
        seconds=tuple(asked + number * EPOCHS / warm for asked, number in zip(asking, runs, strict=True)),
        asking=asking,
        reference=tuple(number * EPOCHS / reference for number in runs),
    )


def views_met(epochs: int, views: int = VIEWS) -> float:
    """How many different views of an image so many epochs show, on average."""
    return views * (1 - (1 - 1 / views) ** epochs)


def of(outcome: Outcome, pair: Pair) -> Growth | None:
    """Where all that it takes was measured in one group, and so in turns."""
    names = ("ours, student alone", "ours", "ours, remembered", REFERENCE)
    rows = [outcome.row(pair, "kd", name) for name in names]
    speeds = [row.speed for row in rows if row is not None and row.images_per_second]
    if len(speeds) < len(names):
        return None
    alone, cold, warm, reference = speeds
    return computed(pair, alone, cold, warm, reference)


def growth_table(growth: Growth) -> str:
    """How many times as long as one student alone."""
    head = (
        f"times one student alone ({growth.about})",
        *(f"{runs} run{'' if runs == 1 else 's'}" for runs in growth.runs),
    )
    lines = [
        ["all that the teacher says is known", *(f"{times:.2f}" for times in growth.times_alone(warm=True))],
        ["the teacher's first pass included", *(f"{times:.2f}" for times in growth.times_alone())],
    ]
    if growth.reference:
        lines.append(["the reference loop", *(f"{times:.2f}" for times in growth.reference_times_alone())])
    return table(head, lines)
