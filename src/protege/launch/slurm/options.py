"""What is asked of the scheduler. None of it changes what a run is."""

from __future__ import annotations

import shlex
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from protege.runs.config import Described

TIME = r"^(\d+-)?\d{1,4}(:\d{1,2}){0,2}$"


def _a_word(said: str) -> str:
    """Another line, or a second option, is no name: it would be read by sbatch, or run by the job's shell."""
    if not said.isprintable() or any(sign in said for sign in " '\"\\#"):
        raise ValueError("should be one word, without spaces, quotes and line breaks")
    return said


def _a_line(said: str) -> str:
    if not said.isprintable():
        raise ValueError("should be one line of options")
    shlex.split(said)  # quotes that are closed
    return said


Word = Annotated[str, AfterValidator(_a_word)]
Line = Annotated[str, AfterValidator(_a_line)]


class TeachersAllocation(Described):
    """What a job of teachers gets where it is not what the others get."""

    partition: Word | None = Field(default=None, description="partition of teachers")
    time: str | None = Field(default=None, pattern=TIME, description="time limit of teachers")
    gres: Word | None = Field(default=None, description="devices of a teacher, e.g. gpu:1")
    cpus: int | None = Field(default=None, ge=1, description="CPUs of a teacher")
    mem: Word | None = Field(default=None, description="memory of a teacher, e.g. 32G")
    runs_per_job: int | None = Field(default=None, ge=1, description="teachers in a job")


class Slurm(Described):
    """One job: what it asks for, and how many runs it makes."""

    partition: Word | None = Field(default=None, description="partition (else the site's own choice)")
    account: Word | None = Field(default=None, description="who pays")
    time: str = Field(
        default="04:00:00", pattern=TIME, description="time limit of a job; a run that takes longer is requeued"
    )
    gres: Word | None = Field(default=None, description="devices of a job: gpu:1, or shard:1 where a site shares GPUs")
    cpus: int = Field(default=4, ge=1, description="CPUs of a job, shared out among the runs in it")
    mem: Word | None = Field(default=None, description="memory of a job, e.g. 16G (else the site's own choice)")
    runs_per_job: int = Field(default=1, ge=1, description="runs that share a job")
    at_once: int | None = Field(default=None, ge=1, description="of these, how many at a time (else all)")
    throttle: int = Field(default=100, ge=1, description="jobs of one array that run at a time")
    queued: int = Field(default=2000, ge=1, description="runs that are in the queue at a time")
    array: int = Field(default=1000, ge=1, description="jobs in one array (MaxArraySize of the site)")
    setup: str = Field(
        default="", description="shell lines before Python, e.g. 'module load cuda; source env/bin/activate'"
    )
    more: Line = Field(default="", description="further options of sbatch, e.g. '--qos=long --exclude=n7'")
    before_end: int = Field(
        default=180, ge=1, description="seconds before the time limit at which runs are checkpointed and requeued"
    )
    look_every: float = Field(default=15.0, ge=1, description="seconds between questions to the scheduler")
    conductor_time: str = Field(
        default="1-00:00:00",
        pattern=TIME,
        description="with --detach: time limit of the job that looks after the others",
    )
    teachers: TeachersAllocation = Field(default=TeachersAllocation(), description="what differs for teachers")

    @model_validator(mode="after")
    def _time_for_more_than_its_end(self) -> Self:
        for time in (self.time, self.teachers.time or self.time):
            if 2 * self.before_end > seconds_of(time):
                raise ValueError(f"before_end ({self.before_end} s) must be at most half of time ({time})")
        return self

    def for_wave(self, wave: str) -> Slurm:
        """As the jobs of this wave have it. Test scores are read in one job: one node writes into the ledger."""
        if wave == "teachers":
            return self.model_copy(update=self.teachers.model_dump(exclude_none=True))
        if wave == "test":
            return self.model_copy(update={"runs_per_job": self.queued, "at_once": self.at_once or self.runs_per_job})
        return self


def seconds_of(time: str) -> int:
    """As sbatch reads it: minutes, minutes:seconds, hours:minutes:seconds, days-hours:minutes:seconds."""
    days, dash, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if dash:
        hours, minutes, seconds = [*parts, 0, 0][:3]
    else:
        hours, minutes, seconds = {1: [0, *parts, 0], 2: [0, *parts], 3: parts}[len(parts)]
    return int(days or 0) * 86_400 + hours * 3600 + minutes * 60 + seconds
