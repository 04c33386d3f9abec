"""What was seen as sections of a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from markupsafe import Markup
from torch import Tensor

from protege.report.figures.cloud import Cloud, cloud
from protege.report.figures.tiles import Tile, board, chances, data_uri, heated, tiles
from protege.report.look.follow import KINDS, at_quartiles
from protege.report.look.plane import Way, plane, turned
from protege.report.look.seen import Looked, Seen, agreement, most_frequent, of_own_class, spread
from protege.report.page.blocks import Figures, Section
from protege.report.page.table import Column, Table, Value, table_of
from protege.stats import summary

MOST_CLASSES = 10  # in one plane: more colours cannot be told apart
SHOWN = 5  # images of a kind
BOARD = 6  # images that everybody looks at
TEMPERATURES = (1.0, 4.0, 16.0)
TOLD = 5  # classes of which a bar is drawn


def sections(looked: Looked, way: Way) -> Iterator[Section]:
    yield features(looked, way)
    if (found := attention(looked)) is not None:
        yield found
    if looked.teacher is not None:
        yield mistakes(looked, looked.teacher)
        yield dark_knowledge(looked, looked.teacher)


# ---- features in the plane ----


def features(looked: Looked, way: Way) -> Section:
    planes = [plane(one.pooled, way) for one in looked.everybody]
    shown = most_frequent(looked.labels, MOST_CLASSES)
    drawings = []
    for one, found in zip(looked.everybody, planes, strict=True):
        points = turned(found.points, planes[0].points)
        clouds = [
            Cloud(looked.classes[label], f"hue{place}", points[looked.labels == label].tolist())
            for place, label in enumerate(shown)
        ]
        kept = "" if found.kept is None else f"{100 * found.kept:.0f} % of the variance"
        drawings.append(cloud(clouds, one.name, kept))
    left_out = "" if len(shown) == len(looked.classes) else f" The {len(shown)} classes with most images."
    how = (
        "The two directions in which they vary most"
        if way == "pca"
        else "t-SNE: sizes and distances of groups mean nothing"
    )
    caption = (
        f"What each network hands to its classifier, of {len(looked.images)} held-out images; a colour for each class, "
        f"its name where their middle is.{left_out} {how}; "
        "each plane is turned and mirrored towards the first, and nothing is stretched."
    )
    return Section("plane", "Features in the plane", [Figures(drawings, caption), _neighbours(looked)])


def _neighbours(looked: Looked) -> Table:
    return table_of(
        "neighbours",
        "How well features tell classes apart",
        looked.everybody,
        [
            ("network", lambda one: one.name),
            (Column("accuracy %", "number"), lambda one: 100 * float((one.choices == looked.labels).double().mean())),
            (Column("neighbours of its class %", "number"), lambda one: 100 * of_own_class(one, looked.labels)),
        ],
        f"Of {len(looked.images)} held-out images. Neighbours: the ten nearest by features, in all dimensions.",
    )


# ---- where they look ----


def attention(looked: Looked) -> Section | None:
    seen = [one for one in looked.everybody if one.where is not None]
    if not seen:
        return None
    positions = list(range(min(BOARD, len(looked.images))))
    rows = [
        (
            looked.classes[int(looked.labels[place])],
            [looked.picture(place), *(_overlay(looked, one, place) for one in seen)],
        )
        for place in positions
    ]
    drawn = board(["image", *(one.short for one in seen)], rows, "where the networks look")
    whose = "the first network's first choice" if looked.teacher is None else "the teacher's first choice"
    caption = (
        f"The first {len(rows)} held-out images. Orange: what speaks for {whose} in the network's last stage (Grad-CAM), "
        "each map by its own maximum."
    )
    blocks = [Figures([drawn], caption), *([_agreements(seen)] if len(seen) > 1 else [])]
    return Section("attention", "Where they look", blocks)


def _overlay(looked: Looked, seen: Seen, position: int) -> str:
    pixels = looked.images.pixels[position].numpy()
    assert seen.where is not None
    where = spread(seen.where[position : position + 1], pixels.shape[-1])[0].clamp(min=0)
    return data_uri(heated(pixels, where.double().numpy()))


def _agreements(seen: Sequence[Seen]) -> Table:
    """All against the first, which is the teacher where there is one."""
    first = seen[0].where
    assert first is not None
    found = {one.name: _known(agreement(first, one.where)) for one in seen[1:] if one.where is not None}
    return table_of(
        "attention",
        f"How much their maps agree with those of {seen[0].name}",
        list(found),
        [
            ("network", lambda name: name),
            (Column("mean correlation", "number", 3), lambda name: _mean(found[name])),
            (Column("from", "number", 3), lambda name: _end(found[name], "low")),
            (Column("to", "number", 3), lambda name: _end(found[name], "high")),
            (Column("images", "count"), lambda name: len(found[name])),
        ],
        "Correlation over places, mean over images with its 95 % interval: what it would be of other images, not of other "
        "trainings. Images of which one map is the same everywhere are left out.",
    )


def _known(values: Tensor) -> list[float]:
    return values[values.isfinite()].tolist()


def _mean(values: list[float]) -> Value:
    return summary(values).mean if values else None


def _end(values: list[float], end: str) -> Value:
    interval = summary(values).interval if len(values) > 1 else None
    return getattr(interval, end) if interval else None


# ---- mistakes ----


def mistakes(looked: Looked, teacher: Seen) -> Section:
    counted = {one.name: looked.followed(one) for one in looked.students}
    columns = [(Column(name, "count"), lambda kind, own=found: own.count(kind)) for name, found in counted.items()]
    table = table_of(
        "followed",
        "Images by who is right",
        list(KINDS),
        [("", lambda kind: KINDS[kind]), *columns],
        f"Of {len(looked.images)} held-out images, by first choices.",
    )
    main = looked.students[-1]
    figures = [
        Figures(
            [_tiles(looked, teacher, main, kind)],
            f"{main.name}: {KINDS[kind]}. The first of them, in the order of the data.",
        )
        for kind in ("follows", "mends", "own mistake", "loses")
        if looked.followed(main).count(kind)
    ]
    return Section("mistakes", "Whose mistakes", [table, *figures])


def _tiles(looked: Looked, teacher: Seen, student: Seen, kind: str) -> Markup:
    shown = [
        Tile(
            looked.picture(place),
            (
                looked.classes[int(looked.labels[place])],
                f"T: {looked.said(teacher, place)}",
                f"S: {looked.said(student, place)}",
            ),
        )
        for place in looked.followed(student).some(kind, SHOWN)
    ]
    return tiles(shown, KINDS[kind], SHOWN)


# ---- dark knowledge ----


def dark_knowledge(looked: Looked, teacher: Seen) -> Section:
    doubts = torch.distributions.Categorical(logits=teacher.logits / 4).entropy()
    drawings = [_chances(looked, teacher, place) for place in at_quartiles(doubts)]
    caption = (
        "What the teacher says at temperatures 1, 4 and 16 of four images: the one that it is surest of, the one that it doubts "
        f"most, and two between. Its {TOLD} first classes; the label above. Beyond the label, a student learns from the order "
        "and the size of the rest."
    )
    return Section("dark-knowledge", "What the teacher says beyond the label", [Figures(drawings, caption)])


def _chances(looked: Looked, teacher: Seen, position: int) -> Markup:
    logits = teacher.logits[position]
    first: list[int] = logits.argsort(descending=True, stable=True)[:TOLD].tolist()
    rows = [
        (f"T {temperature:g}", [(looked.classes[one], float((logits / temperature).softmax(0)[one])) for one in first])
        for temperature in TEMPERATURES
    ]
    label = looked.classes[int(looked.labels[position])]
    return chances(Tile(looked.picture(position), (label,)), rows, f"what the teacher says of {label}", "teacher")
