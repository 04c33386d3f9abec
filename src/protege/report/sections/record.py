"""Published against measured; protocol, ledger, machines, commands; and every run."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from protege.report.material import Material
from protege.report.page.blocks import Block, Bullets, Code, Section, Words
from protege.report.sections.answer import protocol_in_words
from protege.report.tables import record as tables
from protege.runs.display import duration
from protege.study.findings import Findings


def published(material: Material) -> Section | None:
    """Of a study that has nothing published beside it, its notes alone."""
    findings = material.findings
    if not findings.published:
        return Section("published", "Notes", [Bullets(findings.notes)]) if findings.notes else None
    blocks: list[Block] = []
    if findings.scale == "reduced":
        blocks.append(
            Words(
                "The measured figures are those of the reduced form, the published ones are of the full study, "
                "so they are not expected to agree."
            )
        )
    blocks += tables.published(findings)
    if findings.notes:
        form = ", in the full form" if findings.scale == "reduced" else ""
        blocks += [Words(f"What differs from the publication{form}:"), Bullets(findings.notes)]
    return Section("published", "Published against measured", blocks)


def protocol(material: Material) -> Section:
    findings = material.findings
    blocks: list[Block] = [Words(_sentence(f"Protocol {protocol_in_words(findings)}"))]
    blocks.append(Bullets(_costs(findings)))
    if findings.hardware:
        blocks.append(tables.hardware(findings))
    blocks.append(Words("Commands that make this again, from nothing:"))
    blocks.append(Code("\n".join(findings.commands) or "not recorded"))
    if findings.study:
        described = yaml.safe_dump(
            findings.study, sort_keys=False, default_flow_style=None, width=100, allow_unicode=True
        )
        blocks.append(Code(described, folded="The study as it was read"))
    if findings.ledger:
        blocks.append(tables.ledger(findings))
    else:
        blocks.append(Words("The ledger has no line of these runs: their test set has not been opened."))
    return Section("protocol", "Protocol, machines and commands", blocks)


def _sentence(plain: str) -> str:
    return f"{plain[0].upper()}{plain[1:]}."


def _costs(findings: Findings) -> Sequence[str]:
    costs = findings.costs
    said = [
        f"{costs.finished} of {costs.runs} runs are finished: {duration(costs.seconds)} of training in all, "
        f"{duration(costs.teacher_seconds)} of it for teachers, {duration(costs.select_seconds)} to choose, "
        f"{duration(costs.report_seconds)} for what is reported.",
        f"Data: {findings.data.name}, split with fingerprint {findings.data.fingerprint}.",
    ]
    return [*said, f"The full study was said to take {costs.stated}."] if costs.stated else said


def every_run(material: Material) -> Section:
    return Section("runs", "Every run", [tables.runs(material.findings)])
