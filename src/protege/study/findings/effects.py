"""The comparisons of a study: each with what it allows to be said, and of whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from protege import stats
from protege.stats.claims import Told, detectable, equivalence_in, family_verdict
from protege.study.findings.family import Member, own_rows
from protege.study.findings.judging import Judge, Judged, Named, as_claim, own_teachers
from protege.study.findings.record import Bootstrap, Cell, Effect, Equivalence, Interval, McNemar, RunRow, TTest, Which
from protege.study.findings.rows import Rows
from protege.study.question.measures import MEASURES
from protege.study.question.plan import Plan

FEWEST_SEEDS = 4  # of a bootstrap over seeds: with fewer its interval is too narrow
OTHERS = {
    "seeds and teachers": "other teachers",
    "seeds and images": "other test images",
    "seeds, teachers and images": "other test images",
}


def effects(
    plan: Plan, members: Sequence[Member], judge: Judge, rows: Sequence[RunRow], read: Rows, images: int
) -> list[Effect]:
    """Those of one difference; the others are `contrasts`."""
    single = [member for member in members if not member.than and not member.among]
    judged, looked = judge.judge(members), _Images(plan.study.report, rows, read)
    given = Given(plan, images)
    return [_effect(member, judged.get(member.key), judge, given, looked) for member in single]


def _effect(member: Member, found: Judged | None, judge: Judge, given: Given, images: _Images) -> Effect:
    hypothesis, one = member.hypothesis, found.headline if found else None
    equal = equivalence_in(one, hypothesis.margin, judge.size) if one else None
    outcome, sentence = said(member, found, judge.size, given)
    by_images = hypothesis.measure == "accuracy" and found is not None
    smallest, between = detectable(one) if one else (None, None)
    return Effect(
        key=member.key,
        treatment=member.treatment.key,
        control=member.control.key,
        pair=member.treatment.pair,
        measure=hypothesis.measure,
        score=images.score,
        primary=member.primary,
        named=found.named if found else hypothesis.test or "pooled",
        seeds=found.seeds if found else (),
        difference=float(one.difference) if one else found.plain.difference if found else None,
        welch=t_test(found.plain.welch if found else None),
        paired=t_test(found.plain.paired if found else None),
        correlation=found.plain.correlation if found else None,
        adjusted_p=float(one.adjusted_p) if one else None,
        family=judge.size,
        smallest_detectable=smallest,
        smallest_between=_as_interval(between),
        claims=tuple(as_claim(*claim) for claim in found.claims) if found else (),
        equivalence=_as_part(equal, hypothesis.margin if found else None),
        mcnemar=tuple(images.mcnemar(member, found.seeds)) if by_images and found else (),
        bootstrap=images.bootstrap(member) if by_images else None,
        outcome=outcome,
        sentence=sentence,
    )


# ---- words ----


@final
class Given:
    """What a claim takes as it is: the teachers and the test images of this study."""

    def __init__(self, plan: Plan, images: int) -> None:
        self._teachers = {key: len(teacher.source or teacher.seeds) for key, teacher in plan.study.teachers.items()}
        self._images = f"these {images:,} test images"

    def of(self, cells: Sequence[Cell], named: Named) -> str:
        """`Given these 3 teachers and these 10,000 test images`."""
        keys = {key for cell in cells if cell.teacher for key in cell.teacher.split(" + ")}
        counts = [self._teachers.get(key, 1) for key in keys]
        if named == "teachers" or not counts:
            return f"Given {self._images}"
        most = max(counts)
        teachers = "its one teacher" if most == 1 else f"its {most} teachers"
        return f"Given {teachers if len(counts) == 1 else teachers.replace('its', 'their')} and {self._images}"


def over_whom(plan: Plan, cells: Sequence[Cell], images: int) -> str:
    """Of whom the outcomes speak: `given its 3 teachers and these 10,000 test images`."""
    taught = [cell for cell in cells if cell.teacher]
    named: Named = "teachers" if taught and all(own_teachers(plan.study, cell) for cell in taught) else "pooled"
    said = Given(plan, images).of(cells, named)
    return f"{said[0].lower()}{said[1:]}"


def how(found: Judged) -> str:
    """`3 and 3 seeds, one error for 10 arms`."""
    seeds = f"{found.counts[0]} and {found.counts[1]} seeds"
    tests: dict[Named, str] = {
        "pooled": f"{seeds}, one error for {found.arms} arms",
        "teachers": f"{len(found.seeds)} seeds, each with a teacher of its own",
        "paired": f"paired t-test, {len(found.seeds)} pairs of seeds",
        "welch": f"Welch's t-test, {seeds}",
    }
    return tests[found.named]


def said(
    member: Member, found: Judged | None, size: int, given: Given
) -> tuple[Literal["higher", "lower", "equivalent", "undecided", "untested", "pending"], str]:
    """Outcome and sentence."""
    if found is None:
        return "pending", f"{member.named}: not measured yet."
    measure = MEASURES[member.hypothesis.measure]
    labels = member.labels
    opening = f"With {member.pair}, the" if member.pair else "The"
    treatment, control = f"{opening} {measure.label} of {labels[0]}", f"that of {labels[1]}"
    one = found.headline
    if one is None:
        why = "too few seeds, or no spread among them, to tell a difference from chance"
        difference = found.plain.difference
        shown = f"{difference:+,.0f}" if abs(difference) >= 1000 else f"{difference:+.4g}"
        return "untested", f"{treatment} minus {control} is {shown} {measure.difference_unit}, untested: {why}."
    wider = tuple((OTHERS[population], wide) for population, wide in found.claims[1:] if population in OTHERS)
    told = Told(
        treatment, control, measure.difference_unit, how(found), given.of(member.cells, found.named), wider,
        member.hypothesis.margin,
    )  # fmt: skip
    verdict = family_verdict(one, size, told)
    return verdict.outcome, verdict.sentence


# ---- parts ----


def t_test(found: stats.Comparison | None) -> TTest | None:
    if found is None:
        return None
    return TTest(
        difference=found.difference,
        standard_error=found.standard_error,
        degrees=found.degrees,
        interval=Interval(low=found.interval.low, high=found.interval.high),
        p=found.p,
    )


def _as_interval(found: stats.Interval | None) -> Interval | None:
    return None if found is None else Interval(low=found.low, high=found.high)


def _as_part(found: stats.Equivalence | None, margin: float | None) -> Equivalence | None:
    if found is None:
        return None if margin is None else Equivalence(margin=margin, p=None, interval=None, outcome="untested")
    return Equivalence(margin=found.margin, p=found.p, interval=_as_interval(found.interval), outcome=found.outcome)


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
        return {row.seed: self._read.correct(row.id, self.score) for row in reversed(own_rows(self.rows, cell))}

    def bootstrap(self, member: Member) -> Bootstrap:
        treated, controlled = (
            np.stack([self._read.correct(row.id, self.score) for row in own_rows(self.rows, cell)])
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
        over_seeds_and_images=_points(both) if both and min(found.seeds) >= FEWEST_SEEDS else None,
        images=found.images,
        seeds=found.seeds,
        draws=found.draws,
    )


def _points(interval: stats.Interval) -> Interval:
    return Interval(low=100 * interval.low, high=100 * interval.high)
