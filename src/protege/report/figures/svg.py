"""Small pieces of SVG. A drawing is as wide as a telephone, and text of 11 units is read at 11 pixels there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

WIDTH = 360.0
LEGEND = 14.0  # a line of it
LETTER, BOLD, SMALL = 5.8, 6.7, 5.1  # mean width of one at 11 units, and in small print

Point = tuple[float, float]


def drawing(height: float, parts: Iterable[Markup], label: str, width: float = WIDTH, kind: str = "") -> Markup:
    """The whole figure; `label` is what a screen reader says of it."""
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}"{}>{}</svg>').format(
        place(width), place(height), label, _named("class", kind), Markup("").join(parts)
    )


def place(value: float) -> str:
    """One decimal is a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def text(x: float, y: float, said: str, kind: str = "", anchor: str = "start", room: float | None = None) -> Markup:
    """What does not fit into `room` is cut, and whole in the tooltip."""
    shown = fitted(said, room, BOLD if "strong" in kind else SMALL if "small" in kind else LETTER)
    whole = _tooltip(said if shown != said else "")
    return Markup('<text x="{}" y="{}"{}{}>{}{}</text>').format(
        place(x), place(y), _named("class", kind), _named("text-anchor", anchor, "start"), whole, shown
    )


def fitted(said: str, room: float | None, letter: float = LETTER) -> str:
    letters = len(said) if room is None else max(3, int(room / letter))
    return said if len(said) <= letters else said[: letters - 1].rstrip() + "…"


def room_beside(said: str) -> float:
    """What a line has left for a name, with figures at its end."""
    return WIDTH - 30 - LETTER * len(said)


def _named(name: str, value: str, unless: str = "") -> Markup:
    return Markup("") if value == unless else Markup(' {}="{}"').format(Markup(name), value)


def _tooltip(said: str) -> Markup:
    return Markup("<title>{}</title>").format(said) if said else Markup("")


def line(start: Point, end: Point, kind: str) -> Markup:
    ends = [place(value) for value in (*start, *end)]
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(*ends, kind)


def path(points: Sequence[Point], kind: str, closed: bool = False) -> Markup:
    """The pen lifts where a value is not a number."""
    said, lifted = [], True
    for x, y in points:
        if math.isnan(y):
            lifted = True
            continue
        said.append(f"{'M' if lifted else 'L'}{place(x)} {place(y)}")
        lifted = False
    return Markup('<path d="{}" class="{}"/>').format("".join(said) + ("Z" if closed else ""), kind)


def circle(at: Point, radius: float, kind: str, tooltip: str = "") -> Markup:
    return Markup('<circle cx="{}" cy="{}" r="{}" class="{}">{}</circle>').format(
        place(at[0]), place(at[1]), place(radius), kind, _tooltip(tooltip)
    )


def rectangle(corner: Point, size: Point, kind: str, tooltip: str = "", opacity: float | None = None) -> Markup:
    faint = "" if opacity is None else Markup(' fill-opacity="{}"').format(f"{opacity:.2f}")
    sides = [place(value) for value in (*corner, *size)]
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" class="{}"{}>{}</rect>').format(
        *sides, kind, faint, _tooltip(tooltip)
    )


def group(parts: Iterable[Markup], kind: str, tooltip: str = "") -> Markup:
    return Markup('<g class="{}">{}{}</g>').format(kind, _tooltip(tooltip), Markup("").join(parts))


def legend(named: Sequence[tuple[str, str]], top: float, dots: bool = False) -> list[Markup]:
    """Label and style of each, a line each, for names that do not fit beside what they name."""
    parts: list[Markup] = []
    for number, (label, style) in enumerate(named):
        middle = top + LEGEND * (number + 0.5)
        parts.append(
            circle((18, middle), 4, f"{style} fill") if dots else path([(8, middle), (30, middle)], f"{style} stroke")
        )
        parts.append(text(36, middle + 4, label, f"{style} name", room=WIDTH - 40))
    return parts


# ---- scales ----


@dataclass(frozen=True)
class Scale:
    """From values to places. A span of nothing is widened, so that one lonely value stands in the middle."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log10(one) if self.log else one for one in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        return _log_ticks(self.low, self.high) if self.log else _ticks(self.low, self.high, count)


def scale(values: Iterable[float], start: float, end: float, pad: float = 0.05, log: bool = False) -> Scale:
    known = [value for value in values if math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if log:
        grown = max((high / low) ** pad, 1.2)
        return Scale(low / grown, high * grown, start, end, log=True)
    grown = pad * (high - low) if high > low else abs(high) * 0.01 or 1.0
    return Scale(low - grown, high + grown, start, end)


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, about so many."""
    rough = (high - low) / count
    power = 10 ** math.floor(math.log10(rough))
    step = power * next(one for one, most in ((1, 1.2), (2, 2.5), (5, 6.0), (10, 10.1)) if rough <= most * power)
    first = math.ceil(low / step - 1e-9)
    return [step * number for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 200 else (1,)
    return [one * 10.0**power for power in powers for one in steps if low <= one * 10.0**power <= high]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """As many decimals as tell neighbours apart; thousands and millions short."""
    if max((abs(tick) for tick in ticks), default=0) >= 10_000:
        return [short(tick) for tick in ticks]
    gaps = [abs(after - before) for before, after in pairwise(ticks)]
    decimals = max(0, -math.floor(math.log10(min(gaps)) + 1e-9)) if gaps else 2
    return [f"{tick + 0.0:.{decimals}f}" for tick in ticks]


def short(value: float) -> str:
    """`2.4 M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


def across(axis: Scale, top: float, bottom: float, name: str, count: int = 5) -> list[Markup]:
    """A horizontal axis with its grid, below what is drawn between `top` and `bottom`."""
    ticks = axis.ticks(max(1, count))
    said = [
        text(axis(tick), bottom + 13, label, "dim", "middle")
        for tick, label in zip(ticks, tick_labels(ticks), strict=True)
    ]
    grid = [line((axis(tick), top), (axis(tick), bottom), "grid") for tick in ticks]
    return [*grid, *said, text((axis.start + axis.end) / 2, bottom + 28, name, "dim", "middle")]


def up(axis: Scale, left: float, right: float, count: int = 5) -> list[Markup]:
    """A vertical axis with its grid."""
    ticks = axis.ticks(count)
    said = [
        text(left - 5, axis(tick) + 4, label, "dim", "end")
        for tick, label in zip(ticks, tick_labels(ticks), strict=True)
    ]
    return [*(line((left, axis(tick)), (right, axis(tick)), "grid") for tick in ticks), *said]


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near to the wanted ones as leaves `gap` between any two; for labels at the ends of lines."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    placed = [0.0] * len(wanted)
    below = low - gap
    for index in order:
        below = max(wanted[index], below + gap)
        placed[index] = below
    above = high + gap
    for index in reversed(order):
        above = min(placed[index], above - gap)
        placed[index] = above
    return placed
