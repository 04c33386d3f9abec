"""One piece of work and its reply, as lines of JSON: nothing is pickled, so a line can be read, kept and given again."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from protege.models.config import ModelConfig
from protege.runs.config import Described, Measured, Place, RunConfig, TeacherConfig

STAND_IN = "stand-in"  # source of a teacher that a probe makes up


class Job(Described):
    """Train a run, evaluate a finished one on the test set, or try what a run takes."""

    verb: Literal["train", "evaluate", "probe"]
    run: str = Field(description="id of the run; of a probe, its name in the cache")
    config: RunConfig
    place: Place
    label: str = Field(default="", description="for people")
    needs: tuple[str, ...] = Field(default=(), description="runs that must be finished first")
    references: tuple[TeacherConfig, ...] | None = Field(
        default=None, description="evaluate: teachers to compare with; None: the run's own"
    )
    stand_ins: tuple[ModelConfig, ...] = Field(
        default=(), description="probe: networks for the teachers called `stand-in`, in order"
    )
    command: str = Field(default="", description="what the user typed, for the records")

    @property
    def key(self) -> str:
        return f"{self.verb} {self.run}"


class Reply(Measured):
    """What became of a job."""

    key: str
    outcome: Literal["finished", "stopped", "diverged", "failed"]
    message: str = Field(default="", description="one line about a failure, as the user should read it")
    found: dict[str, Any] = Field(default={}, description="of a probe: its figures")
