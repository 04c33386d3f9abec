"""The contract of whatever does jobs, and the order in which jobs are given to it.

A launcher takes jobs and tells what began and what ended. Both sides are JSON in files: a job is given by a file, its reply
is a file, and what is finished is known by the folder of its run alone. So either side may die, and nothing is lost but the
steps since the last checkpoint. Which work there is, is asked again when there are replies: a study finds out while it runs.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, final

from protege.launch.jobs import Job, Reply
from protege.runs import Run

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # the last is what schedulers send before the end of the time


@dataclass(frozen=True)
class News:
    """A job began (no reply yet), or ended. `slot` is its number among those that run, for displays."""

    slot: int
    job: Job
    reply: Reply | None = None


class Launcher(Protocol):
    """Where jobs are done: slots of this machine, the jobs of a scheduler, the nodes of a cluster."""

    chains: bool  # takes a job whose needs it has taken already, and begins it when they are finished
    forgives: int  # deaths of a run, one after another without a new checkpoint, before it counts as failed

    look_every: float  # seconds between looks at the folders of what runs
    after_a_stop: str  # what is true of the jobs, and what to do

    def room(self) -> int:
        """How many jobs it would take now."""
        ...

    def take(self, jobs: Sequence[Job]) -> None:
        """Never more than there is room for, and each job once; one that died may be given again."""
        ...

    def busy(self) -> bool:
        """Whether a job that it took has not ended."""
        ...

    def news(self) -> Sequence[News]:
        """What began and what ended since the last time; waits a moment where there is none."""
        ...

    def end(self, asked: Sequence[int]) -> None:
        """No more will be asked of it. `asked` are the stop signals, and may grow while this waits."""
        ...


class Watch(Protocol):
    """Whoever shows what happens."""

    def started(self, slot: int, job: Job) -> None: ...

    def ended(self, slot: int, job: Job, reply: Reply) -> None: ...

    def skipped(self, job: Job, because: str) -> None: ...

    def look(self, running: Mapping[int, Job]) -> None: ...


@final
class Unwatched:
    """A watch that shows nothing."""

    def started(self, slot: int, job: Job) -> None: ...

    def ended(self, slot: int, job: Job, reply: Reply) -> None: ...

    def skipped(self, job: Job, because: str) -> None: ...

    def look(self, running: Mapping[int, Job]) -> None: ...


@dataclass
class Outcome:
    """What became of all jobs."""

    replies: list[Reply] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)  # run -> one line
    skipped: dict[str, str] = field(default_factory=dict)  # run -> the failed run that it waits for
    signals: list[int] = field(default_factory=list)  # that asked for a stop

    @property
    def stopped(self) -> bool:
        return bool(self.signals)


def run_jobs(more: Callable[[], Sequence[Job]], watch: Watch, launcher: Launcher) -> Outcome:
    """Do what `more` lists, in its order, until nothing that can be done is left; each job once.

    `more` lists what is not done yet and is asked again when there are replies. A job whose `needs` are still listed waits for them.
    """
    round_ = _Round(more, watch, launcher)
    with _stop_signals(round_.outcome.signals):
        try:
            round_.until_done()
        finally:
            launcher.end(round_.outcome.signals)
    return round_.outcome


@final
class _Round:
    """Jobs between being listed and being done with."""

    def __init__(self, more: Callable[[], Sequence[Job]], watch: Watch, launcher: Launcher) -> None:
        self._more, self._watch, self._launcher = more, watch, launcher
        self.outcome = Outcome()
        self._taken: dict[str, Job] = {}  # by key; those that are done with, too
        self._going: set[str] = set()  # runs in training, or about to be
        self._running: dict[int, Job] = {}  # by slot
        self._deaths: dict[str, tuple[int, int]] = {}  # by key: how many, at which checkpoint

    def until_done(self) -> None:
        listed, looked = self._more(), 0.0
        while not self.outcome.signals:
            self._give(listed)
            if not self._launcher.busy():
                return
            if time.monotonic() - looked >= self._launcher.look_every:
                looked = time.monotonic()
                self._watch.look(self._running)
            news = self._launcher.news()
            for one in news:
                self._note(one)
            if any(one.reply for one in news):
                listed = self._more()

    def _note(self, news: News) -> None:
        if news.reply is None:
            self._running[news.slot] = news.job
            self._watch.started(news.slot, news.job)
        else:
            self._end(news, news.reply)

    def _give(self, listed: Sequence[Job]) -> None:
        chosen = []
        for job in self.ready(listed, self._launcher.room()):
            self._taken[job.key] = job
            chosen.append(job)
        if chosen:
            self._launcher.take(chosen)

    def ready(self, listed: Sequence[Job], room: int) -> Iterator[Job]:
        """The first ones that are not taken and wait for nothing; what waits for a failed run is skipped, and said."""
        unfinished = {job.run for job in listed if job.verb == "train"}
        for job in listed:
            if room <= 0:
                return
            if job.key in self._taken or self._is_hopeless(job):
                continue
            if not unfinished.intersection(job.needs) - (self._going if self._launcher.chains else set()):
                room -= 1
                self._going |= {job.run} if job.verb == "train" else set()
                yield job

    def _is_hopeless(self, job: Job) -> bool:
        if broken := self._broken(job):
            self._taken[job.key] = job
            self.outcome.skipped[job.run] = broken[0]
            self._watch.skipped(job, broken[0])
        return bool(broken)

    def _broken(self, job: Job) -> list[str]:
        return [need for need in job.needs if need in self.outcome.failed or need in self.outcome.skipped]

    def _end(self, news: News, reply: Reply) -> None:
        job = news.job
        begun = self._running.pop(news.slot, None) is not None
        self._going.discard(job.run)
        if reply.outcome == "died" and not begun and self._broken(job):
            del self._taken[job.key]  # given up with what it needs; it is listed again, and then skipped, which says so
            return
        if reply.outcome == "died":
            reply = self._of_a_death(job, reply)
        if reply.outcome == "died":
            del self._taken[job.key]  # it is listed again
        elif reply.outcome in ("failed", "diverged"):
            self.outcome.failed[job.run] = reply.message
        self.outcome.replies.append(reply)
        self._watch.ended(news.slot, job, reply)

    def _of_a_death(self, job: Job, reply: Reply) -> Reply:
        """Its last words may be lost, and still it is finished; one that dies again and again at the same place has failed."""
        if job.verb == "train" and Run(job.place.runs / job.run).finished:
            return reply.model_copy(update={"outcome": "finished", "message": ""})
        at = _checkpoint(job)
        before, where = self._deaths.get(job.key, (0, at))
        self._deaths[job.key] = (deaths := before + 1 if where == at else 1, at)
        return reply if deaths <= self._launcher.forgives else reply.model_copy(update={"outcome": "failed"})


def _checkpoint(job: Job) -> int:
    """When the run's checkpoint was written; 0 where there is none."""
    try:
        return Run(job.place.runs / job.run).checkpoint_file.stat().st_mtime_ns
    except OSError:
        return 0


@contextlib.contextmanager
def _stop_signals(asked: list[int]) -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGUSR1 are collected in a list, which the loop looks at."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda number, _: asked.append(number)) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
