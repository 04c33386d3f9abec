"""The whole page, in order."""

from __future__ import annotations

from collections.abc import Iterator

from protege.report.material import Material
from protege.report.page.blocks import Page, Section
from protege.report.sections import answer, comparisons, costs, curves, grids, qualities, record
from protege.report.tables import behind


def page_of(material: Material) -> Page:
    findings = material.findings
    return Page(
        title=findings.name,
        first_line=answer.first_line(findings),
        question=findings.question[:1].upper() + findings.question[1:],
        answer=findings.answer,
        picture=answer.picture(material),
        facts=answer.facts(findings),
        warnings=(*findings.warnings, *material.unread),
        sections=tuple(_sections(material)),
        made=findings.made,
        data=tuple(table for table in (behind.curves(material), behind.bins(material)) if table.rows),
    )


def _sections(material: Material) -> Iterator[Section]:
    found = (
        comparisons.effects(material),
        comparisons.networks(material),
        record.published(material),
        curves.curves(material),
        grids.grids(material),
        qualities.fidelity(material),
        qualities.calibration(material),
        qualities.classes(material),
        costs.costs(material),
        record.protocol(material),
        record.every_run(material),
    )
    return (section for section in found if section is not None)
