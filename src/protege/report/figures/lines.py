"""Curves with bands: a line for the mean over seeds, a band from the lowest to the highest, a name at its end or below."""

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
    path,
    scale,
    text,
    up,
)

MOST_POINTS = 64  # of a line: more cannot be told apart, and two hundred runs must fit into one page
FEW_POINTS = 8  # so few are marked one by one
LEFT, BOTTOM_ROOM, NAMES = 40.0, 34.0, 118.0


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
    beside = wanted <= NAMES
    names = wanted if beside else 8.0
    x = scale(
        [value for one in shown for value in one.x], LEFT, WIDTH - names, pad=0.0 if not log_x else 0.02, log=log_x
    )
    y = scale([value for one in shown for value in (*one.low, *one.high)], height - BOTTOM_ROOM, 24, log=log_y)
    parts = [
        text(LEFT, 12, f"{title}: {y_name}" if title else y_name, "strong", room=WIDTH - LEFT),
        *across(x, 24, height - BOTTOM_ROOM, x_name, _ticks(shown)),
        *up(y, LEFT, WIDTH - names),
    ]
    parts += [_band(one, x, y) for one in shown if one.n > 1]
    parts += [_line(one, x, y) for one in shown]
    if beside:
        return drawing(height, [*parts, *_names(shown, y, WIDTH - names + 5, height)], f"{title} {y_name}")
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


def _ticks(shown: Sequence[Series]) -> int:
    """There is nothing between two epochs."""
    at = [value for one in shown for value in one.x]
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
    marks = [
        circle(point, 5.5, f"{series.style} hollow")
        for at, point in zip(series.x, points, strict=True)
        if at == series.marked
    ]
    return group([path(points, f"{series.style} stroke"), *marks, *dots], "curve", tooltip)


def _names(shown: Sequence[Series], y: Scale, left: float, height: float) -> list[Markup]:
    places = apart([y(one.mean[-1]) + 4 for one in shown], 12, 30, height - BOTTOM_ROOM + 4)
    room = WIDTH - left
    return [
        text(left, at, fitted(one.label, room), f"{one.style} name", room=None)
        for one, at in zip(shown, places, strict=True)
    ]
