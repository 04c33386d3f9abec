"""Effects with intervals, and the accuracy of every network."""

from __future__ import annotations

from collections.abc import Iterator

from protege.report.material import Material
from protege.report.material.subjects import panels
from protege.report.page.blocks import Block, Bullets, Section, Words
from protege.report.page.table import Table
from protege.report.sections.answer import forest_figure, forest_rows, picture, strips
from protege.report.tables import effects as tables
from protege.report.tables.results import results

OPEN = 4  # sentences that are not folded away


def effects(material: Material) -> Section | None:
    findings = material.findings
    if not findings.effects:
        return None
    blocks: list[Block] = []
    first = picture(material)
    if forest_rows(material, findings.effects):
        figure = forest_figure(material, findings.effects)
        if first is None or figure.drawings != first.drawings:  # it stands above already
            blocks.append(figure)
    told = [effect for effect in findings.effects if effect.sentence != findings.answer and effect.outcome != "pending"]
    sentences = [effect.sentence for effect in told]
    if sentences:
        which = "All" if len(sentences) == len(findings.effects) else "The other"
        folded = f"{which} {len(sentences)} comparisons in words" if len(sentences) > OPEN else ""
        blocks.append(Bullets(sentences, folded))
    blocks += _filled(
        *tables.effects(findings, material.subjects),
        tables.images(findings, material.subjects),
        tables.mcnemar(findings, material.subjects),
    )
    return Section("effects", "Effects", blocks)


def _filled(*found: Table) -> Iterator[Table]:
    return (table for table in found if table.rows)


def networks(material: Material) -> Section:
    figures = (strips(material.findings, panel) for panel in panels(material.subjects))
    first = picture(material)  # stands above already, and mostly shows the same where networks are few
    shown = [one for one in figures if one is not None and not (first and one.drawings == first.drawings)]
    table = results(material.findings, material.subjects)
    if not table.rows:
        return Section("results", "Networks", [Words("No network is finished yet.")])
    return Section("results", "Networks", [*shown, table])
