"""A family tested: each member for the populations that the study's design lets it speak of, all corrected together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from protege import stats
from protege.stats import families
from protege.study.findings.family import Member, own_rows, runs_of
from protege.study.findings.record import Cell, Claim, Interval, Population, RunRow, Which
from protege.study.findings.rows import Rows, by_seed, test_value

UNLIKE = 0.01  # of Bartlett's test, which so few seeds seldom reach
Named = Literal["paired", "welch", "pooled", "teachers"]


@dataclass(frozen=True)
class Judged:
    """One member: the test that counts, and what it says over which population, the headline first."""

    named: Named
    counts: tuple[int, int]  # seeds of treatment and control
    seeds: tuple[int, ...]  # common to all its cells
    claims: tuple[tuple[Population, families.Tested], ...]  # empty: nothing spreads, or too few seeds
    arms: int  # that share one error
    plain: stats.Effect  # of treatment and control alone, for those who look closer

    @property
    def headline(self) -> families.Tested | None:
        return self.claims[0][1] if self.claims else None


@final
class Judge:
    """Of one study at one moment."""

    def __init__(self, score: Which, members: Sequence[Member], rows: Sequence[RunRow], read: Rows) -> None:
        self._rows, self._read = rows, read
        self.score: Which = score
        self.size = len(members)
        self._cells = {cell.key: cell for member in members for cell in member.cells}
        self._right: dict[str, NDArray[np.bool_] | None] = {}

    def judge(self, members: Sequence[Member]) -> dict[str, Judged]:
        """Members without a measured run on either side are left out."""
        found = {}
        for measure in dict.fromkeys(one.hypothesis.measure for one in members):
            those = [one for one in members if one.hypothesis.measure == measure and not one.among]
            those = [one for one in those if all(self.values(cell, measure) for cell in one.cells)]
            arms = {self.node(cell): self.arm(cell, measure) for one in those for cell in one.cells}
            tested = families.given_teachers(arms, [self._contrast(one) for one in those], self.size) if those else []
            found |= {one.key: self._judged(one, given, arms) for one, given in zip(those, tested, strict=True)}
        return found

    def values(self, cell: Cell, measure: str) -> dict[int, float]:
        return by_seed(self.own(cell), test_value(self.score, measure))

    def arms_among(self, member: Member) -> dict[str, families.Arm]:
        """Those that are compared, and all that share their error."""
        measure = member.hypothesis.measure
        measured = [cell for cell in self._cells.values() if self.values(cell, measure)]
        return {self.node(cell): self.arm(cell, measure) for cell in measured}

    # ---- one member ----

    def _judged(self, member: Member, given: families.Tested, arms: Mapping[str, families.Arm]) -> Judged:
        measure = member.hypothesis.measure
        treated, controlled = (self.values(cell, measure) for cell in (member.treatment, member.control))
        common = tuple(seed for seed in treated if all(seed in self.values(cell, measure) for cell in member.cells))
        named = self._named(member)
        plain = _plain(treated, controlled, common, named)
        contrast = self._contrast(member)
        over = self._over_teachers(member, common, contrast) if named not in ("paired", "welch") else None
        claims: list[tuple[Population, families.Tested]] = [("seeds", given)]
        if named in ("paired", "welch"):
            test = plain.test
            claims = (
                [("seeds", families.t_test(test.difference, test.standard_error, test.degrees, self.size))]
                if test
                else []
            )
        elif over is not None:
            claims.insert(0 if named == "teachers" else 1, ("seeds and teachers", over))
        claims = [(population, one) for population, one in claims if float(one.standard_error) > 0]
        if claims and measure == "accuracy" and all(self.right(cell) is not None for cell in member.cells):
            claims.append(self._over_images(member, *claims[0]))
        kinds = {arms[name].kind for name in contrast}
        sharing = sum(arm.kind in kinds for arm in arms.values())
        return Judged(named, (len(treated), len(controlled)), common, tuple(claims), sharing, plain)

    def _named(self, member: Member) -> Named:
        """Settled by the study's design, before a score is seen."""
        if member.hypothesis.test:
            return member.hypothesis.test
        taught = [cell for cell in member.cells if cell.teacher]
        return "teachers" if taught and all(own_teachers(self._rows, cell) for cell in taught) else "pooled"

    def _contrast(self, member: Member) -> dict[str, float]:
        """Cells of the same runs are one; what cancels is left out."""
        found: dict[str, float] = {}
        for cell, weight in zip(member.cells, member.weights, strict=True):
            found[self.node(cell)] = found.get(self.node(cell), 0.0) + weight
        return {name: weight for name, weight in found.items() if weight}

    def node(self, cell: Cell) -> str:
        return "+".join(sorted(runs_of(self._rows, cell)))

    def arm(self, cell: Cell, measure: str, seeds: Sequence[int] | None = None) -> families.Arm:
        values = self.values(cell, measure)
        kept = list(values) if seeds is None else list(seeds)
        taught: dict[int, tuple[str, ...]] = {}
        for row in self.own(cell):
            if row.seed is not None:
                taught[row.seed] = (*taught.get(row.seed, ()), *row.teachers)
        teachers = tuple(taught[seed] for seed in kept) if any(taught.values()) else ()
        kind = (str(sorted(cell.student.model.items(), key=str)), measure, self._read.judged_by(cell.key))
        return families.Arm(np.array([values[seed] for seed in kept]), teachers, kind)

    def _over_teachers(
        self, member: Member, common: Sequence[int], contrast: Mapping[str, float]
    ) -> families.Tested | None:
        if len(common) < 2:
            return None
        arms = {self.node(cell): self.arm(cell, member.hypothesis.measure, common) for cell in member.cells}
        return families.over_teachers(arms, contrast, self.size)

    def _over_images(
        self, member: Member, population: Population, found: families.Tested
    ) -> tuple[Population, families.Tested]:
        contrast = self._contrast(member)
        right = {self.node(cell): each for cell in member.cells if (each := self.right(cell)) is not None}
        added = np.asarray(1e4 * stats.image_variance(right, contrast))
        wider: Population = "seeds and images" if population == "seeds" else "seeds, teachers and images"
        return wider, families.over_images(found, added, self.size)

    def right(self, cell: Cell) -> NDArray[np.bool_] | None:
        """Which test images each network of a cell got right, [networks, images]; None where what they said is gone."""
        name = self.node(cell)
        if name not in self._right:
            each = [self._read.correct(row.id, self.score) for row in self.own(cell)]
            known = [one for one in each if one is not None]
            self._right[name] = np.stack(known) if len(known) == len(each) else None
        return self._right[name]

    def own(self, cell: Cell) -> list[RunRow]:
        return own_rows(self._rows, cell)


def unlike_arms(cells: Sequence[Cell], judge: Judge) -> Iterator[str]:
    """One error for arms that spread unlike overstates some intervals and understates others."""
    measured = {judge.node(cell): judge.arm(cell, "accuracy") for cell in cells if judge.values(cell, "accuracy")}
    for kind in dict.fromkeys(arm.kind for arm in measured.values()):
        arms = [arm for arm in measured.values() if arm.kind == kind]
        p = families.unlike_spreads(arms)
        if p is not None and p < UNLIKE:
            sds = sorted(float(arm.values.std(ddof=1)) for arm in arms if arm.n > 1)
            yield (
                f"Arms of one student spread over seeds by {sds[0]:.2f} to {sds[-1]:.2f} points, more unlike than chance "
                f"(p = {p:.3f}), yet share one error, which then claims too much: with one arm of twice the spread, up to 7 of 100 studies "
                "would say something false, where 5 are meant. Welch's test, beside it in the table, does not assume it."
            )


def own_teachers(rows: Sequence[RunRow], cell: Cell) -> bool:
    """Whether every reported seed of a cell has a teacher that no other has, so that its spread is over teachers too."""
    taught = [name for row in rows if row.role == "report" and row.cell == cell.key for name in row.teachers]
    return len(set(taught)) == len(taught) > 0


def _plain(
    treated: dict[int, float], controlled: dict[int, float], common: Sequence[int], named: Named
) -> stats.Effect:
    """Both simple tests: in pairs of the common seeds, and (Welch's) of all that each arm has."""
    paired = bool(common) and (named == "paired" or len(treated) == len(controlled) == len(common))
    arms = [[values[seed] for seed in common] if paired else list(values.values()) for values in (treated, controlled)]
    return stats.effect(*arms, paired=paired if named == "paired" else False)


def as_claim(population: Population, found: families.Tested) -> Claim:
    middle = float(found.difference)

    def around(reach: NDArray[np.float64]) -> Interval:
        return Interval(low=middle - float(reach), high=middle + float(reach))

    return Claim(
        over=population,
        standard_error=float(found.standard_error),
        degrees=float(found.degrees),
        interval=around(found.reach),
        simultaneous=around(found.simultaneous_reach),
        p=float(found.p),
        adjusted_p=float(found.adjusted_p),
    )
