"""Protocol, machines, commands, and who looked at the test set when; and every run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from protege.report.material import Material
from protege.report.material.words import SHORT, column
from protege.report.page.blocks import Block, Bullets, Code, Section, Words
from protege.report.page.table import Column, Dress, Table, Value, table_of, varied
from protege.report.sections.head import protocol_in_words
from protege.runs.display import duration
from protege.study.findings import Findings, RunRow

ROLES = {"teacher": "teacher", "select": "to choose", "report": "reported"}
USUAL = ("time", "run", "images", "user", "command")  # fields of a line of the ledger, in the order shown
OF_A_RUN = ("agreement", "nll", "ece")  # of the measures that every table knows; a new one is shown too


def protocol(material: Material) -> Section:
    findings = material.findings
    said = protocol_in_words(findings)
    blocks: list[Block] = [Words(f"Protocol {said}."), Bullets(_costs(findings))]
    if findings.hardware:
        blocks.append(_machines(findings))
    blocks.append(Words("Commands that make this again, from nothing:"))
    blocks.append(Code("\n".join(findings.commands) or "not recorded"))
    if findings.study:
        described = yaml.safe_dump(
            findings.study, sort_keys=False, default_flow_style=None, width=100, allow_unicode=True
        )
        blocks.append(Code(described, folded="The study as it was read"))
    if findings.ledger:
        blocks.append(_ledger(findings))
    else:
        blocks.append(Words("The ledger has no line of these runs: their test set has not been opened."))
    return Section("protocol", "Protocol, machines and commands", blocks)


def _costs(findings: Findings) -> Sequence[str]:
    costs = findings.costs
    said = [
        f"{costs.finished} of {costs.runs} runs are finished: {duration(costs.seconds)} of training in all, "
        f"{duration(costs.teacher_seconds)} of it for teachers, {duration(costs.select_seconds)} to choose, "
        f"{duration(costs.report_seconds)} for what is reported.",
        f"Data: {findings.data.name}, split with fingerprint {findings.data.fingerprint}.",
    ]
    return [*said, f"The full study was said to take {costs.stated}."] if costs.stated else said


def _machines(findings: Findings) -> Table:
    return table_of(
        "hardware",
        "Machines and versions",
        findings.hardware,
        [
            ("device", lambda one: one.device),
            ("processor", lambda one: one.processor),
            ("threads", lambda one: ", ".join(map(str, one.threads))),
            ("torch", lambda one: one.torch),
            ("Python", lambda one: one.python),
            ("numpy", lambda one: one.numpy),
            ("system", lambda one: one.system),
            ("protege", lambda one: one.protege),
            ("revision", lambda one: one.git),
            ("host", lambda one: one.host),
            (Column("runs", "count"), lambda one: one.runs),
        ],
        folded=True,
    )


def _ledger(findings: Findings) -> Table:
    """Any field that a line of the ledger has; the usual ones first."""
    others = sorted({name for entry in findings.ledger for name in entry} - {*USUAL, "data"})
    names = [name for name in USUAL if any(name in entry for entry in findings.ledger)] + others
    note = "Every reading of the test set by a run of this report."
    commands = {str(entry.get("command")) for entry in findings.ledger}
    if "command" in names and len(commands) == 1 < len(findings.ledger):
        names.remove("command")
        note += f" All by: {min(commands)}"
    columns = [(name, lambda entry, name=name: _entry(entry.get(name))) for name in names or ["time"]]
    return table_of("ledger", "Ledger of the test set", findings.ledger, columns, note, long=True, folded=True)


def _entry(value: Any) -> str | None:
    return None if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def every_run(material: Material) -> Section:
    return Section("runs", "Every run", [_runs(material.findings)])


def _runs(findings: Findings) -> Table:
    """Every run, those that choose included; what is not known of one is left open."""
    shown = [one for one in findings.measures if one.name in OF_A_RUN or one.name not in SHORT]
    shown.sort(key=lambda one: OF_A_RUN.index(one.name) if one.name in OF_A_RUN else len(OF_A_RUN))

    def scored(row: RunRow, measure: str) -> Value:
        return (row.test.get(findings.score) or row.test.get("final", {})).get(measure)

    return table_of(
        "runs",
        "Every run",
        findings.runs,
        [
            ("run", lambda row: row.id),
            ("role", lambda row: ROLES[row.role]),
            ("network", lambda row: row.cell),
            ("values", lambda row: varied(row.values) or None),
            (Column("seed", "count"), lambda row: row.seed),
            ("taught by", lambda row: ", ".join(row.teachers) or None),
            ("state", lambda row: row.state),
            (Column("epochs", "count"), lambda row: row.epochs),
            (Column("held-out accuracy %", "number"), lambda row: row.heldout.get("final")),
            (Column("at its best epoch", "number"), lambda row: row.heldout.get("best")),
            (Column("test accuracy %", "number"), lambda row: scored(row, "accuracy")),
            *((column(one, "number"), lambda row, name=one.name: scored(row, name)) for one in shown),
            (Column("parameters", "count"), lambda row: row.parameters),
            (Column("seconds", "number", 1), lambda row: row.seconds),
            ("error", lambda row: row.error),
        ],
        "One run each, so no spread. Test scores of runs that choose are never read. "
        "A run that serves several arms has a row in each.",
        lambda row: Dress(row.device or ""),
        long=True,
    )
