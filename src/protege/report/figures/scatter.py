"""Accuracy against a price: a point for each network, named at the right, or below where names are long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from protege.report.figures.svg import (
    LEGEND,
    LETTER,
    WIDTH,
    Scale,
    across,
    apart,
    circle,
    drawing,
    legend,
    line,
    path,
    scale,
    text,
    up,
)

LEFT, BOTTOM_ROOM, NAMES = 40.0, 34.0, 124.0


@dataclass(frozen=True)
class Dot:
    label: str
    x: float
    y: float
    spread: float | None  # of y
    before: float | None  # another x of the same network, joined by a line: its price without the teacher's
    style: str
    tooltip: str


def scatter(dots: Sequence[Dot], title: str, x_name: str, y_name: str, height: float = 250.0) -> Markup:
    """The horizontal axis is in powers of ten where prices differ widely."""
    prices = [value for dot in dots for value in (dot.x, dot.before) if value is not None]
    log = min(prices) > 0 and max(prices) / min(prices) > 5
    wanted = max(LETTER * len(dot.label) for dot in dots) + 12
    beside = wanted <= NAMES
    right = WIDTH - (wanted if beside else 8.0)
    x = scale(prices, LEFT + 8, right - 8, pad=0.05, log=log)
    y = scale([dot.y + end for dot in dots for end in (-(dot.spread or 0), dot.spread or 0)], height - BOTTOM_ROOM, 28)
    parts = [
        text(LEFT, 12, f"{title}: {y_name}" if title else y_name, "strong", room=WIDTH - LEFT),
        *across(x, 24, height - BOTTOM_ROOM, x_name),
        *up(y, LEFT, right),
    ]
    for dot in dots:
        parts += _dot(dot, x, y)
    said = f"{y_name} against {x_name}"
    if beside:
        return drawing(height, [*_names(dots, x, y, right, height), *parts], said)
    order = sorted(dots, key=lambda dot: -dot.y)
    named = legend([(dot.label, dot.style) for dot in order], height, dots=True)
    return drawing(height + LEGEND * len(dots), [*parts, *named], said)


def _dot(dot: Dot, x: Scale, y: Scale) -> list[Markup]:
    at = (x(dot.x), y(dot.y))
    parts = []
    if dot.spread:
        ends = [(at[0], y(dot.y + end)) for end in (-dot.spread, dot.spread)]
        parts.append(line(ends[0], ends[1], f"{dot.style} stroke"))
    if dot.before is not None and dot.before != dot.x:
        parts += [
            line((x(dot.before), at[1]), at, f"{dot.style} stroke faint"),
            circle((x(dot.before), at[1]), 3.5, f"{dot.style} hollow", "without the teacher's"),
        ]
    return [*parts, circle(at, 4.5, f"{dot.style} fill", dot.tooltip)]


def _names(dots: Sequence[Dot], x: Scale, y: Scale, right: float, height: float) -> list[Markup]:
    """At the right, in the order of their points, each tied to its own."""
    order = sorted(dots, key=lambda dot: -dot.y)
    places = apart([y(dot.y) for dot in order], 12, 30, height - BOTTOM_ROOM)
    parts: list[Markup] = []
    for dot, at in zip(order, places, strict=True):
        parts.append(path([(x(dot.x) + 5, y(dot.y)), (right + 4, at)], f"{dot.style} tie"))
        parts.append(text(right + 7, at + 4, dot.label, f"{dot.style} name", room=WIDTH - right - 7))
    return parts
