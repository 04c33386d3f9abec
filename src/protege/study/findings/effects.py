"""The family of comparisons that was named in advance, tested and corrected together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from protege import stats
from protege.stats.power import smallest_visible
from protege.study.findings.record import Bootstrap, Cell, Effect, Equivalence, Interval, McNemar, RunRow, TTest, Which
from protege.study.findings.rows import Rows, by_seed, test_value
from protege.study.question.measures import MEASURES
from protege.study.question.plan import Plan
from protege.study.question.schema import Hypothesis, Study

LEVEL = 0.05


@dataclass(frozen=True)
class Member:
    """One comparison of the family."""

    hypothesis: Hypothesis
    treatment: Cell
    control: Cell
    primary: bool

    @property
    def key(self) -> str:
        return f"{self.treatment.key} - {self.control.key} in {self.hypothesis.measure}"

    @property
    def pair(self) -> str | None:
        """That of both, to be said once; None where they have none, or each its own."""
        return self.treatment.pair if self.treatment.pair == self.control.pair else None

    @property
    def labels(self) -> tuple[str, str]:
        both = self.treatment, self.control
        return (both[0].short, both[1].short) if self.pair else (both[0].label, both[1].label)

    @property
    def named(self) -> str:
        """`kd against alone (R34 -> R18)`."""
        return " against ".join(self.labels) + (f" ({self.pair})" if self.pair else "")


def hypotheses(study: Study, cells: Sequence[Cell]) -> list[Hypothesis]:
    """Those of the file; else every other arm against `alone`, or against the first arm without a teacher."""
    if study.compare:
        return list(study.compare)
    arms = list(dict.fromkeys(cell.arm for cell in cells))
    control = "alone" if "alone" in arms else next((cell.arm for cell in cells if cell.alone), None)
    return [Hypothesis(treatment=arm, control=control) for arm in arms if arm != control] if control else []


def family(study: Study, cells: Sequence[Cell]) -> list[Member]:
    """Hypotheses times pairs (and, in the literature protocol, times configurations). Where none is primary, all are."""
    named = hypotheses(study, cells)
    any_primary = any(one.primary for one in named)
    found: dict[str, Member] = {}
    for hypothesis in named:
        for treatment in _cells_of(cells, hypothesis.treatment, hypothesis.pair):
            for control in _cells_of(cells, hypothesis.control, treatment.pair):
                member = Member(hypothesis, treatment, control, hypothesis.primary or not any_primary)
                found.setdefault(member.key, member)
    return list(found.values())


def _cells_of(cells: Sequence[Cell], arm: str, pair: str | None) -> list[Cell]:
    return [cell for cell in cells if cell.arm == arm and pair in (None, cell.pair)]


def effects(plan: Plan, cells: Sequence[Cell], rows: Sequence[RunRow], read: Rows) -> list[Effect]:
    score: Which = plan.study.report
    members = _distinct(family(plan.study, cells), rows)
    compared = {member.key: _compared(score, member, rows) for member in members}
    adjusted = stats.holm({key: one.p if one else None for key, one in compared.items()})
    images = _Images(score, rows, read)
    return [_effect(member, compared[member.key], adjusted[member.key], len(members), images) for member in members]


def _distinct(members: Sequence[Member], rows: Sequence[RunRow]) -> list[Member]:
    """Pairs with the same student share their arms alone: comparing two of those arms once is enough."""
    found: dict[object, Member] = {}
    for member in members:
        runs = [frozenset(row.id for row in _own(rows, cell)) for cell in (member.treatment, member.control)]
        found.setdefault((*runs, member.hypothesis.measure) if all(runs) else member.key, member)
    return list(found.values())


def _values(score: Which, member: Member, rows: Sequence[RunRow]) -> tuple[dict[int, float], dict[int, float]]:
    """Of treatment and control by seed, common seeds first and in one order. Pairs need both; Welch's test takes what each has."""
    value = test_value(score, member.hypothesis.measure)
    treated, controlled = by_seed(_own(rows, member.treatment), value), by_seed(_own(rows, member.control), value)
    common = [seed for seed in treated if seed in controlled]
    paired = member.hypothesis.test == "paired"
    kept = [
        [*common, *([] if paired else [seed for seed in arm if seed not in common])] for arm in (treated, controlled)
    ]
    return {seed: treated[seed] for seed in kept[0]}, {seed: controlled[seed] for seed in kept[1]}


def _compared(score: Which, member: Member, rows: Sequence[RunRow]) -> stats.Effect | None:
    treated, controlled = _values(score, member, rows)
    if not treated or not controlled:
        return None
    return stats.effect(list(treated.values()), list(controlled.values()), paired=member.hypothesis.test == "paired")


def _own(rows: Sequence[RunRow], cell: Cell) -> list[RunRow]:
    return [row for row in rows if row.role == "report" and row.cell == cell.key and row.test]


def _effect(member: Member, found: stats.Effect | None, adjusted: float | None, size: int, images: _Images) -> Effect:
    hypothesis = member.hypothesis
    treated, controlled = _values(images.score, member, images.rows)
    seeds = tuple(seed for seed in treated if seed in controlled)
    equal = _equivalence(hypothesis, treated, controlled) if found else None
    said = _verdict(member, found, adjusted, size, equal)
    by_images = hypothesis.measure == "accuracy" and found is not None
    return Effect(
        key=member.key,
        treatment=member.treatment.key,
        control=member.control.key,
        pair=member.treatment.pair,
        measure=hypothesis.measure,
        score=images.score,
        primary=member.primary,
        named=hypothesis.test,
        seeds=seeds,
        difference=found.difference if found else None,
        welch=_t_test(found.welch if found else None),
        paired=_t_test(found.paired if found else None),
        correlation=found.correlation if found else None,
        adjusted_p=adjusted,
        family=size,
        smallest_detectable=_smallest(found, size),
        equivalence=_as_part(equal),
        mcnemar=tuple(images.mcnemar(member, seeds)) if by_images else (),
        bootstrap=images.bootstrap(member) if by_images else None,
        outcome=said.outcome if said else "pending",
        sentence=said.sentence if said else f"{member.named}: not measured yet.",
    )


def _equivalence(
    hypothesis: Hypothesis, treated: dict[int, float], controlled: dict[int, float]
) -> stats.Equivalence | None:
    if hypothesis.margin is None:
        return None
    values = list(treated.values()), list(controlled.values())
    return stats.equivalence(*values, hypothesis.margin, hypothesis.test == "paired", LEVEL)


def _verdict(
    member: Member, found: stats.Effect | None, adjusted: float | None, size: int, equal: stats.Equivalence | None
) -> stats.Verdict | None:
    if found is None:
        return None
    measure = MEASURES[member.hypothesis.measure]
    treatment, control = member.labels
    opening = f"With {member.pair}, the" if member.pair else "The"
    names = (f"{opening} {measure.label} of {treatment}", f"that of {control}")
    corrected = adjusted if size > 1 else None
    return stats.verdict(
        found, adjusted_p=corrected, comparisons=size, equivalence=equal, unit=measure.difference_unit, names=names
    )


def _smallest(found: stats.Effect | None, size: int) -> float | None:
    if found is None or found.test is None:
        return None
    return smallest_visible(found.test.standard_error, found.test.degrees, level=LEVEL / size)


def _t_test(found: stats.Comparison | None) -> TTest | None:
    if found is None:
        return None
    interval = Interval(low=found.interval.low, high=found.interval.high)
    return TTest(
        difference=found.difference,
        standard_error=found.standard_error,
        degrees=found.degrees,
        interval=interval,
        p=found.p,
    )


def _as_part(found: stats.Equivalence | None) -> Equivalence | None:
    if found is None:
        return None
    interval = None if found.interval is None else Interval(low=found.interval.low, high=found.interval.high)
    return Equivalence(margin=found.margin, p=found.p, interval=interval, outcome=found.outcome)


# ---- image by image ----


@final
class _Images:
    """Which test images each network got right."""

    def __init__(self, score: Which, rows: Sequence[RunRow], read: Rows) -> None:
        self.score: Which = score
        self.rows, self._read = rows, read

    def mcnemar(self, member: Member, seeds: Sequence[int]) -> Iterator[McNemar]:
        """Of the first network of each seed, where a seed had several teachers."""
        treated, controlled = self._by_seed(member.treatment), self._by_seed(member.control)
        for seed in seeds:
            found = stats.mcnemar(treated[seed], controlled[seed])
            yield McNemar(
                seed=seed,
                only_treatment=found.only_a,
                only_control=found.only_b,
                images=found.images,
                p=found.p,
                mid_p=found.mid_p,
            )

    def _by_seed(self, cell: Cell) -> dict[int | None, NDArray[np.bool_]]:
        return {row.seed: self._read.correct(row.id, self.score) for row in reversed(_own(self.rows, cell))}

    def bootstrap(self, member: Member) -> Bootstrap:
        treated, controlled = (
            np.stack([self._read.correct(row.id, self.score) for row in _own(self.rows, cell)])
            for cell in (member.treatment, member.control)
        )
        return bootstrap_in_points(treated, controlled)


def bootstrap_in_points(treated: NDArray[np.bool_], controlled: NDArray[np.bool_]) -> Bootstrap:
    """Of two arms, [networks, images] each: which images every network got right."""
    found = stats.paired_bootstrap(treated, controlled)
    both = found.over_seeds_and_images
    return Bootstrap(
        difference=100 * found.difference,
        over_images=_points(found.over_images),
        over_seeds_and_images=_points(both) if both else None,
        images=found.images,
        seeds=found.seeds,
        draws=found.draws,
    )


def _points(interval: stats.Interval) -> Interval:
    return Interval(low=100 * interval.low, high=100 * interval.high)
