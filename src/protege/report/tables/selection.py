"""How configurations were chosen, and what varied values gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protege.report.material.subjects import Subject
from protege.report.page.table import Column, Estimate, Range, Row, Table, Value, estimate, headed, trimmed
from protege.study.findings import Findings, Grid, Selection


def plain(value: Any) -> str:
    """`0.5`, `fitnet`, `[1, 2]`: as a study's file says it."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else str(value)


def last(path: str) -> str:
    return path.rpartition(".")[2]


def candidates(findings: Findings, selection: Selection, number: int) -> Table:
    """Every configuration that was tried, with the held-out accuracy of each selection seed."""
    paths = list(dict.fromkeys(path for one in selection.candidates for path in one.values))
    columns = headed([
        *(last(path) for path in paths),
        *(Column(f"seed {seed}", "number") for seed in selection.seeds),
        Column("held-out accuracy %", "estimate"), "chosen",
    ])  # fmt: skip
    devices = {row.id: row.device for row in findings.runs}
    rows = []
    for one in selection.candidates:
        mean = Estimate(one.mean, one.sd, len(selection.seeds)) if one.mean is not None else None
        scores = [one.scores.get(seed) for seed in selection.seeds]
        values = (*(plain(one.values.get(path, "")) for path in paths), *scores, mean, "chosen" if one.chosen else None)
        places = dict.fromkeys(device for name in one.ids if (device := devices.get(name)))
        rows.append(Row(values, ", ".join(places), marked=one.chosen))
    note = f"{selection.heldout_images:,} held-out images, seeds that report nothing. {selection.sentence}"
    return Table(f"selection_{number}", f"Choice of {selection.cell}", columns, tuple(rows), note)


def tested(grid: Grid, number: int, hardware: str) -> Table:
    """An ablation that was read on the test set: every configuration is reported."""
    columns = headed([
        *(last(path) for path in grid.paths), Column("seeds", "count"), Column("test accuracy %", "estimate"),
        Column("95 % interval", "range"),
    ])  # fmt: skip
    rows = []
    for values, summary in grid.points:
        point: list[Value] = [plain(values.get(path, "")) for path in grid.paths]
        ends = Range(summary.interval.low, summary.interval.high) if summary and summary.interval else None
        rows.append(Row((*point, summary.n if summary else None, estimate(summary), ends), hardware))
    where = f", {grid.pair}" if grid.pair else ""
    return Table(f"grid_{number}", f"Varied values of {grid.arm}{where}", columns, tuple(rows))


def budgets(findings: Findings) -> Table:
    columns = headed(["arm", "pair", Column("configurations tried", "count"), Column("selection runs", "count")])
    rows = [Row((one.arm, one.pair, one.configurations, one.runs)) for one in findings.budgets]
    return trimmed(Table("budgets", "Tuning budgets", columns, tuple(rows), "One configuration: nothing was tuned."))


def hardware_of_arm(known: Sequence[Subject], findings: Findings, grid: Grid) -> str:
    keys = {f"cell/{cell.key}" for cell in findings.cells if (cell.arm, cell.pair) == (grid.arm, grid.pair)}
    found = dict.fromkeys(one.hardware for one in known if one.id in keys and one.hardware)
    return ", ".join(found)
