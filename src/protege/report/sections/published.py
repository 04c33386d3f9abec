"""Published figures beside ours."""

from __future__ import annotations

from collections.abc import Sequence

from protege.report.material import Material
from protege.report.material.words import IMAGES, SPREAD, by_unit
from protege.report.page.blocks import Block, Bullets, Section, Words
from protege.report.page.table import Column, Dress, Estimate, Table, interval, table_of
from protege.study.findings import PublishedRow

DIFFERENCES = ", and of a difference that of the differences of same seeds"


def published(material: Material) -> Section | None:
    """Of a study that has nothing published beside it, its notes alone; of a reduced form, all that was reduced."""
    findings = material.findings
    reduced: list[Block] = []
    if findings.differences:
        reduced = [Words("What differs from the full form, computed from both:"), Bullets(findings.differences)]
    if not findings.published:
        blocks = [*reduced, *([Bullets(findings.notes)] if findings.notes else [])]
        return Section("published", "Notes", blocks) if blocks else None
    blocks: list[Block] = reduced
    if findings.scale == "reduced":
        blocks.append(
            Words(
                "The measured figures are those of the reduced form, the published ones are of the full study, "
                "so they are not expected to agree."
            )
        )
    for suffix, unit, places, those in by_unit(material.measures, findings.published, lambda one: one.measure):
        blocks.append(_table(material, f"published{suffix}", unit, places, those))
    if findings.notes:
        form = ", in the full form" if findings.scale == "reduced" else ""
        blocks += [Words(f"What differs from the publication{form}:"), Bullets(findings.notes)]
    return Section("published", "Published against measured", blocks)


def _table(material: Material, name: str, unit: str, places: int, those: Sequence[PublishedRow]) -> Table:
    findings = material.findings
    machines = (one.processor if one.device == "cpu" else one.device for one in findings.hardware)
    hardware = ", ".join(dict.fromkeys(machines))
    return table_of(
        name,
        "Published against measured" + (f", in {unit}" if unit != "points" else ""),
        those,
        [
            ("figure", lambda one: one.label),
            ("measure", lambda one: material.measured(one.measure)),
            ("images", lambda one: IMAGES[one.split]),
            (Column("published", "number", places), lambda one: one.published),
            (Column("published sd", "number", places), lambda one: one.published_sd),
            (Column("published seeds", "count"), lambda one: one.published_seeds),
            (Column("measured", "estimate", places), _measured),
            (Column("measured 95 % interval", "range", places), lambda one: interval(one.measured_interval)),
            (Column("measured seeds", "count"), lambda one: one.measured_seeds),
            (
                Column("measured minus published", "number", places, signed=True),
                lambda one: one.difference if findings.scale == "full" else None,
            ),
            ("what it is", lambda one: one.note or None),
        ],
        f"{'Percent and points' if unit == 'points' else unit.capitalize()}. A published figure without a number of seeds did not say it. "
        f"{SPREAD}{DIFFERENCES if any(one.against for one in those) else ''}.",
        lambda one: Dress(hardware if one.measured is not None else ""),
    )


def _measured(one: PublishedRow) -> Estimate | None:
    return None if one.measured is None else Estimate(one.measured, one.measured_sd, one.measured_seeds or 1)
