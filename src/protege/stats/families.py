"""Many comparisons of arms that were named in advance, tested together, each for the population that it speaks of.

Values lie along the last axis, a seed each; axes before it are as many studies, which a simulation has (see
`benchmarks/claims.py`). What is assumed and what is claimed stands in `docs/statistics.md`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

LEVEL = 0.05
DRAWS = 200_000  # of the largest of several t: its 95 % point is then within .01
Contrast = Mapping[str, float]  # arm -> coefficient; they add up to 0
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Arm:
    """What was measured of one way of training."""

    values: Array  # [..., seeds]
    teachers: tuple[tuple[Hashable, ...], ...] = ()  # who taught each seed; empty for a student alone
    kind: Hashable = None  # arms of one kind (the same student) spread alike over seeds

    @property
    def n(self) -> int:
        return self.values.shape[-1]

    @property
    def mean(self) -> Array:
        return self.values.mean(-1)


@dataclass(frozen=True)
class Tested:
    """One comparison of a family, for one population. Adjusted p and simultaneous interval say the same."""

    difference: Array
    standard_error: Array  # 0 where nothing spreads: nothing can be tested then
    degrees: Array  # of freedom
    p: Array  # two-sided, of this comparison alone
    adjusted_p: Array  # of the whole family
    reach: Array  # of the 95 % interval of this comparison alone
    simultaneous_reach: Array  # all intervals of the family hold at once in 95 of 100 studies


def given_teachers(arms: Mapping[str, Arm], contrasts: Sequence[Contrast], size: int | None = None) -> list[Tested]:
    """Over other seeds, given these teachers and these images, with one error for all arms of a kind.

    Spread is taken among students of the same teacher where that leaves any. `size` is that of the whole family, where
    these are a part of it: the level is shared out in proportion.
    """
    size = size or len(contrasts)
    errors = {kind: _pooled([arm for arm in arms.values() if arm.kind == kind]) for kind in _kinds(arms, arms)}
    blocks: dict[Hashable, list[int]] = {}
    for number, contrast in enumerate(contrasts):
        kinds = _kinds(arms, contrast)
        blocks.setdefault(kinds[0] if len(kinds) == 1 else (number,), []).append(number)
    found: dict[int, Tested] = {}
    for members in blocks.values():
        parts = [_parts(arms, contrasts[number], errors) for number in members]
        draws = _largest(arms, [contrasts[number] for number in members], errors) if len(members) > 1 else None
        for number, (difference, variance, degrees) in zip(members, parts, strict=True):
            found[number] = _tested(difference, variance, degrees, size, draws, len(members))
    return [found[number] for number in range(len(contrasts))]


def over_teachers(arms: Mapping[str, Arm], contrast: Contrast, size: int = 1) -> Tested | None:
    """Over other teachers as well: a t-test of the means of those students that no teacher links.

    Arms list the same seeds in the same order. None where there is only one teacher (or no order of seeds in common):
    nothing then says how results vary with the teacher.
    """
    used = {name: weight for name, weight in contrast.items() if weight}
    if len({arms[name].n for name in used}) != 1 or not any(arms[name].teachers for name in used):
        return None
    clusters = _unlinked([arms[name].teachers for name in used if arms[name].teachers])
    if len(clusters) < 2:
        return None
    values = np.asarray(sum(weight * arms[name].values for name, weight in used.items()))
    means = np.stack([values[..., members].mean(-1) for members in clusters], -1)
    shares = np.array([len(members) for members in clusters]) / values.shape[-1]
    variance = means.var(-1, ddof=1) * float((shares**2).sum())
    return _tested(values.mean(-1), variance, np.full_like(variance, len(clusters) - 1), size, None, 1)


def over_images(found: Tested, of_images: Array, size: int = 1) -> Tested:
    """The same over other test images as well; `of_images` is what `image_variance` says of this contrast.

    The two reaches add up as legs of a right angle. Adding variances and their degrees of freedom instead claims too much
    where few seeds happen to lie close together.
    """
    of_seeds = found.standard_error**2

    def reach(p: Array | float) -> Array:
        """Half the interval that leaves out `p`."""
        return np.sqrt(
            special.stdtrit(found.degrees, 1 - p / 2) ** 2 * of_seeds + special.ndtri(1 - p / 2) ** 2 * of_images
        )

    low, high = np.zeros_like(of_images), np.ones_like(of_images)
    for _ in range(50):  # reach falls as p rises: where it meets the difference
        middle = (low + high) / 2
        beyond = reach(middle) > np.abs(found.difference)
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    return Tested(
        found.difference, np.sqrt(of_seeds + of_images), found.degrees, high, np.minimum(1.0, size * high),
        reach(LEVEL), reach(LEVEL / size),
    )  # fmt: skip


def among(arms: Mapping[str, Arm], names: Sequence[str]) -> tuple[Array, int, Array] | None:
    """F, and its two degrees of freedom: do these arms of one kind differ at all? None where there is no error to test by."""
    those = [arms[name] for name in dict.fromkeys(names)]
    kinds = _kinds(arms, dict.fromkeys(names, 1.0))
    squares, degrees = _pooled([arm for arm in arms.values() if arm.kind == kinds[0]])
    if len(kinds) > 1 or len(those) < 2 or not degrees or not np.all(squares):
        return None
    total = sum(arm.n for arm in those)
    centre = sum(arm.n * arm.mean for arm in those) / total
    between = sum(arm.n * (arm.mean - centre) ** 2 for arm in those) / (len(those) - 1)
    return between / (squares / degrees), len(those) - 1, np.asarray(float(degrees))


def p_of_f(f: Array, above: int, below: Array) -> Array:
    return special.fdtrc(above, below, f)


def adjusted(p: float, size: int) -> float:
    """Of one member whose share of the level is equal to that of every other."""
    return min(1.0, size * p)


def lead_by_chance(counts: Sequence[int], sd: float, degrees: float) -> tuple[float, float]:
    """How far the best of equally good arms leads their mean: on average, and in one study of twenty."""
    leads = _leads(tuple(counts)) * sd
    spread = np.sqrt(np.random.default_rng(1).chisquare(degrees, len(leads)) / degrees)
    return float(leads.mean()), float(np.quantile(leads / spread, 1 - LEVEL))


def error_of(arms: Mapping[str, Arm], kind: Hashable) -> tuple[float, int] | None:
    """The shared sd of the arms of one kind, and its degrees of freedom."""
    squares, degrees = _pooled([arm for arm in arms.values() if arm.kind == kind])
    return (float(np.sqrt(squares / degrees)), degrees) if degrees else None


def unlike_spreads(arms: Sequence[Arm]) -> float | None:
    """p of Bartlett's test that arms spread alike; None where fewer than two arms have any spread."""
    spreads = [
        (float(squares) / degrees, degrees) for squares, degrees in map(_spread, arms) if degrees and squares > 0
    ]
    if len(spreads) < 2:
        return None
    total = sum(degrees for _, degrees in spreads)
    pooled = sum(variance * degrees for variance, degrees in spreads) / total
    raw = total * np.log(pooled) - sum(degrees * np.log(variance) for variance, degrees in spreads)
    scale = 1 + (sum(1 / degrees for _, degrees in spreads) - 1 / total) / (3 * (len(spreads) - 1))
    return float(special.chdtrc(len(spreads) - 1, raw / scale))


def t_test(difference: float, standard_error: float, degrees: float, size: int = 1) -> Tested:
    """Any other test that was named in advance, as a member of a family of this size."""
    return _tested(np.asarray(difference), np.asarray(standard_error**2), np.asarray(degrees), size, None, 1)


# ---- the error ----


def _kinds(arms: Mapping[str, Arm], names: Mapping[str, object]) -> list[Hashable]:
    return list(dict.fromkeys(arms[name].kind for name, weight in names.items() if weight))


def _spread(arm: Arm) -> tuple[Array, int]:
    """Sum of squares within an arm, and its degrees of freedom: among students of one teacher where any has several."""
    groups = _unlinked([arm.teachers]) if arm.teachers else [list(range(arm.n))]
    if len(groups) == arm.n:
        groups = [list(range(arm.n))]
    parts = [arm.values[..., members] for members in groups]
    squares = sum(((part - part.mean(-1, keepdims=True)) ** 2).sum(-1) for part in parts)
    return np.asarray(
        np.where(np.ptp(arm.values, -1) <= 1e-12 * np.abs(arm.values).max(-1), 0.0, squares)
    ), arm.n - len(groups)


def _pooled(arms: Sequence[Arm]) -> tuple[Array, int]:
    spreads = [_spread(arm) for arm in arms]
    return np.asarray(sum(squares for squares, _ in spreads)), sum(degrees for _, degrees in spreads)


def _parts(
    arms: Mapping[str, Arm], contrast: Contrast, errors: Mapping[Hashable, tuple[Array, int]]
) -> tuple[Array, Array, Array]:
    """Difference, its variance, and degrees of freedom (Satterthwaite's where kinds meet)."""
    difference = np.asarray(sum(weight * arms[name].mean for name, weight in contrast.items()))
    pieces = []
    for kind in _kinds(arms, contrast):
        squares, degrees = errors[kind]
        share = sum(weight**2 / arms[name].n for name, weight in contrast.items() if arms[name].kind == kind)
        pieces.append((squares / max(degrees, 1) * share, degrees))
    variance = np.asarray(sum(piece for piece, _ in pieces))
    if not all(degrees for _, degrees in pieces):
        return difference, np.zeros_like(variance), np.ones_like(variance)
    spent = np.asarray(sum(piece**2 / degrees for piece, degrees in pieces))
    return difference, variance, np.divide(variance**2, spent, out=np.ones_like(variance), where=spent > 0)


def _tested(difference: Array, variance: Array, degrees: Array, size: int, draws: Array | None, members: int) -> Tested:
    """`draws`: the largest of the `members` of its block, by chance; without them each member has an equal share."""
    error = np.sqrt(variance)
    t = np.divide(np.abs(difference), error, out=np.zeros_like(error), where=error > 0)
    p = np.where(error > 0, 2 * special.stdtr(degrees, -t), 1.0)
    corrected, critical = np.minimum(1.0, size * p), special.stdtrit(degrees, 1 - LEVEL / (2 * size))
    if draws is not None:
        beyond = (len(draws) - np.searchsorted(draws, t) + 1) / (len(draws) + 1)
        corrected = np.maximum(p, np.minimum(corrected, beyond * size / members))
        critical = np.minimum(critical, np.quantile(draws, 1 - LEVEL * members / size))
    return Tested(
        np.asarray(difference),
        error,
        degrees,
        p,
        corrected,
        special.stdtrit(degrees, 1 - LEVEL / 2) * error,
        critical * error,
    )


# ---- the largest of several ----


def _largest(
    arms: Mapping[str, Arm], contrasts: Sequence[Contrast], errors: Mapping[Hashable, tuple[Array, int]]
) -> Array | None:
    """The largest |t| of these contrasts by chance, sorted: Dunnett's where all have one control."""
    names = tuple(dict.fromkeys(name for contrast in contrasts for name in contrast))
    degrees = errors[arms[names[0]].kind][1]
    if not degrees:
        return None
    weights = tuple(tuple(contrast.get(name, 0.0) for name in names) for contrast in contrasts)
    return _largest_of(weights, tuple(arms[name].n for name in names), degrees)


@lru_cache(maxsize=64)
def _largest_of(weights: tuple[tuple[float, ...], ...], counts: tuple[int, ...], degrees: int) -> Array:
    scaled = np.array(weights) / np.sqrt(counts)
    scaled /= np.sqrt((scaled**2).sum(1, keepdims=True))
    generator = np.random.default_rng(0)
    largest = [
        np.abs(generator.standard_normal((DRAWS // 10, len(counts))) @ scaled.T).max(1)
        / np.sqrt(generator.chisquare(degrees, DRAWS // 10) / degrees)
        for _ in range(10)
    ]
    return np.sort(np.concatenate(largest))


@lru_cache(maxsize=64)
def _leads(counts: tuple[int, ...]) -> Array:
    means = np.random.default_rng(0).standard_normal((DRAWS // 10, len(counts))) / np.sqrt(counts)
    return means.max(1) - means.mean(1)


def _unlinked(lineups: Sequence[Sequence[tuple[Hashable, ...]]]) -> list[list[int]]:
    """Positions of seeds in groups of which no two have a teacher in common, in any arm."""
    groups: list[tuple[set[Hashable], list[int]]] = []
    for position in range(len(lineups[0])):
        own: set[Hashable] = {teacher for lineup in lineups for teacher in lineup[position]}
        linked = [group for group in groups if group[0] & own]
        merged = own.union(*(group[0] for group in linked)), [*(one for group in linked for one in group[1]), position]
        groups = [group for group in groups if group not in linked] + [merged]
    return [sorted(members) for _, members in groups]
