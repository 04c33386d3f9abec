"""SLURM's commands. Of the queue is asked seldom, and once for all jobs: a login node serves others too."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from protege.errors import ProtegeError, RunError

FORMAT = "%A|%F|%K|%j|%T|%M|%N|%r"
OVER = [
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
]
PATIENCE = 60  # seconds for an answer
SILENT = re.compile(r"unable to contact|timed out|connection refused|communication", re.I)
AGAIN_AFTER = (15, 30, 60, 60)  # seconds: as long as a scheduler takes that is started anew


class NoScheduler(ProtegeError):
    """SLURM's commands are not here, or nothing answers them."""


@dataclass(frozen=True)
class Queued:
    """A task of an array as squeue tells of it."""

    job: str  # its own number
    array: str  # of the array
    task: int
    name: str
    state: str
    elapsed: str
    node: str
    reason: str

    @property
    def over(self) -> bool:
        return self.state in OVER


def parsed(said: str) -> list[Queued]:
    """Lines that are none of ours are left out, whatever they are."""
    found = []
    for line in said.splitlines():
        parts = line.strip().split("|")
        if len(parts) == 8 and parts[0].isdigit():
            job, array, task, name, state, elapsed, node, reason = parts
            found.append(
                Queued(job, array, int(task) if task.isdigit() else 0, name, state.split()[0], elapsed, node, reason)
            )
    return found


def accounted(said: str) -> dict[str, str]:
    """From `sacct -P`: state by job, `12_3` or `12`."""
    rows = [line.split("|") for line in said.splitlines()]
    return {row[0]: row[1].split()[0] for row in rows if len(row) >= 2 and row[1].strip()}


def there() -> bool:
    return shutil.which("sbatch") is not None and shutil.which("squeue") is not None


def said_by(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except FileNotFoundError as error:
        raise NoScheduler(
            f"There is no {command[0]} here: this is no machine of a SLURM cluster. Go to its login node, or leave `--on slurm` out."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise NoScheduler(f"{command[0]} gave no answer within {PATIENCE} s.") from error
    if done.returncode:
        raise NoScheduler(f"{command[0]} said: {' '.join(done.stderr.split()) or f'code {done.returncode}'}")
    return done.stdout


@final
class Queue:
    """The jobs whose names begin with `prefix`, as they were at most `look_every` seconds ago."""

    def __init__(self, prefix: str, look_every: float) -> None:
        self._prefix, self._look_every = prefix, look_every
        self._asked_at = -1e9
        self.jobs: list[Queued] = []
        self._by_place: dict[tuple[str, int], list[Queued]] = {}

    def is_due(self) -> bool:
        return time.monotonic() - self._asked_at >= self._look_every

    def look(self) -> None:
        """Asks if it is time. Where there is no answer, what was known stays."""
        if not self.is_due():
            return
        self._asked_at = time.monotonic()
        said = said_by("squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", f"--format={FORMAT}")
        self.jobs = [one for one in parsed(said) if one.name.startswith(self._prefix)]
        self._by_place = {}
        for one in self.jobs:
            self._by_place.setdefault((one.name, one.task), []).append(one)

    def at(self, name: str, task: int) -> list[Queued]:
        return self._by_place.get((name, task), [])


def submit(script: Path, answer: Path, dependency: str, name: str) -> str:
    """The number of the job. Where SLURM is silent it is asked again, unless a job of that `name` was taken all the same."""
    number, said = _submitted(script, answer, dependency)
    for wait in AGAIN_AFTER:
        if number or not SILENT.search(said):
            break
        time.sleep(wait)
        if number := _taken(name):
            answer.write_text(f"{number}\n")
            return number
        number, said = _submitted(script, answer, dependency)
    if number:
        return number
    answer.unlink(missing_ok=True)
    if SILENT.search(said):
        raise NoScheduler(f"sbatch has no answer: {said}. The same command goes on from here.")
    raise RunError(f"sbatch did not take {script}: {said} Change what the --slurm options say.")


def _submitted(script: Path, answer: Path, dependency: str) -> tuple[str, str]:
    """The number, or what was said. sbatch writes it into the file `answer` itself, so that it is known if this process dies now."""
    command = ["sbatch", "--parsable", *([f"--dependency={dependency}"] if dependency else []), str(script)]
    with answer.open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=script.parent
        )
        _, said = process.communicate()
    number = answer.read_text().strip().partition(";")[0]
    return ("" if process.returncode or not number.isdigit() else number), " ".join(said.split())


def _taken(name: str) -> str:
    """Of a job that is in the queue; nothing where there is none, or still no answer."""
    try:
        said = said_by("squeue", "--noheader", f"--name={name}", f"--user={os.getuid()}", "--format=%F")
    except NoScheduler:
        return ""
    return next((line.strip() for line in said.splitlines() if line.strip().isdigit()), "")


def cancel(numbers: Sequence[str]) -> None:
    for start in range(0, len(numbers), 100):
        said_by("scancel", *numbers[start : start + 100])


def accounts_of(numbers: Sequence[str]) -> dict[str, str]:
    """States from the accounting, where there is one."""
    try:
        return accounted(said_by("sacct", "-n", "-P", "-X", "--format=JobID,State", f"--jobs={','.join(numbers)}"))
    except NoScheduler:
        return {}
