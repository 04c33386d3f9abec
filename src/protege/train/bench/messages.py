"""What is said to a process that measures, and what it answers: a line of JSON each."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from protege.runs.config import Described, Measured
from protege.train.arithmetic import Execution
from protege.train.bench.limits import Cost, Rates
from protege.train.bench.variants import Arithmetic, Pair, Setting, Variant


class Facts(Measured):
    """What must be known of a pair before it is measured."""

    arithmetic: Arithmetic = Field(description="the quicker one here, for student and teacher")
    execution: Execution = Field(default="eager", description="of the student, in a run of the usual length")
    weights: Path = Field(description="of a teacher that stands in for a trained one")
    student: Cost
    teacher: Cost


class Took(Measured):
    """Some passes of one way to train."""

    images: int
    seconds: float
    asked: int = Field(default=0, description="images that the teacher looked at because its memory did not know them")


class Request(Described):
    """prepare a pair, measure rates, open a way to train, or pass through it."""

    verb: Literal["prepare", "rates", "open", "pass"]
    setting: Setting
    pair: Pair | None = None
    variant: Variant | None = None
    weights: Path | None = None
    passes: int = 1


class Reply(Measured):
    """What came of it; `problem` is one line, for people."""

    problem: str = ""
    facts: Facts | None = None
    environment: dict[str, Any] | None = None
    rates: Rates | None = None
    took: Took | None = None
    peak_memory: int = Field(default=0, description="bytes: of the process on a CPU, on the device on a GPU")
