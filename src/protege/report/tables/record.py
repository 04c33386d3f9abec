"""What was run, on what, and who looked at the test set when; published figures beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protege.report.page.table import Column, Estimate, Row, Table, headed, interval, trimmed
from protege.report.tables.effects import decimals
from protege.report.tables.selection import last, plain
from protege.study.findings import Findings, PublishedRow, RunRow

DIFFERENCES = ", and of a difference that of the differences of same seeds"
ROLES = {"teacher": "teacher", "select": "to choose", "report": "reported"}


def published(findings: Findings) -> list[Table]:
    """A table of figures in percent and points, and one of likelihoods and divergences, which are smaller numbers."""
    measures = {measure.name: measure for measure in findings.measures}
    in_points = [one for one in findings.published if decimals(measures.get(one.measure)) == 2]
    in_units = [one for one in findings.published if one not in in_points]
    found = [
        _published("published", "Percent and points", 2, in_points, findings),
        _published("published_in_units", "Units of the measure", 4, in_units, findings),
    ]
    return [table for table in found if table.rows]


def _published(name: str, unit: str, places: int, those: Sequence[PublishedRow], findings: Findings) -> Table:
    columns = headed([
        "figure", "measure", "images", Column("published", "number", places), Column("published sd", "number", places),
        Column("published seeds", "count"), Column("measured", "estimate", places),
        Column("measured 95 % interval", "range", places), Column("measured seeds", "count"),
        Column("measured minus published", "number", places, signed=True), "what it is",
    ])  # fmt: skip
    labels = {measure.name: measure.label for measure in findings.measures}
    rows = []
    for one in those:
        measured = (
            Estimate(one.measured, one.measured_sd, one.measured_seeds or 1) if one.measured is not None else None
        )
        values = (
            one.label, labels.get(one.measure, one.measure), {"test": "test", "heldout": "held-out"}[one.split],
            one.published, one.published_sd, one.published_seeds, measured, interval(one.measured_interval),
            one.measured_seeds, one.difference, one.note or None,
        )  # fmt: skip
        rows.append(Row(values, _hardware(findings) if measured else ""))
    note = (
        f"{unit}. A published figure without a number of seeds did not say it. "
        f"± is the sample standard deviation over seeds{DIFFERENCES if any(one.against for one in those) else ''}."
    )
    title = "Published against measured" + (f", {unit[0].lower()}{unit[1:]}" if places != 2 else "")
    return trimmed(Table(name, title, columns, tuple(rows), note))


def _hardware(findings: Findings) -> str:
    return ", ".join(dict.fromkeys(_machine(one.device, one.processor) for one in findings.hardware))


def _machine(device: str, processor: str) -> str:
    return processor if device == "cpu" else device


def hardware(findings: Findings) -> Table:
    columns = headed([
        "device", "processor", "threads", "torch", "Python", "numpy", "system", "protege", "revision", "host",
        Column("runs", "count"),
    ])  # fmt: skip
    rows = [
        Row((
            one.device, one.processor, ", ".join(map(str, one.threads)), one.torch, one.python, one.numpy, one.system,
            one.protege, one.git, one.host, one.runs,
        ))
        for one in findings.hardware
    ]  # fmt: skip
    return trimmed(Table("hardware", "Machines and versions", columns, tuple(rows)))


def ledger(findings: Findings) -> Table:
    """Any field that a line of the ledger has; the usual ones first."""
    usual = ["time", "run", "images", "user", "command"]
    others = sorted({name for entry in findings.ledger for name in entry} - {*usual, "data"})
    names = [name for name in usual if any(name in entry for entry in findings.ledger)] + others
    note = "Every reading of the test set by a run of this report."
    commands = {str(entry.get("command")) for entry in findings.ledger}
    if "command" in names and len(commands) == 1 < len(findings.ledger):
        names.remove("command")
        note += f" All by: {min(commands)}"
    rows = [Row(tuple(_entry(entry.get(name)) for name in names)) for entry in findings.ledger]
    return Table("ledger", "Ledger of the test set", headed(names or ["time"]), tuple(rows), note, long=True)


def _entry(value: Any) -> str | None:
    return None if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def runs(findings: Findings) -> Table:
    """Every run, those that choose included; what is not known of one is left open."""
    score = findings.score
    columns = headed([
        "run", "role", "network", "values", Column("seed", "count"), "taught by", "state", Column("epochs", "count"),
        Column("held-out accuracy %", "number"), Column("at its best epoch", "number"), Column("test accuracy %", "number"),
        Column("agreement %", "number"), Column("NLL", "number", 4), Column("ECE %", "number"),
        Column("parameters", "count"), Column("seconds", "number", 1), "error",
    ])  # fmt: skip
    rows = tuple(_run(row, score) for row in findings.runs)
    note = (
        "One run each, so no spread. Test scores of runs that choose are never read. "
        "A run that serves several arms has a row in each."
    )
    return trimmed(Table("runs", "Every run", columns, rows, note, long=True))


def _run(row: RunRow, score: Any) -> Row:
    test = row.test.get(score) or row.test.get("final")
    varied = ", ".join(f"{last(path)} {plain(value)}" for path, value in row.values.items())
    values = (
        row.id, ROLES[row.role], row.cell, varied or None, row.seed, ", ".join(row.teachers) or None, row.state,
        row.epochs, row.heldout.get("final"), row.heldout.get("best"), test.accuracy if test else None,
        test.agreement if test else None, test.nll if test else None, test.ece if test else None, row.parameters,
        row.seconds, row.error,
    )  # fmt: skip
    return Row(values, row.device or "")
