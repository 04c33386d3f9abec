"""How near students are to their teachers, in every measure that compares with one."""

from __future__ import annotations

from protege.report.figures.plots import Dot, scatter
from protege.report.material import Material
from protege.report.material.subjects import Panel, panels
from protege.report.material.words import SEEDS, SPREAD, about, scored, with_n
from protege.report.page.blocks import Figures, Section
from protege.report.page.table import Dress, Table, table_of


def fidelity(material: Material) -> Section | None:
    table = _table(material)
    if not table.rows:
        return None
    drawn = [figure for panel in panels(material.subjects) if (figure := _near_and_right(panel, material)) is not None]
    return Section("fidelity", "Fidelity to the teacher", [*drawn, table])


def _near_and_right(panel: Panel, material: Material) -> Figures | None:
    """Being near the teacher is one thing and being right another."""
    dots = []
    for one in panel.subjects:
        scores = one.scores(material.findings.score)
        near, right = scores.get("agreement"), scores.get("accuracy")
        if near is not None and right is not None:
            tooltip = f"{one.label}: agreement {with_n(near)}; accuracy {with_n(right)}"
            dots.append(Dot(one.short, near.mean, right.mean, right.sd, None, one.style, tooltip))
    if len(dots) < 2:
        return None
    drawn = scatter(dots, "agreement with the teacher %", "test accuracy %")
    caption = f"Accuracy ± sd over seeds, against agreement with the teacher.{material.hardware(panel.subjects)}"
    return Figures([drawn], caption, title=panel.title)


def _table(material: Material) -> Table:
    score = material.findings.score
    near = [one for one in material.findings.measures if about(one) == "teacher"]
    return table_of(
        "fidelity",
        "How near students are to their teachers",
        [one for one in material.subjects if any(measure.name in one.scores(score) for measure in near)],
        [
            ("student", lambda one: one.label),
            ("compared with", lambda one: one.reference),
            SEEDS,
            *(scored(measure, score) for measure in near),
            scored(None, score),
        ],
        "Agreement: share of test images with the teacher's first choice. KL(teacher || student), without T². "
        f"Students alone are compared with the teacher that they never heard. {SPREAD}.",
        lambda one: Dress(one.hardware, one.style),
    )
