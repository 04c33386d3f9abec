"""One run that is made elsewhere: `protege train ... --on slurm`. The same command finds it, and follows it to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import final

from protege.errors import RunError, Stopped
from protege.launch.jobs import Job, Reply
from protege.launch.launcher import run_jobs
from protege.launch.where import Slotted, Where, launcher
from protege.runs import Run
from protege.runs.config import Place, RunConfig
from protege.runs.display import console, duration


def made(config: RunConfig, place: Place, where: Where, command: str) -> Run:
    """The finished run."""
    job = _job(config, place, command)
    run = Run(job.place.runs / job.run)
    say = _say(place)
    launched = launcher(where, job.place.runs / "jobs" / job.run, job.run, Slotted(threads=place.threads), say)
    outcome = run_jobs(lambda: [] if run.finished else [job], _Lines(say), launched)
    if outcome.stopped and not run.finished:
        raise Stopped(f"{job.run} is not finished. {launched.after_a_stop}")
    if job.run in outcome.failed:
        raise RunError(outcome.failed[job.run])
    return run


def leave(config: RunConfig, place: Place, where: Where, command: str) -> str:
    """Submits its job, unless it is there already, and says so."""
    job = _job(config, place, command)
    launched = launcher(where, job.place.runs / "jobs" / job.run, job.run, Slotted(), lambda _: None)
    launched.take([job])
    launched.end(())
    return f"{job.run} is left to its job. The same command without --detach follows it."


def _job(config: RunConfig, place: Place, command: str) -> Job:
    from protege.train import plan

    folders = {"runs": place.runs.absolute(), "data_dir": place.data_dir and place.data_dir.absolute()}
    there = place.model_copy(update={**folders, "quiet": True, "wait": True})
    known = plan(config, there).id
    return Job(verb="train", run=known, config=config, place=there, label=known, wave="train", command=command)


def _say(place: Place) -> Callable[[str], None]:
    return (lambda _: None) if place.quiet else (lambda line: console.print(line, markup=False, soft_wrap=True))


@final
class _Lines:
    """A watch that says a line for each epoch that it sees."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._said = say, 0

    def started(self, slot: int, job: Job) -> None:
        self._say(f"{job.run} begins")

    def ended(self, slot: int, job: Job, reply: Reply) -> None:
        if reply.outcome == "died":
            self._say(f"{job.run} is begun again: {reply.message}")

    def skipped(self, job: Job, because: str) -> None: ...

    def look(self, running: Mapping[int, Job]) -> None:
        for job in running.values():
            run = Run(job.place.runs / job.run)
            if len(times := run.times()) != self._said:
                self._said = len(times)
                left = times[-1]["seconds"] * (job.config.optim.epochs - len(times))
                self._say(f"{job.run}  epoch {len(times)}/{job.config.optim.epochs}  about {duration(left)} left")
