"""What runs where, since when, how far it is, and how long it still takes: read from folders, and from the queue where there is one."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

from rich.live import Live
from rich.table import Table

from protege.launch.slurm.folder import Folder, stem_of
from protege.launch.slurm.queue import NoScheduler, Queue, Queued
from protege.launch.where import slurm_folder
from protege.runs import Run
from protege.runs.display import duration, out, table_of
from protege.runs.locking import held_by
from protege.study.conduct.jobs import known_runs, label, left, progress
from protege.study.question.plan import Plan, PlannedRun

State = Literal["finished", "diverged", "in training", "in the queue", "waiting", "to do"]
QUEUED_SHOWN = 8  # rows of a table
LINES_EVERY = 60.0  # seconds, into a log, where nothing changes
ORDER = ("in training", "in the queue", "waiting", "to do", "diverged", "finished")


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


@dataclass(frozen=True)
class Seen:
    """A study at one moment."""

    name: str
    rows: tuple[Row, ...]
    to_come: int  # runs that are known when choices are made
    tests: str  # how many test scores are read
    note: str = ""

    def count(self, state: State) -> int:
        return sum(row.state == state for row in self.rows)

    @property
    def over(self) -> bool:
        return not self.to_come and all(row.state in ("finished", "diverged") for row in self.rows)

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

    def record(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "left": self.left()}


@final
class Watching:
    """Looks at a study; the queue is asked once a look, and never more often than that."""

    def __init__(self, plan: Plan, every: float) -> None:
        self._plan = plan
        self._folder: Folder = slurm_folder(plan.folder, plan.study.name)
        self._queue = Queue(self._folder.prefix, every) if self._folder.path.exists() else None

    def look(self) -> Seen:
        plan, note = self._plan, ""
        listed = {run.id: run for run in left(plan)}
        now = progress(plan)
        try:
            placed = self._placed()
        except NoScheduler as error:
            placed, note = {}, f" ({error})"
        rows = [self._row(run, run.id in listed, placed) for run in known_runs(plan)]
        return Seen(
            plan.study.name,
            tuple(_with_guesses(rows)),
            now.still_to_come,
            f"test scores of {now.unsealed} read" if now.unsealed else "no test scores read",
            note,
        )

    def _placed(self) -> dict[str, Queued]:
        """Jobs that are not over, by the stems of what they do."""
        if self._queue is None:
            return {}
        self._queue.look()
        start = len(self._folder.prefix)
        there = {(one.name[start:], one.task): one for one in self._queue.jobs if not one.over}
        return {
            stem: there[batch.name, number]
            for batch in self._folder.batches()
            for number, stems in enumerate(batch.tasks)
            for stem in stems
            if (batch.name, number) in there
        }

    def _row(self, planned: PlannedRun, is_left: bool, placed: Mapping[str, Queued]) -> Row:
        run, called = Run(self._plan.place.runs / planned.id), label(planned)
        if not is_left:
            return Row(run.id, called, "finished" if run.finished else "diverged")
        stem = stem_of(f"train {run.id}")
        queued, times = placed.get(stem), run.times()
        of, done = planned.config.optim.epochs, len(times)
        own = statistics.fmean(one["seconds"] for one in times) * (of - done) if times else None
        begun = self._folder.where(stem)
        if queued is not None and queued.state != "PENDING":
            where = f"job {begun.get('job', queued.job)} on {queued.node}"
            return Row(run.id, called, "in training", where, begun.get("time"), done, of, own)
        if queued is not None:
            return Row(run.id, called, "in the queue", f"job {queued.job}: {queued.reason}", None, done, of, own)
        if (owner := held_by(run.path)) is not None:
            since = run.record_file.stat().st_mtime if run.record_file.exists() else None
            return Row(run.id, called, "in training", owner, since, done, of, own)
        return Row(run.id, called, "waiting" if planned.needs else "to do", "", None, done, of, own)


def _with_guesses(rows: list[Row]) -> Iterator[Row]:
    """Where a run has not trained an epoch: as long as an average one of those that have, epoch for epoch."""
    paces = [row.left / (row.of - row.epochs) for row in rows if row.left and row.of > row.epochs]
    for row in rows:
        open_ = row.of > 0 and row.left is None
        yield dataclasses.replace(row, left=statistics.fmean(paces) * row.of) if paces and open_ else row


# ---- for people ----


def show(watching: Watching, every: float, once: bool) -> None:
    """A table that stays up to date on a terminal; into a log, a line a minute and one for each change."""
    if out.is_terminal and not once:
        with Live(table(seen := watching.look()), console=out, refresh_per_second=2) as live:
            while not seen.over:
                time.sleep(every)
                live.update(table(seen := watching.look()))
        return
    before: Seen | None = None
    said_at = 0.0
    while True:
        seen = watching.look()
        if before is None or seen.counts() != before.counts() or time.monotonic() - said_at > LINES_EVERY:
            said_at = time.monotonic()
            out.print(seen.sentence(), soft_wrap=True)
        for row in seen.new_in_training(before):
            out.print(_line(row), soft_wrap=True)
        if once or seen.over:
            return
        before = seen
        time.sleep(every)


def table(seen: Seen) -> Table:
    shown = table_of(seen.sentence(), "run", "state", "where", "since", "epochs", "left")
    going = [row for row in seen.rows if row.state == "in training"]
    queued = [row for row in seen.rows if row.state == "in the queue"]
    for row in (*going, *queued[:QUEUED_SHOWN]):
        since = time.strftime("%d.%m. %H:%M", time.localtime(row.since)) if row.since else ""
        left = duration(row.left) if row.left is not None else ""
        shown.add_row(row.label or row.run, row.state, row.where, since, f"{row.epochs}/{row.of}", left)
    return shown


def _line(row: Row) -> str:
    since = f", since {time.strftime('%Y-%m-%d %H:%M', time.localtime(row.since))}" if row.since else ""
    left = f", about {duration(row.left)} left" if row.left is not None else ""
    return f"  {row.label or row.run}: {row.where}{since}, epoch {row.epochs} of {row.of}{left}"
