"""What accuracy costs: to deploy, and to train with the teacher's time counted."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from protege.report.material.subjects import Subject
from protege.report.page.table import Column, Estimate, Row, Table, estimate, headed, sentence, trimmed
from protege.study.findings import Findings


def teacher_seconds(subject: Subject, teachers: Mapping[str, Subject]) -> float | None:
    """To train everybody who taught it, one network of each, their own teachers too; None where a time is not known."""
    total = 0.0
    for key in subject.teachers:
        one = teachers.get(key)
        above = teacher_seconds(one, teachers) if one else None
        if one is None or one.seconds is None or above is None:
            return None
        total += one.seconds + above
    return total


def teachers_by_key(known: Sequence[Subject]) -> dict[str, Subject]:
    return {one.id.removeprefix("teacher/"): one for one in known if one.kind == "teacher"}


def costs(findings: Findings, known: Sequence[Subject]) -> Table:
    columns = headed([
        "network", Column("seeds", "count"), Column("test accuracy %", "estimate"), Column("parameters", "count"),
        Column("multiply-adds", "count"), Column("training s", "estimate", 1), Column("its teachers' s", "number", 1),
        Column("together s", "number", 1), Column("tuning s", "number", 1),
    ])  # fmt: skip
    teachers, tuning = teachers_by_key(known), _tuning(findings)
    rows = []
    for one in known:
        taught = teacher_seconds(one, teachers) if one.teachers else None
        together = one.seconds if not one.teachers else None
        if one.seconds is not None and taught is not None:
            together = one.seconds + taught
        accuracy = estimate(one.scores(findings.score).get("accuracy"))
        values = (
            one.label, len(one.seeds), accuracy, one.facts.parameters, one.facts.multiply_adds, _own_seconds(one), taught,
            together, tuning.get(one.id),
        )  # fmt: skip
        rows.append(Row(values, one.hardware, one.style))
    note = sentence(
        "Seconds of one run, ± sd over seeds.",
        "A teacher that was brought along has a price that is not known here."
        if any(one.given for one in findings.teachers)
        else "",
        "Tuning: all selection runs of the arm together." if tuning else "",
        "Runs that shared a machine took longer than they would alone.",
    )
    return trimmed(Table("costs", "What it costs", columns, tuple(rows), note))


def _own_seconds(one: Subject) -> Estimate | None:
    spent = {row.id: row.seconds for row in one.rows if row.state == "finished"}
    known = [seconds for seconds in spent.values() if seconds is not None]
    if not known:
        return None
    return Estimate(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


def _tuning(findings: Findings) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in {row.id: row for row in findings.runs if row.role == "select"}.values():
        if row.seconds is not None:
            found[f"cell/{row.cell}"] = found.get(f"cell/{row.cell}", 0.0) + row.seconds
    return found
