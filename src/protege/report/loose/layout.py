"""Runs that no study planned, laid out as a study's are: those that differ in seed alone are a cell, or a teacher."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import final

from protege.report.loose.grouping import Group, Member, control_of, is_cell, is_teacher, judged_by, names, run_of
from protege.runs import Run
from protege.runs.config import Place, TeacherConfig
from protege.study.findings import Split
from protege.study.question.arms import Cell, Configuration, cell_key
from protege.study.question.layout import Layout, PlannedRun, Role, Tutor
from protege.study.question.schema import Arm, Hypothesis, Seeds, Study, Teacher


@final
class Loose(Layout):
    """Nothing was named in advance: every taught cell is compared with the same network alone."""

    def __init__(self, root: Path, groups: Sequence[Group]) -> None:
        self.place, self.scale = Place(runs=root), "full"
        self._groups = groups
        self._by_id = {one.run.id: one for group in groups for one in group.members}
        self._group_of = {one.run.id: group for group in groups for one in group.members}
        self._students = {group.digest: group for group in groups if is_cell(group, groups)}
        taught = [group for group in groups if is_teacher(group, groups)]
        self._teacher_keys = names(taught, {one.digest: one.model for one in taught})
        self._pairs = _pairs(list(self._students.values()))
        self._arms = _arms(list(self._students.values()), self._pairs, self._teacher_keys)
        self._of_cell = {self._key(group): group for group in self._students.values()}
        self.cells = [self._cell(group) for group in self._students.values()]
        self.study = self._study()

    def _study(self) -> Study:
        """As much of one as findings ask for; it is not checked, for runs of anybody's have any seeds."""
        seeds = sorted({one.config.seed for group in self._students.values() for one in group.members})
        heldout = any(one.record["data"]["heldout"] for one in self._by_id.values())
        return Study.model_construct(
            name=f"{len(self._by_id)} runs of {self.place.runs.name}",
            question="What do these runs say?",
            arms={arm: Arm.model_construct() for arm in self._arms.values()},
            teachers={key: Teacher.model_construct() for key in self.used_teachers()},
            seeds=Seeds.model_construct(select=(), report=tuple(seeds)),
            protocol="heldout" if heldout else "literature",
        )

    @property
    def split(self) -> Split:
        """Of the first cell's runs."""
        about = self._of_cell[self.cells[0].key].first.record["data"]
        counts = {name: about[name] for name in ("name", "train", "heldout", "test", "image_size", "fingerprint")}
        return Split(classes=len(about["classes"]), **counts)

    # ---- cells ----

    def _key(self, group: Group) -> str:
        return cell_key(self._arms[group.digest], self._pairs[group.digest], {})

    def _cell(self, group: Group) -> Cell:
        """A student alone is compared with the teachers of the first that is compared with it."""
        known = list(self._students.values())
        without = next((one.taught_by for one in known if control_of(one, known) is group), ())
        sources = tuple(TeacherConfig(source=key) for key in map(self._teacher_key, group.taught_by))
        config = group.first.config.model_copy(update={"teacher": sources})
        arm, pair = self._arms[group.digest], self._pairs[group.digest]
        reference = tuple(map(self._teacher_key, without))
        return Cell(self._key(group), arm, pair, (Configuration({}, config),), reference)

    def _teacher_key(self, digest_or_identity: str) -> str:
        """Of a teacher that is not among the runs, the end of its identity."""
        known = self._teacher_keys.get(digest_or_identity)
        return known or run_of(digest_or_identity) or digest_or_identity[:21].rstrip(":")

    def asked(self) -> list[Hypothesis]:
        known = list(self._students.values())
        both = [(group, control_of(group, known)) for group in known]
        return [
            Hypothesis(treatment=self._arms[one.digest], control=self._arms[other.digest], pair=self._pairs[one.digest])
            for one, other in both
            if other is not None and one.tested and other.tested
        ]

    def judged_by(self, cell: str) -> str:
        return judged_by(self._of_cell[cell])

    # ---- runs ----

    @property
    def folder(self) -> Path:
        return self.place.runs / "report"

    def run(self, run_id: str) -> Run:
        """Of one that was named by its path, there."""
        return self._by_id[run_id].run if run_id in self._by_id else super().run(run_id)

    def select_runs(self, cell: Cell, configuration: Configuration) -> list[PlannedRun]:
        return []

    def report_runs(self, cell: Cell, configuration: Configuration) -> list[PlannedRun]:
        return [self._planned(one, "report", cell.key) for one in self._of_cell[cell.key].members]

    def _planned(self, one: Member, role: Role, place: str) -> PlannedRun:
        return PlannedRun(one.run.id, one.config, role, place, {}, tuple(self._taught(one)))

    def _taught(self, one: Member) -> Iterator[Tutor]:
        for identity, config in zip(one.teachers, one.config.teacher, strict=True):
            taught = self._by_id.get(run_of(identity) or "")
            yield self._tutor(taught, config.weights) if taught else self._given(identity, config)

    def _tutor(self, one: Member, weights: str = "final") -> Tutor:
        key = self._teacher_keys[self._group_of[one.run.id].digest]
        config = TeacherConfig.model_validate({"source": one.run.id, "weights": weights})
        return Tutor(key, config, f"run:{one.run.id}:{weights}", one.config.seed, self._planned(one, "teacher", key))

    def _given(self, identity: str, config: TeacherConfig) -> Tutor:
        return Tutor(self._teacher_key(identity), config, identity, None, None)

    def tutors(self, key: str) -> tuple[Tutor, ...]:
        digests = [digest for digest, known in self._teacher_keys.items() if known == key]
        if digests:
            return tuple(
                self._tutor(one) for group in self._groups if group.digest == digests[0] for one in group.members
            )
        everybody = (tutor for one in self._by_id.values() for tutor in self._taught(one))
        return (next(tutor for tutor in everybody if tutor.key == key),)

    def lineups(self, keys: Sequence[str], position: int) -> list[tuple[Tutor, ...]]:
        """All: which one a student alone did without, nobody said."""
        return list(itertools.product(*map(self.tutors, keys)))


# ---- names ----


def _pairs(cells: Sequence[Group]) -> dict[str, str | None]:
    """By student, and by data where test images differ; nothing where all are alike."""
    judges = {judged_by(one): one.first.record["data"]["name"] for one in cells}
    numbers = {judge: f" {number}" for number, judge in enumerate(judges, 1)}
    models = {one.model for one in cells}
    found: dict[str, str | None] = {}
    for one in cells:
        judge = judged_by(one)
        twin = list(judges.values()).count(judges[judge]) > 1
        where = judges[judge] + (numbers[judge] if twin else "")
        parts = [part for part, told in ((one.model, len(models) > 1), (where, len(judges) > 1)) if told]
        found[one.digest] = " on ".join(parts) or None
    return found


def _arms(cells: Sequence[Group], pairs: Mapping[str, str | None], teacher_keys: Mapping[str, str]) -> dict[str, str]:
    """An arm's name within its pair; `alone` is the network trained on labels."""
    found: dict[str, str] = {}
    for pair in dict.fromkeys(pairs.values()):
        those = [one for one in cells if pairs[one.digest] == pair]
        short = {one.digest: "alone" if one.method == "supervised" else one.method for one in those}
        found |= names(those, {**teacher_keys, **short})
    return found
