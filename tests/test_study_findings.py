"""Findings say what was measured in the units of a reader, and count a seed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from protege.runs.config import Place
from protege.study.findings import Cell, Costs, Effect, Findings, RunRow, Selection
from protege.study.findings.answer import answer, how_far
from protege.study.findings.family import Member
from protege.study.findings.gather import noisy_choices
from protege.study.findings.rows import by_seed
from protege.study.findings.rows import test_value as value_of
from protege.study.findings.summaries import summary_of
from protege.study.findings.summaries import test_summaries as summaries_of
from protege.study.question.arms import cell_key, cell_label
from protege.study.question.load import study_of
from protege.study.question.measures import MEASURES, scores
from protege.study.question.plan import Plan
from protege.study.question.schema import Hypothesis

RECORD = {
    "accuracy": 0.5,
    "top5": None,
    "nll": 1.5,
    "brier": 0.4,
    "ece": 0.1,
    "scaled": {"temperature": 2.0, "nll": 1.2, "ece": 0.05},
}


def row(seed: int, accuracy: float, **changes: Any) -> RunRow:
    near = {"agreement": 0.8, "kl_t1": 0.3, "kl_t4": 0.01}
    found = {"final": scores(RECORD | {"accuracy": accuracy}, near)}
    return RunRow.model_construct(**({"seed": seed, "test": found, "id": f"run-{seed}"} | changes))


def effect(**changes: Any) -> Effect:
    given = {
        "primary": True,
        "control": "alone",
        "pair": None,
        "measure": "accuracy",
        "seeds": (0, 1, 2),
        "treatment": "kd",
        "outcome": "undecided",
        "difference": 0.1,
        "sentence": "So it is.",
        "family": 3,
    }
    made = given | changes
    return Effect.model_construct(key=f"{made['treatment']} - {made['control']}", **made)


def test_fractions_are_told_in_percent_and_nats_as_they_are() -> None:
    found = scores(RECORD, {"agreement": 0.8, "kl_t1": 0.3, "kl_t4": 0.01})
    assert [found[name] for name in ("accuracy", "ece", "scaled_ece", "agreement")] == [50.0, 10.0, 5.0, 80.0]
    assert [found[name] for name in ("nll", "brier", "kl_t1", "temperature")] == [1.5, 0.4, 0.3, 2.0]
    assert found["top5"] is None


def test_a_price_comes_from_the_record_beside_the_run_and_is_unknown_without_one() -> None:
    found = scores(RECORD, measured={"bytes": 87_588, "latency_ms": 0.25, "multiply_adds": None})
    assert (found["bytes"], found["latency_ms"], found["multiply_adds"]) == (87_588, 0.25, None)
    assert "bytes" not in scores(RECORD)
    assert scores(RECORD, measured={"bytes": "many"})["bytes"] is None  # whoever wrote that


def test_every_measure_says_how_to_read_it() -> None:
    assert MEASURES["accuracy"].difference_unit == "points" and MEASURES["nll"].difference_unit == "units"


def test_a_seed_that_several_teachers_taught_counts_once() -> None:
    rows = [row(0, 0.5), row(0, 0.7), row(1, 0.4)]
    assert by_seed(rows, value_of("final", "accuracy")) == {0: pytest.approx(60.0), 1: pytest.approx(40.0)}
    accuracy = summaries_of(rows)["final"]["accuracy"]
    assert (accuracy.n, accuracy.mean) == (2, pytest.approx(50.0))


def test_what_was_not_measured_is_left_out_and_not_zero() -> None:
    found = summaries_of([row(0, 0.5), row(1, 0.6)])
    assert "top5" not in found["final"] and "best" not in found
    assert summary_of([]) is None
    one = summary_of([3.0])
    assert one is not None and one.sd is None and one.interval is None


def test_without_hypotheses_every_arm_is_compared_with_the_student_alone(tmp_path: Path) -> None:
    arms = {"plain": {"method": "supervised"}, "kd": {"method": "kd"}, "dkd": {"method": "dkd"}}
    study = study_of("made", {"question": "?", "base": {"teacher": "resnet14", "student": "resnet8"}, "arms": arms})
    found = Plan(study, Place(runs=tmp_path)).asked()
    assert [(one.treatment, one.control, one.test) for one in found] == [
        ("kd", "plain", None),
        ("dkd", "plain", None),
    ]


def test_the_answer_is_the_sentence_of_the_primary_hypothesis() -> None:
    assert answer([effect(), effect(primary=False, sentence="Something else.")]) == "So it is."


def test_several_primary_comparisons_are_counted_by_outcome() -> None:
    found = answer(
        [effect(treatment="a", outcome="higher", difference=0.5), effect(treatment="b"), effect(treatment="c")]
    )
    assert found == (
        "Of 3 comparisons of accuracy (points, 3 seeds each, p-values corrected for 3), each arm against alone: "
        "higher in 1 (a: +0.50), not shown to differ in 2 (b: +0.10; c: +0.10)."
    )
    two = answer([effect(treatment="a", outcome="higher"), effect(treatment="b", control="c")])
    assert "treatment against control: higher in 1 (a - alone: +0.10), not shown to differ in 1 (b - c: +0.10)" in two


def test_one_comparison_in_several_pairs_is_named_by_its_pairs() -> None:
    pairs = ("big -> small", "big -> tiny")
    found = [effect(treatment=f"kd: {pair}", control=f"alone: {pair}", pair=pair) for pair in pairs]
    labels = {f"{arm}: {pair}": arm for arm in ("kd", "alone") for pair in pairs}
    assert answer(found, labels) == (
        "Of 2 comparisons of accuracy (points, 3 seeds each, p-values corrected for 3), kd against alone: "
        "not shown to differ in 2 (big -> small: +0.10; big -> tiny: +0.10)."
    )
    more = [*found, effect(treatment="dkd: big -> tiny", control="alone: big -> tiny", pair="big -> tiny")]
    assert "each arm against alone: not shown to differ in 3 (kd, big -> small: +0.10; " in answer(
        more, labels | {"dkd: big -> tiny": "dkd"}
    )


def test_a_comparison_across_pairs_is_counted_under_both_names() -> None:
    """`alone - alone` would say nothing."""
    keys = ("alone: new stem", "alone: old stem")
    across = effect(treatment=keys[0], control=keys[1], pair="new stem", outcome="higher")
    taught = effect(treatment="kd: new stem", control=keys[0], pair="new stem")
    labels = {**dict.fromkeys(keys, "alone"), "kd: new stem": "kd"}
    pairs = {key: key.partition(": ")[2] for key in labels}
    said = answer([across, taught], labels, pairs=pairs)
    assert (
        "higher in 1 (alone: new stem - alone: old stem: +0.10), not shown to differ in 1 (kd - alone: +0.10)" in said
    )


def test_a_difference_in_the_answer_has_the_decimals_of_its_measure() -> None:
    small = effect(treatment="a", measure="nll", difference=-0.01234, outcome="lower")
    assert "(a: -0.0123)" in answer([small, effect(treatment="b")])


def test_a_pair_is_said_once() -> None:
    both = [
        Cell.model_construct(key=f"{arm}: a -> b", label=f"{arm}: a -> b", arm=arm, pair="a -> b")
        for arm in ("kd", "alone")
    ]
    member = Member(Hypothesis(treatment="kd"), *both, primary=True)
    assert member.labels == ("kd", "alone") and member.named == "kd against alone (a -> b)"


def test_many_noisy_choices_are_one_warning() -> None:
    def choice(cell: str, noise: bool) -> Selection:
        return Selection.model_construct(cell=cell, is_noise=noise, sentence=f"So is {cell}.", heldout_images=1000)

    few = [choice("a", True), choice("b", False), choice("c", True)]
    assert list(noisy_choices(few)) == ["The choice of a: So is a.", "The choice of c: So is c."]
    (said,) = noisy_choices([*few, choice("d", True)])
    assert said.startswith("The choices of a, c, d are mostly noise: ") and "1,000 held-out images" in said


def test_how_far_a_study_is_is_told_in_runs() -> None:
    sealed = Findings.model_construct(costs=Costs.model_construct(finished=3, runs=7))
    assert how_far(sealed) == "3 of 7 runs are finished, and the test set stays sealed until all are"
    opening = Findings.model_construct(costs=Costs.model_construct(finished=7, runs=7))
    assert how_far(opening) == "all 7 runs are finished, and some test scores are still to be read"


def test_before_the_seal_is_broken_there_is_no_answer() -> None:
    assert "still sealed" in answer([effect(outcome="pending", difference=None)])
    assert "no arm to compare with" in answer([])


def test_cells_are_named_by_arm_values_and_pair() -> None:
    assert cell_key("kd", None, {}) == "kd"
    assert (
        cell_key("kd", "a -> b", {"method.temperature": 4.0, "method.kd_weight": 0.9})
        == "kd (temperature 4, kd_weight 0.9): a -> b"
    )


def test_an_arm_called_after_what_it_varies_is_not_called_so_twice() -> None:
    assert cell_label("temperature", "a -> b", {"method.temperature": 4.0}) == "temperature 4: a -> b"
    assert cell_label("kd", None, {"method.temperature": 4.0}) == "kd (temperature 4)"
    assert cell_label("temperature", None, {}) == "temperature"


def test_findings_are_frozen_and_know_every_field() -> None:
    assert all(
        info.description for name, info in RunRow.model_fields.items() if name in ("seed", "test", "reference", "path")
    )
    with pytest.raises(ValidationError, match="extra"):
        Findings.model_validate({"surprise": 1})
