"""The files of a study's jobs, or of a run's: all that is known of them, for whoever looks, on whichever node.

slurm/
  teachers.sbatch     a script for each batch: select.sbatch, report.sbatch, test.sbatch; report-2.sbatch when more is known
  teachers.runs       the jobs of a batch: a line for each task of its array
  teachers.id         what sbatch answered; empty while nobody knows whether it did
  submit.sh           what a dry run would have submitted
  about.json          whose jobs these are, and what was asked for them
  jobs/ begun/        what each run is, and where it was begun: `train-<id>.json`
  replies/            what became of it; told/ names those that somebody was told of
  logs/               what each job printed
  cancelled           `protege study cancel` was here
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from protege.data.files import content_of
from protege.errors import RunError
from protege.launch.jobs import Job, Reply, job_in, reply_in, write
from protege.launch.slurm.options import Slurm
from protege.runs import read_json, write_json
from protege.runs.files import whole
from protege.runs.records import Begun, record_of


@dataclass(frozen=True)
class Batch:
    """A script and the jobs in each task of its array."""

    name: str
    tasks: tuple[tuple[str, ...], ...]  # stems of the files of jobs


def folder_at(path: Path) -> tuple[Folder, Slurm]:
    """Of jobs that were described."""
    about = read_json(path / "about.json")
    return Folder(path, about["title"]), Slurm.model_validate(about["options"])


def stem_of(key: str) -> str:
    return key.replace(" ", "-", 1)


@final
class Folder:
    """`path` is shared by all nodes."""

    def __init__(self, path: Path, title: str) -> None:
        self.path, self.title = path, title
        self.logs, self.replies, self.begun = path / "logs", path / "replies", path / "begun"
        self.cancelled = path / "cancelled"
        mark = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
        self.prefix = f"protege-{re.sub(r'[^A-Za-z0-9_.-]', '-', title)[:40]}-{mark}."  # of the names of its jobs

    def make(self) -> None:
        try:
            for folder in (self.logs, self.replies / "told", self.begun, self.path / "jobs"):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"{self.path} cannot be written: {error.strerror}. Choose another folder with --runs."
            ) from error

    def describe(self, options: Slurm) -> None:
        """For the jobs themselves, which must say what to change."""
        write_json(self.path / "about.json", {"title": self.title, "options": options.model_dump(mode="json")})

    def file(self, batch: str, kind: str) -> Path:
        return self.path / f"{batch}.{kind}"

    # ---- batches ----

    def batches(self) -> list[Batch]:
        """Those of a wave in the order of their numbers: clocks of login nodes differ."""
        return [self.batch(name) for name in sorted((file.stem for file in self.path.glob("*.runs")), key=_order)]

    def batch(self, name: str) -> Batch:
        file = self.file(name, "runs")
        try:
            lines = content_of(file).decode(errors="replace").splitlines()
        except OSError as error:
            raise RunError(f"{file} cannot be read: {error.strerror}.") from error
        return Batch(name, tuple(tuple(line.split()) for line in lines))

    def free_name(self, wave: str, others: Collection[str]) -> str:
        """`select`, then `select-2`: not one of `others`, and none whose jobs were submitted."""
        taken = {file.stem for file in self.path.glob("*.id")} | set(others)
        return next(name for number in itertools.count(1) if (name := numbered(wave, number)) not in taken)

    def write(self, batch: Batch, jobs: Sequence[Job], script: str) -> None:
        for job in jobs:
            write(self.path / "jobs" / f"{stem_of(job.key)}.json", job)
        for kind, text in (("runs", "".join(" ".join(task) + "\n" for task in batch.tasks)), ("sbatch", script)):
            with whole(self.file(batch.name, kind)) as partial:
                partial.write_text(text)

    # ---- jobs ----

    def job(self, stem: str) -> Job:
        return job_in(self.path / "jobs" / f"{stem}.json")

    def begin(self, key: str, about: dict[str, Any]) -> None:
        write_json(self.begun / f"{stem_of(key)}.json", about)

    def where(self, stem: str) -> dict[str, Any]:
        """Job, node and time of the last beginning; empty where it has not begun."""
        try:
            return record_of(content_of(self.begun / f"{stem}.json"), Begun)
        except (OSError, ValueError):
            return {}

    def reply(self, reply: Reply) -> None:
        write(self.replies / f"{stem_of(reply.key)}.json", reply)

    def replied(self, stem: str) -> Reply | None:
        """A damaged one is none: what is done lies in the folder of its run, and the rest is done again."""
        try:
            return reply_in(self.replies / f"{stem}.json")
        except RunError:
            return None

    def note(self, stem: str) -> None:
        """A reply is told once; whoever types the command again may want another."""
        with contextlib.suppress(OSError):  # a full disk: it is told once more
            (self.replies / "told" / stem).touch()

    def is_noted(self, stem: str) -> bool:
        return (self.replies / "told" / stem).exists()

    def forget(self, stem: str) -> None:
        """What became of it before, as it is to be done again."""
        for file in (self.begun / f"{stem}.json", self.replies / f"{stem}.json", self.replies / "told" / stem):
            file.unlink(missing_ok=True)


def numbered(wave: str, number: int) -> str:
    return wave if number == 1 else f"{wave}-{number}"


def _order(name: str) -> tuple[int, str]:
    number = name.rpartition("-")[2]
    return int(number) if number.isdigit() else 1, name
