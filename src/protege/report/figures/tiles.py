"""Images of the data in rows: with words below each, or one image as several networks see it."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from protege.report.figures.svg import WIDTH, drawing, place, rectangle, text

ROW = 11.0  # height of a line of words
SIDE = 64  # pixels at most: a page is to stay small
Pixels = NDArray[np.uint8]  # [3, H, W]


@dataclass(frozen=True)
class Tile:
    source: str  # a data URI
    lines: Sequence[str] = ()  # the first in bold


def image(source: str, corner: tuple[float, float], side: float, said: str = "") -> Markup:
    """Few pixels stay squares."""
    return Markup(
        '<image href="{}" x="{}" y="{}" width="{}" height="{}" image-rendering="pixelated"><title>{}</title></image>'
    ).format(source, *(place(value) for value in (*corner, side, side)), said)


def tiles(shown: Sequence[Tile], label: str, across: int = 5) -> Markup:
    """Rows of images with their words."""
    gap = 8.0
    side = (WIDTH - gap * (across - 1)) / across
    lines = max((len(one.lines) for one in shown), default=0)
    height = side + ROW * lines + 6
    parts = []
    for number, one in enumerate(shown):
        left, top = (number % across) * (side + gap), (number // across) * height
        parts.append(image(one.source, (left, top), side, "; ".join(one.lines)))
        parts += [
            text(left, top + side + ROW * (row + 1) - 1, line, "small strong" if row == 0 else "small", room=side + gap)
            for row, line in enumerate(one.lines)
        ]
    return drawing(height * -(-len(shown) // across), parts, label)


def board(columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], label: str) -> Markup:
    """A row for each image: its name, and a picture for each column."""
    left, top, gap = 60.0, 16.0, 5.0
    side = min(72.0, (WIDTH - left) / len(columns) - gap)
    parts = [
        text(left + number * (side + gap), 11, name, "small strong", room=side + gap)
        for number, name in enumerate(columns)
    ]
    for number, (name, sources) in enumerate(rows):
        up = top + number * (side + gap)
        parts.append(text(0, up + side / 2 + 4, name, "small", room=left - 4))
        parts += [image(one, (left + place * (side + gap), up), side, name) for place, one in enumerate(sources)]
    return drawing(top + len(rows) * (side + gap), parts, label)


def chances(tile: Tile, rows: Sequence[tuple[str, Sequence[tuple[str, float]]]], label: str, style: str) -> Markup:
    """What is said of one image: for each row (a temperature) a few classes with their probabilities as bars."""
    side, left, step = 64.0, 76.0, 12.0
    parts = [image(tile.source, (0, 14), side, "; ".join(tile.lines)), text(0, 10, tile.lines[0], "strong", room=WIDTH)]
    top = 14.0
    for name, classes in rows:
        parts.append(text(left, top + 10, name, "small strong"))
        for number, (said, share) in enumerate(classes):
            up = top + step * number
            parts += [
                text(left + 90, up + 10, said, "small", "end", room=58),
                rectangle((left + 94, up + 2), (max(0.5, 150 * share), step - 4), f"{style} fill", said, 0.8),
                text(left + 98 + 150 * share, up + 10, f"{100 * share:.1f} %", "small"),
            ]
        top += step * len(classes) + 6
    return drawing(max(top, side + 18), parts, label)


# ---- pictures ----


def data_uri(pixels: Pixels) -> str:
    """[3, H, W] as a small PNG inside the page."""
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    image.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def heated(pixels: Pixels, where: NDArray[np.float64]) -> Pixels:
    """The image in grey, and in orange where the map (of the image's size, at least 0) is high."""
    grey = pixels.astype(np.float64).mean(0, keepdims=True)
    strength = where / where.max() if where.max() > 0 else where
    colour = np.array([255.0, 120.0, 0.0])[:, None, None]
    shown = grey * (1 - 0.75 * strength) + colour * 0.75 * strength
    return np.clip(np.round(shown), 0, 255).astype(np.uint8)
