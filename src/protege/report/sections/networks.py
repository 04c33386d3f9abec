"""Every network, its accuracy and its price."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protege.report.figures.rows import StripRow, strip
from protege.report.material import Material
from protege.report.material.subjects import Panel, Subject, panels
from protege.report.material.words import EPOCHS, SEEDS, SPREAD, scored, with_n
from protege.report.page.blocks import Figures, Section, Words
from protege.report.page.table import Column, Dress, Range, Table, estimate, interval, table_of
from protege.report.sections.compared import marked_ones
from protege.study.findings import Findings, Summary, Which

SHORT: dict[Which, str] = {"final": "last epoch", "best": "best epoch"}


def networks(material: Material) -> Section:
    drawn = [one for panel in panels(material.subjects) if (one := strips(material, panel)) is not None]
    table = results(material)
    if not table.rows:
        return Section("results", "Networks", [Words("No network is finished yet.")])
    return Section("results", "Networks", [*drawn, table])


# ---- their seeds ----


def strips(material: Material, panel: Panel) -> Figures | None:
    """Test accuracy; held-out accuracy while the test set is sealed."""
    findings = material.findings
    students = [one for one in panel.subjects if one.kind != "teacher"] or panel.subjects
    tested = any(one.scores(findings.score).get("accuracy") for one in students)  # teachers may be known from elsewhere
    rows = [row for one in panel.subjects if (row := _strip_row(findings, one, tested, panel.label(one))) is not None]
    if not rows:
        return None
    images = "test" if tested else "held-out"
    axis = f"{images} accuracy %"
    caption = (
        f"{images.capitalize()} accuracy of the {EPOCHS[findings.score]}: "
        f"a dot for each seed, a bar at the mean, a band for its 95 % interval.{material.hardware(panel.subjects)}"
    )
    drawn = strip(rows, axis, f"{axis} of {', '.join(row.label for row in rows)}")
    return Figures([drawn], caption, title=panel.title)


def _strip_row(findings: Findings, one: Subject, tested: bool, label: str) -> StripRow | None:
    summary: Summary | None
    if tested:
        summary, values = one.scores(findings.score).get("accuracy"), one.by_seed(findings.score, "accuracy").values()
    else:
        summary = one.of.heldout.get(findings.score)
        values = [row.heldout[findings.score] for row in one.rows if findings.score in row.heldout]
    if summary is None:
        return None
    ends = (summary.interval.low, summary.interval.high) if summary.interval else None
    return StripRow(label, with_n(summary), list(values), summary.mean, ends, one.style)


# ---- the main table ----


def results(material: Material) -> Table:
    findings, score = material.findings, material.findings.score
    other: Which = "best" if score == "final" else "final"
    missing = {f"cell/{cell.key}": len(cell.missing) for cell in findings.cells}
    added = {f"cell/{cell.key}": cell.adds for cell in findings.cells if cell.adds != "nothing"}
    primary = {f"cell/{key}" for effect in marked_ones(findings) for key in (effect.treatment, effect.control)}

    def ends(one: Subject) -> Range | None:
        summary = one.scores(score).get("accuracy")
        return Range(summary.low, summary.high) if summary and summary.n > 1 else None

    def between(one: Subject) -> Range | None:
        summary = one.scores(score).get("accuracy")
        return interval(summary.interval) if summary else None

    return table_of(
        "results",
        "Networks and their accuracy",
        material.subjects,
        [
            ("network", lambda one: one.label),
            ("kind", lambda one: one.kind),
            ("architecture", lambda one: architecture(one.facts.model)),
            SEEDS,
            (Column("seeds missing", "count"), lambda one: missing.get(one.id) or None),
            (Column("held-out accuracy %", "estimate"), lambda one: estimate(one.of.heldout.get(score))),
            scored(None, score),
            (Column("95 % interval", "range"), between),
            (Column("lowest to highest seed", "range"), ends),
            (
                Column(f"test accuracy % at the {SHORT[other]}", "estimate"),
                lambda one: estimate(one.of.test.get(other, {}).get("accuracy")),
            ),
            (Column("test top-5 %", "estimate"), lambda one: estimate(one.scores(score).get("top5"))),
            (Column("parameters", "count"), lambda one: one.facts.parameters),
            (Column("multiply-adds", "count"), lambda one: one.facts.multiply_adds),
            ("taught by", lambda one: ", ".join(one.teachers) or None),
            ("method adds", lambda one: added.get(one.id)),
        ],
        f"Scores of the {EPOCHS[score]}. {SPREAD}; the range is a 95 % t-interval of the mean. "
        "A student seed taught by several teachers counts once.",
        lambda one: Dress(one.hardware, one.style, one.id in primary),
    )


def architecture(model: Mapping[str, Any]) -> str:
    """Behind a name that a study gave: `resnet18, imagenet stem`."""
    stem = model.get("stem")
    name = str(model.get("name", "unknown"))
    return f"{name}, {stem} stem" if stem else name
