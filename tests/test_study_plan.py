"""Every run of a study is known, by its id, before the first is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from record_cases import run_record

from protege.errors import ConfigError
from protege.runs import Run, write_json
from protege.runs.config import Place, check_run
from protege.study.conduct.jobs import jobs, known_runs, left, progress
from protege.study.conduct.probing import without_its_start
from protege.study.findings.summaries import grids, smaller
from protege.study.question.load import study_of
from protege.study.question.plan import Plan, PlannedRun, warnings_before

BASE = {"data": "cifar10-mini", "teacher": "resnet14", "student": "resnet8", "optim": {"epochs": 2}}
KD = {"method": "kd", "vary": {"method.temperature": [1, 4]}}
ARMS = {"alone": {"method": "supervised"}, "kd": KD}


def planned(runs: Path, **changes: Any) -> Plan:
    raw = {
        "question": "does it help?",
        "base": BASE,
        "arms": ARMS,
        "seeds": {"select": [100, 101], "report": 3},
    } | changes
    return Plan(study_of("made", raw), Place(runs=runs))


def runs_of(plan: Plan, key: str, role: str = "report") -> list[PlannedRun]:
    cell = next(cell for cell in plan.cells if cell.key == key)
    find = plan.report_runs if role == "report" else plan.select_runs
    return [run for configuration in cell.configurations for run in find(cell, configuration)]


def ids(found: list[PlannedRun]) -> set[str]:
    return {run.id for run in found}


def test_the_order_is_teachers_then_selection_and_what_needs_no_selection_is_not_made_to_wait(runs: Path) -> None:
    plan = planned(runs)
    assert [(run.role, run.place, run.seed) for run in known_runs(plan)] == [
        ("teacher", "resnet14", 0),
        *(("select", "kd", seed) for _ in (1, 4) for seed in (100, 101)),
        *(("report", "alone", seed) for seed in (0, 1, 2)),
    ]
    now = progress(plan)
    assert (now.planned, now.still_to_come, now.finished) == (
        8,
        3,
        0,
    )  # kd's three reporting runs are known when it is chosen


def test_students_wait_for_their_teachers_alone(runs: Path) -> None:
    plan = planned(runs)
    (teacher,) = plan.teacher_runs()
    needs = {job.run: job.needs for job in jobs(plan)}
    assert all(needs[run.id] == (teacher.id,) for run in runs_of(plan, "kd", "select"))
    assert all(needs[run.id] == () for run in runs_of(plan, "alone"))


def test_an_id_is_the_one_that_training_the_run_by_hand_would_give(runs: Path) -> None:
    from protege.train import plan as plan_run

    plan = planned(runs)
    by_hand = check_run({"data": "cifar10-mini", "model": "resnet8", "optim": {"epochs": 2}, "seed": 1})
    assert runs_of(plan, "alone")[1].id == plan_run(by_hand, plan.place).id


def test_a_changed_field_changes_the_runs_that_it_touches_and_no_other(runs: Path) -> None:
    before = planned(runs)
    after = planned(runs, arms=ARMS | {"kd": KD | {"vary": {"method.temperature": [1, 8]}}})
    assert ids(before.teacher_runs()) == ids(after.teacher_runs())
    assert ids(runs_of(before, "alone")) == ids(runs_of(after, "alone"))
    kept = ids(runs_of(before, "kd", "select")) & ids(runs_of(after, "kd", "select"))
    assert kept == ids(runs_of(before, "kd", "select")[:2])  # temperature 1
    longer = planned(runs, teachers={"resnet14": {"model": "resnet14", "optim": {"epochs": 3}}})
    assert ids(runs_of(before, "alone")) == ids(runs_of(longer, "alone"))
    assert not ids(runs_of(before, "kd")) & ids(runs_of(longer, "kd"))  # another teacher, other students


def test_ids_do_not_depend_on_where_the_runs_lie(runs: Path, tmp_path: Path) -> None:
    assert ids(known_runs(planned(runs))) == ids(known_runs(planned(tmp_path / "elsewhere")))


def test_the_folder_changes_with_what_is_found_out_and_not_with_the_wording(runs: Path) -> None:
    folder = planned(runs).folder
    assert planned(runs, question="is it so?", notes=["in other words"]).folder == folder
    assert planned(runs, compare=[{"treatment": "kd", "margin": 0.2}]).folder != folder
    assert planned(runs, report="best").folder != folder
    assert planned(runs, seeds={"report": 4}).folder != folder


def test_teachers_take_turns_over_the_seeds_or_each_teaches_all(runs: Path) -> None:
    def seeds(assign: str) -> list[tuple[int, int | None]]:
        teachers = {"resnet14": {"model": "resnet14", "seeds": [10, 11], "assign": assign}}
        plan = planned(runs, teachers=teachers, arms={"alone": {"teacher": None}, "kd": {"method": "kd"}})
        return [(run.seed, tutor.seed) for run in runs_of(plan, "kd") for tutor in run.tutors]

    assert seeds("rotate") == [(0, 10), (1, 11), (2, 10)]
    assert seeds("cross") == [(0, 10), (0, 11), (1, 10), (1, 11), (2, 10), (2, 11)]


def test_a_teacher_that_is_taught_waits_for_its_own(runs: Path) -> None:
    teachers = {"big": "resnet20", "assistant": {"model": "resnet14", "teacher": "big", "method": "kd"}}
    plan = planned(runs, teachers=teachers, base=BASE | {"teacher": "assistant"})
    big, assistant = plan.teacher_runs()
    assert (big.place, assistant.place, assistant.needs) == ("big", "assistant", (big.id,))


def test_pairs_with_the_same_student_share_the_runs_of_arms_alone(runs: Path) -> None:
    pairs = [{"teacher": teacher, "student": "resnet8"} for teacher in ("resnet14", "resnet20")]
    plan = planned(runs, base={"data": "cifar10-mini"}, pairs=pairs)
    first, second = (runs_of(plan, f"alone: {teacher} -> resnet8") for teacher in ("resnet14", "resnet20"))
    assert ids(first) == ids(second)
    assert len([run for run in known_runs(plan) if run.place.startswith("alone")]) == 3


def test_one_arm_alone_needs_its_teacher_and_no_other_arm(runs: Path) -> None:
    plan = planned(runs)
    assert {run.place for run in left(plan, ["kd"])} == {"resnet14", "kd"}
    assert {run.place for run in left(plan, ["alone"])} == {"alone"}


def test_unequal_tuning_budgets_are_said(runs: Path) -> None:
    plan = planned(runs)
    assert any("alone 1, kd 2" in warning for warning in warnings_before(plan.study, plan.cells))
    tuned = {"alone": {"method": "supervised", "vary": {"optim.lr": [0.05, 0.1]}}, "kd": KD}
    equal = planned(runs, arms=tuned)
    assert not any("budgets" in warning for warning in warnings_before(equal.study, equal.cells))


def test_what_weakens_a_conclusion_is_said_before_the_first_run(runs: Path) -> None:
    plan = planned(runs, arms={"kd": KD}, seeds={"select": [100], "report": 2})
    said = " ".join(warnings_before(plan.study, plan.cells))
    for part in (
        "nothing shows that a teacher helps",
        "One seed alone selects",
        "2 seeds: too few",
        "1 network of resnet14 teaches all 2 seeds: what is claimed holds for this teacher",
        "`seeds: 2` of each teacher",
    ):
        assert part in said


def test_arms_that_differ_in_more_than_their_method_are_named_before_the_first_run(runs: Path) -> None:
    other = {"method": "kd", "optim.epochs": 3, "data.limit": 100, "student": "resnet14"}
    plan = planned(runs, arms={"alone": {"method": "supervised"}, "kd": other})
    said = [one for one in warnings_before(plan.study, plan.cells) if one.startswith("Arms differ")]
    assert [field for field in ("data.limit", "model.name", "optim.epochs") if any(field in one for one in said)] == [
        "data.limit",
        "model.name",
        "optim.epochs",
    ]
    assert len(said) == 3 and "100 of kd" in said[0]


def test_what_arms_and_pairs_are_called_does_not_change_what_a_study_is(runs: Path) -> None:
    pairs = [{"name": "one", "teacher": "resnet14", "student": "resnet8"}]
    arms = {"alone": {"method": "supervised"}, "kd": {"method": "kd"}}
    compare = [{"treatment": "kd", "pair": "one"}]
    base = {key: value for key, value in BASE.items() if key not in ("teacher", "student")}
    first = planned(runs, base=base, pairs=pairs, arms=arms, compare=compare)
    renamed = planned(
        runs,
        base=base,
        pairs=[pairs[0] | {"name": "R34 -> R18"}],
        arms={"taught": arms["kd"], "alone": arms["alone"]},
        compare=[{"treatment": "taught", "pair": "R34 -> R18"}],
    )
    asked = planned(runs, base=base, pairs=pairs, arms=arms, compare=[compare[0] | {"margin": 1.0}])
    assert first.identity == renamed.identity != asked.identity


def test_a_study_of_an_earlier_version_is_found_by_its_folder(runs: Path) -> None:
    """Its name held a hash of the names of arms and pairs."""
    plan = planned(runs)
    earlier = runs / "studies" / f"made-{plan._earlier_identity}"
    earlier.mkdir(parents=True)
    assert planned(runs).folder == earlier


def test_a_given_teacher_that_is_not_there_is_named(runs: Path) -> None:
    with pytest.raises(ConfigError, match="'nobody-0123456789ab' is no network, no teacher of the study, and no run"):
        planned(runs, base=BASE | {"teacher": "nobody-0123456789ab"})


def test_a_run_that_was_begun_keeps_its_number_of_threads(runs: Path) -> None:
    """Another number would give other bits."""
    plan = planned(runs)
    begun, fresh = runs_of(plan, "alone")[:2]
    write_json(Run(runs / begun.id).record_file, run_record(begun.id, threads=3))
    threads = {job.run: job.place.threads for job in jobs(plan)}
    assert (threads[begun.id], threads[fresh.id]) == (3, None)
    assert progress(plan).begun == 1


def test_one_value_is_no_grid(runs: Path) -> None:
    """There is nothing to compare along it, and nothing was chosen."""
    one = {"method": "kd", "vary": {"method.temperature": [4]}}
    assert grids(planned(runs, arms={"alone": {"method": "supervised"}, "kd": one}), [], []) == []


# ---- arms that start from others ----

CHAIN = {
    "alone": {"method": "supervised"},
    "half": {"method": "supervised", "init": "alone", "compress": {"prune": 0.5}},
    "quarter": {"init": "half", "compress": {"prune": 0.5}, "method": "kd"},
}


def test_an_arm_starts_from_the_run_of_the_same_seed(runs: Path) -> None:
    plan = planned(runs, arms=CHAIN)
    alone, half, quarter = (runs_of(plan, key) for key in CHAIN)
    for first, second, third in zip(alone, half, quarter, strict=True):
        assert (first.seed, second.seed) == (second.seed, third.seed)
        assert second.needs == (first.id,) and set(third.needs) == {second.id, plan.teacher_runs()[0].id}
        assert second.config.model.weights == str(runs / first.id / "model.safetensors")
    assert len(ids(alone + half + quarter)) == 9
    order = [run.id for run in known_runs(plan)]
    assert all(order.index(needed) < order.index(run.id) for run in half + quarter for needed in run.needs)
    assert {job.run: job.needs for job in jobs(plan)}[quarter[0].id] == quarter[0].needs


def test_what_a_start_is_called_or_where_it_lies_changes_no_run(runs: Path, tmp_path: Path) -> None:
    renamed = {"alone": CHAIN["alone"], "smaller": CHAIN["half"], "quarter": CHAIN["quarter"] | {"init": "smaller"}}
    before, after = planned(runs, arms=CHAIN), planned(tmp_path / "elsewhere", arms=renamed)
    assert ids(known_runs(before)) == ids(known_runs(after)) and before.identity == after.identity


def test_seeds_that_choose_have_starts_of_their_own(runs: Path) -> None:
    arms = CHAIN | {"half": {**CHAIN["half"], "vary": {"compress.prune": [0.5, 0.7]}}}
    del arms["quarter"]
    plan = planned(runs, arms=arms)
    chosen_by = runs_of(plan, "half", "select")
    assert [run.start.seed for run in chosen_by if run.start] == [run.seed for run in chosen_by] == [100, 101, 100, 101]
    assert {needed for run in chosen_by for needed in run.needs} <= ids(known_runs(plan))


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({"half": {**CHAIN["half"], "init": "alnoe"}}, "there is no 'alnoe'. Did you mean 'alone'"),
        ({"half": {**CHAIN["half"], "init": "half"}}, "arms.half.init: it starts from itself"),
        ({"half": {**CHAIN["half"], "init": "quarter"}}, "arms.quarter.init: it starts from itself"),
        ({"alone": {"method": "supervised", "vary": {"optim.lr": [0.1, 0.2]}}}, "Name an arm without `vary`"),
        ({"half": {"method": "supervised", "compress": {"prune": 0.5}}}, "takes channels of a trained network"),
    ],
)
def test_starts_that_cannot_be_are_one_line(runs: Path, arms: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as said:
        planned(runs, arms=CHAIN | arms)
    assert message in str(said.value) + "".join(map(str, said.value.args))


def test_what_a_run_takes_is_tried_without_the_start_that_is_not_there_yet(runs: Path) -> None:
    plan = planned(runs, arms=CHAIN)
    tried = [without_its_start(run) for run in known_runs(plan) if run.start]
    assert all(one.model.weights is None and one.compress is None for one in tried)


def test_how_an_arm_was_made_smaller_is_said_in_words(runs: Path) -> None:
    few = {"method": "supervised", "init": "half", "compress": {"weights": 4, "activations": 8}}
    plan = planned(runs, arms=CHAIN | {"few": few})
    said = {cell.key: smaller(cell.configurations[0]) for cell in plan.cells}
    assert said == {
        "alone": "",
        "half": "begun from alone, pruned to 0.5 of its multiply-adds",
        "quarter": "begun from half, pruned to 0.5 of its multiply-adds",
        "few": "begun from half, weights of 4 bits, activations of 8 bits",
    }
