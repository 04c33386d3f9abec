"""A study as one sees it at one moment: a row for each run, what it amounts to, and whether more will happen."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from protege.runs.display import duration
from protege.study.question.layout import PlannedRun

State = Literal[
    "in training", "in the queue", "waiting", "to do", "left out", "failed", "diverged", "stopped early", "finished"
]
ORDER: tuple[State, ...] = get_args(State)
SETTLED = ("finished", "diverged", "stopped early")


@dataclass(frozen=True)
class Row:
    """A run, or a reading of test scores."""

    run: str
    label: str
    state: State
    where: str = ""  # job and node, or process and machine
    since: float | None = None  # seconds since 1970
    epochs: int = 0  # that are through
    of: int = 0
    left: float | None = None  # seconds, where others like it or its own epochs tell
    said: str = ""  # of one that failed


@dataclass(frozen=True)
class Seen:
    """A study at one moment."""

    name: str
    rows: tuple[Row, ...]
    to_come: int  # runs that are known when choices are made
    unread: int  # test scores that are to be read
    tests: str  # how many are read
    by: str = ""  # who looks after it: a process, or a job
    again: str = ""  # the command that goes on
    unjudged: Mapping[str, str] = field(default_factory=dict)  # what failed and is no run: its line
    note: str = ""  # of a scheduler that does not answer: nothing is concluded from it

    def count(self, state: State) -> int:
        return sum(row.state == state for row in self.rows)

    @property
    def trained(self) -> bool:
        return not self.to_come and all(row.state in SETTLED for row in self.rows)

    @property
    def complete(self) -> bool:
        return self.trained and not self.unread

    @property
    def deserted(self) -> bool:
        """Nothing is made, and nobody is there who would give it to be made."""
        return not (self.by or self.note or self.count("in training") or self.count("in the queue"))

    def left(self) -> float | None:
        """Seconds, if as many runs as now go on side by side."""
        known = [row.left for row in self.rows if row.left is not None]
        side_by_side = self.count("in training")
        if not known or not side_by_side:
            return None
        whole = sum(known) + statistics.fmean(known) * self.to_come
        return max(whole / side_by_side, *(row.left or 0 for row in self.rows if row.state == "in training"))

    def counts(self) -> list[str]:
        return [f"{number} {state}" for state in ORDER if (number := self.count(state))]

    def new_in_training(self, before: Seen | None) -> list[Row]:
        """Those that were not, or were elsewhere."""
        known = {(row.run, row.where) for row in before.rows if row.state == "in training"} if before else set()
        return [row for row in self.rows if row.state == "in training" and (row.run, row.where) not in known]

    def sentence(self) -> str:
        come = [f"{self.to_come} when choices are made"] if self.to_come else []
        ahead = [f"about {duration(left)} left"] if (left := self.left()) else []
        return f"{self.name}: {', '.join([*self.counts(), *come, self.tests, *ahead])}{self.note}"

    def last_words(self) -> list[str]:
        """Of one that is over: what failed, and what goes on from there."""
        failed = [f"failed: {row.label or row.run}: {row.said}" for row in self.rows if row.state == "failed"]
        unjudged = [f"failed: {what}: {said}" for what, said in self.unjudged.items()]
        again = [] if self.complete else [f"Nobody looks after {self.name} now. This goes on from here: {self.again}"]
        return [*failed, *unjudged, *again]

    def record(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "left": self.left()}


def left_out(rows: Sequence[Row], known: Sequence[PlannedRun]) -> Iterator[Row]:
    """What waits for a run that failed will not be made; in the order of needs, as runs are listed."""
    lost: set[str] = set()
    for row, planned in zip(rows, known, strict=True):
        hopeless = row.state == "waiting" and bool(lost.intersection(planned.needs))
        if hopeless or row.state == "failed":
            lost.add(row.run)
        yield dataclasses.replace(row, state="left out") if hopeless else row


def with_guesses(rows: Iterable[Row]) -> Iterator[Row]:
    """Where a run has not trained an epoch: as long as an average one of those that have, epoch for epoch."""
    rows = list(rows)
    paces = [row.left / (row.of - row.epochs) for row in rows if row.left and row.of > row.epochs]
    for row in rows:
        open_ = row.of > 0 and row.left is None and row.state not in ("failed", "left out")
        yield dataclasses.replace(row, left=statistics.fmean(paces) * row.of) if paces and open_ else row
