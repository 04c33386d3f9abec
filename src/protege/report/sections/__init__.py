"""The whole page, in order. A new section is a file here and its name in `SECTIONS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from protege.report.look.several import looked
from protege.report.material import Material
from protege.report.page.blocks import Figures, Page, Section
from protege.report.sections import head
from protege.report.sections.calibration import calibration
from protege.report.sections.classes import classes
from protege.report.sections.costs import costs
from protege.report.sections.curves import curves
from protege.report.sections.effects import also, effects
from protege.report.sections.fidelity import fidelity
from protege.report.sections.frontier import frontier
from protege.report.sections.networks import networks
from protege.report.sections.published import published
from protege.report.sections.record import every_run, protocol
from protege.report.sections.searched import searched
from protege.report.sections.varied import varied

SECTIONS: tuple[Callable[[Material], Section | None], ...] = (
    effects,
    networks,
    frontier,
    published,
    curves,
    varied,
    searched,
    fidelity,
    calibration,
    classes,
    looked,
    costs,
    protocol,
    every_run,
)


def page_of(material: Material) -> Page:
    findings, picture = material.findings, head.picture(material)
    found = [made for section in SECTIONS if (made := section(material)) is not None]
    return Page(
        title=findings.name,
        first_line=head.first_line(findings),
        question=findings.question[:1].upper() + findings.question[1:],
        answer=findings.answer,
        also=also(findings),
        arms=head.arms(findings),
        picture=picture,
        facts=head.facts(findings),
        warnings=(*findings.warnings, *material.unread),
        sections=tuple(_without(picture, section) for section in found),
        made=findings.made,
    )


def _without(picture: Figures | None, section: Section) -> Section:
    """What stands at the head already is not drawn again."""
    above = picture.drawings if picture else None
    kept = [block for block in section.blocks if not (isinstance(block, Figures) and block.drawings == above)]
    return replace(section, blocks=kept)
