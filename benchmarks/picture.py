"""An outcome as a picture: images a second of each way to train, and how the time of a study grows with its runs."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from growth import Growth

from protege.errors import MissingExtra
from protege.lazy import need
from protege.train.bench.outcome import Outcome, Row
from protege.train.bench.tables import GROUPS, number, threads_of
from protege.train.bench.variants import WORDS, Pair

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REFERENCE, OURS, PALE = "#9a9a9a", "#1f6fb4", "#a5c5e1"


def refuse_without_matplotlib() -> None:
    """Before anything is measured, for the picture comes last."""
    try:
        need("matplotlib", "bench", "The picture")
    except MissingExtra as error:
        raise SystemExit(str(error)) from error


def draw(outcome: Outcome, growths: Sequence[Growth], file: Path) -> None:
    """A row for each pair: speeds on the left, studies on the right. The kind of picture is the file's ending."""
    from matplotlib.figure import Figure

    pairs = outcome.pairs
    most = max((len(_rows(outcome, pair)) for pair in pairs), default=1)
    figure = Figure(figsize=(13, len(pairs) * max(3.0, 0.3 * most + 1.2)), layout="constrained")
    panels = figure.subplots(len(pairs), 2, squeeze=False, width_ratios=(3, 2))
    for (speeds, studies), pair in zip(panels, pairs, strict=True):
        _draw_speeds(speeds, outcome, pair)
        _draw_growths(studies, [growth for growth in growths if growth.pair == pair], pair)
    about = outcome.environment
    hardware = about.get("gpu") or f"{about.get('cores')} cores of {about.get('processor')}"
    figure.suptitle(f"Training speed, {hardware}, {threads_of(outcome)}, torch {about.get('torch')}, {outcome.date}")
    figure.savefig(file)


def _rows(outcome: Outcome, pair: Pair) -> list[Row]:
    return [row for what in GROUPS for row in outcome.group(pair, what) if not isnan(row.speed)]


def _draw_speeds(panel: Axes, outcome: Outcome, pair: Pair) -> None:
    rows = _rows(outcome, pair)
    names = [f"{WORDS[row.what]}: {row.variant.name}" for row in rows]
    places = range(len(rows))
    colours = [REFERENCE if row.variant.role == "reference" else OURS for row in rows]
    spread = [
        [row.speed - min(row.images_per_second) for row in rows],
        [max(row.images_per_second) - row.speed for row in rows],
    ]
    panel.barh(places, [row.speed for row in rows], xerr=spread, color=colours, error_kw={"lw": 0.8, "capsize": 2})
    for place, row in zip(places, rows, strict=True):
        said = f" {number(row.speed)}" + (f"  x {row.ratio:.2f}" if row.against and row.ratio != 1 else "")
        panel.text(max(row.images_per_second), place, said, va="center", fontsize=7)
    panel.set_yticks(places, names, fontsize=7)
    panel.invert_yaxis()
    panel.margins(x=0.2)
    panel.set_title(pair.label)
    panel.set_xlabel("images/s (median of the rounds; lines: lowest to highest)")


def _draw_growths(panel: Axes, growths: list[Growth], pair: Pair) -> None:
    for growth in growths:
        style = "o-" if growth.how == "measured" else "s--"
        panel.plot(growth.runs, growth.times_alone(), style, color=OURS, label=f"{growth.how}: {growth.about}", ms=4)
        panel.plot(
            growth.runs,
            growth.times_alone(warm=True),
            style,
            color=PALE,
            ms=3,
            label="  teacher known before",
        )
        if growth.reference:
            panel.plot(growth.runs, growth.reference_times_alone(), "^:", color=REFERENCE, ms=4, label="reference loop")
    panel.set_title(f"A study: {pair.teacher} -> {pair.student}")
    panel.set_xlabel("taught runs of one teacher")
    panel.set_ylabel("times one student alone")
    if growths:
        panel.legend(fontsize=7)
    else:
        panel.text(0.5, 0.5, "not measured", ha="center", va="center", transform=panel.transAxes)
