"""What is said of a question that is more than one difference: its sentence is true of the numbers that it was given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from protege.study.findings.contrasts import contrasts
from protege.study.findings.effects import Given, effects
from protege.study.findings.family import family
from protege.study.findings.judging import Judge, unlike_arms
from protege.study.findings.record import Cell, NetworkFacts, RunRow, TeacherFacts
from protege.study.findings.recoveries import recoveries
from protege.study.findings.summaries import grids, summary_of
from protege.study.question.arms import cell_key
from protege.study.question.schema import Hypothesis

ACCURACIES = {  # (arm, pair) -> an accuracy a seed
    ("alone", "A"): (70.0, 70.2, 69.8, 70.1), ("kd", "A"): (74.0, 74.2, 73.8, 74.1),
    ("alone", "B"): (70.0, 70.3, 69.7, 70.2), ("kd", "B"): (71.0, 71.2, 70.8, 71.1),
}  # fmt: skip


class Unread:
    """Rows whose networks' answers are gone: claims over other images are left out."""

    def correct(self, run_id: str, which: str) -> None: ...

    def judged_by(self, cell: str) -> str:
        return ""


def found(accuracies: Mapping[Any, Sequence[float]], *asked: Hypothesis) -> tuple[list[Cell], Judge, Given, list[Any]]:
    """Cells and their judge, of students of one network; all but those alone are taught by one teacher."""
    cells, rows = [], []
    for (arm, pair), values in accuracies.items():
        alone, key = arm.startswith("alone"), cell_key(arm, pair, {})
        summary = summary_of(values)
        assert summary is not None
        cells.append(
            Cell.model_construct(
                key=key, label=key, arm=arm, pair=pair, values={}, teacher=None if alone else "big", alone=alone,
                student=NetworkFacts(model={"name": "resnet8"}, parameters=1, multiply_adds=1), test={"final": {"accuracy": summary}},
            )
        )  # fmt: skip
        for seed, value in enumerate(values):
            taught = () if alone else ("big-0",)
            test = {"final": {"accuracy": value}}
            rows.append(
                RunRow.model_construct(
                    id=f"{key}-{seed}", role="report", cell=key, seed=seed, teachers=taught, test=test
                )
            )
    members = family(asked, cells, rows)
    judge = Judge("final", members, rows, Unread())  # type: ignore[arg-type]
    return cells, judge, Given(rows, "these 600 test images"), members


def test_a_difference_of_differences_says_both_and_whose_is_greater() -> None:
    """kd adds 4.0 with A and 1.0 - .025 with B: a change that is higher by 3.0, and no claim that kd beats alone by that."""
    asked = Hypothesis.model_validate({"treatment": "kd", "pair": "A", "than": {"pair": "B"}})
    _, judge, given, members = found(ACCURACIES, asked)
    (one,) = contrasts(members, judge, given)
    assert one.difference == pytest.approx(4.0 - 0.975) and one.outcome == "higher"
    assert one.sentence.startswith(
        "Given its one teacher and these 600 test images, the change in accuracy from alone: A to kd: A "
        "is higher than that from alone: B to kd: B: +3.0"
    )
    assert not effects(members, judge, given)


def test_arms_among_themselves_are_said_to_differ_and_by_how_much_the_best_leads() -> None:
    asked = Hypothesis.model_validate({"among": ["kd", "dkd", "at"]})
    values = {("kd", None): (70.0, 70.2), ("dkd", None): (74.0, 74.2), ("at", None): (70.1, 70.3)}
    _, judge, given, members = found(values, asked)
    (one,) = contrasts(members, judge, given)
    assert (one.outcome, one.best) == ("differ", "dkd") and one.lead == pytest.approx(74.1 - (70.1 + 74.1 + 70.2) / 3)
    assert "the 3 of kd and dkd and at differ in accuracy (F(2, 3) = " in one.sentence
    assert f"the best, dkd, leads their mean by {one.lead:.2f} points" in one.sentence
    alike = dict.fromkeys(values, (70.0, 71.0))
    _, judge, given, members = found(alike, asked)
    (one,) = contrasts(members, judge, given)
    assert one.outcome == "undecided" and "are not shown to differ in accuracy" in one.sentence


def test_what_two_names_ask_of_the_same_runs_is_one_comparison_that_loses_nothing() -> None:
    """An ablation's middle point is the arm itself: whichever stands first, margin, test and being primary are kept."""
    plain = Hypothesis(treatment="kd")
    asked = Hypothesis.model_validate({"treatment": "weights", "margin": 0.5, "primary": True, "test": "welch"})
    wide = Hypothesis.model_validate({"treatment": "weights", "margin": 2.0})
    cells = [
        Cell.model_construct(key=arm, label=arm, arm=arm, pair=None, values={}) for arm in ("alone", "kd", "weights")
    ]
    rows, read = [], {"final": {"accuracy": 70.0}}
    for cell in cells:
        same = "alone" if cell.arm == "alone" else "kd"
        for seed in (0, 1):
            rows.append(RunRow.model_construct(id=f"{same}-{seed}", role="report", cell=cell.key, seed=seed, test=read))
    for order in ((plain, asked, wide), (wide, asked, plain)):
        (one,) = family([each.model_copy(update={"control": "alone"}) for each in order], cells, rows)
        assert (one.primary, one.hypothesis.margin, one.hypothesis.test) == (True, 0.5, "welch")


def test_the_lead_that_chance_gives_is_one_figure_on_the_page() -> None:
    """In the answer, under the drawing of the varied values and among what weakens the claim."""
    cells, judge, given, members = found(
        {("kd 1", None): (70.0, 70.2), ("kd 2", None): (74.0, 75.2), ("kd 3", None): (70.1, 70.2)},
        Hypothesis.model_validate({"among": ["kd 1", "kd 2", "kd 3"]}),
    )
    asked = contrasts(members, judge, given)
    of_kd = [one.model_copy(update={"arm": "kd", "values": {"temperature": n}}) for n, one in enumerate(cells)]
    varied = SimpleNamespace(values={"temperature": 1})
    planned = SimpleNamespace(arm="kd", pair=None, configurations=(varied,), chosen_by_selection=False)
    plan: Any = SimpleNamespace(cells=[planned] * 3, study=SimpleNamespace(report="final"))
    (grid,) = grids(plan, (), of_kd, asked)
    assert grid.luck == asked[0].lead_by_chance
    (unasked,) = grids(plan, (), of_kd)
    assert unasked.luck is not None and unasked.luck != grid.luck


def test_a_control_of_another_pair_is_called_by_it() -> None:
    asked = Hypothesis.model_validate({"treatment": "kd", "pair": "A", "control_pair": "B"})
    _, judge, given, members = found(ACCURACIES, asked)
    (one,) = effects(members, judge, given)
    assert (one.treatment, one.control) == ("kd: A", "alone: B") and one.difference == pytest.approx(3.975)
    assert "the accuracy of kd: A is higher than that of alone: B: +3.98 points" in one.sentence


def test_arms_that_spread_unlike_are_named_with_their_spreads_and_alike_ones_are_not() -> None:
    asked = Hypothesis(treatment="kd")
    steady, wild = (70.0, 70.1, 69.9, 70.05, 69.95), (60.0, 75.0, 66.0, 81.0, 58.0)
    cells, judge, _, _ = found({("alone", None): steady, ("kd", None): wild}, asked)
    (said,) = unlike_arms(cells, judge)
    low, high = map(float, re.findall(r"by ([0-9.]+) to ([0-9.]+) points", said)[0])
    assert (low, high) == (0.08, 9.82) and "up to 7 of 100 studies would say something false" in said
    cells, judge, _, _ = found({("alone", None): steady, ("kd", None): tuple(value + 1 for value in steady)}, asked)
    assert not list(unlike_arms(cells, judge))


def test_gap_errors_and_teacher_recovered_are_those_of_the_means() -> None:
    """From 70 to 74 of a teacher's 80: 4 of 10 points, 4 of 30 errors, 74 of 80."""
    cells, *_ = found({("alone", None): (69.0, 71.0), ("kd", None): (73.0, 75.0)})
    accuracy = summary_of([80.0])
    assert accuracy is not None
    big = TeacherFacts.model_construct(key="big", test={"final": {"accuracy": accuracy}})
    (one,) = recoveries("final", cells, [big])
    assert (one.cell, one.control, one.teacher) == ("kd", "alone", "big")
    assert one.gap_recovered == pytest.approx(40.0)
    assert one.error_reduction == pytest.approx(100 * 4 / 30)
    assert one.teacher_recovered == pytest.approx(92.5)
    worse = big.model_copy(update={"test": {"final": {"accuracy": summary_of([70.0])}}})
    assert recoveries("final", cells, [worse])[0].gap_recovered is None  # there is no gap
