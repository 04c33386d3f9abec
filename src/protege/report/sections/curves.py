"""Loss and accuracy over the epochs, training and held-out: arms against each other, then each network by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from protege.report.figures.plots import Series, lines
from protege.report.material import Material
from protege.report.material.curves import (
    HELDOUT_ACCURACY,
    HELDOUT_LOSS,
    NORM,
    TERM,
    TRAIN_ACCURACY,
    TRAIN_LOSS,
    Curve,
)
from protege.report.material.subjects import SHADES, Panel, Subject, panels
from protege.report.page.blocks import Block, Figures, Section, Words
from protege.report.page.table import Column, Dress, Range, Table, number, numbers, table_of

UNITS = {TRAIN_ACCURACY: "%", HELDOUT_ACCURACY: "%"}
COMPARED = (HELDOUT_ACCURACY, HELDOUT_LOSS, TRAIN_ACCURACY)
OPEN = 6  # networks whose own curves are not folded away
WIDE = 10  # largest over smallest
ZOOMED_FROM, ZOOMED_POINTS = 9, 3  # epochs of the shortest, and evaluations in its last third: fewer show nothing


def curves(material: Material) -> Section | None:
    if not material.curves:
        return None
    together = [figure for panel in panels(material.subjects) if (figure := _compared(panel, material)) is not None]
    singly = [_alone(one, material) for one in material.subjects if one.id in material.curves]
    folded = len(singly) > OPEN
    blocks: list[Block] = [
        Words(
            "Lines are means over seeds, bands reach from the lowest seed to the highest. Training accuracy and loss are those "
            "of augmented images while weights were changing; held-out loss is the cross-entropy of the labels alone, training "
            "loss the sum of all terms of the method, so their heights do not compare across methods."
        ),
        *together,
    ]
    blocks += [
        Figures(drawings, caption, folded=f"Curves of {name}" if folded else "") for name, drawings, caption in singly
    ]
    return Section("curves", "Curves", blocks, [_behind(material)])


# ---- arms against each other ----


def _compared(panel: Panel, material: Material) -> Figures | None:
    shown = [one for one in panel.subjects if one.id in material.curves]
    drawn = [drawing for name in COMPARED for drawing in _quantity(name, shown, material)]
    if not drawn:
        return None
    caption = f"Arms against each other; {_counted(shown, material)}.{material.hardware(shown)}"
    return Figures(drawn, caption, title=panel.title)


def _quantity(name: str, shown: Sequence[Subject], material: Material) -> Iterable[Markup]:
    """Over all epochs; accuracy also from where the shortest is in its last third, for late differences are small."""
    found = [(one, curve) for one in shown if (curve := material.curves[one.id].get(name)) is not None]
    if not found:
        return
    whole = [series(one.short, curve, one.style) for one, curve in found]
    yield _losses(whole, "", name) if name == HELDOUT_LOSS else lines(whole, "", "epoch", _named(name))
    last = min(curve.epochs[-1] for _, curve in found)
    if name == HELDOUT_ACCURACY and last >= ZOOMED_FROM:
        late = [series(one.short, curve, one.style, last * 2 // 3) for one, curve in found]
        if min(len(one.x) for one in late) >= ZOOMED_POINTS:
            yield lines(late, f"from epoch {last * 2 // 3 + 1} on", "epoch", _named(name))


def _named(name: str) -> str:
    return f"{name} {UNITS.get(name, '')}".strip()


def series(label: str, curve: Curve, style: str, after: int = 0) -> Series:
    start = sum(epoch <= after for epoch in curve.epochs)
    return Series(
        label, curve.epochs[start:], curve.mean[start:], curve.low[start:], curve.high[start:], style, curve.n
    )


def _counted(shown: Sequence[Subject], material: Material) -> str:
    counts = {one.short: max(curve.n for curve in material.curves[one.id].values()) for one in shown}
    return numbers(counts, "seed")


def _losses(shown: Sequence[Series], title: str, name: str) -> Markup:
    """In powers of ten where a first epoch would flatten all others."""
    values = [value for one in shown for value in (*one.low, *one.high)]
    wide = min(values) > 0 and max(values) / min(values) > WIDE
    return lines(shown, title, "epoch", f"{name} (powers of ten)" if wide else name, log_y=wide)


# ---- each network by itself ----


def _alone(one: Subject, material: Material) -> tuple[str, list[Markup], str]:
    found = material.curves[one.id]
    accuracy = _pair(found, TRAIN_ACCURACY, HELDOUT_ACCURACY, one.style)
    loss = _pair(found, TRAIN_LOSS, HELDOUT_LOSS, one.style)
    drawn = [lines(accuracy, one.label, "epoch", "accuracy %"), _losses(loss, one.label, "loss")]
    terms = {name.removeprefix(TERM): curve for name, curve in found.items() if name.startswith(TERM)}
    if len(terms) > 1:
        drawn.append(_losses(_terms(terms, one.style), one.label, "terms of the loss"))
    if NORM in found:
        drawn.append(lines([series("", found[NORM], one.style)], one.label, "epoch", NORM))
    n = max(curve.n for curve in found.values())
    return one.label, drawn, f"{one.label}: {number(n, 'seed')}.{material.hardware([one])}"


def _pair(found: Mapping[str, Curve], train: str, heldout: str, style: str) -> list[Series]:
    shown = [("training", train, f"{style} dotted"), ("held-out", heldout, style)]
    return [series(label, found[name], kind) for label, name, kind in shown if name in found]


def _terms(terms: Mapping[str, Curve], style: str) -> list[Series]:
    """In shades of the network's own colour, for another would be another network's."""
    colour = style.partition(" ")[0]
    return [
        series(name, curve, f"{colour} shade{place % SHADES} dash{place % 3}")
        for place, (name, curve) in enumerate(terms.items())
    ]


# ---- behind them ----


def _behind(material: Material) -> Table:
    """The figures of every line, for those who want to draw their own."""
    points: list[tuple[Subject, str, Curve, int]] = [
        (one, name, curve, place)
        for one in material.subjects
        for name, curve in material.curves.get(one.id, {}).items()
        for place in range(len(curve.epochs))
    ]
    return table_of(
        "curves",
        "Curves",
        points,
        [
            ("network", lambda at: at[0].label),
            ("quantity", lambda at: at[1]),
            (Column("epoch", "count"), lambda at: at[2].epochs[at[3]]),
            (Column("mean", "number", 6), lambda at: at[2].mean[at[3]]),
            (Column("lowest to highest seed", "range", 6), lambda at: Range(at[2].low[at[3]], at[2].high[at[3]])),
            (Column("seeds", "count"), lambda at: at[2].n),
        ],
        dress=lambda at: Dress(at[0].hardware),
    )
