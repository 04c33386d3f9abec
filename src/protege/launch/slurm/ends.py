"""What became of a job that left no reply: which limit it met, and what to change."""

from __future__ import annotations

import re
from pathlib import Path

from protege.launch.jobs import Job, Reply
from protege.launch.slurm.options import Slurm
from protege.runs import Run

OF_MEMORY = re.compile(r"exceeded (job )?memory limit|oom[-_ ]?kill|out[ -]of[ -]memory|killed by the cgroup", re.I)
TAIL = 8000  # bytes of a log that are looked at


def reply_for(job: Job, state: str, log: Path, options: Slurm) -> Reply:
    """`state` is SLURM's word for the end, or nothing where SLURM knows the job no more."""
    if job.verb == "train" and Run(job.place.runs / job.run).finished:  # elsewhere, or its last words were lost
        return Reply(key=job.key, outcome="finished")
    if state == "OUT_OF_MEMORY" or (state not in ("TIMEOUT", "CANCELLED") and OF_MEMORY.search(_end_of(log))):
        return Reply(key=job.key, outcome="failed", message=out_of_memory(options))
    if state == "TIMEOUT":
        return Reply(key=job.key, outcome="died", message=out_of_time(options))
    if state == "CANCELLED" and all(Run(job.place.runs / need).finished for need in job.needs):
        return Reply(key=job.key, outcome="failed", message="Its job was cancelled. The same command submits it again.")
    died = {
        "CANCELLED": "Its job was cancelled, as what it needs was not finished.",
        "PREEMPTED": "Its job was preempted, and not requeued.",
        "NODE_FAIL": "Its node failed.",
        "": "Its job is gone from the queue without a reply.",
    }
    said = died.get(state, f"Its job ended without a reply ({state}).")
    return Reply(key=job.key, outcome="died", message=f"{said} What it said last is in {log}.")


def out_of_memory(options: Slurm) -> str:
    return f"Out of memory: {_of_memory(options)}"


def killed(options: Slurm) -> str:
    """Of a process that nobody saw being killed."""
    return f"The process was killed, most likely for want of memory: {_of_memory(options)}"


def _of_memory(options: Slurm) -> str:
    has = f"its job has {options.mem}" if options.mem else "its job has what the site gives"
    return (
        f"{has}. Give more with --slurm.mem, make fewer runs at a time with --slurm.at-once, "
        "or choose a smaller optim.batch_size."
    )


def out_of_time(options: Slurm) -> str:
    return (
        f"Out of time: its job has {options.time}. Give more with --slurm.time, "
        "or more room for the last checkpoint with --slurm.before-end."
    )


def no_progress(options_time: str) -> str:
    return (
        f"Out of time: no checkpoint was reached in a whole job of {options_time}. Give more with --slurm.time, "
        "or fewer runs in a job with --slurm.runs-per-job."
    )


def _end_of(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
