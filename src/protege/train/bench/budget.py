"""How many passes a round, and how many rounds, so that all of it fits into the time that there is."""

from __future__ import annotations

from collections.abc import Sequence

from protege.train.bench.limits import work
from protege.train.bench.messages import Facts
from protege.train.bench.variants import Pair, Variant

LONGEST_TURN = 3.0  # seconds: more would tell no more
FEWEST_ROUNDS = 3
IMAGES = 250  # that the teacher is asked about at once
REFERENCE_IS_SLOWER = 2.0  # a guess to plan with
STUDY_PASSES, STUDY_ASKS, STUDY_ALONE = 11, 9, 3  # of a run; of all runs together; runs of the student alone


def rounds_within(pass_seconds: Sequence[float], rounds: int, available: float) -> int:
    """Fewer rounds than wished for only where one pass of each is too much, and never fewer than three."""
    fitting = int(available / sum(pass_seconds))
    return min(rounds, max(FEWEST_ROUNDS, fitting))


def passes_within(pass_seconds: Sequence[float], rounds: int, available: float) -> list[int]:
    """A round, of each: at least one, and quick ones more, so that turns are alike in length and fill the time."""
    turn = LONGEST_TURN
    while True:
        passes = [max(1, int(turn / seconds)) for seconds in pass_seconds]
        total = rounds * sum(number * seconds for number, seconds in zip(passes, pass_seconds, strict=True))
        if total <= available or max(passes) == 1:
            return passes
        turn *= 0.8


def minimal_work(pair: Pair, ways: Sequence[Variant], facts: Facts, rounds: int) -> float:
    """FLOPs of measuring these with one pass a round, to share the time out before anything is known."""
    total = 0.0
    for way in ways:
        images = way.slots * way.images(pair.batch_size, IMAGES)
        slower = REFERENCE_IS_SLOWER if way.role == "reference" else 1.0
        total += slower * images * work(way, facts.student, facts.teacher)
    return (rounds + 1) * total


def study_work(facts: Facts, runs: int) -> float:
    """FLOPs of a small study, runs of the student alone and its warming up included."""
    trained = ((runs + STUDY_ALONE) * STUDY_PASSES + 1) * IMAGES * facts.student.training_flops
    return trained + STUDY_ASKS * IMAGES * facts.teacher.flops
