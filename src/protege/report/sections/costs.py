"""What accuracy costs: to deploy, and to train with the teacher's time counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from markupsafe import Markup

from protege.report.figures.plots import Dot, scatter
from protege.report.material import Material
from protege.report.material.subjects import Panel, Subject, panels
from protege.report.material.words import SEEDS, about, scored, with_n
from protege.report.page.blocks import Figures, Section
from protege.report.page.table import Column, Dress, Estimate, Table, estimate_of, sentence, table_of
from protege.study.findings import Findings

Price = Callable[[Subject], tuple[float, float | None] | None]  # what it costs, and the part of it without the teacher


def costs(material: Material) -> Section | None:
    table = _table(material)
    if not table.rows:
        return None
    drawn = [figure for panel in panels(material.subjects) if (figure := _figure(panel, material)) is not None]
    return Section("costs", "What it costs", [*drawn, table])


# ---- training time ----


def teacher_seconds(subject: Subject, known: Mapping[str, Subject]) -> float | None:
    """To train everybody who taught it, one network of each, their own teachers too; None where a time is not known."""
    total = 0.0
    for key in subject.teachers:
        one = known.get(f"teacher/{key}")
        above = teacher_seconds(one, known) if one else None
        if one is None or one.of.seconds is None or above is None:
            return None
        total += one.of.seconds + above
    return total


def _together(one: Subject, known: Mapping[str, Subject]) -> float | None:
    taught = teacher_seconds(one, known)
    return None if one.of.seconds is None or taught is None else one.of.seconds + taught


# ---- drawn ----


def _figure(panel: Panel, material: Material) -> Figures | None:
    def seconds(one: Subject) -> tuple[float, float | None] | None:
        together = _together(one, material.known)
        return None if together is None else (together, one.of.seconds if one.teachers else None)

    prices: list[tuple[str, Price]] = [
        ("parameters", lambda one: (one.facts.parameters, None) if one.facts.parameters else None),
        ("multiply-adds an image", lambda one: (one.facts.multiply_adds, None) if one.facts.multiply_adds else None),
        ("seconds of training", seconds),
    ]
    drawn = [drawing for name, price in prices if (drawing := _drawing(panel, material, name, price)) is not None]
    if not drawn:
        return None
    caption = (
        f"Test accuracy ± sd over seeds. Of time, a filled point counts the teacher's training, "
        f"a hollow one the student's alone.{material.hardware(panel.subjects)}"
    )
    return Figures(drawn, caption, title=panel.title)


def _drawing(panel: Panel, material: Material, name: str, price: Price) -> Markup | None:
    """None where all cost the same: there is nothing to choose."""
    dots = []
    for one in panel.subjects:
        accuracy, found = one.scores(material.findings.score).get("accuracy"), price(one)
        if accuracy is not None and found is not None:
            tooltip = f"{one.label}: {with_n(accuracy)} %, {found[0]:,.0f} {name}"
            dots.append(Dot(one.short, found[0], accuracy.mean, accuracy.sd, found[1], one.style, tooltip))
    return scatter(dots, name, "test accuracy %") if len({dot.x for dot in dots}) > 1 else None


# ---- the table ----


def _table(material: Material) -> Table:
    findings, known, tuning = material.findings, material.known, _tuning(material.findings)
    note = sentence(
        "Seconds of one run, ± sd over seeds.",
        "A teacher that was brought along has a price that is not known here."
        if any(one.given for one in findings.teachers)
        else "",
        "Tuning: all selection runs of the arm together." if tuning else "",
        "Runs that shared a machine took longer than they would alone.",
    )
    return table_of(
        "costs",
        "What it costs",
        material.subjects,
        [
            ("network", lambda one: one.label),
            SEEDS,
            scored(None, findings.score),
            (Column("parameters", "count"), lambda one: one.facts.parameters),
            (Column("multiply-adds", "count"), lambda one: one.facts.multiply_adds),
            *(scored(measure, findings.score) for measure in findings.measures if about(measure) == "price"),
            (Column("training s", "estimate", 1), _own_seconds),
            (
                Column("its teachers' s", "number", 1),
                lambda one: teacher_seconds(one, known) if one.teachers else None,
            ),
            (Column("together s", "number", 1), lambda one: _together(one, known)),
            (Column("tuning s", "number", 1), lambda one: tuning.get(one.id)),
        ],
        note,
        lambda one: Dress(one.hardware, one.style),
    )


def _own_seconds(one: Subject) -> Estimate | None:
    spent = {row.id: row.seconds for row in one.rows if row.state == "finished"}
    known = [seconds for seconds in spent.values() if seconds is not None]
    return estimate_of(known) if known else None


def _tuning(findings: Findings) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in {row.id: row for row in findings.runs if row.role == "select"}.values():
        if row.seconds is not None:
            found[f"cell/{row.cell}"] = found.get(f"cell/{row.cell}", 0.0) + row.seconds
    return found
