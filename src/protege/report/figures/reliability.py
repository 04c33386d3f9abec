"""Reliability diagrams: how often a network is right, against how sure it is. On the diagonal it means what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from protege.report.figures.svg import WIDTH, Scale, circle, drawing, line, path, rectangle, text

SIDE, LEFT, TOP = 130.0, 30.0, 34.0


@dataclass(frozen=True)
class Bin:
    confidence: float  # mean of the images in it
    accuracy: float
    images: int


@dataclass(frozen=True)
class Diagram:
    title: str  # "as trained", "temperature fitted"
    said: str  # "ECE 3.21 %"
    bins: Sequence[Bin]


def reliability(diagrams: Sequence[Diagram], title: str, style: str) -> Markup:
    """At most two beside each other; the area of a point is the share of images in its bin."""
    parts = [text(LEFT, 12, title, "strong", room=WIDTH - LEFT)]
    shown = diagrams[:2]
    for number, diagram in enumerate(shown):
        room = SIDE + 38 if len(shown) > 1 else WIDTH - LEFT
        parts += _diagram(diagram, LEFT + number * (SIDE + 40), style, room)
    return drawing(TOP + SIDE + 34, parts, f"Reliability of {title}")


def _diagram(diagram: Diagram, left: float, style: str, room: float) -> list[Markup]:
    bottom = TOP + SIDE
    x, y = Scale(0, 1, left, left + SIDE), Scale(0, 1, bottom, TOP)
    images = max(1, sum(one.images for one in diagram.bins))
    parts = [
        text(left, TOP - 7, f"{diagram.title}: {diagram.said}", "small", room=room),
        rectangle((left, TOP), (SIDE, SIDE), "frame"),
        line((left, bottom), (left + SIDE, TOP), "grid"),
        text(left + SIDE / 2, bottom + 27, "confidence", "small", "middle"),
    ]
    for tick in (0.0, 0.5, 1.0):
        parts += [
            text(x(tick), bottom + 13, f"{tick:g}", "small", "middle"),
            text(left - 4, y(tick) + 4, f"{tick:g}", "small", "end"),
        ]
    for one in diagram.bins:
        at = (x(one.confidence), y(one.accuracy))
        parts += [
            line((at[0], y(one.confidence)), at, f"{style} stroke faint"),
            circle(at, 1.5 + 9 * (one.images / images) ** 0.5, f"{style} dot", _tooltip(one)),
        ]
    return [*parts, path([(x(one.confidence), y(one.accuracy)) for one in diagram.bins], f"{style} stroke")]


def _tooltip(one: Bin) -> str:
    return f"{one.images:,} images, {100 * one.confidence:.1f} % sure, {100 * one.accuracy:.1f} % right"
