"""What is reported is chosen on held-out images, by the mean over selection seeds, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from record_cases import result_record, run_record

from protege.runs import Run, write_json
from protege.runs.config import Place
from protege.study.conduct.jobs import jobs, known_runs, left, reported
from protege.study.conduct.scores import best_of, mark_diverged, mean_of, seed_scores
from protege.study.conduct.select import standing, tried
from protege.study.findings.selections import selection
from protege.study.question.load import study_of
from protege.study.question.plan import Plan


@pytest.fixture
def plan(runs: Path) -> Plan:
    raw = {
        "question": "which temperature?",
        "base": {"data": "cifar10-mini", "teacher": "resnet14", "student": "resnet8"},
        "arms": {"alone": {"method": "supervised"}, "kd": {"method": "kd", "vary": {"method.temperature": [1, 2, 4]}}},
        "seeds": {"select": [100, 101], "report": 2},
    }
    return Plan(study_of("made", raw), Place(runs=runs))


def finish(plan: Plan, run_id: str, heldout: float, best: float | None = None) -> None:
    """A run that ended with this accuracy on held-out images."""
    folder = Run(plan.place.runs / run_id)
    write_json(folder.record_file, run_record(run_id))
    at_best = {"epoch": 0, "heldout_accuracy": best or heldout}
    write_json(folder.result_file, result_record(heldout, best=at_best))


def finish_all(plan: Plan, scores: list[list[float]]) -> None:
    """A list a configuration, a score a seed."""
    for runs, values in zip(tried(plan, plan.cells[1]), scores, strict=True):
        for run, value in zip(runs, values, strict=True):
            finish(plan, run.id, value)


def test_the_highest_mean_over_seeds_is_chosen(plan: Plan) -> None:
    finish_all(plan, [[0.50, 0.50], [0.70, 0.20], [0.51, 0.51]])  # the second has the best single seed
    chosen = standing(plan, plan.cells[1]).chosen
    assert chosen is not None and chosen.values == {"method.temperature": 4}


def test_nothing_is_chosen_before_every_selection_run_is_finished(plan: Plan) -> None:
    finish_all(plan, [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    (plan.place.runs / tried(plan, plan.cells[1])[2][1].id / "result.json").unlink()
    assert not standing(plan, plan.cells[1]).settled
    assert [cell.key for cell, _ in reported(plan)] == ["alone"]


def test_the_first_of_equals_is_chosen() -> None:
    assert best_of([0.5, 0.6, 0.6]) == 1
    assert best_of([None, 0.1, None]) == 1
    assert best_of([None, None]) is None


def test_a_configuration_that_lost_a_seed_is_not_compared_by_the_others() -> None:
    assert mean_of({100: 0.9, 101: None}) is None
    assert mean_of({100: 0.9, 101: 0.7}) == pytest.approx(0.8)


def test_a_configuration_that_diverged_is_not_chosen_and_does_not_stop_the_choice(plan: Plan) -> None:
    finish_all(plan, [[0.5, 0.5], [0.4, 0.4], [0.9, 0.9]])
    lost = tried(plan, plan.cells[1])[2][0].id
    (plan.place.runs / lost / "result.json").unlink()
    mark_diverged(plan.place.runs, lost, "the loss is no longer a number")
    now = standing(plan, plan.cells[1])
    assert now.settled and now.chosen is not None and now.chosen.values == {"method.temperature": 1}
    assert lost not in {run.id for run in left(plan)}  # the same run would only diverge again


def test_where_all_diverged_nothing_is_reported_and_nothing_waits(plan: Plan) -> None:
    for runs in tried(plan, plan.cells[1]):
        for run in runs:
            mark_diverged(plan.place.runs, run.id, "no number")
    assert standing(plan, plan.cells[1]).chosen is None
    assert not [run for run in left(plan) if run.place == "kd"]


def test_the_score_named_in_the_study_counts(plan: Plan) -> None:
    first = tried(plan, plan.cells[1])[0][0]
    finish(plan, first.id, heldout=0.4, best=0.6)
    assert seed_scores(plan, [first]) == {100: pytest.approx(40.0)}
    by_best = Plan(plan.study.model_copy(update={"report": "best"}), plan.place)
    assert seed_scores(by_best, [first]) == {100: pytest.approx(60.0)}


def test_another_measure_of_held_out_images_chooses_in_its_own_direction(plan: Plan) -> None:
    """The third has the lowest likelihood loss, and the lowest accuracy too."""
    by_nll = Plan(plan.study.model_copy(update={"choose_by": "nll"}), plan.place)
    finish_all(by_nll, [[0.5, 0.5], [0.6, 0.6], [0.4, 0.4]])
    cell = by_nll.cells[1]
    assert not standing(by_nll, cell).settled
    selecting = [run.id for runs in tried(by_nll, cell) for run in runs]
    judging = [job for job in jobs(by_nll, ["kd"]) if job.verb == "evaluate"]
    assert [(job.run, job.split) for job in judging] == [(run, "heldout") for run in selecting]
    for runs, nll in zip(tried(by_nll, cell), (1.2, 1.1, 0.9), strict=True):
        for run in runs:
            judged = {"images": 20, "accuracy": 0.5, "nll": nll, "brier": 0.5, "ece": 0.1}
            record = {"run": run.id, "split": "heldout", "images": 20, "teachers": [], "final": judged}
            write_json(Run(by_nll.place.runs / run.id).evaluations / "heldout.json", record)
    chosen = standing(by_nll, cell).chosen
    assert chosen is not None and chosen.values == {"method.temperature": 4}
    assert by_nll.folder != plan.folder


def test_fresh_seeds_report_what_was_chosen(plan: Plan) -> None:
    finish_all(plan, [[0.5, 0.5], [0.6, 0.6], [0.4, 0.4]])
    again = [run for run in known_runs(plan) if run.place == "kd" and run.role == "report"]
    assert [(run.seed, run.values) for run in again] == [(0, {"method.temperature": 2}), (1, {"method.temperature": 2})]
    chosen = {run.id for run in tried(plan, plan.cells[1])[1]}
    assert not chosen & {run.id for run in again}


def test_a_choice_within_the_images_noise_is_called_so(plan: Plan) -> None:
    finish_all(plan, [[0.50, 0.51], [0.50, 0.50], [0.51, 0.50]])
    found = selection(plan, plan.cells[1], heldout_images=500)
    assert found.is_noise and "mostly noise" in found.sentence
    assert found.standard_error == pytest.approx(2.236, abs=0.001)  # 100 sqrt(.5033 * .4967 / 500)
    assert [one.chosen for one in found.candidates] == [True, False, False]
    finish_all(plan, [[0.30, 0.30], [0.50, 0.50], [0.70, 0.70]])
    apart = selection(plan, plan.cells[1], heldout_images=500)
    assert not apart.is_noise
    assert found.luck and apart.luck is None  # what luck alone would give cannot be told from those that differ


def test_the_test_set_stays_closed_while_anything_is_left_to_train(plan: Plan) -> None:
    """All students are finished, the teacher is not: nothing may be evaluated."""
    finish_all(plan, [[0.5, 0.5], [0.6, 0.6], [0.4, 0.4]])
    for run in known_runs(plan):
        if run.role == "report":
            finish(plan, run.id, 0.5)
    (teacher,) = plan.teacher_runs()
    assert [(job.verb, job.run) for job in jobs(plan)] == [("train", teacher.id)]
    assert not (plan.folder / "choices.json").exists()
    finish(plan, teacher.id, 0.7)
    opened = jobs(plan)
    assert {job.verb for job in opened} == {"evaluate"}
    selecting = {run.id for runs in tried(plan, plan.cells[1]) for run in runs}
    assert not selecting & {job.run for job in opened}
    assert (plan.folder / "choices.json").exists()  # written before the first test image is seen


def test_training_one_arm_alone_opens_nothing(plan: Plan) -> None:
    for run in known_runs(plan, ["alone"]):
        finish(plan, run.id, 0.5)
    assert jobs(plan, ["alone"]) == []
