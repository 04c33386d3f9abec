"""Who reads the test set twice, early, or without a line is told so; who reads it once, after choosing, is not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from protege import data
from protege.data.config import DataConfig
from protege.errors import RunError
from protege.evaluate import opened
from protege.runs import LEDGER, Run, append_line, read_json, read_ledger, write_json
from protege.runs.config import Place
from protege.study.conduct.jobs import known_runs, record_choices
from protege.study.findings import RunRow
from protege.study.findings.seal import ledger_of, seal_warnings
from protege.study.question.load import study_of
from protege.study.question.plan import Plan

MORNING, NOON, EVENING = (f"2026-01-01T{hour}:00:00+0000" for hour in ("08", "12", "18"))
IMAGES = "f" * 16  # fingerprint of the data
ASKED = {"question": "does it help?", "notes": ["128 images", "one machine"]}


def planned(runs: Path, seeds: Sequence[int] = (0, 1), **wording: Any) -> Plan:
    raw = {
        **ASKED,
        "base": {"data": "cifar10-mini", "teacher": "resnet14", "student": "resnet8"},
        "arms": {"alone": {"method": "supervised"}, "kd": {"method": "kd"}},
        "seeds": {"report": list(seeds)},
    } | wording
    return Plan(study_of("made", raw), Place(runs=runs))


def rows_of(plan: Plan) -> list[RunRow]:
    """All with test scores: a teacher and two students an arm."""
    return [RunRow.model_construct(id=run.id, test={"final": None}) for run in known_runs(plan)]


def students(plan: Plan) -> list[str]:
    return sorted(run.id for run in known_runs(plan) if run.role == "report")


def train(plan: Plan, run: str, weights: str = "first") -> None:
    file = Run(plan.place.runs / run).weights_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(weights)


def choose(plan: Plan, at: str = NOON) -> None:
    write_json(plan.folder / "choices.json", {"time": at, "chosen": {}, **ASKED})


def note(plan: Plan, run: str, at: str = EVENING, weights: str | None = "first", **changes: Any) -> None:
    """A line as `evaluate` writes it; one of a version before weights were noted has none."""
    noted = {"weights": hashlib.sha256(weights.encode()).hexdigest()} if weights else {}
    append_line(plan.place.runs / LEDGER, {"time": at, "run": run, "data": IMAGES, **noted} | changes)


def told(plan: Plan) -> list[str]:
    return list(seal_warnings(plan, rows_of(plan)))


@pytest.fixture
def honest(runs: Path) -> Plan:
    """Trained, chosen at noon, and each run read once in the evening."""
    plan = planned(runs)
    choose(plan)
    for run in known_runs(plan):
        train(plan, run.id)
        note(plan, run.id)
    return plan


# ---- nothing to tell ----


def test_an_honest_study_is_told_nothing(honest: Plan) -> None:
    assert told(honest) == []
    assert len(ledger_of(honest, rows_of(honest))) == 5


def test_what_the_stations_write_is_what_is_understood(runs: Path) -> None:
    """`choices.json` and the ledger by those who write them, in the order of a study; then one run is made again."""
    plan = planned(runs)
    record_choices(plan)
    splits = data.load(known_runs(plan)[0].config.data)
    for run in known_runs(plan):
        train(plan, run.id)
        opened(run.id, Run(runs / run.id).weights_file(), splits, plan.place)
    assert told(plan) == []
    train(plan, students(plan)[0], "second")
    (warning,) = told(plan)
    assert warning.startswith("The weights of 1 run(s) are not those that were read")


def test_before_the_test_set_is_opened_there_is_nothing_to_tell(runs: Path) -> None:
    plan = planned(runs)
    sealed = [row.model_copy(update={"test": {}}) for row in rows_of(plan)]
    assert list(seal_warnings(plan, sealed)) == []


def test_readings_after_the_choice_and_of_other_images_are_no_concern(honest: Plan) -> None:
    note(honest, "another-run", at=EVENING)
    note(honest, "run-on-other-images", at=MORNING, data="0" * 16)
    assert told(honest) == []


# ---- read before the choice ----


def test_a_choice_after_test_scores_were_read_is_told(honest: Plan) -> None:
    choose(honest, at="2026-01-01T23:00:00+0000")
    (warning,) = told(honest)
    assert warning.startswith("Test scores of 5 run(s) had been read before this study made its choices")


def test_clocks_of_other_time_zones_are_the_same_clock(honest: Plan) -> None:
    choose(honest, at="2026-01-01T20:00:00+0500")  # 15:00 where the readings are of 18:00
    assert told(honest) == []


def test_readings_without_a_choice_on_record_count_as_early(honest: Plan) -> None:
    (honest.folder / "choices.json").unlink()
    (warning,) = told(honest)
    assert "5 run(s) had been read before this study made its choices" in warning


def test_seeds_added_after_a_reading_are_told_of_those_that_were_read(honest: Plan) -> None:
    more = planned(honest.place.runs, seeds=(0, 1, 2))
    choose(more, at="2026-01-02T12:00:00+0000")
    for run in sorted(set(students(more)) - set(students(honest))):
        note(more, run, at="2026-01-02T18:00:00+0000")
    (warning,) = told(more)
    assert "5 run(s) had been read before this study made its choices" in warning


def test_other_seeds_after_a_reading_of_the_same_images_are_a_second_try(honest: Plan) -> None:
    """Four students read for the first study; the second has others, and shares no more than the teacher."""
    fresh = planned(honest.place.runs, seeds=(2, 3))
    choose(fresh, at="2026-01-02T12:00:00+0000")
    for run in students(fresh):
        note(fresh, run, at="2026-01-02T18:00:00+0000")
    early, elsewhere = told(fresh)
    assert "1 run(s) had been read before" in early  # the teacher
    assert "read of 4 other run(s) in this folder before this study made its choices" in elsewhere
    assert told(honest) == []  # the first try stays a first try


def test_another_split_of_the_training_images_does_not_hide_that_the_same_test_images_were_read(runs: Path) -> None:
    """Holding out twice as many makes other data of it, and leaves the test images what they are."""
    described = planned(runs)
    few, many = (data.load(DataConfig(name="cifar10-mini", heldout=count)) for count in (100, 200))
    for run in known_runs(described):
        train(described, run.id)
    for run, splits in zip(students(described), (few, many), strict=False):
        opened(run, Run(runs / run).weights_file(), splits, described.place)
    (first, second), _ = read_ledger(runs)
    assert first["data"] != second["data"] and first["test"] == second["test"]


def test_lines_that_share_the_test_images_alone_are_a_second_try(honest: Plan) -> None:
    note(honest, students(honest)[0], test="a" * 64)
    note(honest, "run-held-out-otherwise", at=MORNING, data="0" * 16, test="a" * 64)
    assert any("of 1 other run(s) in this folder" in warning for warning in told(honest))


# ---- read without a line ----


def test_a_missing_ledger_is_told(honest: Plan) -> None:
    (honest.place.runs / LEDGER).unlink()
    (warning,) = told(honest)
    assert warning.startswith("Test scores of 5 run(s) are there without a line in the ledger")


def test_a_missing_line_is_told_by_the_run(honest: Plan) -> None:
    file, missing = honest.place.runs / LEDGER, students(honest)[0]
    file.write_text("".join(line for line in file.read_text().splitlines(True) if json.loads(line)["run"] != missing))
    (warning,) = told(honest)
    assert warning.startswith(f"Test scores of 1 run(s) are there without a line in the ledger, {missing} among them")


def test_a_damaged_line_may_have_been_any_reading(honest: Plan) -> None:
    with (honest.place.runs / LEDGER).open("a") as file:
        file.write('{"time": "2026-01-01T08:0\n')
    (warning,) = told(honest)
    assert warning.startswith("1 line(s) of the ledger cannot be read")


def test_a_line_that_names_no_data_counts_for_its_run_alone(honest: Plan) -> None:
    append_line(honest.place.runs / LEDGER, {"time": MORNING, "run": "another-run"})
    assert told(honest) == []
    append_line(honest.place.runs / LEDGER, {"time": MORNING, "run": students(honest)[0]})
    early, often = told(honest)
    assert "1 run(s) had been read before" in early and "1 run(s) were read more than once" in often


# ---- read again ----


def test_a_run_that_was_made_again_and_read_again_is_told(honest: Plan) -> None:
    """Two weights under one id: the first scores were seen, and thrown away."""
    again = students(honest)[0]
    train(honest, again, "second")
    note(honest, again, weights="second")
    assert told(honest) == [
        f"1 run(s) were made again after their test scores had been read, {again} among them; the last counts."
    ]


def test_weights_that_changed_after_the_reading_are_told(honest: Plan) -> None:
    changed = students(honest)[0]
    train(honest, changed, "second")
    assert told(honest) == [f"The weights of 1 run(s) are not those that were read, {changed} among them."]


def test_weights_that_are_gone_say_nothing(honest: Plan) -> None:
    Run(honest.place.runs / students(honest)[0]).weights_file().unlink()
    assert told(honest) == []


@pytest.mark.parametrize("weights", ["first", None], ids=["noted", "not-noted"])
def test_a_second_reading_of_the_same_weights_is_told(honest: Plan, weights: str | None) -> None:
    often = students(honest)[0]
    note(honest, often, weights=weights)
    assert told(honest) == [f"Test scores of 1 run(s) were read more than once, {often} among them."]


def test_one_reading_before_weights_were_noted_is_no_second_one(honest: Plan) -> None:
    (honest.place.runs / LEDGER).unlink()
    for run in known_runs(honest):
        note(honest, run.id, weights=None)
    assert told(honest) == []


# ---- another question ----


@pytest.mark.parametrize(
    ("wording", "warning"),
    [
        (
            {"question": "does it hurt?"},
            'The question was worded otherwise before the test set was opened: "does it help?"',
        ),
        (
            {"notes": ["64 images"]},
            'The notes were worded otherwise before the test set was opened: "128 images one machine"',
        ),
    ],
    ids=["question", "notes"],
)
def test_what_was_asked_before_the_reading_stands_beside_what_is_asked_now(
    honest: Plan, wording: dict[str, Any], warning: str
) -> None:
    assert told(planned(honest.place.runs, **wording)) == [warning]


def test_choices_of_before_wording_was_kept_say_nothing_of_it(honest: Plan) -> None:
    write_json(honest.folder / "choices.json", {"time": NOON, "chosen": {}})
    assert told(planned(honest.place.runs, question="does it hurt?")) == []


# ---- damage ----


@pytest.mark.parametrize("wrong", [{"question": 5}, {"notes": [["128"]]}], ids=["question", "notes"])
def test_damaged_choices_are_told_in_one_line(honest: Plan, wrong: dict[str, Any]) -> None:
    file = honest.folder / "choices.json"
    write_json(file, read_json(file) | wrong)
    with pytest.raises(RunError, match=r"choices\.json is damaged"):
        told(honest)


def test_a_line_whose_weights_are_no_digest_is_a_damaged_one(honest: Plan) -> None:
    append_line(honest.place.runs / LEDGER, {"time": EVENING, "run": students(honest)[0], "weights": ["first"]})
    (warning,) = told(honest)
    assert warning.startswith("1 line(s) of the ledger cannot be read")
