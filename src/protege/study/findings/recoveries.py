"""What publications make of a gain: the gap to the teacher that it closes, the errors that it removes, the teacher that it reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protege.study.findings.record import Cell, Recovery, TeacherFacts, Which
from protege.study.question.measures import ratios


def recoveries(score: Which, cells: Sequence[Cell], teachers: Sequence[TeacherFacts]) -> list[Recovery]:
    """Of every taught cell whose pair has a student alone that is not tuned (`alone`), and one teacher."""
    known = {teacher.key: teacher for teacher in teachers}
    found = []
    for cell in cells:
        alone = [one for one in cells if one.alone and one.pair == cell.pair and one.arm in ("alone", one.arm)]
        control = next((one for one in alone if one.arm == "alone"), alone[0] if len(alone) == 1 else None)
        if cell.alone or control is None or cell.teacher not in known:
            continue
        values = _accuracy(cell.test, score), _accuracy(control.test, score), _of_teacher(known[cell.teacher], score)
        if None not in values:
            found.append(Recovery(cell=cell.key, control=control.key, teacher=cell.teacher, **ratios(*values)))  # type: ignore[arg-type]
    return found


def _accuracy(test: Mapping[Which, Mapping[str, object]], score: Which) -> float | None:
    return getattr(test.get(score, {}).get("accuracy"), "mean", None)


def _of_teacher(teacher: TeacherFacts, score: Which) -> float | None:
    """A given teacher has one score, whichever epoch it was."""
    return _accuracy(teacher.test, score if score in teacher.test else "final")
