"""What publications make of a gain: the gap to the teacher that it closes, the errors that it removes, the teacher that it reaches."""

from __future__ import annotations

from collections.abc import Sequence

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
        taught, without, teacher = (one.scores(score).get("accuracy") for one in (cell, control, known[cell.teacher]))
        if taught and without and teacher:
            share = ratios(taught.mean, without.mean, teacher.mean)
            found.append(Recovery(cell=cell.key, control=control.key, teacher=cell.teacher, **share))
    return found
