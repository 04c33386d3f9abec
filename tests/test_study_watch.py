"""`study watch`: what runs where, how far it is and how long it takes, from folders and the queue."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import final

import pytest
from slurm_cases import FakeSlurm
from study_cases import OF_SECONDS
from typer.testing import CliRunner

from protege.cli.study import app
from protege.launch.jobs import Job, Reply
from protege.launch.launcher import News, Unwatched
from protege.launch.slurm.conductor import detach
from protege.launch.slurm.launcher import SlurmLauncher
from protege.launch.slurm.options import Slurm
from protege.launch.where import slurm_folder
from protege.runs import Run, locking
from protege.runs.config import Place
from protege.study.conduct.jobs import Recorder, conduct, in_charge, jobs
from protege.study.conduct.watching import Watching, table
from protege.study.question.load import study_of
from protege.study.question.plan import Plan

AGAIN = "protege study run made.yaml"
STUDY = OF_SECONDS | {"base": OF_SECONDS["base"] | {"optim": {"epochs": 4, "batch_size": 64}}}


@pytest.fixture
def plan(runs: Path) -> Plan:
    return Plan(study_of("made", STUDY), Place(runs=runs.absolute()))


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{fake.bin}:/usr/bin:/bin")
    return fake


def epochs(run: Run, seconds: list[float]) -> None:
    """As if they had been trained."""
    run.path.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"epoch": number, "seconds": one, "images_per_second": 1.0}) for number, one in enumerate(seconds)
    ]
    run.times_file.write_text("\n".join(lines) + "\n")


def test_jobs_of_a_cluster_are_seen_where_they_run_and_where_they_wait(slurm: FakeSlurm, plan: Plan) -> None:
    folder = slurm_folder(plan.folder, "made")
    SlurmLauncher(folder, Slurm(), lambda _: None).take(jobs(plan))
    teacher = plan.teacher_runs()[0].id
    slurm.change(
        jobs=[
            [*job[:4], "RUNNING", "0:30", "n7", "None"] if job[3].endswith("teachers") else job
            for job in slurm.known()["jobs"]
        ]
    )
    folder.begin(f"train {teacher}", {"job": "41_0", "node": "n7", "time": time.time()})
    epochs(Run(plan.place.runs / teacher), [10.0])
    seen = Watching(plan, 15, AGAIN).look()
    (row,) = [row for row in seen.rows if row.run == teacher]
    assert (row.state, row.where, row.epochs, row.of, row.left) == ("in training", "job 41_0 on n7", 1, 4, 30.0)
    assert seen.count("in the queue") == 4 and seen.to_come == 2
    assert all(row.left == 40.0 for row in seen.rows if row.state == "in the queue")  # at the only pace that is known
    assert table(seen).row_count == 5
    many = dataclasses.replace(seen, rows=tuple(row for row in seen.rows for _ in range(100)))
    assert table(many).row_count == 100 + 8  # of a thousand in the queue, a screen
    assert seen.left() == 30 + 4 * 40 + 2 * (30 + 4 * 40) / 5


def test_looking_asks_the_queue_once_and_changes_nothing(slurm: FakeSlurm, plan: Plan) -> None:
    folder = slurm_folder(plan.folder, "made")
    SlurmLauncher(folder, Slurm(), lambda _: None).take(jobs(plan))
    before = sorted(path for path in plan.place.runs.rglob("*") if path.name != "lock")
    watching, asked = Watching(plan, 15, AGAIN), len(slurm.calls("squeue"))
    for _ in range(5):
        watching.look()
    assert len(slurm.calls("squeue")) == asked + 1
    assert sorted(path for path in plan.place.runs.rglob("*") if path.name != "lock") == before


def test_a_run_on_this_machine_is_seen_by_its_lock(plan: Plan) -> None:
    teacher = Run(plan.place.runs / plan.teacher_runs()[0].id)
    epochs(teacher, [1.0, 3.0])
    with locking.locked(teacher.path, wait=False):
        (row,) = [row for row in Watching(plan, 15, AGAIN).look().rows if row.run == teacher.id]
    assert (row.state, row.left) == ("in training", 4.0) and row.where.startswith("process ")
    (row,) = [row for row in Watching(plan, 15, AGAIN).look().rows if row.run == teacher.id]
    assert row.state == "to do"


def study_file(tmp_path: Path) -> Path:
    file = tmp_path / "made.yaml"
    file.write_text(json.dumps(STUDY))
    return file


def test_one_look_is_a_few_plain_lines(tmp_path: Path, runs: Path) -> None:
    done = CliRunner().invoke(app, ["watch", str(study_file(tmp_path)), "--runs", str(runs), "--once"])
    assert done.output.strip() == "made: 2 waiting, 3 to do, 2 when choices are made, no test scores read"


# ---- how it ends ----


@final
class Failing:
    """A launcher whose jobs all fail."""

    chains, forgives, look_every, after_a_stop = False, 0, 0.0, ""

    def __init__(self) -> None:
        self._taken: list[Job] = []

    def room(self) -> int:
        return 9

    def take(self, jobs: Sequence[Job]) -> None:
        self._taken += jobs

    def busy(self) -> bool:
        return bool(self._taken)

    def news(self) -> Sequence[News]:
        taken, self._taken = self._taken, []
        return [News(0, job, Reply(key=job.key, outcome="failed", message="no room is left")) for job in taken]

    def end(self, asked: Sequence[int]) -> None: ...


def watched(tmp_path: Path, runs: Path) -> tuple[int, str]:
    words = ["watch", str(study_file(tmp_path)), "--runs", str(runs), "--every", "1"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    return done.exit_code, done.output


def test_where_what_is_left_has_failed_it_ends_and_says_so(tmp_path: Path, runs: Path, plan: Plan) -> None:
    conduct(plan, Unwatched(), Failing(), command="protege study run made.yaml --slots 2")
    code, said = watched(tmp_path, runs)
    lines = said.splitlines()
    assert code == 1
    assert lines[0] == "made: 2 left out, 3 failed, 2 when choices are made, no test scores read"
    assert lines[1:4] == [
        "failed: teacher resnet14, seed 0: no room is left",
        "failed: alone, seed 0: no room is left",
        "failed: alone, seed 1: no room is left",
    ]
    assert lines[-1].endswith("This goes on from here: protege study run made.yaml --slots 2")


def test_somebody_who_looks_after_it_is_waited_for_until_he_is_gone(plan: Plan) -> None:
    """A lock goes with its process, however that ends."""
    with in_charge(plan):
        seen = Watching(plan, 15, AGAIN).look()
        assert seen.by.startswith("process ") and not seen.deserted
        with in_charge(plan):  # a second command helps, and takes nothing away from the first
            assert not Watching(plan, 15, AGAIN).look().deserted
    seen = Watching(plan, 15, AGAIN).look()
    assert seen.deserted and seen.last_words() == [f"Nobody looks after made now. This goes on from here: {AGAIN}"]


def test_a_command_that_died_is_told_with_what_goes_on(tmp_path: Path, runs: Path) -> None:
    code, said = watched(tmp_path, runs)
    assert code == 1
    assert f"protege study run {study_file(tmp_path)} --scale full --runs {runs}" in said


def test_jobs_that_go_on_without_their_command_are_waited_for(slurm: FakeSlurm, plan: Plan) -> None:
    """And so is the job that a study was left to, and a scheduler that does not answer."""
    folder = slurm_folder(plan.folder, "made")
    launcher = SlurmLauncher(folder, Slurm(), lambda _: None)
    launcher.take(jobs(plan))
    launcher.end(())
    assert not Watching(plan, 15, AGAIN).look().deserted
    slurm.becomes("COMPLETED")
    assert Watching(plan, 15, AGAIN).look().deserted
    slurm.change(silent=True)
    assert not Watching(plan, 15, AGAIN).look().deserted
    slurm.change(silent=False)
    detach(folder, Slurm(), ["study", "run", "made.yaml"])
    assert Watching(plan, 15, AGAIN).look().by == "job 44"


def test_a_job_that_failed_while_nobody_listened_is_seen_by_its_reply(slurm: FakeSlurm, plan: Plan) -> None:
    folder = slurm_folder(plan.folder, "made")
    folder.make()
    teacher = plan.teacher_runs()[0].id
    folder.reply(Reply(key=f"train {teacher}", outcome="failed", message="Out of memory"))
    (plan.folder / "conduct.json").write_text("{")  # damaged, and no worse than none
    seen = Watching(plan, 15, AGAIN).look()
    assert [row.said for row in seen.rows if row.state == "failed"] == ["Out of memory"]
    assert seen.count("left out") == 2 and seen.again == AGAIN


def test_a_failure_that_is_trained_again_is_none(plan: Plan) -> None:
    conduct(plan, Unwatched(), Failing(), command="before")
    assert Watching(plan, 15, AGAIN).look().count("failed") == 3
    teacher = Run(plan.place.runs / plan.teacher_runs()[0].id)
    epochs(teacher, [1.0])
    with locking.locked(teacher.path, wait=False):
        seen = Watching(plan, 15, AGAIN).look()
    assert (seen.count("in training"), seen.count("left out")) == (1, 0)
    Recorder(plan, Unwatched(), "again")  # as the next command begins
    assert Watching(plan, 15, AGAIN).look().count("failed") == 0


def test_a_dry_run_for_a_cluster_prints_its_scripts_and_submits_nothing(
    slurm: FakeSlurm, tmp_path: Path, runs: Path
) -> None:
    words = ["run", str(study_file(tmp_path)), "--runs", str(runs), "--dry-run", "--on", "slurm"]
    done = CliRunner().invoke(
        app, [*words, "--slurm.partition", "gpu", "--slurm.time=1-00:00:00"], catch_exceptions=False
    )
    assert "#SBATCH --partition=gpu" in done.output and "#SBATCH --time=1-00:00:00" in done.output
    assert "sbatch --parsable --dependency=afterok:$(cat teachers.id) select.sbatch" in done.output
    assert slurm.calls("sbatch") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--on", "slurm", "--slurm.partion", "p"],
            "there is no option --slurm.partion. Did you mean '--slurm.partition'?",
        ),
        (["--on", "slurm", "--slurm.time", "soon"], "--slurm.time: "),
        (["--slurm.time", "04:00:00"], "--slurm.... is of no use without `--on slurm`."),
        (["--detach"], "it goes with `--on slurm`"),
        (["--slotz", "3"], "there is no option --slotz. Did you mean '--slots'?"),
    ],
)
def test_a_mistyped_option_is_told_in_a_line(tmp_path: Path, runs: Path, words: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["run", str(study_file(tmp_path)), "--runs", str(runs), *words])
    assert said in str(done.exception) and not runs.exists()
