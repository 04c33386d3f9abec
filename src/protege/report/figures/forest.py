"""Differences with their intervals, a row for each comparison, against a line at zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from protege.report.figures.svg import (
    BOLD,
    WIDTH,
    Scale,
    across,
    circle,
    drawing,
    line,
    rectangle,
    room_beside,
    scale,
    text,
)

ROW, LINE = 36.0, 13.0  # a row, and the line more that it needs where names are long


@dataclass(frozen=True)
class ForestRow:
    label: str
    said: str
    difference: float
    interval: tuple[float, float] | None
    margin: float | None  # of equivalence, named in advance
    settled: bool  # the test, corrected for the others, says more than "undecided"
    style: str


def forest(rows: Sequence[ForestRow], axis_name: str, label: str) -> Markup:
    """A filled point is a difference that stands after correction, a hollow one does not."""
    reach = [value for row in rows for value in (row.difference, *(row.interval or ()))]
    margins = [row.margin for row in rows if row.margin is not None]
    axis = scale([0.0, *reach, *margins, *(-one for one in margins)], 8, WIDTH - 8)
    tall = LINE if any(room_beside(row.said) < BOLD * len(row.label) for row in rows) else 0.0
    height = ROW + tall
    bottom = height * len(rows) + 4
    parts = [*across(axis, 0, bottom, axis_name)]
    for number, row in enumerate(rows):
        parts += _row(row, height * number, tall, axis)
    return drawing(bottom + 34, parts, label)


def _row(row: ForestRow, top: float, tall: float, axis: Scale) -> list[Markup]:
    middle = top + tall + 25
    parts = [line((axis(0), middle - 8), (axis(0), middle + 9), "zero")]  # not through figures: it would hide a minus
    if row.margin is not None:
        corner, size = (axis(-row.margin), middle - 7), (axis(row.margin) - axis(-row.margin), 14)
        parts.append(rectangle(corner, size, "margin", f"±{row.margin:g} was said in advance not to matter"))
    if row.interval is not None:
        low, high = (axis(end) for end in row.interval)
        parts.append(line((low, middle), (high, middle), f"{row.style} stroke"))
        parts += [line((end, middle - 4), (end, middle + 4), f"{row.style} stroke") for end in (low, high)]
    point = f"{row.style} {'fill' if row.settled else 'hollow'}"
    return [
        text(8, top + 14, row.label, "strong", room=WIDTH - 16 if tall else room_beside(row.said)),
        text(WIDTH - 8, top + tall + 14, row.said, "dim", "end"),
        *parts,
        circle((axis(row.difference), middle), 4.5, point, row.said),
    ]
