"""Fidelity, calibration, classes and confusions."""

from __future__ import annotations

from markupsafe import Markup

from protege.report.figures.bars import Bar, bars
from protege.report.figures.reliability import Diagram, reliability
from protege.report.figures.scatter import Dot, scatter
from protege.report.material import Focus, Material
from protege.report.material.evaluations import Detail
from protege.report.material.subjects import Panel, Subject, panels
from protege.report.page.blocks import Block, Figures, Gallery, Section, Words
from protege.report.page.table import Column, Estimate, number, said
from protege.report.sections.answer import hardware, with_n
from protege.report.tables import qualities as tables

OPEN = 6  # reliability diagrams that are not folded away
MOST_CLASSES = 20  # in one chart: the largest gains and losses


# ---- fidelity ----


def fidelity(material: Material) -> Section | None:
    findings = material.findings
    table = tables.fidelity(findings, material.subjects)
    if not table.rows:
        return None
    drawn = [figure for panel in panels(material.subjects) if (figure := _near_and_right(panel, material)) is not None]
    return Section("fidelity", "Fidelity to the teacher", [*drawn, table])


def _near_and_right(panel: Panel, material: Material) -> Figures | None:
    """Being near the teacher is one thing and being right another."""
    score = material.findings.score
    dots = []
    for one in panel.subjects:
        near, right = one.scores(score).get("agreement"), one.scores(score).get("accuracy")
        if near is not None and right is not None:
            tooltip = f"{one.label}: agreement {with_n(near)}; accuracy {with_n(right)}"
            dots.append(Dot(one.short, near.mean, right.mean, right.sd, None, one.style, tooltip))
    if len(dots) < 2:
        return None
    drawn = scatter(dots, "", "agreement with the teacher %", "test accuracy %")
    caption = f"Accuracy ± sd over seeds, against agreement with the teacher. {hardware(panel.subjects)}"
    return Figures([drawn], caption, title=panel.title)


# ---- calibration ----


def calibration(material: Material) -> Section | None:
    table = tables.calibration(material.findings, material.subjects)
    drawn = [(one, _diagrams(material.details[one.id], one)) for one in material.subjects if one.id in material.details]
    if not table.rows and not drawn:
        return None
    blocks: list[Block] = []
    if drawn:
        split = tables.SPLITS[material.split]
        caption = (
            f"How often networks are right, against how sure they are, on {split} images: all seeds pooled in 15 bins; on the "
            f"diagonal a network means what it says. {hardware([one for one, _ in drawn])}"
        )
        folded = "Reliability diagrams of all networks" if len(drawn) > OPEN else ""
        blocks.append(Figures([drawing for _, drawing in drawn], caption, folded))
    return Section("calibration", "Calibration", [*blocks, table] if table.rows else blocks)


def _diagrams(detail: Detail, one: Subject) -> Markup:
    found = [Diagram("as trained", _ece(detail.ece), detail.bins)]
    if detail.scaled_ece is not None:
        found.append(Diagram("fitted", _ece(detail.scaled_ece), detail.scaled_bins))
    return reliability(found, f"{one.label} ({number(len(detail.runs), 'run')})", one.style)


def _ece(found: Estimate) -> str:
    return f"ECE {said(found, Column('', 'estimate'))} %"


# ---- classes ----


def classes(material: Material) -> Section | None:
    if not material.details:
        return None
    blocks: list[Block] = []
    focus = material.focus
    if focus is not None and focus.control is not None and focus.control.id in material.details:
        blocks.append(_gains(material, focus, focus.control))
    shown = panels(material.subjects)
    for place, panel in enumerate(shown, 1):
        name = "per_class" if len(shown) == 1 else f"per_class_{place}"
        if (table := tables.per_class(panel, material.details, name)) is not None:
            blocks.append(table)
    if focus is not None and focus.confused:
        blocks += _confusions(material, focus)
    return Section("classes", "Classes and confusions", blocks)


def _gains(material: Material, focus: Focus, control: Subject) -> Figures:
    treated, controlled = material.details[focus.treatment.id], material.details[control.id]
    differences = treated.per_class.mean(0) - controlled.per_class.mean(0)
    spreads = _paired_spreads(treated, controlled)
    order = sorted(range(len(differences)), key=lambda place: -differences[place])
    half = MOST_CLASSES // 2
    kept = order if len(order) <= MOST_CLASSES else [*order[:half], *order[-half:]]
    rows = [
        Bar(treated.classes[place], float(differences[place]), spreads[place], f"{differences[place]:+.2f}")
        for place in kept
    ]
    axis = f"{focus.treatment.label} minus {control.label}, points"
    left_out = f" The {half} largest gains and losses of {len(order)} classes." if len(kept) < len(order) else ""
    spread = ", ± sd over seeds" if any(spreads) else ""
    caption = (
        f"Accuracy a class, {focus.treatment.label} minus {control.label}: means over {len(treated.runs)} and "
        f"{number(len(controlled.runs), 'run')}{spread}, {treated.images:,} images.{left_out} "
        f"{hardware([focus.treatment, control])}"
    )
    return Figures([bars(rows, axis, focus.treatment.style, axis)], caption)


def _paired_spreads(treated: Detail, controlled: Detail) -> list[float | None]:
    """Over seeds, of the difference; not known where the seeds differ or are one."""
    if treated.seeds != controlled.seeds or len(treated.seeds) < 2:
        return [None] * len(treated.classes)
    return (treated.per_class - controlled.per_class).std(0, ddof=1).tolist()


def _confusions(material: Material, focus: Focus) -> list[Block]:
    table = tables.confused(material, focus)
    groups = [
        (f"{found[0].label} taken for {found[0].said}: {one.share.mean:.1f} %", found)
        for one, found in zip(focus.confused, focus.pictures, strict=False)
        if found
    ]
    if not groups:
        return [table, Words(focus.why_none)] if focus.why_none else [table]
    images = tables.SPLITS[material.split]
    caption = (
        f"What {focus.treatment.label} takes for something else: the {images} images that most of its runs fall for."
    )
    return [table, Gallery(groups, caption)]
