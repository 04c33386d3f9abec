"""What the speed of training is to reach on two cores, and whether an outcome does. Ratios of one interleaved run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan

from growth import Growth

from protege.train.bench.outcome import Outcome
from protege.train.bench.tables import table
from protege.train.bench.variants import Pair, What

Value = Callable[[Outcome, Pair, Sequence[Growth]], float]


@dataclass(frozen=True)
class Goal:
    """Of the pairs whose teacher and student are named; of all where none are."""

    words: str
    bar: float
    value: Value
    pairs: tuple[str, ...] = ()
    at_most: bool = False

    def met(self, value: float) -> bool:
        return value <= self.bar if self.at_most else value >= self.bar


def ratio(what: What, name: str) -> Value:
    """To the reference, as anyone would run it."""

    def value(outcome: Outcome, pair: Pair, growths: Sequence[Growth]) -> float:
        row = outcome.row(pair, what, name)
        return row.ratio if row else float("nan")

    return value


def over_strong(what: What, name: str) -> Value:
    """To the reference as a careful user runs it."""

    def value(outcome: Outcome, pair: Pair, growths: Sequence[Growth]) -> float:
        row = outcome.row(pair, what, name)
        return outcome.over_strong(row) if row else float("nan")

    return value


def over_alone(outcome: Outcome, pair: Pair, growths: Sequence[Growth]) -> float:
    """How many times as long a taught student takes as one alone, all being remembered."""
    alone, taught = (outcome.row(pair, "kd", name) for name in ("ours, student alone", "ours, remembered"))
    return alone.speed / taught.speed if alone and taught else float("nan")


def eight_runs(warm: bool) -> Value:
    """Of a study that was really made."""

    def value(outcome: Outcome, pair: Pair, growths: Sequence[Growth]) -> float:
        made = [growth for growth in growths if growth.pair == pair and growth.how == "measured"]
        return made[0].times_alone(warm)[7] if made and 8 in made[0].runs else float("nan")

    return value


FIRST, SECOND, THIRD = "resnet32x4 -> resnet8x4", "resnet34 -> mobilenet_v2", "resnet50 -> resnet18"
GOALS = (
    Goal("student alone, over the reference's", 2.4, ratio("alone", "ours")),
    Goal("logit-KD remembered, over the reference", 6.0, ratio("kd", "ours, remembered"), (FIRST, SECOND)),
    Goal("logit-KD with an empty memory, over the reference", 2.2, ratio("kd", "ours"), (FIRST,)),
    Goal("logit-KD with an empty memory, over the reference", 2.5, ratio("kd", "ours"), (SECOND,)),
    Goal("logit-KD with an empty memory, over the reference", 3.0, ratio("kd", "ours"), (THIRD,)),
    Goal("Feature-KD, over the reference", 3.0, ratio("feature", "ours"), (THIRD,)),
    Goal("logit-KD remembered, over the strong reference", 2.5, over_strong("kd", "ours, remembered")),
    Goal("logit-KD with an empty memory, over the strong reference", 1.3, over_strong("kd", "ours")),
    Goal("Feature-KD, over the strong reference", 1.5, over_strong("feature", "ours")),
    Goal("ReviewKD, over the strong reference", 1.5, over_strong("reviewkd", "ours")),
    Goal("time of logit-KD remembered, over the student alone", 1.05, over_alone, at_most=True),
    Goal("8 taught runs, all remembered, over one student alone", 8.5, eight_runs(True), at_most=True),
    Goal("8 taught runs with the first pass, over one student alone", 12.0, eight_runs(False), (SECOND,), at_most=True),
)


def goals_table(outcome: Outcome, growths: Sequence[Growth] = ()) -> str:
    """A line for each goal that this outcome can judge."""
    lines = []
    for goal in GOALS:
        for pair in outcome.pairs:
            name = f"{pair.teacher} -> {pair.student}"
            value = float("nan") if goal.pairs and name not in goal.pairs else goal.value(outcome, pair, growths)
            if not isnan(value):
                bar = f"{'at most' if goal.at_most else 'at least'} {goal.bar:g}"
                lines.append([f"{name}: {goal.words}", bar, f"{value:.2f}", "met" if goal.met(value) else "missed"])
    return table(("goal", "bar", "measured", ""), lines)
