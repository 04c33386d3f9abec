"""One piece of work and its reply, as files of JSON: nothing is pickled, so a job can be read, kept and given again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from protege.data.files import content_of
from protege.errors import RunError
from protege.models.config import ModelConfig
from protege.runs.config import Described, Measured, Place, RunConfig, TeacherConfig
from protege.runs.files import whole

STAND_IN = "stand-in"  # source of a teacher that a probe makes up


class Job(Described):
    """Train a run, evaluate a finished one, or try what a run takes."""

    verb: Literal["train", "evaluate", "probe"]
    run: str = Field(description="id of the run; of a probe, its name in the cache")
    config: RunConfig
    place: Place
    label: str = Field(default="", description="for people")
    wave: str = Field(default="runs", description="for people: which jobs it is submitted with")
    needs: tuple[str, ...] = Field(default=(), description="runs that must be finished first")
    split: Literal["heldout", "test"] = Field(default="test", description="evaluate: on which images")
    references: tuple[TeacherConfig, ...] | None = Field(
        default=None, description="evaluate: teachers to compare with; None: the run's own"
    )
    stand_ins: tuple[ModelConfig, ...] = Field(
        default=(), description="probe: networks for the teachers called `stand-in`, in order"
    )
    command: str = Field(default="", description="what the user typed, for the records")

    @property
    def key(self) -> str:
        """A run that is trained in parts has a job for each."""
        return f"{self.verb} {self.run}" + (f" until {self.place.until}" if self.place.until else "")


class Reply(Measured):
    """What became of a job."""

    key: str
    outcome: Literal["finished", "stopped", "diverged", "failed", "died"] = Field(
        description="died: without a word, so that nobody knows whether it would again"
    )
    message: str = Field(default="", description="one line about a failure, as the user should read it")
    found: dict[str, Any] = Field(default={}, description="of a probe: its figures")


def write(path: Path, said: Job | Reply) -> None:
    """It appears whole: who finds the file can read it."""
    with whole(path) as partial:
        partial.write_text(said.model_dump_json() + "\n")


def job_in(path: Path) -> Job:
    try:
        return Job.model_validate_json(content_of(path))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} holds no job: {' '.join(str(error).split())}") from error


def reply_in(path: Path) -> Reply | None:
    """None where there is none yet."""
    try:
        return Reply.model_validate_json(content_of(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} holds no reply: {' '.join(str(error).split())} Remove it.") from error
