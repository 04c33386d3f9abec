"""Accuracy of single classes, and what is taken for what, with pictures of it."""

from __future__ import annotations

from collections.abc import Mapping

from protege.report.figures.bars import Bar, bars
from protege.report.material import Focus, Material
from protege.report.material.evaluations import Detail, class_accuracy, share_of
from protege.report.material.subjects import Panel, Subject, panels
from protege.report.material.words import IMAGES, SPREAD
from protege.report.page.blocks import Block, Figures, Gallery, Section, Words
from protege.report.page.table import Column, Dress, Table, number, numbers, table_of

MOST_CLASSES = 20  # in one chart: the largest gains and losses


def classes(material: Material) -> Section | None:
    if not material.details:
        return None
    blocks: list[Block] = []
    focus = material.focus
    if focus is not None and focus.control is not None and focus.control.id in material.details:
        blocks.append(_gains(material, focus, focus.control))
    shown = panels(material.subjects)
    names = ["per_class"] if len(shown) == 1 else [f"per_class_{place}" for place in range(1, len(shown) + 1)]
    found = (_per_class(panel, material.details, name) for panel, name in zip(shown, names, strict=True))
    blocks += [table for table in found if table is not None]
    if focus is not None and focus.confused:
        blocks += _confusions(material, focus)
    return Section("classes", "Classes and confusions", blocks)


def _gains(material: Material, focus: Focus, control: Subject) -> Figures:
    treated, controlled = material.details[focus.treatment.id], material.details[control.id]
    differences = treated.per_class.mean(0) - controlled.per_class.mean(0)
    spreads = _paired_spreads(treated, controlled)
    order = sorted(range(len(differences)), key=lambda place: -differences[place])
    half = MOST_CLASSES // 2
    kept = order if len(order) <= MOST_CLASSES else [*order[:half], *order[-half:]]
    rows = [
        Bar(treated.classes[place], float(differences[place]), spreads[place], f"{differences[place]:+.2f}")
        for place in kept
    ]
    axis = f"{focus.treatment.label} minus {control.label}, points"
    left_out = f" The {half} largest gains and losses of {len(order)} classes." if len(kept) < len(order) else ""
    spread = ", ± sd over seeds" if any(spreads) else ""
    caption = (
        f"Accuracy a class, {focus.treatment.label} minus {control.label}: means over {len(treated.runs)} and "
        f"{number(len(controlled.runs), 'run')}{spread}, {treated.images:,} images.{left_out}"
        f"{material.hardware([focus.treatment, control])}"
    )
    return Figures([bars(rows, axis, focus.treatment.style, axis)], caption)


def _paired_spreads(treated: Detail, controlled: Detail) -> list[float | None]:
    """Over seeds, of the difference; not known where the seeds differ or are one."""
    if treated.seeds != controlled.seeds or len(treated.seeds) < 2:
        return [None] * len(treated.classes)
    return (treated.per_class - controlled.per_class).std(0, ddof=1).tolist()


def _confusions(material: Material, focus: Focus) -> list[Block]:
    table = _confused(material, focus)
    groups = [
        (f"{found[0].label} taken for {found[0].said}: {one.share.mean:.1f} %", found)
        for one, found in zip(focus.confused, focus.pictures, strict=False)
        if found
    ]
    if not groups:
        return [table, Words(focus.why_none)] if focus.why_none else [table]
    images = IMAGES[material.split]
    caption = (
        f"What {focus.treatment.label} takes for something else: the {images} images that most of its runs fall for."
    )
    return [table, Gallery(groups, caption)]


def _per_class(panel: Panel, details: Mapping[str, Detail], name: str) -> Table | None:
    """Accuracy of each class, for every network of the panel; None where nothing of it was evaluated."""
    shown = [one for one in panel.subjects if one.id in details]
    if not shown:
        return None
    first = details[shown[0].id]
    same = [one for one in shown if details[one.id].classes == first.classes]
    devices = ", ".join(dict.fromkeys(one.hardware for one in same if one.hardware))
    runs = numbers({panel.label(one): len(details[one.id].runs) for one in same}, "run")
    return table_of(
        name,
        f"Accuracy a class{f': {panel.title}' if panel.title else ''}",
        range(len(first.classes)),
        [
            ("class", lambda place: first.classes[place]),
            (Column("images", "count"), lambda place: int(first.counts[place])),
            *(
                (Column(panel.label(one), "estimate"), lambda place, own=details[one.id]: class_accuracy(own, place))
                for one in same
            ),
        ],
        f"Accuracy in percent on {IMAGES[first.split]} images; {SPREAD}; {runs}.",
        lambda _: Dress(devices),
    )


def _confused(material: Material, focus: Focus) -> Table:
    """The likeliest mistakes of the treatment, and how often the control makes them."""
    detail = material.details[focus.treatment.id]
    control = material.details.get(focus.control.id) if focus.control else None
    shown = [(focus.treatment.label, detail)] + ([(focus.control.label, control)] if focus.control and control else [])
    seeds = number(len(detail.runs), "run") + (f" and {len(control.runs)} of the control" if control else "")
    return table_of(
        "confused",
        "What is taken for what",
        focus.confused,
        [
            ("image of", lambda one: detail.classes[one.label]),
            ("taken for", lambda one: detail.classes[one.said]),
            (Column("images", "count"), lambda one: int(detail.counts[one.label])),
            *(
                (Column(f"{name}, %", "estimate"), lambda one, own=own: share_of(own, one.label, one.said))
                for name, own in shown
            ),
        ],
        f"Percent of the class's {IMAGES[detail.split]} images, mean ± sd over {seeds}.",
        lambda _: Dress(focus.treatment.hardware),
    )
