"""Runs that no study planned, with names: which are students, which are teachers, and which are compared with which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from protege.report.loose import grouping
from protege.report.loose.grouping import Group, run_of


@dataclass(frozen=True)
class Known:
    """All that was read, with names."""

    root: Path
    groups: Sequence[Group]
    cells: Sequence[Group]
    teachers: Sequence[Group]
    keys: Mapping[str, str]  # digest -> key as a cell
    teacher_keys: Mapping[str, str]  # digest, or identity of a teacher that is not here -> key as a teacher
    pairs: Mapping[str, str | None]


def arranged(root: Path, found: list[Group]) -> Known:
    cells = [one for one in found if grouping.is_cell(one, found)]
    teachers = [one for one in found if grouping.is_teacher(one, found)]
    pairs = _pairs(cells)
    teacher_keys = grouping.names(teachers, {one.digest: one.model for one in teachers})
    return Known(root, found, cells, teachers, _cell_keys(cells, pairs, teacher_keys), teacher_keys, pairs)


def _pairs(cells: Sequence[Group]) -> dict[str, str | None]:
    """By student, and by data where test images differ; nothing where all are alike."""
    judges = {grouping.judged_by(one): one.first.record["data"]["name"] for one in cells}
    numbers = {judge: f" {number}" for number, judge in enumerate(judges, 1)}
    models = {one.model for one in cells}
    found: dict[str, str | None] = {}
    for one in cells:
        judge = grouping.judged_by(one)
        twin = list(judges.values()).count(judges[judge]) > 1
        where = judges[judge] + (numbers[judge] if twin else "")
        parts = [part for part, told in ((one.model, len(models) > 1), (where, len(judges) > 1)) if told]
        found[one.digest] = " on ".join(parts) or None
    return found


def _cell_keys(
    cells: Sequence[Group], pairs: Mapping[str, str | None], teacher_keys: Mapping[str, str]
) -> dict[str, str]:
    """An arm's name within its pair; `alone` is the network trained on labels."""
    found: dict[str, str] = {}
    for pair in dict.fromkeys(pairs.values()):
        those = [one for one in cells if pairs[one.digest] == pair]
        short = {one.digest: "alone" if one.method == "supervised" else one.method for one in those}
        found |= grouping.names(those, {**teacher_keys, **short})
    return found


def cell_key(known: Known, group: Group) -> str:
    pair = known.pairs[group.digest]
    return known.keys[group.digest] + (f": {pair}" if pair else "")


def teacher_key(known: Known, digest_or_identity: str) -> str:
    """Of a teacher that is not among the runs, the end of its identity."""
    return known.teacher_keys.get(digest_or_identity) or run_of(digest_or_identity) or digest_or_identity[:21]
