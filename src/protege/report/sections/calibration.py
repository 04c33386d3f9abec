"""How likely the right class is said to be, and whether networks mean what they say: every measure besides first choices."""

from __future__ import annotations

from markupsafe import Markup

from protege.report.figures.reliability import Bin, Diagram, reliability
from protege.report.material import Material
from protege.report.material.evaluations import Detail
from protege.report.material.subjects import Subject
from protege.report.material.words import IMAGES, SEEDS, SPREAD, about, scored
from protege.report.page.blocks import Block, Figures, Section
from protege.report.page.table import Column, Dress, Estimate, Table, number, said, table_of

OPEN = 6  # reliability diagrams that are not folded away


def calibration(material: Material) -> Section | None:
    table = _table(material)
    known = [one for one in material.subjects if one.id in material.details]
    blocks: list[Block] = []
    if known:
        caption = (
            f"How often networks are right, against how sure they are, on {IMAGES[material.split]} images: all seeds pooled "
            f"in 15 bins; on the diagonal a network means what it says.{material.hardware(known)}"
        )
        drawn = [_diagrams(material.details[one.id], one) for one in known]
        blocks.append(Figures(drawn, caption, "Reliability diagrams of all networks" if len(drawn) > OPEN else ""))
    if table.rows:
        blocks.append(table)
    return Section("calibration", "Calibration", blocks, [_bins(material)] if known else []) if blocks else None


def _diagrams(detail: Detail, one: Subject) -> Markup:
    found = [Diagram("as trained", _ece(detail.ece), detail.bins)]
    if detail.scaled_ece is not None:
        found.append(Diagram("fitted", _ece(detail.scaled_ece), detail.scaled_bins))
    return reliability(found, f"{one.label} ({number(len(detail.runs), 'run')})", one.style)


def _ece(found: Estimate) -> str:
    return f"ECE {said(found, Column('', 'estimate'))} %"


def _table(material: Material) -> Table:
    score = material.findings.score
    shown = [one for one in material.findings.measures if about(one) == "sure"]
    known = [one for one in material.subjects if one.scores(score)]
    fitted = any("scaled_nll" in one.scores(score) for one in known)
    return table_of(
        "calibration",
        "Likelihood and calibration",
        known,
        [
            ("network", lambda one: one.label),
            SEEDS,
            *(scored(measure, score) for measure in shown),
        ],
        "On test images; lower is better. ECE: expected calibration error in 15 bins of equal width. "
        f"{'The temperature is fitted on held-out images. ' if fitted else ''}{SPREAD}.",
        lambda one: Dress(one.hardware, one.style),
    )


def _bins(material: Material) -> Table:
    """Behind the diagrams, for those who want to draw their own."""
    rows: list[tuple[Subject, Detail, str, Bin]] = [
        (one, detail, name, bin_)
        for one in material.subjects
        if (detail := material.details.get(one.id)) is not None
        for name, those in (("1", detail.bins), ("fitted", detail.scaled_bins))
        for bin_ in those
    ]
    return table_of(
        "reliability",
        "Reliability diagrams",
        rows,
        [
            ("network", lambda row: row[0].label),
            ("temperature", lambda row: row[2]),
            (Column("confidence", "number", 4), lambda row: row[3].confidence),
            (Column("accuracy", "number", 4), lambda row: row[3].accuracy),
            (Column("images", "count"), lambda row: row[3].images),
            (Column("runs", "count"), lambda row: len(row[1].runs)),
        ],
        dress=lambda row: Dress(row[0].hardware),
    )
