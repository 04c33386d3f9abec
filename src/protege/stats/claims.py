"""An effect in one sentence that may stand in a report."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import Literal

from scipy import special

from protege.stats.families import LEVEL, Tested
from protege.stats.power import smallest_visible
from protege.stats.seeds import Comparison, Effect, Equivalence, Interval

Outcome = Literal["higher", "lower", "equivalent", "undecided", "untested"]


@dataclass(frozen=True)
class Verdict:
    """One word for a table, one sentence for a page. Whether higher is better depends on what was measured."""

    outcome: Outcome
    sentence: str

    def _repr_html_(self) -> str:
        """For notebooks."""
        return f"<p>{escape(self.sentence)}</p>"


def verdict(effect: Effect, names: tuple[str, str] = ("The treatment", "the control")) -> Verdict:
    """What the named test allows to be said of treatment and control, and no more. Of one comparison alone, in percentages."""
    test = effect.test
    if test is None:
        return Verdict("untested", _untested(effect, names))
    facts = _facts(effect, test)
    if test.p < LEVEL:
        outcome: Outcome = "higher" if test.difference > 0 else "lower"
        return Verdict(outcome, _sentence(f"{names[0]} is {outcome} than {names[1]}: {facts}"))
    claim = f"{names[0]} is not shown to differ from {names[1]}: {facts}"
    return Verdict("undecided", _sentence(claim, _missed(test)))


def figure(value: float, decimals: int, signed: bool = True) -> str:
    """The one way to round for a page: neither last bits of a sum nor the minus of a zero make the same figure look like two."""
    rounded = round(round(value, 9), decimals) + 0.0
    return f"{rounded:{'+' if signed else ''},.{decimals}f}"


@dataclass(frozen=True)
class Told:
    """What a sentence about one member of a family says."""

    treatment: str  # "The accuracy of kd"
    control: str  # "that of alone"
    unit: str
    decimals: int  # as every table and figure has them
    how: str  # "3 and 3 seeds, one error for 10 arms"
    given: str  # "Given this teacher and these 2,000 test images"
    wider: tuple[tuple[str, Tested], ...] = ()  # "other test images" -> what holds over them as well
    margin: float | None = None


def family_verdict(found: Tested, size: int, told: Told) -> Verdict:
    """What one member of a family of `size` allows to be said, and for whom. Its interval is the family's."""
    unit, decimals = told.unit, told.decimals
    difference, adjusted = float(found.difference), float(found.adjusted_p)
    corrected = f", corrected for {size} comparisons" if size > 1 else ""
    span = f"95 % interval {_around(found, decimals)}, {_p(adjusted)}{corrected}; {told.how}"
    facts = f"{figure(difference, decimals)} {unit} ({span})"
    within = _within(equivalence_in(found, told.margin, size), unit)
    opening = f"{told.given}, {told.treatment[0].lower()}{told.treatment[1:]} is"
    if adjusted < LEVEL:
        outcome: Outcome = "higher" if difference > 0 else "lower"
        but = within and f"yet by less than matters: {within}"
        return Verdict(outcome, f"{_sentence(f'{opening} {outcome} than {told.control}: {facts}', but)}{_wider(told)}")
    if within:
        return Verdict(
            "equivalent", f"{_sentence(f'{opening} equivalent to {told.control}: {facts}', within)}{_wider(told)}"
        )
    return Verdict(
        "undecided",
        _sentence(f"{opening} not shown to differ from {told.control}: {facts}", _about(found, unit, decimals)),
    )


def equivalence_in(found: Tested, margin: float | None, size: int) -> Equivalence | None:
    """Two one-sided tests against a margin, corrected for the family like everything else."""
    if margin is None:
        return None
    difference, error = float(found.difference), float(found.standard_error)
    p = min(1.0, size * float(special.stdtr(float(found.degrees), -(margin - abs(difference)) / error)))
    reach = float(special.stdtrit(float(found.degrees), 1 - LEVEL / size)) * error
    interval = Interval(difference - reach, difference + reach)
    beyond = interval.low > margin or interval.high < -margin
    outcome = "equivalent" if p < LEVEL else "larger than the margin" if beyond else "undecided"
    return Equivalence(margin, p, interval, outcome)


def detectable(found: Tested) -> tuple[float, Interval]:
    """The true difference that the family's test finds 4 times in 5, and where it lies, given how well the spread is known."""
    error, degrees = float(found.standard_error), float(found.degrees)
    level = 2 * float(special.stdtr(degrees, -float(found.simultaneous_reach) / error))
    smallest = smallest_visible(error, degrees, level=level)
    low, high = (smallest * math.sqrt(degrees / float(special.chdtri(degrees, share))) for share in (0.025, 0.975))
    return smallest, Interval(low, high)


def _about(found: Tested, unit: str, decimals: int) -> str:
    """The other half of "not shown": what could not have been shown. It hangs on a spread that few seeds measured."""
    smallest, between = detectable(found)
    if unit == "points" and smallest > 100:
        return "and with this many seeds, hardly any true difference would be found"
    least, low, high = (figure(value, decimals, signed=False) for value in (smallest, between.low, between.high))
    size = f"about {least} {unit} (between {low} and {high})"
    return f"and with this many seeds, true differences below {size} are missed more than once in five times"


def _wider(told: Told) -> str:
    """Whether the same may be said of a wider population."""
    said = []
    for over, found in told.wider:
        span = _around(found, told.decimals)
        holds = float(found.adjusted_p) < LEVEL
        said.append(f" Over {over} as well: {span}{'' if holds else ', so that it might be otherwise there'}.")
    return "".join(said)


def _around(found: Tested, decimals: int) -> str:
    middle, reach = float(found.difference), float(found.simultaneous_reach)
    return _span(Interval(middle - reach, middle + reach), decimals)


def _sentence(*parts: str) -> str:
    return ", ".join(part for part in parts if part) + "."


def _missed(test: Comparison) -> str:
    """The other half of "not shown": what so many seeds could not have shown."""
    smallest = smallest_visible(test.standard_error, test.degrees, level=LEVEL)
    if smallest > 100:
        return "and with this many seeds, hardly any true difference would be found"
    size = f"{smallest:.{_decimals(test.standard_error)}f} points"
    return f"and with this many seeds, true differences below {size} are missed more than once in five times"


def _untested(effect: Effect, names: tuple[str, str]) -> str:
    seeds = effect.treatment.n, effect.control.n
    if min(seeds) < 2:
        why = f"{seeds[0]} and {seeds[1]} seeds cannot tell a difference from chance"
    else:
        why = "the values show no spread to measure chance by; check that seeds change anything"
    return f"{names[0]} minus {names[1]} is {effect.difference:+.4g} points, untested: {why}."


def _facts(effect: Effect, test: Comparison) -> str:
    """ "+0.21 points (95 % interval [+0.04, +0.39], p = 0.022, Welch's t-test, 5 and 5 seeds)" """
    decimals = _decimals(test.standard_error)
    how = (
        f"paired t-test, {effect.treatment.n} pairs of seeds"
        if effect.named == "paired"
        else f"Welch's t-test, {effect.treatment.n} and {effect.control.n} seeds"
    )
    interval = f"{100 * effect.confidence:g} % interval {_span(test.interval, decimals)}"
    return f"{test.difference:+.{decimals}f} points ({interval}, {_p(test.p)}, {how})"


def _within(equivalence: Equivalence | None, unit: str) -> str:
    if equivalence is None or equivalence.outcome != "equivalent":
        return ""
    return f"shown to lie within ±{equivalence.margin:g} {unit} (two one-sided tests, {_p(equivalence.p)})"


def _span(interval: Interval, decimals: int) -> str:
    return f"[{figure(interval.low, decimals)}, {figure(interval.high, decimals)}]"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _decimals(standard_error: float) -> int:
    """At least two, and as many as show the first digit of the uncertainty."""
    return max(2, -math.floor(math.log10(standard_error)))
