"""What runs where, since when, how far it is, and how long it still takes: read from folders, and from the queue where there is one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any, final

from rich.live import Live
from rich.table import Table

from protege.errors import RunError
from protege.launch.slurm.conductor import CONDUCTOR
from protege.launch.slurm.folder import Folder, stem_of
from protege.launch.slurm.queue import NoScheduler, Queue, Queued
from protege.launch.where import slurm_folder
from protege.runs import Run, read_json
from protege.runs.display import duration, out, table_of
from protege.runs.locking import held_by
from protege.runs.records import Conduct
from protege.study.conduct.jobs import conduct_file, known_runs, label, left, progress
from protege.study.conduct.scores import settled_run
from protege.study.conduct.seen import Row, Seen, left_out, with_guesses
from protege.study.conduct.trials import in_open_trials
from protege.study.question.plan import Plan, PlannedRun

QUEUED_SHOWN = 8  # rows of a table
LINES_EVERY = 60.0  # seconds, into a log, where nothing changes
LOOKS_UNTIL_OVER = 2  # that find nobody at work: who looks after a study may be about to begin


@final
class Watching:
    """Looks at a study; the queue is asked once a look, and never more often than that."""

    def __init__(self, plan: Plan, every: float, command: str) -> None:
        self._plan, self._command = plan, command
        self._folder: Folder = slurm_folder(plan.folder, plan.study.name)
        self._queue = Queue(self._folder.prefix, every) if self._folder.path.exists() else None

    def look(self) -> Seen:
        plan, note = self._plan, ""
        by = held_by(plan.folder) or ""  # before anything else: what it does last must be seen
        listed = {run.id: run for run in left(plan)}
        now = progress(plan)
        try:
            placed = self._placed()
        except NoScheduler as error:
            placed, note = {}, f" ({error})"
        known, last, waits = known_runs(plan), self._last(), in_open_trials(plan)
        rows = [
            self._row(run, placed, last["failed"]) if run.id in listed else self._row_of_settled(run, run.id in waits)
            for run in known
        ]
        return Seen(
            plan.study.name,
            tuple(with_guesses(left_out(rows, known))),
            now.still_to_come,
            now.to_unseal - now.unsealed,
            f"test scores of {now.unsealed} read" if now.unsealed else "no test scores read",
            by or self._conductor(),
            last["command"] or self._command,
            {key: said for key, said in last["failed"].items() if not key.startswith("train ")},
            note,
        )

    def _last(self) -> Mapping[str, Any]:
        """The last command, and by the keys of jobs what failed under it. Nothing where none has begun, or its record is damaged."""
        try:
            return read_json(conduct_file(self._plan), Conduct)
        except RunError:
            return {"command": "", "failed": {}}

    def _conductor(self) -> str:
        """The job that looks after a study which was left to it."""
        name = self._folder.prefix + CONDUCTOR
        jobs = [one for one in self._queue.jobs if one.name == name and not one.over] if self._queue else []
        return f"job {jobs[0].job}" if jobs else ""

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

    def _row_of_settled(self, planned: PlannedRun, waits: bool) -> Row:
        """Of a run that is not to be trained now. `waits`: for the other trials of its round."""
        run, called = Run(self._plan.place.runs / planned.id), label(planned)
        if run.finished:
            return Row(run.id, called, "finished")
        if settled_run(self._plan.place.runs, planned):
            return Row(run.id, called, "diverged")
        return Row(run.id, called, "waiting" if waits else "stopped early")

    def _row(self, planned: PlannedRun, placed: Mapping[str, Queued], failed: Mapping[str, str]) -> Row:
        run, called = Run(self._plan.place.runs / planned.id), label(planned)
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
        if (said := failed.get(f"train {run.id}") or self._reply_of_failure(stem)) is not None:
            return Row(run.id, called, "failed", "", None, done, of, said=said)
        return Row(run.id, called, "waiting" if planned.needs else "to do", "", None, done, of, own)

    def _reply_of_failure(self, stem: str) -> str | None:
        """Of a job that was submitted by hand, or whose conductor died before it was told."""
        reply = self._folder.replied(stem)
        return reply.message if reply is not None and reply.outcome == "failed" else None


# ---- for people ----


def show(watching: Watching, every: float, once: bool) -> bool:
    """Until nothing more will happen: whether all is done. A table that stays up to date on a terminal; else lines for a log."""
    if once:
        seen = watching.look()
        _say(seen, None, True)
        return True
    looks = _looks(watching, every)
    seen = _live(looks) if out.is_terminal else _lines(looks)
    for line in seen.last_words():
        out.print(line, soft_wrap=True, markup=False)
    return seen.complete and not seen.unjudged


def _looks(watching: Watching, every: float) -> Iterator[Seen]:
    """The last is of a study that is complete, or that nobody looks after."""
    deserted = 0
    while True:
        yield (seen := watching.look())
        deserted = deserted + 1 if seen.deserted else 0
        if seen.complete or deserted >= LOOKS_UNTIL_OVER:
            return
        time.sleep(every)


def _live(looks: Iterator[Seen]) -> Seen:
    with Live(table(seen := next(looks)), console=out, refresh_per_second=2) as live:
        for seen in looks:
            live.update(table(seen))
    return seen


def _lines(looks: Iterator[Seen]) -> Seen:
    """A line a minute, and one for each change."""
    before, said_at = None, 0.0
    for seen in looks:
        due = before is None or seen.counts() != before.counts() or time.monotonic() - said_at > LINES_EVERY
        said_at = time.monotonic() if due else said_at
        _say(seen, before, due)
        before = seen
    assert before is not None
    return before


def _say(seen: Seen, before: Seen | None, counts: bool) -> None:
    if counts:
        out.print(seen.sentence(), soft_wrap=True)
    for row in seen.new_in_training(before):
        out.print(_line(row), soft_wrap=True)


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
