"""A small study from its file to its findings: what is trained, what is chosen, and when the test set is opened."""

from __future__ import annotations

import html
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest
from study_cases import OF_SECONDS
from typer.testing import CliRunner

from protege.cli.study import app
from protege.evaluate import evaluate
from protege.launch.jobs import Job, Reply
from protege.launch.launcher import Outcome, Unwatched
from protege.launch.local import Slots
from protege.report.make import make_report
from protege.runs import Run, read_json, read_lines, write_json
from protege.runs.config import Place, TeacherConfig
from protege.ship.figures.measure import Measured
from protege.study.conduct.jobs import conduct, known_runs, left
from protege.study.findings import Findings, outcome, read
from protege.study.findings.gather import gather
from protege.study.findings.interim import Interim
from protege.study.question.load import study_of
from protege.study.question.measures import MEASURES, Measure
from protege.study.question.plan import Plan
from protege.study.run import Stopped, run_study

STUDY: dict[str, Any] = OF_SECONDS | {
    "compare": [{"treatment": "kd", "margin": 30.0, "primary": True}, {"treatment": "kd", "measure": "kl_t4", "test": "welch"}],
    "published": [
        {"arm": "alone", "value": 92.1, "note": "full data"},
        {"teacher": "resnet14", "value": 94.0},
        {"arm": "kd", "against": "alone", "value": 0.5},
        {"arm": "alone", "value": 90.0, "split": "heldout"},
    ],
    "notes": "128 images",
}  # fmt: skip


def planned(runs: Path, **changes: Any) -> Plan:
    return Plan(study_of("made", STUDY | changes), Place(runs=runs))


def carried_out(runs: Path, **changes: Any) -> tuple[Plan, Findings]:
    plan = planned(runs, **changes)
    _, findings = run_study(plan, threads=1, probing=False, quiet=True, command="protege study run made.yaml")
    assert findings is not None
    return plan, findings


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Findings]:
    return carried_out(tmp_path_factory.mktemp("study") / "runs")


# ---- the test set ----


def test_only_what_is_reported_and_its_teachers_were_tested_and_each_once(finished: tuple[Plan, Findings]) -> None:
    plan, findings = finished
    reported = {row.id for row in findings.runs if row.role in ("teacher", "report")}
    opened = [entry["run"] for entry in read_lines(plan.place.runs / "ledger.jsonl")]
    assert sorted(opened) == sorted(reported) and len(opened) == 5  # one teacher, two students alone, two taught
    select = [row for row in findings.runs if row.role == "select"]
    assert len(select) == 2 and not any(row.test for row in select)
    assert not any((plan.place.runs / row.id / "evaluations").exists() for row in select)


def test_the_choice_was_written_down_before_the_test_set_was_opened(finished: tuple[Plan, Findings]) -> None:
    plan, findings = finished
    choices = plan.folder / "choices.json"
    assert read_json(choices)["chosen"] == {"alone": {}, "kd": findings.selections[0].chosen}
    ledger = plan.place.runs / "ledger.jsonl"
    assert choices.stat().st_mtime_ns <= min(
        (plan.place.runs / row.id / "evaluations/test.json").stat().st_mtime_ns for row in findings.runs if row.test
    )
    assert not any("before this study made its choices" in warning for warning in findings.warnings)
    assert ledger.exists()


def test_a_second_run_trains_nothing_and_reads_the_test_set_no_more(finished: tuple[Plan, Findings]) -> None:
    plan, findings = finished
    before = {path: path.stat().st_mtime_ns for path in plan.place.runs.glob("*/*.safetensors")}
    ledger = (plan.place.runs / "ledger.jsonl").read_text()
    _, again = carried_out(plan.place.runs)
    assert outcome(again) == outcome(findings)
    assert {path: path.stat().st_mtime_ns for path in plan.place.runs.glob("*/*.safetensors")} == before
    assert (plan.place.runs / "ledger.jsonl").read_text() == ledger


def test_scores_that_were_read_before_the_choice_are_said(finished: tuple[Plan, Findings], tmp_path: Path) -> None:
    """Another question about the same runs, after their test scores were seen."""
    runs = tmp_path / "runs"
    shutil.copytree(finished[0].place.runs, runs)
    time.sleep(1.1)  # the ledger tells seconds
    _, findings = carried_out(runs, compare=[{"treatment": "kd"}])
    assert any("5 run(s) had been read before this study made its choices" in warning for warning in findings.warnings)


# ---- what is measured ----


def kept(file: Path, value: float) -> None:
    """A figure that an evaluation of tomorrow might keep."""
    record = read_json(file)
    record["final"]["made"] = {"up": value}
    write_json(file, record)


def test_a_measure_declared_in_one_place_is_compared_tabled_drawn_and_chosen_by(
    finished: tuple[Plan, Findings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, before = finished
    novel: dict[str, Any] = {
        "name": "novel",
        "label": "novel figure",
        "unit": "",
        "difference_unit": "units",
        "kept": "made.up",
    }
    novel |= {"higher_is_better": False, "needs_teacher": False}
    monkeypatch.setitem(MEASURES, "novel", Measure.model_validate(novel))
    runs = tmp_path / "runs"
    shutil.copytree(plan.place.runs, runs)
    for row in before.runs:
        if row.role == "select":
            evaluate(Run(runs / row.id), Place(runs=runs))
            kept(runs / row.id / "evaluations/heldout.json", 1.0 if row.values == before.cell("kd").values else 2.0)
        else:
            kept(
                runs / row.id / "evaluations/test.json",
                {"alone": 5.0, "kd": 3.0}.get(row.cell, 1.0) + (row.seed or 0) / 4,
            )
    asked = [{"treatment": "kd"}, {"treatment": "kd", "measure": "novel"}]
    _, found = carried_out(runs, choose_by="novel", compare=asked)
    assert found.cell("kd").test["final"]["novel"].mean == 3.125
    assert found.effects[1].measure == "novel" and found.effects[1].difference == -2.0
    (chosen,) = found.selections
    assert chosen.measure == "novel" and sorted(one.mean or 0 for one in chosen.candidates) == [1.0, 2.0]
    assert chosen.chosen == before.cell("kd").values and "novel figure" in chosen.sentence
    make_report(found, runs, tmp_path / "report", pictures=False)
    assert "novel figure" in (tmp_path / "report/tables/calibration.csv").read_text().partition("\n")[0]
    assert "held-out novel figure" in (tmp_path / "report/tables/selection_1.csv").read_text().partition("\n")[0]
    assert 'aria-label="kd held-out novel figure"' in (tmp_path / "report/report.html").read_text()


def test_a_price_that_a_run_lacks_is_missing_and_not_zero(finished: tuple[Plan, Findings], tmp_path: Path) -> None:
    plan, before = finished
    runs = tmp_path / "runs"
    shutil.copytree(plan.place.runs, runs)
    for row in before.runs_of("alone"):
        Run(runs / row.id).keep_measured("final", {"bytes": 350_000, "latency_ms": 2.0 + (row.seed or 0), "threads": 1})
    found = gather(planned(runs))
    assert found.cell("alone").test["final"]["bytes"].mean == 350_000
    assert found.cell("alone").test["final"]["latency_ms"].mean == 2.5
    assert "bytes" not in found.cell("kd").test["final"]
    assert all("bytes" not in row.test["final"] for row in found.runs_of("kd"))
    compared = planned(runs, compare=[{"treatment": "kd", "measure": "latency_ms"}])
    assert gather(compared).effects[0].outcome == "pending"
    for row in before.runs_of("kd"):
        Run(runs / row.id).keep_measured("final", {"bytes": 350_000, "latency_ms": 1.0 + (row.seed or 0), "threads": 2})
    found = gather(compared)
    assert found.effects[0].difference == pytest.approx(-1.0) and "ms" in found.effects[0].sentence
    assert any("not all measured alike" in warning for warning in found.warnings)


def test_prices_that_do_not_spread_are_told_and_not_tested(finished: tuple[Plan, Findings], tmp_path: Path) -> None:
    plan, before = finished
    runs = tmp_path / "runs"
    shutil.copytree(plan.place.runs, runs)
    for arm, size in (("alone", 350_000), ("kd", 90_000)):
        for row in before.runs_of(arm):
            Run(runs / row.id).keep_measured("final", {"bytes": size})
    (found,) = gather(planned(runs, compare=[{"treatment": "kd", "measure": "bytes"}])).effects
    assert (found.difference, found.outcome) == (-260_000, "untested")
    assert "is -260,000 bytes, untested: too few seeds, or no spread" in found.sentence


def test_what_ships_is_exported_and_priced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pruned arm weighs less, and a second time nothing is timed again."""
    timed: list[int] = []

    def in_turns(found: list[Measured], *_: object) -> None:
        timed.append(len(found))
        for one in found:
            one.runtime, one.latency_ms = "onnxruntime", 1.0

    monkeypatch.setattr("protege.ship.figures.measure.time_in_turns", in_turns)
    half = {"method": "supervised", "init": "alone", "compress": {"prune": 0.5, "importance": "magnitude"}}
    changed = {
        "base": STUDY["base"] | {"teacher": None, "optim": {"epochs": 1, "batch_size": 64}},
        "arms": {"alone": {"method": "supervised"}, "half": half},
        "seeds": {"report": 2},
        "compare": [{"treatment": "half"}],
        "published": [],
        "ship": True,
    }
    plan, findings = carried_out(tmp_path / "runs", **changed)
    whole, pruned = (findings.cell(key).test["final"] for key in ("alone", "half"))
    assert (whole["bytes"].n, timed) == (1, [2])
    assert pruned["bytes"].mean < 0.9 * whole["bytes"].mean
    assert pruned["multiply_adds"].mean == pytest.approx(0.5 * whole["multiply_adds"].mean, rel=0.05)
    assert pruned["parameters"].mean < whole["parameters"].mean
    carried_out(plan.place.runs, **changed)
    assert timed == [2]


# ---- who learned from what ----


def test_what_nobody_knows_of_a_teacher_is_said_in_the_findings_and_on_the_page(
    finished: tuple[Plan, Findings], tmp_path: Path
) -> None:
    """A weights file of strangers may have been trained on the very images that judge."""
    plan, before = finished
    runs = tmp_path / "runs"
    shutil.copytree(plan.place.runs, runs)
    assert not any("Nobody knows" in warning for warning in before.warnings)
    for row in before.runs_of("kd"):
        record = Run(runs / row.id).record()
        record["seen"]["unknown"] = ["what theirs.pth was trained on"]
        write_json(Run(runs / row.id).record_file, record)
    found = gather(planned(runs))
    (said,) = (warning for warning in found.warnings if "Nobody knows" in warning)
    assert said.startswith("Nobody knows what theirs.pth was trained on, and 2 run(s) learned from it")
    make_report(found, runs, tmp_path / "report", pictures=False)
    assert said in (tmp_path / "report/report.html").read_text()


# ---- what is taken in, and what is made again ----


def test_finished_runs_of_another_machine_are_taken_in(finished: tuple[Plan, Findings], tmp_path: Path) -> None:
    plan, _ = finished
    here = planned(tmp_path / "runs")
    (teacher,) = plan.teacher_runs()
    assert teacher.id in {run.id for run in left(here)}
    shutil.copytree(plan.place.runs / teacher.id, tmp_path / "runs" / teacher.id)
    assert teacher.id not in {run.id for run in left(here)}
    assert len(left(here)) == len(known_runs(here)) - 1


def test_a_changed_field_makes_again_what_it_changes_and_nothing_else(finished: tuple[Plan, Findings]) -> None:
    plan, _ = finished
    arms = STUDY["arms"] | {"kd": {"method": {"name": "kd", "kd_weight": 0.5}, "vary": {"method.temperature": [1, 4]}}}
    assert {run.place for run in left(planned(plan.place.runs, arms=arms))} == {"kd"}
    assert [run.seed for run in left(planned(plan.place.runs, seeds={"select": [100], "report": 3}))] == [2, 2]
    assert not left(planned(plan.place.runs, question="in other words?"))


class Killing:
    """Kills the worker, without a word, once in each of its first jobs: at a random moment of it."""

    def __init__(self, random: random.Random) -> None:
        self.random, self.at, self.kills = random, 0.0, 0

    def started(self, slot: int, job: Job) -> None:
        self.at = time.monotonic() + self.random.uniform(0.05, 1.0)

    def ended(self, slot: int, job: Job, reply: Reply) -> None: ...

    def skipped(self, job: Job, because: str) -> None: ...

    def look(self, running: Mapping[int, Job]) -> None:
        if running and time.monotonic() > self.at:
            for process in Path("/proc").glob("[0-9]*"):
                if is_worker_of(process, os.getpid()):
                    self.kills += 1
                    os.kill(int(process.name), signal.SIGKILL)


def is_worker_of(process: Path, parent: int) -> bool:
    try:
        own = int((process / "stat").read_text().rpartition(")")[2].split()[1]) == parent
        return own and "protege.launch.worker" in (process / "cmdline").read_text()
    except (OSError, ValueError):
        return False


def test_a_study_whose_workers_are_killed_ends_with_the_same_findings(
    finished: tuple[Plan, Findings], tmp_path: Path
) -> None:
    plan = planned(tmp_path / "runs")
    watch = Killing(random.Random(7))
    place = plan.place.model_copy(update={"checkpoint_seconds": 0.0})
    broken = Plan(plan.study, place)
    conduct(broken, watch, Slots(plan.folder / "logs", threads=1), command="protege study run made.yaml")
    _, findings = carried_out(tmp_path / "runs")
    assert watch.kills > 0
    assert outcome(findings) == outcome(finished[1])


@pytest.mark.slow
def test_a_study_killed_at_random_moments_ends_with_the_same_findings(
    finished: tuple[Plan, Findings], tmp_path: Path
) -> None:
    """The whole command, by kill -9 and by Ctrl-C in turn, until it gets through."""
    file, runs = tmp_path / "made.yaml", tmp_path / "runs"
    file.write_text(json.dumps(STUDY))  # JSON is YAML
    options = ["--runs", str(runs), "--threads", "1", "--no-probe"]
    command = [sys.executable, "-m", "protege.cli", "study", "run", str(file), *options]
    moments = random.Random(11)
    stops, code = 0, 1
    for attempt in range(100):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=moments.uniform(3.0, 9.0 + attempt))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL if attempt % 2 else signal.SIGINT)
        code = process.wait()
        if code == 0:
            break
        stops += 1
        assert code in (-signal.SIGKILL, -signal.SIGINT, 130)  # -2: before it could listen
    assert stops > 0 and code == 0
    assert outcome(read(next((runs / "studies").glob("made-*")))) == outcome(finished[1])


# ---- findings ----


def test_what_is_reported_is_the_choice_with_fresh_seeds(finished: tuple[Plan, Findings]) -> None:
    _, findings = finished
    (selection,) = findings.selections
    best = max(selection.candidates, key=lambda one: one.mean or 0.0)
    assert selection.chosen == best.values == findings.cell("kd").values
    assert [row.seed for row in findings.runs_of("kd")] == [0, 1]
    assert [row.seed for row in findings.runs_of("kd", "select")] == [100, 100]
    assert findings.cell("kd").configurations == 2 and findings.cell("alone").configurations == 1
    assert any("budgets differ" in warning for warning in findings.warnings)


def test_every_score_is_that_of_the_evaluation_in_percent(finished: tuple[Plan, Findings]) -> None:
    plan, findings = finished
    for row in findings.runs_of("alone"):
        record = read_json(plan.place.runs / row.id / "evaluations/test.json")
        assert row.test["final"]["accuracy"] == 100 * record["final"]["accuracy"]
        assert row.test["best"]["nll"] == record["best"]["nll"]
        assert row.heldout["final"] == 100 * Run(plan.place.runs / row.id).result()["heldout_accuracy"]
    accuracies = [row.test["final"]["accuracy"] or 0.0 for row in findings.runs_of("alone")]
    assert findings.cell("alone").test["final"]["accuracy"].mean == pytest.approx(sum(accuracies) / 2)


def test_students_alone_are_compared_with_the_teacher_too(finished: tuple[Plan, Findings], tmp_path: Path) -> None:
    """From saved logits, which is what asking the teacher itself would give."""
    plan, findings = finished
    row = findings.runs_of("alone")[0]
    assert row.reference == "resnet14" and row.teachers == ()
    runs = tmp_path / "runs"
    shutil.copytree(plan.place.runs, runs)
    (teacher,) = plan.teacher_runs()
    live = evaluate(Run(runs / row.id), Place(runs=runs), test=True, teachers=[TeacherConfig(source=teacher.id)])
    assert row.test["final"]["agreement"] == pytest.approx(100 * live["final"]["fidelity"]["agreement"], abs=0.1)
    assert row.test["final"]["kl_t4"] == pytest.approx(live["final"]["fidelity"]["kl_t4"], rel=1e-3)


def test_the_family_is_corrected_together_and_the_answer_is_the_primary_one(finished: tuple[Plan, Findings]) -> None:
    _, findings = finished
    accuracy, divergence = findings.effects
    assert (accuracy.primary, divergence.primary, accuracy.family, divergence.family) == (True, False, 2, 2)
    assert accuracy.named == "pooled" and divergence.named == "welch" and divergence.welch is not None
    assert divergence.adjusted_p == pytest.approx(min(1.0, 2 * divergence.welch.p))
    for effect in (accuracy, divergence):
        claim = effect.claims[0]
        zero_inside = claim.simultaneous.low <= 0 <= claim.simultaneous.high
        assert claim.adjusted_p == effect.adjusted_p and zero_inside == (claim.adjusted_p >= 0.05)
    assert [claim.over for claim in accuracy.claims] == ["seeds", "seeds and images"]
    means = [findings.cell(key).test["final"]["accuracy"].mean for key in ("kd", "alone")]
    assert accuracy.difference == pytest.approx(means[0] - means[1])
    assert accuracy.equivalence is not None and accuracy.equivalence.margin == 30.0
    assert divergence.equivalence is None
    assert findings.answer == accuracy.sentence


def test_images_are_compared_one_by_one(finished: tuple[Plan, Findings]) -> None:
    _, findings = finished
    effect = findings.effects[0]
    assert [one.seed for one in effect.mcnemar] == [0, 1]
    gained = sum(one.only_treatment - one.only_control for one in effect.mcnemar)
    assert effect.difference is not None
    assert effect.difference == pytest.approx(100 * gained / (2 * 400))
    assert effect.bootstrap is not None and effect.bootstrap.images == 400
    assert effect.bootstrap.over_images.low <= effect.difference <= effect.bootstrap.over_images.high


def test_published_figures_stand_beside_ours(finished: tuple[Plan, Findings]) -> None:
    _, findings = finished
    alone, teacher, gain, heldout = findings.published
    assert alone.measured == findings.cell("alone").test["final"]["accuracy"].mean and alone.measured_seeds == 2
    assert alone.measured is not None
    assert alone.difference == pytest.approx(alone.measured - 92.1) and alone.note == "full data"
    assert teacher.measured == findings.teachers[0].test["final"]["accuracy"].mean
    accuracy = findings.effects[0]
    assert gain.measured == pytest.approx(accuracy.difference)
    assert gain.measured_seeds == 2 and accuracy.paired is not None and gain.measured_interval is not None
    ends = accuracy.paired.interval  # of the two differences, each of one seed
    assert (gain.measured_interval.low, gain.measured_interval.high) == pytest.approx((ends.low, ends.high))
    assert gain.measured_sd == pytest.approx(accuracy.paired.standard_error * 2**0.5)
    assert heldout.measured == findings.cell("alone").heldout["final"].mean


def test_findings_survive_being_written_and_read(finished: tuple[Plan, Findings]) -> None:
    plan, findings = finished
    assert outcome(read(plan.folder)) == outcome(findings)
    assert findings.complete and findings.commands == ("protege study run made.yaml",)
    assert (findings.data.train, findings.data.heldout, findings.data.test) == (128, 100, 400)
    assert findings.cell("kd").student.parameters == 77_522
    assert findings.costs.finished == findings.costs.runs == 7
    assert findings.study["seeds"] == {"select": [100], "report": [0, 1]}
    assert not {"reduced", "differs", "pairs", "protocol"} & set(findings.study)  # of no use to a reader
    (machine,) = findings.hardware
    assert machine.threads == (1,) and machine.runs == 7
    assert (machine.python, machine.numpy) == (platform.python_version(), numpy.__version__)
    assert machine.system and machine.system.startswith(platform.system())


def test_before_the_end_nothing_of_the_test_set_is_told(finished: tuple[Plan, Findings], tmp_path: Path) -> None:
    plan, _ = finished
    for run in known_runs(plan):
        if run.role != "report":
            shutil.copytree(plan.place.runs / run.id, tmp_path / "runs" / run.id)
    halfway = gather(planned(tmp_path / "runs"))
    assert not halfway.complete and not halfway.cell("alone").test
    assert halfway.selections[0].chosen is not None  # choosing needs no test set
    assert halfway.cell("alone").missing == (0, 1)
    assert "still sealed" in halfway.answer
    assert {effect.outcome for effect in halfway.effects} == {"pending"}


def test_findings_and_their_report_can_be_had_while_runs_are_made(
    finished: tuple[Plan, Findings], tmp_path: Path
) -> None:
    """They say how far it is, and tell no test score."""
    plan, _ = finished
    for run in known_runs(plan)[:1]:
        shutil.copytree(plan.place.runs / run.id, tmp_path / "runs" / run.id)
    here = planned(tmp_path / "runs")
    watch = Interim(here, Unwatched(), ["protege study run made.yaml"])
    watch.look({0: Job(verb="train", run="x", config=known_runs(here)[0].config, place=here.place)})
    halfway = read(here.folder)
    assert (halfway.costs.finished, halfway.costs.runs, halfway.complete) == (1, 7, False)
    assert halfway.commands == ("protege study run made.yaml",) and not halfway.effects[0].difference
    page = make_report(halfway, here.place.runs, tmp_path / "page").page.read_text()
    assert "1 of 7 runs are finished, and the test set stays sealed until all are" in page


def test_a_stopped_study_leaves_what_is_known_so_far(
    finished: tuple[Plan, Findings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, _ = finished
    (teacher,) = plan.teacher_runs()
    shutil.copytree(plan.place.runs / teacher.id, tmp_path / "runs" / teacher.id)
    monkeypatch.setattr("protege.study.run.conduct", lambda *_, **__: Outcome(signals=[2]))
    with pytest.raises(Stopped, match="stopped with 1 of 7 runs finished"):
        carried_out(tmp_path / "runs")
    known = read(planned(tmp_path / "runs").folder)
    assert (known.costs.finished, known.complete) == (1, False)


# ---- other forms ----


def test_teachers_that_were_brought_along_are_asked_when_students_are_tested(
    finished: tuple[Plan, Findings], tmp_path: Path
) -> None:
    plan, findings = finished
    (trained,) = plan.teacher_runs()
    runs = tmp_path / "runs"
    shutil.copytree(plan.place.runs / trained.id, tmp_path / "brought" / trained.id)
    _, given = carried_out(
        runs,
        base=STUDY["base"] | {"teacher": str(tmp_path / "brought" / trained.id)},
        arms={"alone": {"method": "supervised"}, "kd": {"method": "kd"}},
        compare=[],
        published=[],
    )
    (teacher,) = given.teachers
    assert teacher.given and teacher.seeds == (0,)
    assert teacher.test["final"]["accuracy"].mean == findings.teachers[0].test["final"]["accuracy"].mean
    alone, before = given.runs_of("alone")[0], findings.runs_of("alone")[0]
    assert alone.id == before.id
    assert alone.test["final"]["agreement"] == before.test["final"]["agreement"]


def test_a_published_grid_is_an_ablation(finished: tuple[Plan, Findings], tmp_path: Path) -> None:
    _, findings = carried_out(
        tmp_path / "runs",
        protocol="literature",
        base=STUDY["base"]
        | {
            "data": {"name": "cifar10-mini", "classes": ["cat", "dog"], "limit": 128},
            "optim": {"epochs": 1, "batch_size": 64},
            "teacher": "resnet8",
        },
        seeds={"report": 2},
        compare=[],
        published=[{"arm": "kd", "at": {"method.temperature": 4}, "value": 92.5}],
    )
    assert [cell.key for cell in findings.cells] == ["alone", "kd (temperature 1)", "kd (temperature 4)"]
    assert findings.selections == () and findings.select_seeds == () and findings.data.heldout == 0
    (grid,) = findings.grids
    assert grid.split == "test" and len(grid.points) == 2 and grid.luck is not None
    assert findings.published[0].measured == findings.cell("kd (temperature 4)").test["final"]["accuracy"].mean
    assert len(findings.effects) == 2 and all(effect.family == 2 for effect in findings.effects)
    assert any("were read on the test set" in warning for warning in findings.warnings)


def test_an_arm_that_diverges_is_reported_as_such_and_the_others_go_on(
    finished: tuple[Plan, Findings], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(finished[0].place.runs, runs)
    arms = {"alone": {"method": "supervised"}, "wild": {"method": "supervised", "optim.lr": 1e9}}
    _, findings = carried_out(runs, arms=arms, compare=[], published=[], base=STUDY["base"] | {"teacher": None})
    wild = findings.runs_of("wild")
    assert {row.state for row in wild} == {"diverged"} and "no longer number" in (wild[0].error or "")
    assert findings.complete and findings.cell("alone").test
    assert findings.cell("wild").missing == (0, 1)
    assert findings.effects[0].outcome == "pending"


# ---- the command ----


def test_a_dry_run_answers_at_once_and_tries_steps_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was tried once is known to later dry runs, which then say how long without being asked."""
    from protege.launch.probe import Probe
    from protege.study import run as room

    tried: list[str] = []
    price = Probe(seconds_per_image=1.0, seconds_per_asked=1.0, seconds_per_look=1.0, weights=1, memory=1)

    def asked(*_: object) -> Any:
        def ask(job: Job) -> Reply:
            tried.append(job.run)
            return Reply(key=job.key, outcome="finished", found=price.model_dump())

        return ask

    monkeypatch.setattr(room, "_asked", asked)
    (tmp_path / "made.yaml").write_text(json.dumps(STUDY))
    dry = ["run", str(tmp_path / "made.yaml"), "--dry-run", "--runs", str(tmp_path / "runs")]
    told = CliRunner().invoke(app, dry)
    assert told.exit_code == 0, told.output
    assert "--probe tries a few steps of each of 3 kinds of run" in told.stdout
    assert not tried
    assert json.loads(CliRunner().invoke(app, [*dry, "--probe", "--json"]).stdout)["seconds"] > 0
    assert len(tried) == 3
    again = json.loads(CliRunner().invoke(app, [*dry, "--json"]).stdout)
    assert again["seconds"] > 0 and again["untried"] == 0
    assert json.loads(CliRunner().invoke(app, [*dry, "--no-probe", "--json"]).stdout)["seconds"] is None
    assert len(tried) == 3


def test_the_command_plans_runs_and_shows(finished: tuple[Plan, Findings], tmp_path: Path) -> None:
    plan, findings = finished
    file = tmp_path / "made.yaml"
    file.write_text(json.dumps(STUDY))
    places = ["--runs", str(plan.place.runs)]
    told = CliRunner().invoke(app, ["run", str(file), "--dry-run", "--json", *places])
    assert told.exit_code == 0, told.output
    dry = json.loads(told.stdout)
    assert (dry["runs"], dry["finished"], dry["left"], dry["teachers"]) == (7, 7, 0, 1)
    shown = CliRunner().invoke(app, ["show", str(file), *places])
    assert shown.exit_code == 0, shown.output
    assert findings.answer in shown.stdout and "chosen for kd" in shown.stdout
    as_json = CliRunner().invoke(app, ["show", str(file), "--json", *places])
    assert outcome(Findings.model_validate_json(as_json.stdout)) == outcome(findings)


@pytest.fixture
def again(finished: tuple[Plan, Findings], tmp_path: Path) -> list[str]:
    """The command that finds all runs made already."""
    shutil.copytree(finished[0].place.runs, tmp_path / "runs", ignore=shutil.ignore_patterns("report"))
    file = tmp_path / "made.yaml"
    file.write_text(json.dumps(STUDY))
    return ["run", str(file), "--no-probe", "--threads", "1", "--quiet", "--runs", str(tmp_path / "runs")]


def report_of(arguments: list[str]) -> Path:
    (findings,) = Path(arguments[-1]).glob("studies/made-*/findings.json")
    return findings.parent / "report" / "report.html"


def test_a_study_ends_with_its_report_and_names_it_last(again: list[str], finished: tuple[Plan, Findings]) -> None:
    told = CliRunner().invoke(app, again)
    assert told.exit_code == 0, told.output
    assert finished[1].answer in html.unescape(report_of(again).read_text())
    assert (report_of(again).parent / "tables" / "effects.csv").is_file()
    assert told.stdout.splitlines()[-1].startswith(f"report: {report_of(again)} (")
    assert told.stdout.count(finished[1].answer) == 1


def test_the_report_can_be_left_out(again: list[str]) -> None:
    told = CliRunner().invoke(app, [*again[:1], "--no-report", *again[1:]])
    assert told.exit_code == 0 and not report_of(again).exists()
    assert "report:" not in told.stdout


def test_json_is_findings_alone_and_the_report_is_written_without_a_word(again: list[str]) -> None:
    told = CliRunner().invoke(app, [*again[:1], "--json", *again[1:]])
    assert Findings.model_validate_json(told.stdout).complete
    assert report_of(again).is_file()


def test_a_report_that_cannot_be_written_costs_nothing_but_itself(again: list[str]) -> None:
    Path(again[-1], "studies").mkdir(exist_ok=True)
    (folder,) = Path(again[-1]).glob("studies/made-*")
    (folder / "report").write_text("in the way")
    told = CliRunner().invoke(app, again)
    assert told.exit_code == 0, told.output
    (warning,) = [line for line in told.stderr.splitlines() if line.startswith("warning:")]
    assert "the report could not be written" in warning and f"protege report {folder.name} --runs" in warning
    assert read(folder).complete


def test_the_terminal_says_first_that_a_form_is_reduced_and_how(again: list[str], tmp_path: Path) -> None:
    reduced = STUDY | {"reduced": {"differs": "the same again, with another name"}}
    (tmp_path / "made.yaml").write_text(json.dumps(reduced))
    told = CliRunner().invoke(app, [*again[:2], "--scale", "reduced", "--dry-run", *again[2:]])
    assert told.exit_code == 0, told.output
    assert told.stdout.splitlines()[1].startswith(
        "This is a reduced-scale run of the study: the same again, with another name. It shows that"
    )


def test_power_answers_how_many_seeds() -> None:
    told = CliRunner().invoke(
        app, ["power", "--sd", "0.14", "--effect", "0.2", "--seeds", "5", "--margin", "0.2", "--json"]
    )
    found = json.loads(told.stdout)
    assert (found["seeds_needed"], found["seeds_for_equivalence"]) == (9, 10)
    assert found["power_of_seeds"] == pytest.approx(0.51, abs=0.01)
    assert (
        "9 seeds an arm find a difference of 0.2"
        in CliRunner().invoke(app, ["power", "--sd", "0.14", "--effect", "0.2"]).stdout
    )
