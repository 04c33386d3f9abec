"""Worker slots: several runs at once, a failure that stays its own, and a stop that loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from protege.errors import NotEnoughSpace
from protege.launch.jobs import Job, Reply, reply_in, write
from protege.launch.launcher import News, Outcome, Unwatched, run_jobs
from protege.launch.local import Slots
from protege.runs import Run
from protege.runs.config import Place, RunConfig, check_run
from protege.study.conduct.estimate import Estimate, refuse_what_does_not_fit

TINY = {
    "data": {"name": "cifar10-mini", "limit": 128, "heldout": 100},
    "model": "resnet8",
    "optim": {"epochs": 1, "batch_size": 64},
}


def config(**changes: Any) -> RunConfig:
    return check_run(TINY | changes)


def job(runs: Path, run: str = "", needs: tuple[str, ...] = (), **changes: Any) -> Job:
    from protege.train import plan

    described = config(**changes)
    place = Place(runs=runs, data_dir=None, quiet=True, wait=True)
    known = run or plan(described, place).id
    return Job(
        verb="train", run=known, config=described, place=place, label=known, needs=needs, command="protege study run x"
    )


WORKER = [sys.executable, "-m", "protege.launch.worker"]


def on_one_thread(one: Job) -> Job:
    return one.model_copy(update={"place": one.place.model_copy(update={"threads": 1})})


def listing(jobs: list[Job]) -> Any:
    """What is not finished yet, as a study would say it."""
    return lambda: [one for one in jobs if not Run(one.place.runs / one.run).finished]


# ---- the order ----


class Pretended:
    """A launcher that does what it is told in `script`: the outcomes of each run, one after another; else it finishes."""

    def __init__(self, script: dict[str, list[str]], *, room: int = 9, chains: bool = False, forgives: int = 0) -> None:
        self.script, self.size, self.chains, self.forgives = script, room, chains, forgives
        self.look_every, self.after_a_stop = 0.0, "nothing is left"
        self.given, self.waiting, self.finished = list[list[str]](), list[Job](), set[str]()

    def room(self) -> int:
        return self.size - len(self.waiting)

    def take(self, jobs: Sequence[Job]) -> None:
        self.given.append([job.run for job in jobs])
        self.waiting += jobs

    def busy(self) -> bool:
        return bool(self.waiting)

    def news(self) -> Sequence[News]:
        job = self.waiting.pop(0)
        outcomes = self.script.get(job.run, [])
        outcome: Any = outcomes.pop(0) if outcomes else "finished"
        self.finished |= {job.run} if outcome == "finished" else set()
        return [News(0, job), News(0, job, Reply(key=job.key, outcome=outcome, message="said"))]

    def end(self, asked: Sequence[int]) -> None: ...

    def conduct(self, jobs: list[Job]) -> Outcome:
        return run_jobs(lambda: [one for one in jobs if one.run not in self.finished], Unwatched(), self)


def chain(runs: Path) -> list[Job]:
    return [job(runs, "student", needs=("teacher",)), job(runs, "teacher"), job(runs, "alone")]


def test_a_job_waits_for_what_it_needs_and_others_go_first(runs: Path) -> None:
    launcher = Pretended({})
    launcher.conduct(chain(runs))
    assert launcher.given == [["teacher", "alone"], ["student"]]


def test_a_launcher_that_chains_is_given_what_needs_a_run_that_it_has(runs: Path) -> None:
    student, teacher, _ = chain(runs)
    launcher = Pretended({}, chains=True)
    launcher.conduct([teacher, student])
    assert launcher.given == [["teacher", "student"]]


def test_never_more_is_given_than_there_is_room_for(runs: Path) -> None:
    launcher = Pretended({}, room=1)
    launcher.conduct(chain(runs))
    assert launcher.given == [["teacher"], ["student"], ["alone"]]


def test_what_needs_a_failed_run_is_skipped_and_so_is_what_needs_that(runs: Path) -> None:
    waiting = [job(runs, "assistant", needs=("teacher",)), job(runs, "student", needs=("assistant",))]
    outcome = Pretended({"teacher": ["failed"]}).conduct([job(runs, "teacher"), *waiting, job(runs, "alone")])
    assert outcome.failed == {"teacher": "said"}
    assert outcome.skipped == {"assistant": "teacher", "student": "assistant"}


def test_a_death_is_forgiven_as_often_as_the_launcher_says_and_then_it_is_a_failure(runs: Path) -> None:
    once, twice = job(runs, "once"), job(runs, "twice")
    launcher = Pretended({"once": ["died"], "twice": ["died", "died"]}, forgives=1)
    outcome = launcher.conduct([once, twice])
    assert outcome.failed == {"twice": "said"} and launcher.finished == {"once"}


def test_deaths_between_which_a_checkpoint_was_written_are_forgiven_anew(runs: Path) -> None:
    """A node that is taken away every hour does not fail a run of a day."""

    class Moving(Pretended):
        def news(self) -> Sequence[News]:
            checkpoint = Run(self.waiting[0].place.runs / self.waiting[0].run).checkpoint_file
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.touch()
            return super().news()

    assert not Moving({"long": ["died"] * 5}, forgives=1).conduct([job(runs, "long")]).failed


def test_a_job_survives_being_written_and_read(runs: Path) -> None:
    one = job(runs, method={"name": "kd", "temperature": 2.0}, teacher="somewhere", run="taught")
    assert Job.model_validate_json(one.model_dump_json()) == one


# ---- workers ----


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Job], Outcome]:
    """A good run, one whose teacher is nowhere, one that needs that, and one whose loss explodes; in two slots."""
    runs = tmp_path_factory.mktemp("slots") / "runs"
    jobs = {
        "broken": job(runs, "broken", teacher="nowhere", method="kd"),
        "waiting": job(runs, "waiting", needs=("broken",)),
        "diverging": job(runs, optim=TINY["optim"] | {"lr": 1e9}),
        "good": job(runs),
        "other": job(runs, seed=1),
    }
    outcome = run_jobs(listing(list(jobs.values())), Unwatched(), Slots(runs / "logs", slots=2, threads=1))
    return runs, jobs, outcome


def test_a_failed_run_says_why_in_one_line_and_stops_no_other(mixed: tuple[Path, dict[str, Job], Outcome]) -> None:
    runs, jobs, outcome = mixed
    assert outcome.failed["broken"].startswith("There is no run 'nowhere'")
    assert "\n" not in outcome.failed["broken"]
    assert outcome.skipped == {"waiting": "broken"}
    assert Run(runs / jobs["good"].run).finished and Run(runs / jobs["other"].run).finished
    assert not outcome.stopped


def test_a_loss_that_explodes_is_told_apart_from_a_failure(mixed: tuple[Path, dict[str, Job], Outcome]) -> None:
    _, jobs, outcome = mixed
    kinds = {reply.key.removeprefix("train "): reply.outcome for reply in outcome.replies}
    assert kinds[jobs["diverging"].run] == "diverged"
    assert kinds["broken"] == "failed"


def test_records_name_the_threads_of_the_slot_and_the_command_of_the_user(
    mixed: tuple[Path, dict[str, Job], Outcome],
) -> None:
    runs, jobs, _ = mixed
    record = Run(runs / jobs["good"].run).record()
    assert (record["threads"], record["command"]) == (1, "protege study run x")


def test_a_run_in_a_slot_is_the_run_made_by_hand(mixed: tuple[Path, dict[str, Job], Outcome], tmp_path: Path) -> None:
    """The same bits, so that a study may be finished by hand and a run by a study."""
    from protege.train import train

    runs, jobs, _ = mixed
    by_hand = train(config(), Place(runs=tmp_path, threads=1, quiet=True))
    in_slot = Run(runs / jobs["good"].run)
    assert by_hand.id == in_slot.id
    assert by_hand.weights_file().read_bytes()[-4000:] == in_slot.weights_file().read_bytes()[-4000:]
    assert by_hand.metrics() == in_slot.metrics()


class Interrupting:
    """Does something to this process or its worker as soon as an epoch is through."""

    def __init__(self, act: Any) -> None:
        self.act, self.done, self.replies = act, False, list[Reply]()

    def started(self, slot: int, job: Job) -> None: ...

    def skipped(self, job: Job, because: str) -> None: ...

    def ended(self, slot: int, job: Job, reply: Reply) -> None:
        self.replies.append(reply)

    def look(self, running: Mapping[int, Job]) -> None:
        for one in running.values():
            if not self.done and Run(one.place.runs / one.run).metrics():
                self.done = True
                self.act()


def workers() -> list[int]:
    """Processes that this one started to do jobs."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid() and "protege.launch.worker" in (process / "cmdline").read_text():
                found.append(int(process.name))
        except (OSError, ValueError):
            continue
    return found


def test_a_stop_checkpoints_the_run_and_leaves_no_process_behind(runs: Path) -> None:
    long = job(runs, optim=TINY["optim"] | {"epochs": 500})
    watch = Interrupting(lambda: os.kill(os.getpid(), signal.SIGINT))
    outcome = run_jobs(listing([long]), watch, Slots(runs / "logs", threads=1))
    assert outcome.stopped
    run = Run(runs / long.run)
    assert run.checkpoint_file.exists() and not run.finished
    assert workers() == []


def test_a_killed_worker_is_reported_and_the_next_job_gets_another(runs: Path) -> None:
    long, short = job(runs, optim=TINY["optim"] | {"epochs": 500}), job(runs)
    watch = Interrupting(lambda: [os.kill(pid, signal.SIGKILL) for pid in workers()])
    outcome = run_jobs(listing([long, short]), watch, Slots(runs / "logs", threads=1))
    assert "killed, most likely for want of memory" in outcome.failed[long.run]
    assert Run(runs / short.run).finished


def test_a_worker_whose_launcher_is_gone_checkpoints_and_ends(runs: Path) -> None:
    """The end of its input is all that a worker in a slot sees of a launcher that was killed."""
    long = job(runs, optim=TINY["optim"] | {"epochs": 500})
    files = [runs / "job.json", runs / "reply.json"]
    write(files[0], on_one_thread(long))
    process = subprocess.Popen([*WORKER, "--slot"], stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write(json.dumps([str(file) for file in files]) + "\n")
    process.stdin.flush()
    run = Run(runs / long.run)
    while not run.metrics():
        assert process.poll() is None
        time.sleep(0.05)
    process.communicate()  # closes its input
    said = reply_in(files[1])
    assert said is not None and said.outcome == "stopped"
    assert run.checkpoint_file.exists()


def test_a_job_from_a_file_is_done_without_anybody_at_its_input(runs: Path) -> None:
    short = job(runs)
    write(runs / "job.json", on_one_thread(short))
    files = ["--job", str(runs / "job.json"), "--reply", str(runs / "reply.json")]
    subprocess.run([*WORKER, *files], stdin=subprocess.DEVNULL, check=True)
    assert reply_in(runs / "reply.json") == Reply(key=short.key, outcome="finished")
    assert Run(runs / short.run).finished


def test_a_run_that_would_become_another_is_not_trained(
    mixed: tuple[Path, dict[str, Job], Outcome], runs: Path
) -> None:
    """Data that changed after planning give another id; the plan would never find the run."""
    from protege.launch.worker import work

    reply = work(job(runs, "resnet8-supervised-000000000000"))
    assert reply.outcome == "failed" and "changed since it was planned" in reply.message
    assert not runs.exists()


# ---- what a run takes ----


def test_two_commands_on_the_same_folder_get_their_own_replies(runs: Path) -> None:
    """Both have a first slot, and both logs are one file."""
    launchers = {job(runs, seed=seed).key: Slots(runs / "logs", threads=1) for seed in (0, 1)}
    for seed, launcher in enumerate(launchers.values()):
        launcher.take([job(runs, seed=seed)])
    told = {}
    for key, launcher in launchers.items():
        while launcher.busy():
            told[key] = [news.reply.key for news in launcher.news() if news.reply is not None]
        launcher.end(())
    assert told == {key: [key] for key in launchers}


def test_a_probe_measures_time_and_memory_and_leaves_nothing_behind(runs: Path) -> None:
    from protege.launch.jobs import STAND_IN
    from protege.launch.probe import Probe
    from protege.models.config import ModelConfig

    described = config(teacher=STAND_IN, method="kd", optim=TINY["optim"] | {"epochs": 500})
    one = Job(
        verb="probe",
        run="kind",
        config=described,
        place=Place(runs=runs, quiet=True),
        stand_ins=(ModelConfig(name="resnet14"),),
    )
    done = run_jobs(lambda: [one], Unwatched(), Slots(runs.parent / "logs", threads=1))
    found = Probe.model_validate(done.replies[0].found)
    assert found.seconds_per_image > 0 and found.seconds_per_look > 0 and found.seconds_per_asked > 0
    assert 78_000 * 4 < found.weights < 90_000 * 4  # resnet8 has 78,042 parameters, and its norms their statistics
    assert 50e6 < found.memory < 20e9
    assert not runs.exists()


def test_more_slots_than_memory_holds_are_refused_with_the_figures(runs: Path) -> None:
    greedy = Estimate(seconds=1, disk=1, memory=10**12, by_run={})
    with pytest.raises(NotEnoughSpace, match=r"3 slots need 3,000.0 GB \(1,000.0 GB each\).*Not even one fits"):
        refuse_what_does_not_fit(greedy, Place(runs=runs), slots=3, devices=["cpu"])
    modest = Estimate(seconds=1, disk=1, memory=10**8, by_run={})
    with pytest.raises(NotEnoughSpace, match=r"Use --slots \d+"):
        refuse_what_does_not_fit(modest, Place(runs=runs), slots=10**6, devices=["cpu"])
    refuse_what_does_not_fit(modest, Place(runs=runs), slots=1, devices=["cpu"])


def test_a_disk_that_is_too_small_is_refused_with_the_figures(runs: Path) -> None:
    huge = Estimate(seconds=1, disk=10**18, memory=1, by_run={})
    with pytest.raises(NotEnoughSpace, match=r"1,000,000,000.0 GB in .*are free"):
        refuse_what_does_not_fit(huge, Place(runs=runs), slots=1, devices=["cpu"])


def test_what_was_measured_may_be_as_large_as_it_is() -> None:
    """Bounds are for what people describe: five gigabytes at the peak are nothing to refuse."""
    from protege.launch.probe import Probe

    large = Probe(seconds_per_image=1e-3, seconds_per_asked=0.0, seconds_per_look=1e-3, weights=10**8, memory=5 * 10**9)
    assert Probe.model_validate_json(large.model_dump_json()) == large
