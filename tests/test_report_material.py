"""What is read from the folders of runs: curves over seeds, pooled bins, confusions, which arms go into one chart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report_cases import ALONE, TAUGHT, cell, evaluation, findings, network, row, write_runs

from protege.report.material import collect
from protege.report.material.curves import HELDOUT_ACCURACY, TERM, TRAIN_LOSS, curves_of
from protege.report.material.evaluations import class_accuracy, detail_of, most_confused, pooled
from protege.report.material.subjects import IN_ONE_CHART, Subject, panels, subjects
from protege.report.sections.costs import teacher_seconds
from protege.report.sections.networks import architecture
from protege.study.findings import Findings


def subject(found: Findings, name: str) -> Subject:
    return next(one for one in subjects(found) if one.id == name)


def test_a_curve_is_the_mean_over_seeds_with_the_lowest_and_the_highest(tmp_path: Path) -> None:
    """Seeds 0, 1, 2 have 40, 42 and 44 % held-out accuracy at first, and a percent more each epoch."""
    found = findings()
    write_runs(found, tmp_path, epochs=3)
    curve = curves_of(subject(found, "cell/kd"), tmp_path)[HELDOUT_ACCURACY]
    assert curve.epochs == (1, 2, 3)
    assert curve.mean == pytest.approx((42, 43, 44))
    assert curve.low == pytest.approx((40, 41, 42))
    assert curve.high == pytest.approx((44, 45, 46))
    assert curve.n == 3


def test_the_training_loss_is_the_sum_of_all_terms_and_each_has_its_own_curve(tmp_path: Path) -> None:
    found = findings()
    write_runs(found, tmp_path, epochs=1)
    curves = curves_of(subject(found, "cell/kd"), tmp_path)
    assert curves[f"{TERM}labels"].mean == pytest.approx((2.0,))
    assert curves[f"{TERM}teacher"].mean == pytest.approx((0.6,))
    assert curves[TRAIN_LOSS].mean == pytest.approx((2.6,))


def test_seeds_of_unequal_length_are_compared_where_all_have_been(tmp_path: Path) -> None:
    found = findings()
    write_runs(found, tmp_path, epochs=5)
    metrics = tmp_path / found.runs_of("kd")[1].path / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:3]))
    assert curves_of(subject(found, "cell/kd"), tmp_path)[HELDOUT_ACCURACY].epochs == (1, 2, 3)


def test_bins_of_several_runs_are_pooled_as_one_set_of_images() -> None:
    """10 images half right at 50 %, and 30 images all right at 52 %, which is the same of 15 bins."""
    first = [{"confidence": 0.50, "accuracy": 0.5, "images": 10}]
    second = [{"confidence": 0.52, "accuracy": 1.0, "images": 30}, {"confidence": 0.95, "accuracy": 1.0, "images": 2}]
    together = pooled([first, second])
    assert [(one.images, one.accuracy) for one in together] == [(40, 0.875), (2, 1.0)]
    assert together[0].confidence == pytest.approx(0.515)


def test_the_likeliest_mistakes_come_first_and_each_in_its_own_direction(tmp_path: Path) -> None:
    """Cats are taken for birds 2, 3 and 4 times in 10; airplanes always once."""
    found = findings()
    write_runs(found, tmp_path)
    detail = detail_of(subject(found, "cell/kd"), tmp_path, "test", "final")
    assert detail is not None
    first, second = most_confused(detail, 8)
    assert (detail.classes[first.label], detail.classes[first.said]) == ("cat & dog", "bird <b>")
    assert first.share == pytest.approx((30.0, 10.0, 3))
    assert second.share == pytest.approx((10.0, 0.0, 3))
    assert class_accuracy(detail, 2) == pytest.approx((70.0, 10.0, 3))


def test_held_out_evaluations_stand_in_while_the_test_set_is_sealed(tmp_path: Path) -> None:
    found = findings()
    write_runs(found, tmp_path)
    sealed = found.model_copy(update={"runs": tuple(one.model_copy(update={"test": {}}) for one in found.runs)})
    for one in sealed.runs_of("kd"):
        folder = tmp_path / one.path / "evaluations"
        (folder / "test.json").unlink()
        record = {"run": one.id, "split": "heldout", "images": 30, "teachers": [], "final": evaluation(one.seed or 0)}
        (folder / "heldout.json").write_text(json.dumps(record))
    material = collect(sealed, tmp_path)
    assert material.split == "heldout"
    assert list(material.details) == ["cell/kd"]


# ---- which go into one chart ----


def test_many_arms_are_spread_over_charts_that_repeat_what_they_are_compared_with() -> None:
    arms = {f"arm {number}": TAUGHT for number in range(2 * IN_ONE_CHART)}
    shown = panels(subjects(findings({"alone": ALONE, **arms})))
    assert [panel.title for panel in shown] == ["Part 1 of 2", "Part 2 of 2"]
    for panel in shown:
        assert [one.label for one in panel.subjects][:2] == ["teacher big", "alone"]
        assert len(panel.subjects) == 2 + IN_ONE_CHART
    assert len({one.style for one in shown[0].subjects}) == 2 + IN_ONE_CHART


def test_the_configurations_of_an_arm_stay_together_in_a_chart_of_its_name() -> None:
    made = []
    for arm, count in (("temperature", 5), ("weight", 4)):
        for value in range(count):
            name = f"{arm} ({value})"
            made.append(cell(name, [row("report", name, 0, 70.0)], arm=arm, values={f"method.{arm}": value}))
    shown = panels(subjects(findings().model_copy(update={"cells": tuple(made)})))
    assert [panel.title for panel in shown] == ["temperature", "weight"]
    assert [len(panel.subjects) - 1 for panel in shown] == [5, 4]  # and the teacher


def test_configurations_of_an_arm_are_shades_of_its_colour() -> None:
    """Which no other arm has: a colour means one thing on a page."""
    made = [
        cell(f"{arm} ({value})", [row("report", f"{arm} ({value})", 0, 70.0)], arm=arm, values={"method.x": value})
        for arm, count in (("temperature", 5), ("weight", 2), ("dkd", 1))
        for value in range(count)
    ]
    styles: dict[str | None, list[str]] = {}
    for one in subjects(findings().model_copy(update={"cells": tuple(made)})):
        styles.setdefault(one.arm, []).append(one.style)
    assert [{style.partition(" ")[0] for style in styles[arm]} for arm in ("temperature", "weight", "dkd")] == [
        {"hue0"}, {"hue1"}, {"hue2"},
    ]  # fmt: skip
    assert len(set(styles["temperature"])) == 5 and len(set(styles["weight"])) == 2


def test_an_arm_has_one_colour_in_all_pairs() -> None:
    rows = [row("report", name, 0, 70.0) for name in ("a: x", "a: y")]
    cells = tuple(cell(one.cell, [one], arm="a", pair=one.cell[-1]) for one in rows)
    found = findings().model_copy(update={"cells": cells})
    assert len({one.style for one in subjects(found) if one.kind == "taught"}) == 1


def test_a_teacher_of_a_teacher_is_paid_for_too() -> None:
    found = findings()
    first = found.teachers[0]
    above = first.model_copy(update={"key": "huge", "seconds": 1000.0, "network": network("x", 1, 1)})
    taught = first.model_copy(update={"student_of": ("huge",)})
    known = subjects(found.model_copy(update={"teachers": (above, taught)}))
    student = next(one for one in known if one.id == "cell/kd")
    assert teacher_seconds(student, {one.id: one for one in known}) == 1300.0


def test_the_price_of_a_given_teacher_is_not_known() -> None:
    found = findings()
    given = found.teachers[0].model_copy(update={"given": True, "seconds": None})
    known = subjects(found.model_copy(update={"teachers": (given,)}))
    assert teacher_seconds(next(one for one in known if one.id == "cell/kd"), {one.id: one for one in known}) is None


@pytest.mark.parametrize(
    ("described", "shown"),
    [({"name": "resnet20"}, "resnet20"), ({"name": "resnet18", "stem": "imagenet"}, "resnet18, imagenet stem")],
)
def test_the_architecture_stands_beside_the_name_that_a_study_gave(described: dict[str, str], shown: str) -> None:
    """What a study calls R34 may be a resnet20 in its reduced form."""
    assert architecture(described) == shown
