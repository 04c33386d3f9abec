"""What a job does inside its allocation: without SLURM, as its environment says it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from slurm_cases import TINY, FakeSlurm, job_of

from protege.launch.jobs import Job
from protege.launch.slurm.folder import Batch, Folder
from protege.launch.slurm.options import Slurm
from protege.runs import Run


@pytest.fixture
def slurm(tmp_path: Path) -> FakeSlurm:
    return FakeSlurm(tmp_path / "bin")


@pytest.fixture
def folder(runs: Path) -> Folder:
    made = Folder(runs / "studies" / "made" / "slurm", "made")
    made.make()
    made.describe(Slurm(time="00:10:00"))
    return made


def real(runs: Path, **changes: Any) -> Job:
    from protege.train import plan

    job = job_of(runs, "unknown", **changes)
    known = plan(job.config, job.place).id
    return job.model_copy(update={"run": known, "place": job.place.model_copy(update={"device": "cpu"})})


def begun(
    slurm: FakeSlurm, folder: Folder, jobs: list[Job], task: int = 0, **environment: str
) -> subprocess.Popen[str]:
    """As the only task's job, or that task's of several."""
    stems = tuple(f"train-{job.run}" for job in jobs)
    folder.write(Batch("report", (*[()] * task, stems)), jobs, "")
    return subprocess.Popen(
        [sys.executable, "-m", "protege.launch.slurm.task", str(folder.path), "report", "--at-once", "2"],
        env={
            **os.environ,
            "PATH": f"{slurm.bin}:{os.environ['PATH']}",
            "SLURM_ARRAY_JOB_ID": "41",
            "SLURM_ARRAY_TASK_ID": str(task),
            "SLURM_CPUS_PER_TASK": "2",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_runs_share_the_allocation_and_leave_a_reply_each(slurm: FakeSlurm, folder: Folder, runs: Path) -> None:
    jobs = [real(runs), real(runs, seed=1)]
    process = begun(slurm, folder, jobs, task=3)
    said = process.communicate()[0]
    assert process.returncode == 0, said
    for job in jobs:
        reply = folder.replied(f"train-{job.run}")
        assert reply is not None and reply.outcome == "finished"
        assert Run(runs / job.run).record()["threads"] == 1  # half of the two
        assert folder.where(f"train-{job.run}")["job"] == "41_3"


def test_what_has_no_teacher_yet_is_left_out_and_the_rest_is_made(slurm: FakeSlurm, folder: Folder, runs: Path) -> None:
    """After several teachers, of which one failed. Nothing that follows this job begins, and who submitted it decides."""
    waiting = job_of(runs, "student", needs=("teacher",))
    process = begun(slurm, folder, [waiting, real(runs)])
    said = process.communicate()[0]
    assert process.returncode == 1 and "student is left out: teacher is not finished" in said
    assert folder.replied("train-student") is None
    assert len(list(runs.glob("*/result.json"))) == 1


def test_a_failure_ends_the_job_badly_so_that_nothing_follows_it(slurm: FakeSlurm, folder: Folder, runs: Path) -> None:
    process = begun(slurm, folder, [job_of(runs, "resnet8-supervised-000000000000")])
    process.communicate()
    assert process.returncode == 1
    reply = folder.replied("train-resnet8-supervised-000000000000")
    assert reply is not None and reply.outcome == "failed"


LONG = {"optim": TINY["optim"] | {"epochs": 500}}


def trained(process: subprocess.Popen[str], run: Run, then: int) -> str:
    """What it said, after that signal in the middle of training."""
    while not run.metrics():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(then)
    return process.communicate()[0]


def test_before_its_time_is_over_it_checkpoints_and_is_requeued(slurm: FakeSlurm, folder: Folder, runs: Path) -> None:
    job = real(runs, **LONG)
    process = begun(slurm, folder, [job])
    said = trained(process, Run(runs / job.run), signal.SIGUSR1)
    assert "requeued" in said
    assert slurm.calls("scontrol") == [["requeue", "41_0"]]  # this task, and not the whole array
    assert Run(runs / job.run).checkpoint_file.exists() and folder.replied(f"train-{job.run}") is None


def test_a_preempted_job_checkpoints_and_leaves_the_rest_to_slurm(slurm: FakeSlurm, folder: Folder, runs: Path) -> None:
    job = real(runs, **LONG)
    process = begun(slurm, folder, [job])
    trained(process, Run(runs / job.run), signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    assert slurm.calls("scontrol") == [] and folder.replied(f"train-{job.run}") is None
    assert Run(runs / job.run).checkpoint_file.exists()


def test_a_job_that_gets_nowhere_in_its_time_is_not_requeued_for_ever(
    slurm: FakeSlurm, folder: Folder, runs: Path
) -> None:
    job = real(runs, **LONG)
    process = begun(slurm, folder, [job])
    while not folder.where(f"train-{job.run}"):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGUSR1)
    process.communicate()
    reply = folder.replied(f"train-{job.run}")
    assert slurm.calls("scontrol") == []
    assert reply is not None and "no checkpoint was reached in a whole job of 00:10:00" in reply.message


def test_a_worker_that_is_killed_goes_on_from_its_checkpoint_in_the_same_job(
    slurm: FakeSlurm, folder: Folder, runs: Path
) -> None:
    job = real(runs, optim=TINY["optim"] | {"epochs": 12})
    job = job.model_copy(update={"place": job.place.model_copy(update={"checkpoint_seconds": 0.0})})
    process = begun(slurm, folder, [job])
    while not Run(runs / job.run).checkpoint_file.exists():
        assert process.poll() is None
        time.sleep(0.02)
    (worker,) = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    os.kill(worker, signal.SIGKILL)
    said = process.communicate()[0]
    assert process.returncode == 0 and "died" in said
    assert Run(runs / job.run).result()["epochs"] == 12
