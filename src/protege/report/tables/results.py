"""The main table: every network, its accuracy and its price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from protege.report.material.subjects import Subject
from protege.report.page.table import Column, Range, Row, Table, estimate, headed, interval, trimmed
from protege.report.tables.effects import marked_ones
from protege.study.findings import Findings, Which

EPOCHS: dict[Which, str] = {"final": "last epoch", "best": "epoch that was best on held-out images"}
SHORT: dict[Which, str] = {"final": "last epoch", "best": "best epoch"}
SPREAD = "± is the sample standard deviation over seeds; the range is a 95 % t-interval of the mean."


def results(findings: Findings, known: Sequence[Subject]) -> Table:
    score = findings.score
    other: Which = "best" if score == "final" else "final"
    columns = headed([
        "network", "kind", "architecture", Column("seeds", "count"), Column("seeds missing", "count"),
        Column("held-out accuracy %", "estimate"), Column("test accuracy %", "estimate"),
        Column("95 % interval", "range"), Column("lowest to highest seed", "range"),
        Column(f"test accuracy % at the {SHORT[other]}", "estimate"), Column("test top-5 %", "estimate"),
        Column("parameters", "count"), Column("multiply-adds", "count"), "taught by", "method adds",
    ])  # fmt: skip
    missing = {f"cell/{cell.key}": len(cell.missing) for cell in findings.cells}
    added = {f"cell/{cell.key}": cell.adds for cell in findings.cells}
    primary = {key for effect in marked_ones(findings) for key in (effect.treatment, effect.control)}
    rows = []
    for one in known:
        accuracy = one.scores(score).get("accuracy")
        values = (
            one.label,
            one.kind,
            architecture(one.facts.model),
            len(one.seeds),
            missing.get(one.id) or None,
            estimate(one.heldout.get(score)),
            estimate(accuracy),
            interval(accuracy.interval) if accuracy else None,
            Range(accuracy.low, accuracy.high) if accuracy and accuracy.n > 1 else None,
            estimate(one.scores(other).get("accuracy")) if other in one.test else None,
            estimate(one.scores(score).get("top5")),
            one.facts.parameters,
            one.facts.multiply_adds,
            ", ".join(one.teachers) or None,
            added.get(one.id) if added.get(one.id) != "nothing" else None,
        )
        rows.append(Row(values, one.hardware, one.style, marked=one.id.removeprefix("cell/") in primary))
    note = f"Scores of the {EPOCHS[score]}. {SPREAD} A student seed taught by several teachers counts once."
    return trimmed(Table("results", "Networks and their accuracy", columns, tuple(rows), note))


def architecture(model: Mapping[str, Any]) -> str:
    """Behind a name that a study gave: `resnet18, imagenet stem`."""
    stem = model.get("stem")
    return f"{model['name']}, {stem} stem" if stem else str(model["name"])
