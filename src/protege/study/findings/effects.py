"""The comparisons of a study: each with what it allows to be said, and of whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from protege import stats
from protege.stats.claims import Told, detectable, equivalence_in, family_verdict, figure
from protege.study.findings.family import Member
from protege.study.findings.judging import Judge, Judged, Named, as_claim, own_teachers
from protege.study.findings.record import (
    Bootstrap,
    Cell,
    Effect,
    Equivalence,
    Interval,
    McNemar,
    RunRow,
    TTest,
    as_part,
)
from protege.study.question.measures import MEASURES

FEWEST_SEEDS = 4  # of a bootstrap over seeds: with fewer its interval is too narrow
OTHERS = {
    "seeds and teachers": "other teachers",
    "seeds and images": "other test images",
    "seeds, teachers and images": "other test images",
}


def effects(members: Sequence[Member], judge: Judge, given: Given) -> list[Effect]:
    """Those of one difference; the others are `contrasts`."""
    single = [member for member in members if not member.than and not member.among]
    judged = judge.judge(members)
    return [_effect(member, judged.get(member.key), judge, given) for member in single]


def _effect(member: Member, found: Judged | None, judge: Judge, given: Given) -> Effect:
    hypothesis, one = member.hypothesis, found.headline if found else None
    equal = equivalence_in(one, hypothesis.margin, judge.size) if one else None
    outcome, sentence = said(member, found, judge.size, given)
    ends = (member.treatment, member.control)
    by_images = found and hypothesis.measure == "accuracy" and all(judge.right(cell) is not None for cell in ends)
    smallest, between = detectable(one) if one else (None, None)
    return Effect(
        key=member.key,
        treatment=member.treatment.key,
        control=member.control.key,
        pair=member.treatment.pair,
        measure=hypothesis.measure,
        score=judge.score,
        primary=member.primary,
        named=found.named if found else hypothesis.test or "pooled",
        seeds=found.seeds if found else (),
        difference=float(one.difference) if one else found.plain.difference if found else None,
        welch=as_part(TTest, found.plain.welch) if found else None,
        paired=as_part(TTest, found.plain.paired) if found else None,
        correlation=found.plain.correlation if found else None,
        adjusted_p=float(one.adjusted_p) if one else None,
        family=judge.size,
        smallest_detectable=smallest,
        smallest_between=as_part(Interval, between),
        claims=tuple(as_claim(*claim) for claim in found.claims) if found else (),
        equivalence=as_part(Equivalence, equal) or _untested(hypothesis.margin if found else None),
        mcnemar=tuple(_mcnemar(member, found.seeds, judge)) if by_images and found else (),
        bootstrap=_bootstrap(member, judge) if by_images else None,
        outcome=outcome,
        sentence=sentence,
    )


# ---- words ----


@final
class Given:
    """What a claim takes as it is: the teachers and the test images of this study."""

    def __init__(self, rows: Sequence[RunRow], images: str) -> None:
        self._rows, self._images = rows, images

    def of(self, cells: Sequence[Cell], named: Named) -> str:
        """`Given these 3 teachers and these 10,000 test images`."""
        named_by = {cell.key: cell.teacher for cell in cells if cell.teacher}
        taught: dict[tuple[str, int], set[str]] = {}  # who stood at each place of a lineup
        for row in self._rows:
            if row.role == "report" and row.cell in named_by:
                for place, name in enumerate(row.teachers):
                    taught.setdefault((named_by[row.cell], place), set()).add(name)
        if named == "teachers" or not taught:
            return f"Given {self._images}"
        most = max(map(len, taught.values()))
        teachers = "its one teacher" if most == 1 else f"its {most} teachers"
        return f"Given {teachers if len(taught) == 1 else teachers.replace('its', 'their')} and {self._images}"

    def over_whom(self, cells: Sequence[Cell]) -> str:
        """Of whom the outcomes speak: `given its 3 teachers and these 10,000 test images`."""
        taught = [cell for cell in cells if cell.teacher]
        own = taught and all(own_teachers(self._rows, cell) for cell in taught)
        said = self.of(cells, "teachers" if own else "pooled")
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
    one = found.headline
    why = "too few seeds, or no spread among them, to tell a difference from chance"
    treatment, control = f"{opening} {measure.label} of {labels[0]}", f"that of {labels[1]}"
    if member.than:
        treatment = f"{opening} change in {measure.label} from {labels[1]} to {labels[0]}"
        control = f"that from {labels[3]} to {labels[2]}"
    if one is None and member.than:
        return "untested", f"{treatment} against {control}: untested, {why}."
    if one is None:
        shown = figure(found.plain.difference, measure.decimals)
        return "untested", f"{treatment} minus {control} is {shown} {measure.difference_unit}, untested: {why}."
    wider = tuple((OTHERS[population], wide) for population, wide in found.claims[1:] if population in OTHERS)
    told = Told(
        treatment, control, measure.difference_unit, measure.decimals, how(found), given.of(member.cells, found.named), wider,
        member.hypothesis.margin,
    )  # fmt: skip
    verdict = family_verdict(one, size, told)
    return verdict.outcome, verdict.sentence


def _untested(margin: float | None) -> Equivalence | None:
    return None if margin is None else Equivalence(margin=margin, p=None, interval=None, outcome="untested")


# ---- image by image ----


def _mcnemar(member: Member, seeds: Sequence[int], judge: Judge) -> Iterator[McNemar]:
    """Of the first network of each seed, where a seed had several teachers."""
    treated, controlled = (_by_seed(cell, judge) for cell in (member.treatment, member.control))
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


def _by_seed(cell: Cell, judge: Judge) -> dict[int | None, NDArray[np.bool_]]:
    right = judge.right(cell)
    assert right is not None
    return {row.seed: one for row, one in reversed(list(zip(judge.own(cell), right, strict=True)))}


def _bootstrap(member: Member, judge: Judge) -> Bootstrap:
    treated, controlled = judge.right(member.treatment), judge.right(member.control)
    assert treated is not None and controlled is not None
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
