"""A row for each network or comparison: every seed a dot (`strip`), or a difference against a line at zero (`forest`).

Both are drawn twice, for a telephone and for a wide page, which shows the one that fits it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from markupsafe import Markup

from protege.report.figures.svg import (
    BOLD,
    LETTER,
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
WIDE, WIDE_ROW, NAMES = 900.0, 26.0, 430.0  # all in one line: names at the left, figures at the right


@dataclass(frozen=True)
class StripRow:
    label: str
    said: str  # the figures, as tables print them
    values: Sequence[float]
    mean: float
    interval: tuple[float, float] | None
    style: str


@dataclass(frozen=True)
class ForestRow:
    label: str
    said: str
    difference: float
    interval: tuple[float, float] | None
    margin: float | None  # of equivalence, named in advance
    settled: bool  # the test, corrected for the others, says more than "undecided"
    style: str


Row = TypeVar("Row", StripRow, ForestRow)


def strip(rows: Sequence[StripRow], axis_name: str, label: str) -> Markup:
    """In the order given; the axis does not begin at zero, for a tenth of a point must be seen."""
    reach = [value for row in rows for value in (*row.values, row.mean, *(row.interval or ()))]
    return _drawn(rows, reach, axis_name, label, _seeds)


def forest(rows: Sequence[ForestRow], axis_name: str, label: str) -> Markup:
    """A filled point is a difference that stands after correction, a hollow one does not."""
    reach = [value for row in rows for value in (row.difference, *(row.interval or ()))]
    margins = [row.margin for row in rows if row.margin is not None]
    return _drawn(rows, [0.0, *reach, *margins, *(-one for one in margins)], axis_name, label, _difference)


Marks = Callable[[Row, float, Scale], list[Markup]]


def _drawn(rows: Sequence[Row], reach: Sequence[float], axis_name: str, label: str, marks: Marks[Row]) -> Markup:
    return _narrow(rows, reach, axis_name, label, marks) + _wide(rows, reach, axis_name, label, marks)


def _narrow(rows: Sequence[Row], reach: Sequence[float], axis_name: str, label: str, marks: Marks[Row]) -> Markup:
    """Names and figures above the marks of each row."""
    tall = LINE if any(room_beside(row.said) < BOLD * len(row.label) for row in rows) else 0.0
    axis, bottom = scale(reach, 8, WIDTH - 8), (ROW + tall) * len(rows) + 4
    parts = across(axis, 0, bottom, axis_name)
    for number, row in enumerate(rows):
        top = (ROW + tall) * number
        parts += [
            text(8, top + 14, row.label, "strong", room=WIDTH - 16 if tall else room_beside(row.said)),
            text(WIDTH - 8, top + tall + 14, row.said, "dim", "end"),
            *marks(row, top + tall + 25, axis),
        ]
    return drawing(bottom + 34, parts, label, kind="narrow")


def _wide(rows: Sequence[Row], reach: Sequence[float], axis_name: str, label: str, marks: Marks[Row]) -> Markup:
    names = min(NAMES, max((BOLD * len(row.label) for row in rows), default=0.0)) + 16
    figures = max((LETTER * len(row.said) for row in rows), default=0.0) + 16
    axis, bottom = scale(reach, names, WIDE - figures), WIDE_ROW * len(rows) + 4
    parts = across(axis, 0, bottom, axis_name)
    for number, row in enumerate(rows):
        middle = WIDE_ROW * (number + 0.5) + 2
        parts += [
            text(0, middle + 4, row.label, "strong", room=names - 6),
            text(WIDE, middle + 4, row.said, "dim", "end"),
            *marks(row, middle, axis),
        ]
    return drawing(bottom + 34, parts, label, WIDE, "wide")


def _seeds(row: StripRow, middle: float, axis: Scale) -> list[Markup]:
    band = []
    if row.interval is not None:
        low, high = (axis(end) for end in row.interval)
        said = f"95 % interval of the mean: {row.interval[0]:.2f} to {row.interval[1]:.2f}"
        band = [rectangle((low, middle - 5), (high - low, 10), f"{row.style} fill", said, 0.25)]
    return [
        *band,
        *(circle((axis(value), middle), 3, f"{row.style} dot", f"{value:.2f}") for value in row.values),
        line((axis(row.mean), middle - 7), (axis(row.mean), middle + 7), f"{row.style} stroke heavy"),
    ]


def _difference(row: ForestRow, middle: float, axis: Scale) -> list[Markup]:
    parts = [line((axis(0), middle - 8), (axis(0), middle + 9), "zero")]  # not through figures: it would hide a minus
    if row.margin is not None:
        corner, size = (axis(-row.margin), middle - 7), (axis(row.margin) - axis(-row.margin), 14)
        parts.append(rectangle(corner, size, "margin", f"±{row.margin:g} was said in advance not to matter"))
    if row.interval is not None:
        low, high = (axis(end) for end in row.interval)
        parts.append(line((low, middle), (high, middle), f"{row.style} stroke"))
        parts += [line((end, middle - 4), (end, middle + 4), f"{row.style} stroke") for end in (low, high)]
    point = f"{row.style} {'fill' if row.settled else 'hollow'}"
    return [*parts, circle((axis(row.difference), middle), 4.5, point, row.said)]
