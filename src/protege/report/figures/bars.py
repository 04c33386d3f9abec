"""Differences a class, as bars to the left and right of zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from protege.report.figures.svg import LETTER, WIDTH, across, drawing, line, rectangle, scale, text

ROW = 18.0


@dataclass(frozen=True)
class Bar:
    label: str
    value: float
    spread: float | None
    said: str


def bars(rows: Sequence[Bar], axis_name: str, style: str, label: str) -> Markup:
    left = 12 + min(110, LETTER * max((len(row.label) for row in rows), default=0))
    reach = [row.value + end for row in rows for end in (-(row.spread or 0), row.spread or 0)]
    axis = scale([0.0, *reach], left, WIDTH - 66)
    bottom = ROW * len(rows) + 4
    parts = [*across(axis, 0, bottom, axis_name, count=4), line((axis(0), 0), (axis(0), bottom), "zero")]
    for number, row in enumerate(rows):
        top, ends = ROW * number + 3, sorted((axis(0), axis(row.value)))
        parts += [
            text(left - 6, top + 11, row.label, "", "end", room=left - 10),
            rectangle((ends[0], top + 1), (max(0.5, ends[1] - ends[0]), ROW - 6), f"{style} fill", row.said, 0.75),
            text(WIDTH - 4, top + 11, row.said, "small", "end"),
        ]
        if row.spread:
            whisker = [(axis(row.value + end), top + 7) for end in (-row.spread, row.spread)]
            parts.append(line(whisker[0], whisker[1], "whisker"))
    return drawing(bottom + 34, parts, label)
