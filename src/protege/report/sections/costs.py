"""Accuracy against parameters, multiply-adds and training time, the teacher's time counted."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup

from protege.report.figures.scatter import Dot, scatter
from protege.report.material import Material
from protege.report.material.subjects import Panel, Subject, panels
from protege.report.page.blocks import Block, Figures, Section
from protege.report.sections.answer import hardware, with_n
from protege.report.tables.costs import costs as table_of
from protege.report.tables.costs import teacher_seconds, teachers_by_key

Price = Callable[[Subject], tuple[float, float | None] | None]  # what it costs, and the part of it without the teacher


def costs(material: Material) -> Section | None:
    table = table_of(material.findings, material.subjects)
    if not table.rows:
        return None
    drawn = [figure for panel in panels(material.subjects) if (figure := _figure(panel, material)) is not None]
    blocks: list[Block] = [*drawn, table]
    return Section("costs", "What it costs", blocks)


def _figure(panel: Panel, material: Material) -> Figures | None:
    teachers = teachers_by_key(material.subjects)

    def seconds(one: Subject) -> tuple[float, float | None] | None:
        taught = teacher_seconds(one, teachers)
        if one.seconds is None or taught is None:
            return None
        return one.seconds + taught, one.seconds if taught else None

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
        f"a hollow one the student's alone. {hardware(panel.subjects)}"
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
    if len({dot.x for dot in dots}) < 2:
        return None
    return scatter(dots, "", name, "test accuracy %")
