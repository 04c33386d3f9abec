"""A grid of two varied values: darker is higher, every field says its figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from protege.report.figures.svg import LETTER, WIDTH, drawing, fitted, rectangle, text

ROW, HEAD, MARGIN = 34.0, 22.0, 8.0


@dataclass(frozen=True)
class Field:
    value: float
    said: str  # "94.86"
    spread: str  # "± 0.14", or nothing
    tooltip: str
    chosen: bool = False


def heat(
    rows: Sequence[str],
    columns: Sequence[str],
    fields: Sequence[Sequence[Field | None]],
    row_name: str,
    column_name: str,
    label: str,
    style: str,
) -> Markup:
    """`fields` row by row; None where nothing was measured. Darker in the colour of the arm."""
    known = [one.value for line in fields for one in line if one is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    left = MARGIN + LETTER * max([6, *(len(one) for one in rows)]) + 8
    width = (WIDTH - left - MARGIN) / max(1, len(columns))
    parts = [text(MARGIN, 12, f"{row_name} (down), {column_name} (across)", "dim", room=WIDTH - 2 * MARGIN)]
    parts += [
        text(left + width * (number + 0.5), HEAD + 8, fitted(name, width), "strong", "middle")
        for number, name in enumerate(columns)
    ]
    for down, name in enumerate(rows):
        top = HEAD + 14 + ROW * down
        parts.append(text(left - 6, top + 21, name, "strong", "end"))
        for right, one in enumerate(fields[down]):
            parts += _field(one, (left + width * right, top), width, (low, high), style)
    return drawing(HEAD + 18 + ROW * len(rows), parts, label)


def _field(
    one: Field | None, corner: tuple[float, float], width: float, ends: tuple[float, float], style: str
) -> list[Markup]:
    (x, y), (low, high) = corner, ends
    if one is None:
        return [text(x + width / 2, y + 21, "-", "dim", "middle")]
    depth = 0.06 + 0.54 * ((one.value - low) / (high - low) if high > low else 0.0)
    kind = f"{style} heat chosen" if one.chosen else f"{style} heat"
    parts = [rectangle((x + 1, y + 1), (width - 2, ROW - 2), kind, one.tooltip, depth)]
    if width < LETTER * len(one.said):
        return parts
    spread = one.spread if width >= LETTER * len(one.spread) else ""
    parts.append(
        text(x + width / 2, y + (15 if spread else 21), one.said, "on strong" if one.chosen else "on", "middle")
    )
    return [*parts, text(x + width / 2, y + 28, spread, "on small", "middle")] if spread else parts
