"""SLURM without SLURM: scripts, what its commands say, and that nothing is submitted twice whoever dies when."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import final

import pytest
from pydantic import ValidationError
from slurm_cases import FakeSlurm, job_of
from typer.testing import CliRunner

from protege.errors import RunError, Stopped
from protege.launch.jobs import Job, Reply
from protege.launch.launcher import News, run_jobs
from protege.launch.slurm import conductor, ends, queue
from protege.launch.slurm.folder import Batch, Folder, folder_at
from protege.launch.slurm.launcher import SlurmLauncher
from protege.launch.slurm.options import Slurm, seconds_of
from protege.launch.slurm.queue import NoScheduler, Queue, accounted, parsed
from protege.launch.slurm.script import conductor_of, script_of

QUICK = Slurm(look_every=1)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{fake.bin}:/usr/bin:/bin")
    monkeypatch.setattr("protege.launch.slurm.launcher.GLANCES_EVERY", 0.01)
    return fake


@pytest.fixture
def folder(runs: Path) -> Folder:
    return Folder(runs / "studies" / "made" / "slurm", "made")


def launched(folder: Folder, options: Slurm = QUICK) -> SlurmLauncher:
    return SlurmLauncher(folder, options, lambda _: None)


def news_of(launcher: SlurmLauncher, monkeypatch: pytest.MonkeyPatch, looks: int = 1) -> list[News]:
    """All that it tells until it has asked the queue so many times."""
    told: list[News] = []
    for _ in range(looks):
        monkeypatch.setattr(queue.Queue, "is_due", lambda _: True)
        told += launcher.news()
    return told


def family(runs: Path) -> list[Job]:
    """A teacher and three that it teaches."""
    return [
        job_of(runs, "teacher", "teachers"),
        *(job_of(runs, f"student{number}", "select", needs=("teacher",)) for number in range(3)),
    ]


# ---- what is asked for ----


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("30", 1800), ("30:05", 1805), ("04:00:00", 14400), ("1-12", 129600), ("2-01:00:01", 176401)],
)
def test_a_time_limit_is_read_as_sbatch_reads_it(written: str, seconds: int) -> None:
    assert seconds_of(written) == seconds


def test_a_job_that_would_be_requeued_as_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match=r"before_end \(180 s\) must be at most half of time \(00:05:00\)"):
        Slurm(time="00:05:00")
    assert Slurm(time="00:06:00")


def test_teachers_may_have_what_others_have_not(folder: Folder) -> None:
    options = Slurm.model_validate(
        {"gres": "shard:1", "runs_per_job": 4, "teachers": {"gres": "gpu:1", "runs_per_job": 1}}
    )
    batch = Batch("teachers", (("train-a",),))
    assert "#SBATCH --gres=gpu:1\n" in script_of(folder, batch, "teachers", options)
    assert "#SBATCH --gres=shard:1\n" in script_of(folder, Batch("report", batch.tasks), "report", options)


def test_a_script_says_all_that_was_asked_and_nothing_else(folder: Folder) -> None:
    options = Slurm(
        partition="gpu",
        account="us",
        time="02:00:00",
        mem="8G",
        cpus=6,
        setup="module load cuda",
        more="--qos=long",
        throttle=7,
    )
    text = script_of(folder, Batch("select", (("train-a", "train-b"), ("train-c",))), "select", options)
    lines = text.splitlines()
    assert lines[0] == "#!/bin/bash" and "select: 3 runs in 2 jobs" in lines[1]
    for asked in (
        "partition=gpu",
        "account=us",
        "time=02:00:00",
        "mem=8G",
        "cpus-per-task=6",
        "array=0-1%7",
        "qos=long",
    ):
        assert f"#SBATCH --{asked}" in lines
    assert "#SBATCH --kill-on-invalid-dep=yes" in lines and "#SBATCH --requeue" in lines
    assert "#SBATCH --signal=B:USR1@180" in lines
    assert not any("gres" in line for line in lines)
    assert lines.index("module load cuda") < len(lines) - 1 and lines[-1].startswith("exec ")


def test_a_job_that_is_not_full_shares_its_cpus_as_the_others_do(folder: Folder) -> None:
    """Threads decide bits: which runs share a job must not."""
    options = Slurm(runs_per_job=4, cpus=8)
    for tasks in ((("train-a",),), (("train-a", "train-b", "train-c", "train-d"),)):
        assert "--at-once 4" in script_of(folder, Batch("report", tasks), "report", options)


def test_scripts_are_shell(folder: Folder, tmp_path: Path) -> None:
    for text in (
        script_of(folder, Batch("a", (("x",),)), "report", QUICK),
        conductor_of(folder, ["study", "run"], QUICK),
    ):
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_test_scores_are_read_in_one_job(runs: Path, folder: Folder) -> None:
    jobs = [job_of(runs, f"run{number}", "test") for number in range(30)]
    (made,) = launched(folder).batches_of(jobs)
    assert len(made[0].tasks) == 1 and len(made[0].tasks[0]) == 30


def test_an_array_is_no_longer_than_the_site_allows(runs: Path, folder: Folder) -> None:
    jobs = [job_of(runs, f"run{number}") for number in range(10)]
    made = list(launched(folder, Slurm(array=2, runs_per_job=2)).batches_of(jobs))
    assert [len(batch.tasks) for batch, _, _ in made] == [2, 2, 1]
    assert [batch.name for batch, _, _ in made] == ["report", "report-2", "report-3"]


def test_a_teacher_of_a_teacher_comes_first(slurm: FakeSlurm, runs: Path, folder: Folder) -> None:
    chain = [job_of(runs, "teacher", "teachers"), job_of(runs, "assistant", "teachers", needs=("teacher",))]
    files = conductor.written(folder, QUICK, [*chain, job_of(runs, "student", "select", needs=("assistant",))])
    assert [file.stem for file in files] == ["teachers", "teachers-2", "select", "submit"]
    text = files[-1].read_text()
    assert "--dependency=afterok:$(cat teachers.id) teachers-2.sbatch" in text
    assert "--dependency=afterok:$(cat teachers-2.id) select.sbatch" in text


# ---- what SLURM says ----


def test_the_queue_is_read_whatever_else_is_in_it() -> None:
    said = "12|10|3|protege-a-1.select|RUNNING|1:05|n1|None\nslurm_load_jobs: something\n9|9|N/A|x|COMPLETING|0:01|n2|None\n"
    running, other = parsed(said)
    assert (running.job, running.array, running.task, running.node, running.over) == ("12", "10", 3, "n1", False)
    assert other.task == 0 and not other.over


def test_the_accounting_tells_states_by_task() -> None:
    assert accounted("41_0|OUT_OF_MEMORY\n41_1|CANCELLED by 1000\n42|COMPLETED\n") == {
        "41_0": "OUT_OF_MEMORY",
        "41_1": "CANCELLED",
        "42": "COMPLETED",
    }


@pytest.mark.parametrize(
    ("state", "log", "outcome", "said"),
    [
        ("OUT_OF_MEMORY", "", "failed", "Out of memory: its job has 2G. Give more with --slurm.mem"),
        ("FAILED", "slurmstepd: error: Detected 1 oom_kill event in StepId=7.batch.", "failed", "--slurm.mem"),
        ("FAILED", "slurmstepd: error: Exceeded job memory limit", "failed", "--slurm.mem"),
        ("TIMEOUT", "", "died", "Out of time: its job has 01:00:00. Give more with --slurm.time"),
        ("CANCELLED", "", "failed", "was cancelled"),
        ("PREEMPTED", "", "died", "preempted"),
        ("NODE_FAIL", "", "died", "node failed"),
        ("", "", "died", "gone from the queue"),
        ("FAILED", "Traceback", "died", "without a reply (FAILED)"),
    ],
)
def test_ends_are_told_apart_in_a_line_each(
    runs: Path, tmp_path: Path, state: str, log: str, outcome: str, said: str
) -> None:
    file = tmp_path / "log"
    file.write_text(log)
    reply = ends.reply_for(job_of(runs, "run"), state, file, Slurm(mem="2G", time="01:00:00"))
    assert reply.outcome == outcome and said in reply.message and "\n" not in reply.message


@pytest.mark.parametrize("state", ["CANCELLED", "OUT_OF_MEMORY", "TIMEOUT", "NODE_FAIL", ""])
def test_a_run_that_was_finished_elsewhere_has_not_failed_with_its_job(runs: Path, tmp_path: Path, state: str) -> None:
    (runs / "run").mkdir(parents=True)
    (runs / "run" / "result.json").write_text("{}")
    assert ends.reply_for(job_of(runs, "run"), state, tmp_path / "log", Slurm()).outcome == "finished"


def test_a_student_that_slurm_gives_up_with_its_teacher_has_not_failed(runs: Path, tmp_path: Path) -> None:
    student = job_of(runs, "student", needs=("teacher",))
    assert ends.reply_for(student, "CANCELLED", tmp_path / "log", Slurm()).outcome == "died"
    (runs / "teacher").mkdir(parents=True)
    (runs / "teacher" / "result.json").write_text("{}")
    assert ends.reply_for(student, "CANCELLED", tmp_path / "log", Slurm()).outcome == "failed"  # somebody's scancel


def test_the_queue_is_asked_at_most_once_in_its_time(slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("protege.launch.slurm.queue.time.monotonic", lambda: now[0])
    asked = Queue("protege-", 15)
    for _ in range(600):  # a minute of tenths of a second
        asked.look()
        now[0] += 0.1
    assert len(slurm.calls("squeue")) == 4


def test_a_machine_without_slurm_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoScheduler, match="There is no squeue here"):
        Queue("protege-", 1).look()


# ---- submitted once ----


def test_a_wave_is_an_array_that_waits_for_its_teachers(slurm: FakeSlurm, runs: Path, folder: Folder) -> None:
    launched(folder).take(family(runs))
    teachers, select = slurm.calls("sbatch")
    assert teachers[-1].endswith("teachers.sbatch") and not any("dependency" in word for word in teachers)
    assert select[-1].endswith("select.sbatch") and "--dependency=afterok:41" in select
    assert folder.batch("select").tasks == (("train-student0",), ("train-student1",), ("train-student2",))


def test_of_several_teachers_each_run_waits_for_its_own(slurm: FakeSlurm, runs: Path, folder: Folder) -> None:
    """One that fails must not end what others taught."""
    teachers = [job_of(runs, f"teacher{number}", "teachers") for number in range(2)]
    launched(folder).take([*teachers, job_of(runs, "student", "select", needs=("teacher0",))])
    assert "--dependency=afterany:41" in slurm.calls("sbatch")[1]


def test_what_a_process_submitted_before_it_died_is_not_submitted_again(
    slurm: FakeSlurm, runs: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = launched(folder)
    first.take(family(runs))
    first.end(())
    again = launched(folder)
    again.take(family(runs))
    assert len(slurm.calls("sbatch")) == 2 and again.busy()
    folder.reply(Reply(key="train teacher", outcome="finished"))
    assert [(one.job.run, one.reply and one.reply.outcome) for one in again.news()] == [
        ("teacher", None),
        ("teacher", "finished"),
    ]


def test_a_process_that_died_while_sbatch_went_on_leaves_a_job_that_is_found(
    slurm: FakeSlurm, runs: Path, folder: Folder
) -> None:
    first = launched(folder)
    first.take(family(runs)[:1])
    first.end(())
    folder.file("teachers", "id").write_text("")
    launched(folder).take(family(runs)[:1])
    assert len(slurm.calls("sbatch")) == 1
    assert folder.file("teachers", "id").read_text() == "41\n"


def test_a_process_that_died_before_sbatch_had_done_anything_is_made_good(
    slurm: FakeSlurm, runs: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = launched(folder)
    first.take(family(runs)[:1])
    first.end(())
    folder.file("teachers", "id").write_text("")
    slurm.forgets()
    again = launched(folder)
    again.take(family(runs)[:1])
    assert len(slurm.calls("sbatch")) == 1  # it may still come
    (died,) = news_of(again, monkeypatch, looks=2)
    assert died.reply is not None and died.reply.outcome == "died"
    again.take(family(runs)[:1])
    assert len(slurm.calls("sbatch")) == 2
    assert folder.file("teachers-2", "id").read_text() == "42\n"


def test_scripts_that_were_submitted_by_hand_are_found(slurm: FakeSlurm, runs: Path, folder: Folder) -> None:
    files = conductor.written(folder, QUICK, family(runs))
    assert [file.name for file in files] == ["teachers.sbatch", "select.sbatch", "submit.sh"]
    assert not slurm.calls("sbatch")
    subprocess.run(["sbatch", str(files[0])], check=True, capture_output=True)
    launched(folder).take(family(runs))
    assert [call[-1].rpartition("/")[2] for call in slurm.calls("sbatch")] == ["teachers.sbatch", "select.sbatch"]
    assert "--dependency=afterok:41" in slurm.calls("sbatch")[1]


def test_what_a_dry_run_leaves_submits_all_in_order(slurm: FakeSlurm, runs: Path, folder: Folder) -> None:
    files = conductor.written(folder, QUICK, family(runs))
    subprocess.run(["bash", str(files[-1])], check=True, capture_output=True)
    assert "--dependency=afterok:41" in slurm.calls("sbatch")[1]
    launched(folder).take(family(runs))
    assert len(slurm.calls("sbatch")) == 2


def test_two_do_not_look_after_the_same_jobs(slurm: FakeSlurm, runs: Path, folder: Folder) -> None:
    first = launched(folder)
    first.take(family(runs))
    with pytest.raises(RunError, match="looked after by process"):
        launched(folder).take(family(runs))
    first.end(())
    launched(folder).take(family(runs))


def test_a_finished_wave_is_followed_by_a_batch_of_another_name(slurm: FakeSlurm, runs: Path, folder: Folder) -> None:
    launcher = launched(folder, Slurm(look_every=1))
    launcher.take([job_of(runs, "one")])
    launcher.take([job_of(runs, "two")])
    assert [call[-1].rpartition("/")[2] for call in slurm.calls("sbatch")] == ["report.sbatch", "report-2.sbatch"]


def test_soon_after_a_submission_nothing_is_taken_so_that_the_next_is_large(
    slurm: FakeSlurm, runs: Path, folder: Folder
) -> None:
    launcher = launched(folder, Slurm(queued=50))
    assert launcher.room() == 50
    launcher.take([job_of(runs, "one")])
    assert launcher.room() == 0


# ---- what becomes of it ----


def test_a_failure_that_nobody_heard_of_is_told_and_told_once(
    slurm: FakeSlurm, runs: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [job_of(runs, "run")]
    first = launched(folder)
    first.take(jobs)
    first.end(())
    slurm.becomes("FAILED")
    folder.reply(Reply(key="train run", outcome="failed", message="no such data"))
    second = launched(folder)
    second.take(jobs)
    assert [one.reply.message for one in second.news() if one.reply] == ["no such data"]
    second.end(())
    launched(folder).take(jobs)  # who types the command again wants another try
    assert len(slurm.calls("sbatch")) == 2 and folder.replied("train-run") is None


@pytest.mark.parametrize("remembered", [True, False], ids=["by the queue", "by the accounting"])
def test_a_job_that_left_no_reply_is_lost_after_two_looks(
    slurm: FakeSlurm, runs: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch, remembered: bool
) -> None:
    launcher = launched(folder)
    launcher.take([job_of(runs, "run")])
    slurm.becomes("OUT_OF_MEMORY")
    if not remembered:
        slurm.forgets()
        slurm.change(accounts={"41_0": "OUT_OF_MEMORY"})
    assert news_of(launcher, monkeypatch) == []
    (lost,) = news_of(launcher, monkeypatch)
    assert lost.reply is not None and lost.reply.outcome == "failed" and "--slurm.mem" in lost.reply.message


def test_a_reply_that_shows_late_counts(
    slurm: FakeSlurm, runs: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = launched(folder)
    launcher.take([job_of(runs, "run")])
    slurm.becomes("COMPLETED")
    assert news_of(launcher, monkeypatch) == []
    folder.reply(Reply(key="train run", outcome="finished"))
    assert [one.reply.outcome for one in launcher.news() if one.reply] == ["finished"]


def test_a_requeued_job_is_not_lost(
    slurm: FakeSlurm, runs: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    launcher = launched(folder)
    launcher.take([job_of(runs, "run")])
    for state in ("RUNNING", "COMPLETING", "PENDING", "REQUEUED", "RUNNING"):
        slurm.becomes(state)
        assert news_of(launcher, monkeypatch, looks=2) == []


def test_from_a_queue_that_does_not_answer_nothing_is_concluded(
    slurm: FakeSlurm, runs: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    launcher = SlurmLauncher(folder, QUICK, said.append)
    launcher.take([job_of(runs, "run")])
    slurm.change(silent=True)
    assert news_of(launcher, monkeypatch, looks=5) == [] and launcher.busy()
    assert len([line for line in said if "Unable to contact" in line]) == 1


def test_students_of_a_teacher_that_failed_are_left_out_and_not_submitted_again(
    slurm: FakeSlurm, runs: Path, folder: Folder
) -> None:
    told: list[str] = []

    @final
    class Unlucky:
        """The teacher fails as soon as it is submitted, and SLURM gives up what waits for it."""

        def started(self, slot: int, job: Job) -> None: ...

        def skipped(self, job: Job, because: str) -> None: ...

        def ended(self, slot: int, job: Job, reply: Reply) -> None:
            told.append(job.run)
            slurm.becomes("CANCELLED", "42")

        def look(self, running: Mapping[int, Job]) -> None:
            if not folder.is_noted("train-teacher"):
                folder.reply(Reply(key="train teacher", outcome="failed", message="no such data"))

    outcome = run_jobs(lambda: family(runs), Unlucky(), launched(folder))
    assert outcome.failed == {"teacher": "no such data"}
    assert outcome.skipped == dict.fromkeys(("student0", "student1", "student2"), "teacher")
    assert told == ["teacher"]  # of the others, which never began, it is said once that they are left out
    assert len(slurm.calls("sbatch")) == 2


def test_cancel_ends_its_own_jobs_and_who_submits_them(slurm: FakeSlurm, runs: Path, folder: Folder) -> None:
    launcher = launched(folder)
    launcher.take(family(runs))
    assert conductor.cancel_all(folder) == 4
    assert slurm.calls("scancel") == [["41", "42"]]  # and not the 77 of somebody else
    with pytest.raises(Stopped, match="was cancelled"):
        launcher.news()
    launcher.end(())
    launched(folder).take(family(runs))
    assert len(slurm.calls("sbatch")) == 4


def test_a_study_is_left_to_one_job_alone(slurm: FakeSlurm, folder: Folder) -> None:
    assert conductor.detach(folder, QUICK, ["study", "run", "file.yaml", "--on", "slurm"]) == "41"
    text = folder.file("conductor", "sbatch").read_text()
    assert "study run file.yaml --on slurm &" in text and "scontrol requeue $SLURM_JOB_ID" in text
    with pytest.raises(RunError, match="Job 41 looks after made already"):
        conductor.detach(folder, QUICK, ["study", "run", "file.yaml", "--on", "slurm"])


def test_what_was_asked_is_there_for_the_jobs_themselves(slurm: FakeSlurm, folder: Folder) -> None:
    launched(folder, Slurm(mem="3G"))
    read, options = folder_at(folder.path)
    assert (read.title, options.mem) == ("made", "3G")


def test_a_single_run_is_left_to_one_job_however_often_it_is_typed(slurm: FakeSlurm, runs: Path) -> None:
    from protege.cli.app import app

    words = ["train", "--model", "resnet8", "--data.limit", "128", "--runs", str(runs), "--on", "slurm"]
    for _ in range(2):
        done = CliRunner().invoke(app, [*words, "--slurm.time", "30", "--detach"], catch_exceptions=False)
        assert "is left to its job" in done.output
    ((*_, script),) = slurm.calls("sbatch")
    assert "#SBATCH --time=30" in Path(script).read_text() and not list(runs.glob("*/run.json"))


def test_nothing_but_slurm_can_be_left_alone(runs: Path) -> None:
    from protege.cli.app import app

    for where in ("ray", "local"):
        done = CliRunner().invoke(app, ["train", "--runs", str(runs), "--on", where, "--detach"])
        assert "it goes with `--on slurm`" in str(done.exception)


# ---- what goes wrong around it ----


@pytest.mark.parametrize(
    "options",
    [
        {"partition": "gpu\nrm -rf ~"},
        {"account": "us --wrap=true"},
        {"gres": "gpu:1'"},
        {"mem": "4G # much"},
        {"teachers": {"partition": "gpu\rcpu"}},
        {"more": "--qos=long\nrm -rf ~"},
        {"more": "--comment='never closed"},
    ],
)
def test_an_option_that_would_be_more_than_an_option_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Slurm.model_validate(options)


def test_what_sbatch_reads_is_one_option_whatever_is_in_it(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "it's a 100% folder" / "slurm", "made")
    text = script_of(folder, Batch("report", (("train-run",),)), "report", Slurm(more="--comment='two words'"))
    directives = [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("#SBATCH ")]
    assert all(len(words) == 1 for words in directives)
    assert ["--comment=two words"] in directives
    assert [f"--output={tmp_path}/it's a 100%% folder/slurm/logs/report-%A_%a.log"] in directives


@pytest.mark.parametrize("title", ["made\nrm -rf ~", "made\rmade", "made\x1b[2J"])
def test_a_name_that_would_leave_its_comment_is_refused(tmp_path: Path, title: str) -> None:
    folder = Folder(tmp_path / "slurm", title)
    assert folder.prefix.isascii() and folder.prefix.isprintable()
    with pytest.raises(RunError, match="not printed on one line"):
        script_of(folder, Batch("report", (("train-run",),)), "report", Slurm())


def test_a_scheduler_that_is_silent_for_a_minute_is_asked_again(
    slurm: FakeSlurm, runs: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "AGAIN_AFTER", (0, 0, 0))
    slurm.change(silent=3)  # sbatch, squeue, sbatch
    launched(folder).take(family(runs))
    assert len(slurm.known()["jobs"]) == 4  # nothing twice
    assert folder.file("teachers", "id").read_text() == "41\n"


def test_a_job_that_was_taken_without_an_answer_is_not_submitted_again(
    slurm: FakeSlurm, runs: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "AGAIN_AFTER", (0,))
    slurm.change(deaf=True)
    launched(folder).take(family(runs))
    assert [job[3].rpartition(".")[2] for job in slurm.known()["jobs"]] == ["teachers", "select", "select", "select"]
    assert "--dependency=afterok:41" in slurm.calls("sbatch")[-1]


def test_one_that_stays_silent_ends_the_command_in_a_line(
    slurm: FakeSlurm, runs: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "AGAIN_AFTER", (0,))
    launcher = launched(folder)
    slurm.change(silent=True)
    with pytest.raises(NoScheduler, match=r"Unable to contact .* goes on from here"):
        launcher.take(family(runs))
    assert not list(folder.path.glob("*.id"))


def test_a_damaged_reply_is_none(slurm: FakeSlurm, runs: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it would have said lies in the folder of the run."""
    launcher = launched(folder)
    launcher.take([job_of(runs, "run")])
    (folder.replies / "train-run.json").write_text('{"key": "train run", "outc')
    assert news_of(launcher, monkeypatch) == [] and launcher.busy()
    slurm.becomes("COMPLETED")
    (lost,) = news_of(launcher, monkeypatch, looks=2)
    assert lost.reply is not None and lost.reply.outcome == "died"


def test_clocks_that_differ_change_no_order(slurm: FakeSlurm, runs: Path, folder: Folder) -> None:
    """A batch that a login node of the past has written is still the last."""
    launcher = launched(folder)
    for number in range(12):
        batch = Batch(folder.free_name("report", []), (("train-run",),))
        folder.write(batch, [job_of(runs, "run")], "")
        folder.file(batch.name, "id").write_text("41\n")
        os.utime(folder.file(batch.name, "runs"), (1000 - number, 1000 - number))
    launcher.end(())
    assert [batch.name for batch in folder.batches()][-3:] == ["report-10", "report-11", "report-12"]


@pytest.mark.parametrize("full", [False, True])
def test_a_folder_that_cannot_be_written_is_named_in_a_line(
    slurm: FakeSlurm, runs: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise (
            OSError(errno.ENOSPC, "No space left on device") if full else OSError(errno.EROFS, "Read-only file system")
        )

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RunError, match=r"slurm cannot be written: .*Choose another folder with --runs"):
        launched(folder)
