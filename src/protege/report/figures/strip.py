"""Every seed a dot, their mean a bar, its interval a band: a row for each network."""

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
class StripRow:
    label: str
    said: str  # the figures, as tables print them
    values: Sequence[float]
    mean: float
    interval: tuple[float, float] | None
    style: str


def strip(rows: Sequence[StripRow], axis_name: str, label: str) -> Markup:
    """In the order given; the axis does not begin at zero, for a tenth of a point must be seen."""
    reach = [value for row in rows for value in (*row.values, row.mean, *(row.interval or ()))]
    axis = scale(reach, 8, WIDTH - 8)
    tall = LINE if any(room_beside(row.said) < BOLD * len(row.label) for row in rows) else 0.0
    height = ROW + tall
    bottom = height * len(rows) + 4
    parts = across(axis, 0, bottom, axis_name)
    for number, row in enumerate(rows):
        parts += _row(row, height * number, tall, axis)
    return drawing(bottom + 34, parts, label)


def _row(row: StripRow, top: float, tall: float, axis: Scale) -> list[Markup]:
    middle = top + tall + 25
    band = []
    if row.interval is not None:
        low, high = (axis(end) for end in row.interval)
        said = f"95 % interval of the mean: {row.interval[0]:.2f} to {row.interval[1]:.2f}"
        band = [rectangle((low, middle - 5), (high - low, 10), f"{row.style} fill", said, 0.25)]
    return [
        text(8, top + 14, row.label, "strong", room=WIDTH - 16 if tall else room_beside(row.said)),
        text(WIDTH - 8, top + tall + 14, row.said, "dim", "end"),
        *band,
        *(circle((axis(value), middle), 3, f"{row.style} dot", f"{value:.2f}") for value in row.values),
        line((axis(row.mean), middle - 7), (axis(row.mean), middle + 7), f"{row.style} stroke heavy"),
    ]
