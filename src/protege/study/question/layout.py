"""Who taught whom, in which cell: all that findings must know of a study's runs, or of runs that no study planned."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from protege.runs import Run
from protege.runs.config import Place, RunConfig, TeacherConfig
from protege.study.question.arms import Cell, Configuration
from protege.study.question.schema import Hypothesis, Scale, Study, Values

Role = Literal["teacher", "select", "report"]


@dataclass(frozen=True)
class Tutor:
    """One teacher network as one student run meets it."""

    key: str  # of the study's teachers
    config: TeacherConfig
    identity: str
    seed: int | None  # None: a weights file
    run: PlannedRun | None  # None: it was given


@dataclass(frozen=True)
class PlannedRun:
    """A run in its place of the study."""

    id: str
    config: RunConfig
    role: Role
    place: str  # key of its cell or teacher
    values: Values
    tutors: tuple[Tutor, ...]
    start: PlannedRun | None = None  # from whose weights it starts

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def needs(self) -> tuple[str, ...]:
        """Runs of the study that must be finished first."""
        start = (self.start.id,) if self.start else ()
        return (*start, *(tutor.run.id for tutor in self.tutors if tutor.run))


class Layout(ABC):
    """Cells, and the runs and teachers of each."""

    study: Study
    place: Place
    scale: Scale
    cells: list[Cell]

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Of the findings."""

    @abstractmethod
    def select_runs(self, cell: Cell, configuration: Configuration) -> list[PlannedRun]:
        """None where there is nothing to choose."""

    @abstractmethod
    def report_runs(self, cell: Cell, configuration: Configuration) -> list[PlannedRun]: ...

    @abstractmethod
    def tutors(self, key: str) -> tuple[Tutor, ...]:
        """All networks of a teacher, a seed each."""

    @abstractmethod
    def lineups(self, keys: Sequence[str], position: int) -> list[tuple[Tutor, ...]]:
        """Who teaches the student at this position of the seeds, or would: one lineup, or several."""

    @abstractmethod
    def asked(self) -> list[Hypothesis]:
        """What is compared."""

    def judged_by(self, cell: str) -> str:
        """Cells of one value have the same test images; in a study all have."""
        return ""

    def configurations(self, cell: Cell) -> Sequence[Configuration]:
        """Those of the file; of a search those that were asked for so far."""
        return cell.configurations

    def rounds(self, cell: Cell) -> list[list[Configuration]]:
        """In which a search asked for them; none where nothing searches."""
        return []

    def run(self, run_id: str) -> Run:
        return Run(self.place.runs / run_id)

    def teacher_runs(self, keys: Iterable[str] | None = None) -> list[PlannedRun]:
        """Those of these teachers, or of all that a cell needs, teachers of teachers first."""
        found: dict[str, PlannedRun] = {}
        for key in dict.fromkeys(self.used_teachers() if keys is None else keys):
            for tutor in self.tutors(key):
                _with_tutors(tutor, found)
        return list(found.values())

    def used_teachers(self) -> Iterator[str]:
        """Keys, in order of use. Alone arms are compared with a teacher, so they use it too."""
        for cell in self.cells:
            for configuration in cell.configurations:
                yield from configuration.teachers or cell.reference


def _with_tutors(tutor: Tutor, found: dict[str, PlannedRun]) -> None:
    if tutor.run is not None:
        for one in tutor.run.tutors:
            _with_tutors(one, found)
        found.setdefault(tutor.run.id, tutor.run)
