"""Where there is no terminal, a study tells what happens line by line; when quiet, nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from protege.launch.jobs import Job, Reply
from protege.runs import Run, append_line
from protege.runs.config import Place, check_run
from protege.study.conduct.progress import StudyDisplay


@pytest.fixture
def job(runs: Path) -> Job:
    append_line(
        Run(runs / "a-run").metrics_file,
        {"epoch": 0, "terms": {"labels": 1.0}, "train_accuracy": 0.5, "lr": 0.1, "heldout_accuracy": 0.5},
    )
    return Job(
        verb="train",
        run="a-run",
        config=check_run({"optim": {"epochs": 2}}),
        place=Place(runs=runs),
        label="kd, seed 0",
    )


def tell(display: StudyDisplay, job: Job, reply: Reply) -> None:
    with display:
        display.started(0, job)
        display.look({0: job})
        display.ended(0, job, reply)


def test_each_run_is_told_with_its_score_and_what_is_left(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    display = StudyDisplay("temperature", total=3, finished=1, seconds={"a-run": 0.0, "another": 0.0}, slots=1)
    tell(display, job, Reply(key=job.key, outcome="finished"))
    said = capsys.readouterr().err
    assert "temperature 1/3  kd, seed 0 begins in a-run" in said
    assert "temperature 2/3  kd, seed 0 is finished after 0 s, held-out 50.00 %, about 0 s left" in said


def test_a_failure_is_told_with_its_reason_and_what_is_left_out_with_its_own(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    display = StudyDisplay("temperature", total=3, finished=1, seconds={}, slots=1)
    tell(display, job, Reply(key=job.key, outcome="failed", message="The disk is full."))
    display.skipped(job, "its-teacher")
    said = capsys.readouterr().err
    assert "kd, seed 0 failed: The disk is full." in said
    assert "kd, seed 0 is left out: it needs its-teacher, which failed" in said


def test_the_time_left_shrinks_while_a_run_goes_on(job: Job) -> None:
    display = StudyDisplay("temperature", total=1, finished=0, seconds={"a-run": 100.0}, slots=1, quiet=True)
    before = display._ahead()
    display.look({0: job})  # one epoch of two
    assert (before, display._ahead()) == ("about 1 min 40 s left", "about 50 s left")


def test_quiet_is_quiet(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    tell(StudyDisplay("temperature", 3, 1, {}, 1, quiet=True), job, Reply(key=job.key, outcome="finished"))
    assert capsys.readouterr().err == ""
