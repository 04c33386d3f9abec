"""Two axes: curves with bands from the lowest seed to the highest (`lines`), or accuracy against a price (`scatter`).

What is drawn is named at the right, or in a legend below where names are long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    fitted,
    group,
    legend,
    line,
    path,
    scale,
    text,
    up,
)

MOST_POINTS = 64  # of a line: more cannot be told apart, and two hundred runs must fit into one page
FEW_POINTS = 8  # so few are marked one by one
LEFT, BOTTOM_ROOM, NAMES = 40.0, 34.0, 118.0


def _frame(x: Scale, y: Scale, right: float, title: str, x_name: str, y_name: str, ticks: int = 5) -> list[Markup]:
    """Both axes, and above them what is measured."""
    return [
        text(LEFT, 12, f"{title}: {y_name}" if title else y_name, "strong", room=WIDTH - LEFT),
        *across(x, 24, y.start, x_name, ticks),
        *up(y, LEFT, right),
    ]


# ---- lines ----


@dataclass(frozen=True)
class Series:
    label: str
    x: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    style: str
    n: int
    marked: float | None = None  # the x of a point to be told from the others


def lines(
    series: Sequence[Series],
    title: str,
    x_name: str,
    y_name: str,
    height: float = 230.0,
    log_x: bool = False,
    log_y: bool = False,
) -> Markup:
    shown = [thinned(one) for one in series]
    wanted = max((LETTER * len(one.label) for one in shown), default=0.0) + 10
    right = WIDTH - (wanted if wanted <= NAMES else 8.0)
    at, values = [value for one in shown for value in one.x], [end for one in shown for end in (*one.low, *one.high)]
    x = scale(at, LEFT, right, pad=0.02 if log_x else 0.0, log=log_x)
    y = scale(values, height - BOTTOM_ROOM, 24, log=log_y)
    parts = _frame(x, y, right, title, x_name, y_name, _ticks(at))
    parts += [_band(one, x, y) for one in shown if one.n > 1]
    parts += [_line(one, x, y) for one in shown]
    if wanted <= NAMES:
        return drawing(height, [*parts, *_ends(shown, y, right + 5)], f"{title} {y_name}")
    named = legend([(one.label, one.style) for one in shown], height)
    return drawing(height + LEGEND * len(shown), [*parts, *named], f"{title} {y_name}")


def thinned(series: Series) -> Series:
    """Evenly, the last point kept."""
    count = len(series.x)
    if count <= MOST_POINTS:
        return series
    kept = sorted({round(number * (count - 1) / (MOST_POINTS - 1)) for number in range(MOST_POINTS)})
    x, mean, low, high = (
        [values[index] for index in kept] for values in (series.x, series.mean, series.low, series.high)
    )
    return replace(series, x=x, mean=mean, low=low, high=high)


def _ticks(at: Sequence[float]) -> int:
    """There is nothing between two epochs."""
    whole = all(value == int(value) for value in at)
    return min(5, int(max(at) - min(at))) if whole and at else 5


def _band(series: Series, x: Scale, y: Scale) -> Markup:
    edge = [(x(at), y(value)) for at, value in zip(series.x, series.high, strict=True)]
    edge += [(x(at), y(value)) for at, value in reversed(list(zip(series.x, series.low, strict=True)))]
    return path(edge, f"{series.style} band", closed=True)


def _line(series: Series, x: Scale, y: Scale) -> Markup:
    points = [(x(at), y(value)) for at, value in zip(series.x, series.mean, strict=True)]
    tooltip = f"{series.label}: {series.mean[-1]:.4g} at the end ({series.n} {'seeds' if series.n > 1 else 'seed'})"
    few = [at for at in points if math.isfinite(at[1])] if len(points) <= FEW_POINTS else []
    dots = [circle(at, 2.5, f"{series.style} fill") for at in few]
    chosen = (point for at, point in zip(series.x, points, strict=True) if at == series.marked)
    marks = [circle(point, 5.5, f"{series.style} hollow") for point in chosen]
    return group([path(points, f"{series.style} stroke"), *marks, *dots], "curve", tooltip)


def _ends(shown: Sequence[Series], y: Scale, left: float) -> list[Markup]:
    places = apart([y(one.mean[-1]) + 4 for one in shown], 12, 30, y.start + 4)
    named = zip(shown, places, strict=True)
    return [text(left, at, fitted(one.label, WIDTH - left), f"{one.style} name") for one, at in named]


# ---- scatter ----


@dataclass(frozen=True)
class Dot:
    label: str
    x: float
    y: float
    spread: float | None  # of y
    before: float | None  # another x of the same network, joined by a line: its price without the teacher's
    style: str
    tooltip: str
    hollow: bool = False


def scatter(
    dots: Sequence[Dot], x_name: str, y_name: str, height: float = 250.0, edge: Sequence[tuple[float, float]] = ()
) -> Markup:
    """The horizontal axis is in powers of ten where prices differ widely. `edge`: points that a line joins."""
    prices = [value for dot in dots for value in (dot.x, dot.before) if value is not None]
    log = min(prices) > 0 and max(prices) / min(prices) > 5
    wanted = max(LETTER * len(dot.label) for dot in dots) + 12
    beside = wanted <= NAMES + 6
    right = WIDTH - (wanted if beside else 8.0)
    x = scale(prices, LEFT + 8, right - 8, pad=0.05, log=log)
    y = scale([dot.y + end for dot in dots for end in (-(dot.spread or 0), dot.spread or 0)], height - BOTTOM_ROOM, 28)
    parts = _frame(x, y, right, "", x_name, y_name)
    parts += [path([(x(at), y(value)) for at, value in edge], "edge")] if edge else []
    for dot in dots:
        parts += _dot(dot, x, y)
    said, order = f"{y_name} against {x_name}", sorted((dot for dot in dots if dot.label), key=lambda dot: -dot.y)
    if beside:
        return drawing(height, [*_tied(order, x, y, right), *parts], said)
    named = legend([(dot.label, dot.style) for dot in order], height, dots=True)
    return drawing(height + LEGEND * len(order), [*parts, *named], said)


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
    return [*parts, circle(at, 4.5, f"{dot.style} {'hollow' if dot.hollow else 'fill'}", dot.tooltip)]


def _tied(order: Sequence[Dot], x: Scale, y: Scale, right: float) -> list[Markup]:
    """Names at the right, in the order of their points, each tied to its own."""
    parts: list[Markup] = []
    for dot, at in zip(order, apart([y(dot.y) for dot in order], 12, 30, y.start), strict=True):
        parts.append(path([(x(dot.x) + 5, y(dot.y)), (right + 4, at)], f"{dot.style} tie"))
        parts.append(text(right + 7, at + 4, dot.label, f"{dot.style} name", room=WIDTH - right - 7))
    return parts
