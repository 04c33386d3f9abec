"""Which one to ship: the most accurate that fits a budget, what nothing speaks for, and what a larger budget buys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from protege.errors import ConfigError
from protege.ship.figures.kept import recall
from protege.ship.figures.measure import Measured, time_for_limit
from protege.ship.figures.turns import Asked, Say, unheard

COSTS = ("bytes", "multiply_adds", "latency_ms")
UNITS = {
    "": 1.0,
    "b": 1.0,
    "k": 1e3,
    "kb": 1e3,
    "m": 1e6,
    "mb": 1e6,
    "g": 1e9,
    "gb": 1e9,
    "kib": 1024.0,
    "mib": 1024.0**2,
}


@dataclass(frozen=True)
class Budget:
    """What the device has; none where it does not matter."""

    bytes: float | None = None
    multiply_adds: float | None = None
    latency_ms: float | None = None

    def fits(self, one: Measured) -> bool:
        return not self.exceeded(one)

    def exceeded(self, one: Measured) -> list[str]:
        """The costs that are too high, or unknown where a limit is set."""
        found = []
        for cost in COSTS:
            limit, value = getattr(self, cost), getattr(one, cost)
            if limit is not None and (value is None or value > limit):
                found.append(cost)
        return found


@dataclass(frozen=True)
class Choice:
    """The answer to "which one do I ship?"."""

    best: Measured | None
    fitting: list[Measured]
    as_good: list[Measured]  # cheaper in something, and their intervals overlap the best one's; the smallest first
    next_larger: Measured | None  # the cheapest that is better and does not fit
    needs: dict[str, float]  # what the budget would have to be for that one


def amount(text: str) -> float:
    """`100k`, `1.5M`, `98496`."""
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)\s*", text)
    if found is None or found[2].lower() not in UNITS:
        raise ConfigError(f"'{text}' is no amount: write 98496, 100k or 1.5M.")
    return float(found[1]) * UNITS[found[2].lower()]


def choose(measured: Sequence[Measured], budget: Budget) -> Choice:
    """Only those whose accuracy is known take part."""
    judged = [one for one in measured if one.accuracy is not None]
    fitting = sorted((one for one in judged if budget.fits(one)), key=lambda one: (-good(one), one.bytes))
    best = fitting[0] if fitting else None
    as_good = [one for one in fitting[1:] if best and overlaps(one, best) and not beats(best, one)]
    better = [one for one in judged if not budget.fits(one) and (best is None or good(one) > good(best))]
    larger = min(better, key=lambda one: overshoot(one, budget), default=None)
    needs = {cost: getattr(larger, cost) for cost in budget.exceeded(larger)} if larger else {}
    return Choice(best, fitting, sorted(as_good, key=lambda one: one.bytes), larger, needs)


def good(one: Measured) -> float:
    assert one.accuracy is not None
    return one.accuracy


def overlaps(one: Measured, other: Measured) -> bool:
    """Whether the images cannot tell the two apart: their intervals overlap."""
    if one.interval is None or other.interval is None:
        return False
    return one.interval[0] <= other.interval[1] and other.interval[0] <= one.interval[1]


def overshoot(one: Measured, budget: Budget) -> float:
    """How many times the budget it takes, in what it exceeds most; unknown costs are infinitely many."""
    over = []
    for cost in budget.exceeded(one):
        value, limit = getattr(one, cost), getattr(budget, cost)
        over.append(value / limit if value is not None and limit else float("inf"))
    return max(over)


def dominated(measured: Sequence[Measured]) -> dict[str, str]:
    """Those that another one beats: at least as accurate, and no dearer in anything known of both."""
    found: dict[str, str] = {}
    for one in measured:
        for other in measured:
            if other is not one and one.source not in found and beats(other, one):
                found[one.source] = other.source
    return found


def beats(one: Measured, other: Measured) -> bool:
    """Better in something and worse in nothing; times of which the middle halves meet are the same."""
    if one.accuracy is None or other.accuracy is None:
        return False
    pairs = [(-one.accuracy, -other.accuracy)]
    for cost in COSTS:
        mine, theirs = getattr(one, cost), getattr(other, cost)
        if mine is not None and theirs is not None and not (cost == "latency_ms" and meet(one, other)):
            pairs.append((mine, theirs))
    return all(mine <= theirs for mine, theirs in pairs) and any(mine < theirs for mine, theirs in pairs)


def meet(one: Measured, other: Measured) -> bool:
    """Whether the rounds of the two cannot be told apart."""
    return one.latency_low_ms <= other.latency_high_ms and other.latency_low_ms <= one.latency_high_ms


def timed(
    found: Sequence[Measured], runs: Path, which: str, asked: Asked, limit_ms: float | None, say: Say = unheard
) -> int:
    """Milliseconds of each: those that were measured here before, and of the others, where there is a limit, as much as it
    takes to say on which side they are. How many were known is returned."""
    open_ones = [one for one in found if not recall(one, runs, which)]
    if limit_ms is not None and open_ones:
        time_for_limit(open_ones, runs, which, asked, limit_ms, say)
    return len(found) - len(open_ones)
