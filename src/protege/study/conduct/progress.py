"""What one sees while a study runs: all runs and those in training on a terminal, a line for each event elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import final

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn

from protege.errors import visible
from protege.launch.jobs import Job, Reply
from protege.runs import Run
from protege.runs.display import Display, duration

LINES_EVERY = 60.0  # seconds between lines about running jobs, where there is no terminal


@final
class StudyDisplay(Display):
    """A `Watch` for people. `seconds` are the estimated ones of each run, by id."""

    def __init__(
        self, name: str, total: int, finished: int, seconds: Mapping[str, float], slots: int, quiet: bool = False
    ) -> None:
        what, said = (
            TextColumn("{task.description}", "bold", markup=False),
            TextColumn("{task.fields[said]}", markup=False),
        )
        super().__init__(what, BarColumn(bar_width=24), MofNCompleteColumn(), said, quiet=quiet)
        self._name, self._total, self._finished, self._slots = name, total, finished, slots
        self._left = dict(seconds)
        self._estimated, self._spent = 0.0, 0.0  # of the runs made so far: how much the estimate is out
        self._since: dict[int, float] = {}
        self._through: dict[str, float] = {}  # share of each run in training that is done
        self._said_at = time.monotonic()
        self._whole = self._progress.add_task(visible(name), total=total, completed=finished, said="")
        self._tasks: dict[int, TaskID] = {}

    def begins(self) -> None:
        """Who starts it has said what it is."""

    # ---- events ----

    def started(self, slot: int, job: Job) -> None:
        self._since[slot] = time.monotonic()
        if self._live:
            total = job.config.optim.epochs if job.verb == "train" else 1
            self._tasks[slot] = self._progress.add_task(f"  {visible(_doing(job))}", total=total, said="")
        elif job.verb == "train":
            self.say(f"{self._count()}  {_doing(job)} begins in {job.run}")

    def ended(self, slot: int, job: Job, reply: Reply) -> None:
        now = time.monotonic()
        seconds = now - self._since.pop(slot, now)  # one that never began may still end
        if (task := self._tasks.pop(slot, None)) is not None:
            self._progress.remove_task(task)
        if reply.outcome == "stopped":
            return
        if reply.outcome != "finished":
            self.say(f"{_doing(job)} {reply.outcome}: {reply.message}")
        elif job.place.until:
            looked = _heldout(Run(job.place.runs / job.run).metrics())
            self.say(f"{self._count()}  {_doing(job)} rests after epoch {job.place.until}, {looked}")
        elif job.verb == "train":
            self._finished += 1
            self._through.pop(job.run, None)
            self._spent += seconds
            self._estimated += self._taken(job.run)
            parts = [duration(seconds), _heldout(Run(job.place.runs / job.run).metrics()), self._ahead()]
            said = ", ".join(part for part in parts if part)
            self.say(f"{self._count()}  {_doing(job)} is finished after {said}")
        elif not self._live:
            self.say(f"{_doing(job)}: done")
        self._progress.update(self._whole, completed=self._finished, said=self._ahead())

    def _taken(self, run: str) -> float:
        """Its estimate; where its configuration was not chosen yet when estimates were made, that of any other."""
        if run in self._left:
            return self._left.pop(run)
        return self._left.popitem()[1] if self._left else 0.0

    def skipped(self, job: Job, because: str) -> None:
        self.say(f"{_doing(job)} is left out: it needs {because}, which failed")

    def look(self, running: Mapping[int, Job]) -> None:
        trained = {slot: job for slot, job in running.items() if job.verb == "train"}
        curves = {slot: Run(job.place.runs / job.run).metrics() for slot, job in trained.items()}
        self._through = {job.run: len(curves[slot]) / job.config.optim.epochs for slot, job in trained.items()}
        if self._live:
            for slot in trained:
                self._progress.update(self._tasks[slot], completed=len(curves[slot]), said=_heldout(curves[slot]))
            self._progress.update(self._whole, said=self._ahead())
        elif time.monotonic() - self._said_at > LINES_EVERY:
            self._said_at = time.monotonic()
            for slot, job in trained.items():
                epochs = f"epoch {len(curves[slot])} of {job.config.optim.epochs}"
                parts = [epochs, _heldout(curves[slot]), self._ahead()]
                self.say(f"{self._count()}  {_doing(job)}: {', '.join(part for part in parts if part)}")

    # ---- words ----

    def _count(self) -> str:
        return f"{self._name} {self._finished}/{self._total}"

    def _ahead(self) -> str:
        """From the estimate, corrected by how far it was out so far."""
        if not self._left:
            return ""
        out = self._spent / self._estimated if self._estimated else 1.0
        begun = sum(share * self._left.get(run, 0.0) for run, share in self._through.items())
        return f"about {duration(out * max(0.0, sum(self._left.values()) - begun) / self._slots)} left"


def _doing(job: Job) -> str:
    what = {
        "train": "",
        "evaluate": f"{job.split.replace('heldout', 'held-out')} scores of ",
        "probe": "a few steps of ",
    }[job.verb]
    return what + (job.label or job.run)


def _heldout(lines: Sequence[Mapping[str, object]]) -> str:
    accuracy = lines[-1].get("heldout_accuracy") if lines else None
    return f"held-out {100 * accuracy:.2f} %" if isinstance(accuracy, float) else ""
