"""What varied values gave: lines for one, heat maps for two, tables for all; and how the choice was made."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from protege.report.figures.heat import Field, heat
from protege.report.figures.plots import Series, lines
from protege.report.material import Material
from protege.report.material.subjects import Subject
from protege.report.material.words import IMAGES, called, column, in_percent
from protege.report.page.blocks import Block, Figures, Section, Words
from protege.report.page.table import (
    Column,
    Dress,
    Estimate,
    Table,
    estimate,
    interval,
    last,
    plain,
    said,
    table_of,
)
from protege.report.page.table import varied as in_words
from protege.study.findings import Candidate, Findings, Grid, Selection, Summary, Values

Point = tuple[Values, Summary | None]


def varied(material: Material) -> Section | None:
    findings = material.findings
    named = [one for one in findings.selections if one.search is None]
    if not findings.grids and not named:
        return None
    blocks = [block for grid in findings.grids for block in _figures(grid, material)]
    blocks += [_candidates(findings, one, number) for number, one in enumerate(named, 1)]
    ablations = [grid for grid in findings.grids if grid.split == "test"]
    blocks += [_tested(grid, number, material) for number, grid in enumerate(ablations, 1)]
    if named and findings.budgets:
        blocks.append(_budgets(findings))
    return Section("grids", "Varied values", blocks)


# ---- tables ----


def _candidates(findings: Findings, selection: Selection, number: int) -> Table:
    """Every configuration that was tried, with the held-out accuracy of each selection seed."""
    measure = findings.measure(selection.measure)
    paths = dict.fromkeys(path for one in selection.candidates for path in one.values)

    def mean(one: Candidate) -> Estimate | None:
        return None if one.mean is None else Estimate(one.mean, one.sd, len(selection.seeds))

    return table_of(
        f"selection_{number}",
        f"Choice of {selection.cell}",
        selection.candidates,
        [
            *((last(path), lambda one, path=path: plain(one.values.get(path, ""))) for path in paths),
            *(
                (replace(column(measure, "number"), name=f"seed {seed}"), lambda one, seed=seed: one.scores.get(seed))
                for seed in selection.seeds
            ),
            (replace(column(measure), name=called(measure, "heldout")), mean),
            ("chosen", lambda one: "chosen" if one.chosen else None),
        ],
        f"{selection.heldout_images:,} held-out images, seeds that report nothing. {selection.sentence}",
        dress_of_tried(findings),
    )


def dress_of_tried(findings: Findings) -> Callable[[Candidate], Dress]:
    """Where its runs were made, and whether it was chosen."""
    devices = {row.id: row.device for row in findings.runs}

    def dress(one: Candidate) -> Dress:
        places = dict.fromkeys(device for name in one.ids if (device := devices.get(name)))
        return Dress(", ".join(places), marked=one.chosen)

    return dress


def _tested(grid: Grid, number: int, material: Material) -> Table:
    """An ablation that was read on the test set: every configuration is reported."""
    where = ", ".join(dict.fromkeys(one.hardware for one in _subjects(grid, material) if one.hardware))
    return table_of(
        f"grid_{number}",
        f"Varied values of {_called(grid)}",
        grid.points,
        [
            *((last(path), lambda point, path=path: plain(point[0].get(path, ""))) for path in grid.paths),
            (Column("seeds", "count"), lambda point: point[1].n if point[1] else None),
            (Column("test accuracy %", "estimate"), lambda point: estimate(point[1])),
            (Column("95 % interval", "range"), lambda point: interval(point[1].interval) if point[1] else None),
        ],
        dress=lambda _: Dress(where),
    )


def _budgets(findings: Findings) -> Table:
    return table_of(
        "budgets",
        "Tuning budgets",
        findings.budgets,
        [
            ("arm", lambda one: one.arm),
            ("pair", lambda one: one.pair),
            (Column("configurations tried", "count"), lambda one: one.configurations),
            (Column("selection runs", "count"), lambda one: one.runs),
        ],
        "One configuration: nothing was tuned.",
    )


# ---- drawn ----


def _called(grid: Grid) -> str:
    return f"{grid.arm}, {grid.pair}" if grid.pair else grid.arm


def _subjects(grid: Grid, material: Material) -> list[Subject]:
    return [one for one in material.subjects if one.arm is not None and (one.arm, one.pair) == (grid.arm, grid.pair)]


def _figures(grid: Grid, material: Material) -> list[Block]:
    if not any(summary for _, summary in grid.points):
        return []
    name, own = _called(grid), _subjects(grid, material)
    selections = material.findings.selections
    chosen = next((one.chosen for one in selections if (one.arm, one.pair) == (grid.arm, grid.pair)), None)
    measure = material.findings.measure(grid.measure)
    drawn = _drawings(
        grid,
        Look(name, chosen, own[0].style.split()[0] if own else "hue0", called(measure, grid.split), column(measure)),
    )
    if not drawn:
        return [Words(f"{name} varies {', '.join(map(last, grid.paths))}: see the table.")]
    seeds = sorted({summary.n for _, summary in grid.points if summary})
    luck = (
        ""
        if grid.luck is None
        else f" If all were equally good, the best would lead the mean by {grid.luck:.2f} points by luck."
    )
    unit = " in percent" if in_percent(measure) else ""
    many = f"{'/'.join(map(str, seeds))} {'seed' if seeds == [1] else 'seeds'} a point"
    caption = (
        f"{name}: {IMAGES[grid.split]} {measure.label}{unit}, {many}"
        f"{', the chosen one marked' if chosen else ''}.{luck}{material.hardware(own)}"
    )
    return [Figures(drawn, caption)]


@dataclass(frozen=True)
class Look:
    """What the drawings of one grid have in common."""

    name: str
    chosen: Values | None
    style: str
    axis: str
    column: Column


def _drawings(grid: Grid, look: Look) -> list[Markup]:
    """A list of points may be several sweeps, each over fields of its own: a drawing each."""
    sweeps: dict[tuple[str, ...], list[Point]] = {}
    for point in grid.points:
        sweeps.setdefault(tuple(sorted(point[0])), []).append(point)
    return [drawing for points in sweeps.values() for drawing in _of_sweep(points, grid, look)]


def _of_sweep(points: Sequence[Point], grid: Grid, look: Look) -> list[Markup]:
    paths = [path for path in grid.paths if path in points[0][0]]
    paths = [path for path in paths if len({plain(values[path]) for values, _ in points}) > 1] or paths[:1]
    paths, tied = _free(points, paths)
    if sum(summary is not None for _, summary in points) < 2:
        return []  # one point draws no line; the table has it
    if len(paths) == 1:
        return [_line(points, paths[0], look, tied)]
    if len(paths) == 2:
        return [_heat(points, paths[0], paths[1], look)]
    if len(paths) == 3:
        slices = list(dict.fromkeys(plain(values[paths[2]]) for values, _ in points))
        return [
            _heat(
                [point for point in points if plain(point[0][paths[2]]) == value],
                paths[0],
                paths[1],
                replace(look, name=f"{look.name}, {last(paths[2])} {value}"),
            )
            for value in slices
        ]
    return []


def _free(points: Sequence[Point], paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Fields that vary by themselves, and those that only go with one of them, as two weights do whose sum is one."""
    free: list[str] = []
    for path in paths:
        if not any(_goes_with(points, path, other) for other in free):
            free.append(path)
    return free, [path for path in paths if path not in free]


def _goes_with(points: Sequence[Point], one: str, other: str) -> bool:
    both = {(plain(values[one]), plain(values[other])) for values, _ in points}
    return len(both) == len({value for value, _ in both}) == len({value for _, value in both})


# ---- one varied value ----


def _line(points: Sequence[Point], path: str, look: Look, tied: Sequence[str]) -> Markup:
    """Along the values where they are numbers, else as a grid of one row."""
    known = [(values[path], summary) for values, summary in points if summary is not None]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value, _ in known):
        return _heat(points, "", path, look)
    known.sort(key=lambda one: one[0])
    at = [float(value) for value, _ in known]
    spreads = [summary.sd or 0.0 for _, summary in known]
    means = [summary.mean for _, summary in known]
    one = Series(
        label="± sd" if any(spreads) else "",
        x=at,
        mean=means,
        low=[mean - sd for mean, sd in zip(means, spreads, strict=True)],
        high=[mean + sd for mean, sd in zip(means, spreads, strict=True)],
        style=look.style,
        n=max(summary.n for _, summary in known),
        marked=next((float(values[path]) for values, _ in points if values == look.chosen), None),
    )
    with_it = f" (and {', '.join(map(last, tied))} with it)" if tied else ""
    return lines([one], look.name, f"{last(path)}{with_it}", look.axis, log_x=_multiplied(at))


def _multiplied(values: Sequence[float]) -> bool:
    """Whether they are spaced rather by factors than by steps, over a wide range."""
    if min(values) <= 0 or max(values) / min(values) < 8:
        return False
    steps, factors = ([b - a for a, b in pairwise(of)] for of in (values, [math.log(value) for value in values]))
    return max(factors) / min(factors) < max(steps) / min(steps)


# ---- two ----


def _heat(points: Sequence[Point], down: str, across: str, look: Look) -> Markup:
    rows = _values(points, down)
    columns = _values(points, across)
    by_place = {(plain(values.get(down, "")), plain(values.get(across, ""))): (values, one) for values, one in points}
    fields = [[_field(by_place.get((row, column)), look) for column in columns] for row in rows]
    return heat(rows, columns, fields, last(down) or look.name, last(across), look.name, look.style)


def _values(points: Sequence[tuple[Values, Any]], path: str) -> list[str]:
    """Numbers in order, names as the study lists them."""
    found = list(
        dict.fromkeys(
            values.get(path, "") for values, _ in points if isinstance(values.get(path, ""), (str, int, float))
        )
    )
    if len(found) < len({plain(values.get(path, "")) for values, _ in points}):
        return list(dict.fromkeys(plain(values.get(path, "")) for values, _ in points))
    if all(isinstance(value, int | float) for value in found):
        found.sort()
    return [plain(value) for value in found]


def _field(point: Point | None, look: Look) -> Field | None:
    values, summary = point or ({}, None)
    if summary is None:
        return None
    shown, places = said(estimate(summary), look.column), look.column.decimals
    spread = f"± {summary.sd:.{places}f}" if summary.sd is not None else ""
    tooltip = f"{in_words(values)}: {shown}, n {summary.n}"
    return Field(summary.mean, f"{summary.mean:.{places}f}", spread, tooltip, values == look.chosen)
