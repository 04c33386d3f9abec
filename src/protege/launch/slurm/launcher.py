"""Submits jobs, follows them by their files, and finds again what was submitted by whoever typed the command before.

Only replies on the disk are believed; the queue is asked for what will leave none. A batch's file `.id` is there, and empty,
before sbatch begins, and sbatch writes into it itself: so a batch is submitted once, whenever this process dies.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

from protege.data.files import content_of
from protege.errors import RunError, Stopped
from protege.launch.jobs import Job, Reply
from protege.launch.launcher import News
from protege.launch.slurm import ends, script
from protege.launch.slurm.folder import Batch, Folder, stem_of
from protege.launch.slurm.options import Slurm
from protege.launch.slurm.queue import NoScheduler, Queue, Queued, accounts_of, submit
from protege.runs import Run
from protege.runs.locking import locked

GLANCES_EVERY = 1.0  # seconds between listings of the folder of replies
LOOKS_UNTIL_LOST = 2  # a shared file system may show a reply later than the queue shows the end


@dataclass
class _Out:
    """A job that was taken and has not ended."""

    job: Job
    slot: int
    batch: str
    task: int
    begun: bool = False
    gone: int = 0  # looks in a row that did not find it


@final
class SlurmLauncher:
    """A launcher. It may die or be stopped at any moment: its jobs go on, and the next one of this folder takes them over."""

    chains, forgives = True, 2
    after_a_stop = "Its jobs go on without it. The same command follows them again; `protege study cancel` ends them."

    def __init__(self, folder: Folder, options: Slurm, say: Callable[[str], None] = print) -> None:
        self._folder, self._options, self._say = folder, options, say
        self.look_every = options.look_every
        self._queue = Queue(folder.prefix, options.look_every)
        self._out: dict[str, _Out] = {}  # by stem
        self._numbers: dict[str, str] = {}  # of batches
        self._followed: set[str] = set()  # stems; one that comes again was lost
        self._submitted_at, self._slots, self._silent = -1e9, 0, False
        self._in_charge = False
        self._held = contextlib.ExitStack()
        folder.make()
        folder.describe(options)

    # ---- the contract ----

    def room(self) -> int:
        """Nothing for a while after a submission, so that the next is large."""
        if self._out and time.monotonic() - self._submitted_at < self._options.look_every:
            return 0
        return self._options.queued - len(self._out)

    def take(self, jobs: Sequence[Job]) -> None:
        if not self._in_charge:
            self._take_charge()
        placed = self._placed()
        if placed and not self._followed:
            self._queue.look()
        fresh = [job for job in jobs if not self._is_under_way(job, placed)]
        for batch, wave, those in self.batches_of(fresh):
            self._submit(batch, wave, those)

    def busy(self) -> bool:
        return bool(self._out)

    def news(self) -> Sequence[News]:
        if self._folder.cancelled.exists():
            raise Stopped(f"{self._folder.title} was cancelled. The same command submits again what is left.")
        if found := [*self._begun(), *self._replied()]:
            return found
        if self._queue.is_due() and self._looked():
            return list(self._lost())
        time.sleep(GLANCES_EVERY)
        return []

    def end(self, asked: Sequence[int]) -> None:
        self._held.close()

    def _take_charge(self) -> None:
        """Two that submit for one folder would submit twice."""
        try:
            self._held.enter_context(locked(self._folder.path, wait=False))
        except RunError as error:
            owner = str(error).partition(" by ")[2].partition(". ")[0] or "another process"
            raise RunError(
                f"The jobs of {self._folder.title} are looked after by {owner} already. "
                "`protege study watch` shows them; stop that process first to do it from here."
            ) from error
        self._in_charge = True
        self._folder.cancelled.unlink(missing_ok=True)

    # ---- what to submit ----

    def batches_of(self, jobs: Sequence[Job]) -> Iterator[tuple[Batch, str, list[Job]]]:
        """An array for each wave; what needs another of these jobs comes in a later one."""
        groups: dict[tuple[int, str], list[Job]] = {}
        levels: dict[str, int] = {}
        names: list[str] = []
        for job in jobs:
            level = max((levels[need] + 1 for need in job.needs if need in levels), default=0)
            levels[job.run] = level
            groups.setdefault((level, job.wave), []).append(job)
        for (_, wave), those in sorted(groups.items(), key=lambda group: group[0][0]):
            size = self._options.for_wave(wave).runs_per_job
            for start in range(0, len(those), size * self._options.array):
                part = those[start : start + size * self._options.array]
                stems = [stem_of(job.key) for job in part]
                tasks = tuple(tuple(stems[at : at + size]) for at in range(0, len(stems), size))
                names.append(self._folder.free_name(wave, names))
                yield Batch(names[-1], tasks), wave, part

    def write(self, batch: Batch, wave: str, jobs: Sequence[Job]) -> None:
        self._folder.write(batch, jobs, script.script_of(self._folder, batch, wave, self._options))

    def after(self, jobs: Sequence[Job], numbers: Callable[[str], str]) -> str:
        """What these must wait for. A single job must end well; of several, each run looks itself for its own teacher."""
        needed = {need for job in jobs for need in job.needs if not Run(job.place.runs / need).finished}
        placed = self._placed()
        batches = dict.fromkeys(placed[stem].name for need in sorted(needed) if (stem := f"train-{need}") in placed)
        sizes = {batch.name: len(batch.tasks) for batch in placed.values()}
        return ",".join(f"{'afterok' if sizes[name] == 1 else 'afterany'}:{numbers(name)}" for name in batches)

    def _submit(self, batch: Batch, wave: str, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._folder.forget(stem_of(job.key))
        dependency = self.after(jobs, self._number)
        self.write(batch, wave, jobs)
        script_file, answer = self._folder.file(batch.name, "sbatch"), self._folder.file(batch.name, "id")
        number = submit(script_file, answer, dependency, self._folder.prefix + batch.name)
        waits = f", after {dependency.replace(',', ' and ')}" if dependency else ""
        runs, tasks = script.counted(len(jobs), "run"), script.counted(len(batch.tasks), "job")
        self._say(f"{self._folder.title}: {batch.name} submitted as {number}: {runs} in {tasks}{waits}")
        self._submitted_at = time.monotonic()
        for job in jobs:
            self._follow(job, batch)

    def _number(self, batch: str) -> str:
        """Nothing where it was never submitted, or nobody knows."""
        answer = self._folder.file(batch, "id")
        if not self._numbers.get(batch) and answer.exists():
            self._numbers[batch] = content_of(answer).decode(errors="replace").strip().partition(";")[0]
        return self._numbers.get(batch, "")

    # ---- what was submitted ----

    def _placed(self) -> dict[str, Batch]:
        """The last batch of each job, by its stem."""
        return {stem: batch for batch in self._folder.batches() for task in batch.tasks for stem in task}

    def _is_under_way(self, job: Job, placed: dict[str, Batch]) -> bool:
        """Submitted before, by hand too, and in the queue or with a reply that nobody took note of."""
        stem = stem_of(job.key)
        if (batch := placed.get(stem)) is None or stem in self._followed:
            return False
        answer = self._folder.file(batch.name, "id")
        asked = answer.exists() and not self._number(batch.name)  # by a process that died while sbatch went on
        there = self._there(batch.name, _task(batch, stem))
        going = there is not None and not there.over
        if there is not None and going and not self._number(batch.name):
            answer.write_text(f"{there.array}\n")
        if asked or going or self._reply_that_counts(job) is not None:
            self._follow(job, batch)
            return True
        return False

    def _reply_that_counts(self, job: Job) -> Reply | None:
        """One of a finished run whose folder was removed is none, nor is one that was told before."""
        stem = stem_of(job.key)
        reply = None if self._folder.is_noted(stem) else self._folder.replied(stem)
        stale = reply is not None and reply.outcome == "finished" and job.verb == "train"
        return None if stale else reply

    def _follow(self, job: Job, batch: Batch) -> None:
        stem = stem_of(job.key)
        self._out[stem] = _Out(job, self._slots, batch.name, _task(batch, stem))
        self._followed.add(stem)
        self._slots += 1

    def _begun(self) -> Iterator[News]:
        for stem in _stems(self._folder.begun) & {stem for stem, out in self._out.items() if not out.begun}:
            out = self._out[stem]
            out.begun = True
            yield News(out.slot, out.job)

    def _replied(self) -> Iterator[News]:
        for stem in _stems(self._folder.replies) & self._out.keys():
            out, reply = self._out[stem], self._folder.replied(stem)
            if reply is not None:
                if not out.begun:
                    yield News(out.slot, out.job)
                yield self._ended(stem, reply)

    def _ended(self, stem: str, reply: Reply) -> News:
        out = self._out.pop(stem)
        self._folder.note(stem)
        return News(out.slot, out.job, reply)

    # ---- what the queue says ----

    def _there(self, batch: str, task: int) -> Queued | None:
        """By the number that sbatch gave; by its name where nobody knows the number, as of a script that was submitted by hand."""
        number, name = self._number(batch), self._folder.prefix + batch
        those = [one for one in self._queue.at(name, task) if number in ("", one.array)]
        return next((one for one in those if not one.over), those[-1] if those and number else None)

    def _looked(self) -> bool:
        """Whether the queue answered. That it does not is said once: nothing can be concluded from it."""
        try:
            self._queue.look()
        except NoScheduler as error:
            if not self._silent:
                self._say(f"{error} The jobs go on, and so does this.")
            self._silent = True
            return False
        self._silent = False
        return True

    def _lost(self) -> Iterator[News]:
        """Jobs that are over, or gone, and left no reply in the meantime."""
        for out in self._out.values():
            there = self._there(out.batch, out.task)
            out.gone = 0 if there is not None and not there.over else out.gone + 1
        lost = [out for out in self._out.values() if out.gone >= LOOKS_UNTIL_LOST]
        states = self._states(lost)
        for out in lost:
            log = self._folder.logs / f"{out.batch}-{self._number(out.batch)}_{out.task}.log"
            asked = self._options.for_wave(out.job.wave)
            said = ends.reply_for(out.job, states.get((out.batch, out.task), ""), log, asked)
            stem = stem_of(out.job.key)
            yield self._ended(stem, self._folder.replied(stem) or said)

    def _states(self, lost: Sequence[_Out]) -> dict[tuple[str, int], str]:
        """From the queue while it remembers, from the accounting where there is one."""
        states = {
            (out.batch, out.task): there.state
            for out in lost
            if (there := self._there(out.batch, out.task)) is not None
        }
        unknown = {out.batch for out in lost if (out.batch, out.task) not in states}
        numbers = {number: name for name in unknown if (number := self._number(name))}
        for job, state in (accounts_of(list(numbers)) if numbers else {}).items():
            array, _, task = job.partition("_")
            if array in numbers and (task or "0").isdigit():
                states.setdefault((numbers[array], int(task or 0)), state)
        return states


def _task(batch: Batch, stem: str) -> int:
    return next(number for number, stems in enumerate(batch.tasks) if stem in stems)


def _stems(folder: os.PathLike[str]) -> set[str]:
    """One listing, however many jobs there are."""
    return {entry.name.removesuffix(".json") for entry in os.scandir(folder) if entry.name.endswith(".json")}
