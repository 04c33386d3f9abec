"""What a job does inside its allocation: its runs, in slots on its cores, and its end before the scheduler's.

python -m protege.launch.slurm.task FOLDER BATCH [--at-once 4]
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

from protege.launch.jobs import Job, Reply
from protege.launch.launcher import run_jobs
from protege.launch.local import Slots
from protege.launch.slurm import ends
from protege.launch.slurm.folder import Folder, folder_at, stem_of
from protege.launch.slurm.queue import NoScheduler, said_by
from protege.runs import Run, cores

STOPPED = 128 + signal.SIGTERM


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m protege.launch.slurm.task", description="Do a job of a batch.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("batch")
    parser.add_argument("--at-once", type=int, default=1)
    asked = parser.parse_args()
    folder, options = folder_at(asked.folder)
    stems = folder.batch(asked.batch).tasks[int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))]
    jobs = [folder.job(stem) for stem in stems]
    asked_for = options.for_wave(jobs[0].wave)
    log = folder.logs / f"{asked.batch}-{_number()}"
    slots = Slots(
        log, asked.at_once, _threads(asked.at_once), _devices(jobs), forgives=1, if_killed=ends.killed(asked_for)
    )
    before = [_far(job) for job in jobs]
    outcome = run_jobs(lambda: _left(folder, jobs), _Told(folder), slots)
    if signal.SIGUSR1 in outcome.signals and _left(folder, jobs):
        moved = before != [_far(job) for job in jobs]
        _again(folder, jobs, "" if moved else ends.no_progress(asked_for.time))
    done = all((reply := folder.replied(stem)) is not None and reply.outcome == "finished" for stem in stems)
    # Done is done, however late a stop came: what follows must see it.
    raise SystemExit(0 if done else STOPPED if outcome.stopped else 1)


def _left(folder: Folder, jobs: Sequence[Job]) -> list[Job]:
    """Without a reply, and with their teachers there."""
    left = []
    for job in jobs:
        if folder.replied(stem_of(job.key)) is not None:
            continue
        if missing := [need for need in job.needs if not Run(job.place.runs / need).finished]:
            print(f"{job.run} is left out: {missing[0]} is not finished", flush=True)
        else:
            left.append(job.model_copy(update={"needs": ()}))
    return left


@final
class _Told:
    """A watch that writes what happens where everybody can read it."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def started(self, slot: int, job: Job) -> None:
        about = {"job": _number(), "node": os.uname().nodename, "time": time.time()}
        node = os.environ.get("SLURMD_NODENAME")
        self._folder.begin(job.key, about | ({"node": node} if node else {}))
        print(f"{job.key} begins in slot {slot + 1}", flush=True)

    def ended(self, slot: int, job: Job, reply: Reply) -> None:
        print(f"{job.key}: {reply.outcome} {reply.message}".rstrip(), flush=True)
        if reply.outcome not in ("died", "stopped"):  # of these, it goes on
            self._folder.reply(reply)

    def skipped(self, job: Job, because: str) -> None: ...

    def look(self, running: Mapping[int, Job]) -> None: ...


def _again(folder: Folder, jobs: Sequence[Job], hopeless: str) -> None:
    """Requeue this job for what is left, unless it would only do the same again."""
    if hopeless:
        for job in _left(folder, jobs):
            folder.reply(Reply(key=job.key, outcome="failed", message=hopeless))
        return
    print("the time is nearly over: requeued", flush=True)
    try:
        said_by("scontrol", "requeue", _number())
    except NoScheduler as error:  # a site that allows none: who submitted it does so again
        print(error, file=sys.stderr)


def _number() -> str:
    """Of this task alone: the number of an array would requeue all of it."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "0")


def _threads(at_once: int) -> int:
    """A share of the CPUs of the allocation, whether or not the site binds processes to them."""
    given = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE")
    return max(1, int(given or cores()) // at_once)


def _devices(jobs: Sequence[Job]) -> list[str]:
    """All GPUs of the allocation in turn, where it has several."""
    visible = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.strip()]
    asked = jobs[0].place.device
    return [f"cuda:{number}" for number in range(len(visible))] if len(visible) > 1 and asked == "auto" else [asked]


def _far(job: Job) -> tuple[bool, int]:
    """What moves when a run moves."""
    run = Run(job.place.runs / job.run)
    try:
        return run.finished, run.checkpoint_file.stat().st_mtime_ns
    except OSError:
        return run.finished, 0


if __name__ == "__main__":
    main()
