"""Many points in a square, coloured by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from protege.report.figures.svg import LETTER, WIDTH, Point, Scale, circle, drawing, group, rectangle, text

TOP = 20.0
LINE = 10.0  # height of a name


@dataclass(frozen=True)
class Cloud:
    """Points of one class."""

    label: str
    style: str
    points: Sequence[tuple[float, float]]


def cloud(clouds: Sequence[Cloud], title: str, said: str = "") -> Markup:
    """The same scale up and across: distances in all directions can be compared."""
    reach = 1.05 * max((abs(value) for one in clouds for point in one.points for value in point), default=1.0)
    x, y = Scale(-reach, reach, 4, WIDTH - 4), Scale(-reach, reach, TOP + WIDTH - 4, TOP + 4)
    dots = [
        group([circle((x(at), y(up)), 2.6, f"{one.style} dot") for at, up in one.points], one.style, one.label)
        for one in clouds
    ]
    shown = [one for one in clouds if one.points]
    places = _apart([(x(_middle(one, 0)), y(_middle(one, 1)) + 4) for one in shown], [one.label for one in shown])
    names = [text(*at, one.label, f"{one.style} name strong", "middle") for one, at in zip(shown, places, strict=True)]
    head = [text(4, 12, title, "strong", room=WIDTH - 120), text(WIDTH - 4, 12, said, "dim small", "end")]
    frame = rectangle((2, TOP), (WIDTH - 4, WIDTH - 2), "frame")
    return drawing(TOP + WIDTH, [*head, frame, *dots, *names], f"{title}: features in the plane")


def _middle(cloud: Cloud, axis: int) -> float:
    return sum(point[axis] for point in cloud.points) / len(cloud.points)


def _apart(places: Sequence[Point], names: Sequence[str]) -> list[Point]:
    """Names that would lie on each other move down, one below the other."""
    found: dict[int, Point] = {}
    for number in sorted(range(len(places)), key=lambda number: places[number][1]):
        across, down = places[number]
        rooms = ((at, (len(names[number]) + len(names[other])) * LETTER / 2) for other, at in found.items())
        for at in sorted((at for at, room in rooms if abs(at[0] - across) < room), key=lambda at: at[1]):
            if abs(at[1] - down) < LINE:
                down = at[1] + LINE
        found[number] = (across, down)
    return [found[number] for number in range(len(places))]
