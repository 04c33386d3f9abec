"""What measures, epochs, images and spreads are called, the same in every section. A new measure needs no line here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeVar

from protege.report.material.subjects import Subject
from protege.report.page.table import Column, Kind, Value, estimate, said
from protege.study.findings import Measure, NetworkFacts, Summary, Which

Of = TypeVar("Of")

SHORT = {
    "accuracy": "test accuracy %", "top5": "test top-5 %", "nll": "NLL", "brier": "Brier", "ece": "ECE %",
    "scaled_nll": "NLL, temperature fitted", "scaled_ece": "ECE %, temperature fitted", "agreement": "agreement %",
    "kl_t1": "KL at T 1", "kl_t4": "KL at T 4",
}  # fmt: skip
EPOCHS: dict[Which, str] = {"final": "last epoch", "best": "epoch that was best on held-out images"}
IMAGES = {"test": "test", "heldout": "held-out"}
SPREAD = "± is the sample standard deviation over seeds"

SEEDS: tuple[Column, Callable[[Subject], Value]] = (Column("seeds", "count"), lambda one: len(one.of.seeds))


def about(measure: Measure) -> Literal["right", "teacher", "price", "sure", "network"]:
    """Which section shows it: what has a unit of its own (bytes, ms) is a price. A network's facts are shown with it, measured or not."""
    if measure.name in NetworkFacts.model_fields:
        return "network"
    if measure.needs_teacher:
        return "teacher"
    if measure.unit not in ("", "%"):
        return "price"
    return "right" if measure.name in ("accuracy", "top5") else "sure"


def in_percent(measure: Measure | None) -> bool:
    return measure is None or measure.unit == "%"


def decimals(measure: Measure | None) -> int:
    return measure.decimals if measure else 2


def by_unit(
    known: Mapping[str, Measure], those: Iterable[Of], measure_of: Callable[[Of], str]
) -> list[tuple[str, str, int, list[Of]]]:
    """Differences that one column may hold: what is added to the table's name (nothing for points), unit, decimals, and they."""
    groups: dict[str, list[Of]] = {}
    for one in those:
        measure = known.get(measure_of(one))
        groups.setdefault(measure.difference_unit if measure else "points", []).append(one)
    return [
        (
            f"_in_{unit.replace('-', '_')}" if unit != "points" else "",
            unit,
            decimals(known.get(measure_of(some[0]))),
            some,
        )
        for unit, some in sorted(groups.items(), key=lambda group: group[0] != "points")
    ]


def column(measure: Measure, kind: Kind = "estimate") -> Column:
    name = SHORT.get(measure.name, f"{measure.label} {measure.unit}".strip())
    return Column(name, kind, decimals(measure))


def called(measure: Measure, split: Literal["test", "heldout"]) -> str:
    """`held-out accuracy %`: for an axis or a head that says of which images."""
    return f"{IMAGES[split]} {column(measure).name.removeprefix('test ')}"


def scored(measure: Measure | None, score: Which) -> tuple[Column, Callable[[Subject], Value]]:
    """A column of a table of networks; without a measure, of accuracy."""
    name = measure.name if measure else "accuracy"
    head = column(measure) if measure else Column(SHORT[name], "estimate")
    return head, lambda one: estimate(one.scores(score).get(name))


def with_n(summary: Summary) -> str:
    shown = said(estimate(summary), Column("accuracy", "estimate"))
    return shown if summary.sd is None else f"{shown}, n {summary.n}"
