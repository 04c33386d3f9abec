"""Which one to ship: accuracy against what a network costs where it runs. Appears when such prices were measured (bytes, ms)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from protege.report.figures.plots import Dot, scatter
from protege.report.material import Material
from protege.report.material.subjects import Subject
from protege.report.material.words import about, scored, with_n
from protege.report.page.blocks import Figures, Section, Words
from protege.report.page.table import Column, Dress, Table, Value, estimate, interval, table_of
from protege.study.findings import Measure, Summary

MOST_NAMES = 12  # in a drawing: of more networks only those on the frontier are named


@dataclass(frozen=True)
class Offer:
    """A network with its accuracy and what it costs, by the price's name."""

    network: Subject
    accuracy: Summary
    prices: Mapping[str, float]
    priced: int  # networks that the prices are means of


def frontier(material: Material) -> Section | None:
    measured = [one for one in material.findings.measures if about(one) == "price"]
    offers = _offers(material, measured)
    names = [name for name in (*(one.name for one in measured), "multiply_adds") if _differs(name, offers)]
    if not offers or not any(one.name in names for one in measured):
        return None
    labels = {one.name: f"{one.label}, {one.unit}" for one in measured} | {"multiply_adds": "multiply-adds an image"}
    beaten = {one.network.id: _beaten_by(one, offers, names) for one in offers}
    drawn = [_drawing(name, labels[name], offers) for name in names]
    caption = (
        "Test accuracy with its 95 % interval against the price, which is lower at the left. The line joins networks that no other "
        f"beats at this price; hollow ones are beaten.{_of_one(offers)}{material.hardware([one.network for one in offers])}"
    )
    blocks = [
        Words(_sentence(offers, beaten, names, labels)),
        Figures(drawn, caption),
        _table(material, offers, measured, beaten),
    ]
    return Section("frontier", "Which one to ship", blocks)


def _offers(material: Material, measured: Sequence[Measure]) -> list[Offer]:
    """Networks of which accuracy and at least one measured price are known."""
    found = []
    for one in material.subjects:
        scores = one.scores(material.findings.score)
        prices = {price.name: scores[price.name].mean for price in measured if price.name in scores}
        if "accuracy" in scores and prices:
            if one.facts.multiply_adds is not None:
                prices["multiply_adds"] = float(one.facts.multiply_adds)
            counts = [scores[name].n for name in prices if name in scores]
            found.append(Offer(one, scores["accuracy"], prices, min(counts)))
    return found


def _of_one(offers: Sequence[Offer]) -> str:
    """Said where one network was priced for several that were judged."""
    if not any(one.priced == 1 < one.accuracy.n for one in offers):
        return ""
    return (
        " Prices are those of one network of an arm, and have no interval: its others are of the same shape unless they were "
        "pruned, when each seed keeps channels of its own; milliseconds are one measurement."
    )


def _differs(name: str, offers: Sequence[Offer]) -> bool:
    """Where all cost the same there is nothing to choose."""
    return len({one.prices[name] for one in offers if name in one.prices}) > 1


# ---- who beats whom ----


def beats(one: Offer, other: Offer, names: Sequence[str]) -> bool:
    """No worse in anything that is known of both, and better in something; by means, so a hair's breadth counts."""
    both = [name for name in names if name in one.prices and name in other.prices]
    gains = [other.prices[name] - one.prices[name] for name in both] + [one.accuracy.mean - other.accuracy.mean]
    return bool(both) and min(gains) >= 0 < max(gains)


def surely(one: Offer, other: Offer) -> bool:
    """Their intervals do not meet."""
    ends = one.accuracy.interval, other.accuracy.interval
    return ends[0] is not None and ends[1] is not None and ends[0].low > ends[1].high


def _beaten_by(one: Offer, offers: Sequence[Offer], names: Sequence[str]) -> Offer | None:
    """The most accurate of those that beat it."""
    those = [other for other in offers if other is not one and beats(other, one, names)]
    return max(those, key=lambda other: other.accuracy.mean, default=None)


def _sentence(
    offers: Sequence[Offer], beaten: Mapping[str, Offer | None], names: Sequence[str], labels: Mapping[str, str]
) -> str:
    order = sorted(offers, key=lambda one: one.prices.get(names[0], float("inf")))
    said = " ".join(_by_budget(name, labels[name], offers) for name in names)
    under = [(one, by) for one in order if (by := beaten[one.network.id]) is not None]
    parts = [
        f"{one.network.label} by {by.network.label} ({'beyond both intervals' if surely(by, one) else 'within the intervals'})"
        for one, by in under
    ]
    return f"{said} Beaten in accuracy and in every price: {'; '.join(parts)}." if parts else said


def _by_budget(name: str, label: str, offers: Sequence[Offer]) -> str:
    """What to ship from which budget on: the best of those that fit."""
    edge = sorted(_edge(name, offers), key=lambda one: one.prices[name])
    steps = [f"from {_amount(one.prices[name])} {one.network.label} ({with_n(one.accuracy)})" for one in edge]
    return f"For a budget of {label}, ship (test accuracy in %): {'; '.join(steps)}."


def _amount(price: float) -> str:
    return f"{price:,.0f}" if price >= 1000 else f"{price:.4g}"


def _edge(name: str, offers: Sequence[Offer]) -> list[Offer]:
    """Those that no other beats at this price."""
    known = [one for one in offers if name in one.prices]
    return [one for one in known if not any(beats(other, one, [name]) for other in known if other is not one)]


# ---- drawn and listed ----


def _drawing(name: str, label: str, offers: Sequence[Offer]) -> Markup:
    known = [one for one in offers if name in one.prices]
    edge = sorted(_edge(name, offers), key=lambda one: one.prices[name])
    dots = [
        Dot(
            label=one.network.label if one in edge or len(known) <= MOST_NAMES else "",
            x=one.prices[name],
            y=one.accuracy.mean,
            spread=(one.accuracy.interval.high - one.accuracy.mean) if one.accuracy.interval else None,
            before=None,
            style=one.network.style,
            tooltip=f"{one.network.label}: {with_n(one.accuracy)} %, {label} {_amount(one.prices[name])}",
            hollow=one not in edge,
        )
        for one in known
    ]
    return scatter(dots, label, "test accuracy %", edge=[(one.prices[name], one.accuracy.mean) for one in edge])


def _table(
    material: Material, offers: Sequence[Offer], measured: Sequence[Measure], beaten: Mapping[str, Offer | None]
) -> Table:
    score = material.findings.score

    def of(read: Callable[[Subject], Value]) -> Callable[[Offer], Value]:
        return lambda one: read(one.network)

    prices = [(head, of(read)) for head, read in (scored(measure, score) for measure in measured)]
    return table_of(
        "frontier",
        "Networks and their prices",
        offers,
        [
            ("network", lambda one: one.network.label),
            (Column("test accuracy %", "estimate"), lambda one: estimate(one.accuracy)),
            (Column("95 % interval", "range"), lambda one: interval(one.accuracy.interval)),
            *prices,
            (Column("multiply-adds", "count"), lambda one: one.network.facts.multiply_adds),
            ("beaten by", lambda one: by.network.label if (by := beaten[one.network.id]) else None),
        ],
        "Beaten: another network is no worse in accuracy and in every price, and better in one of them, by their means.",
        lambda one: Dress(one.network.hardware, one.network.style, beaten[one.network.id] is None),
    )
