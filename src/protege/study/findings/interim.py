"""Findings of a study that is under way, so that a report of what is known can be made at any moment."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import final

from protege.errors import ProtegeError
from protege.launch.jobs import Job, Reply
from protege.launch.launcher import Watch
from protege.study.findings.gather import gather
from protege.study.findings.record import Split, write
from protege.study.question.plan import Plan

SHARE = 0.1  # of the time at most: a large folder of images takes long to be counted


@final
class Interim:
    """A watch that writes `findings.json` as runs are finished, and passes everything on."""

    def __init__(self, plan: Plan, watch: Watch, commands: Sequence[str]) -> None:
        self._plan, self._watch, self._commands = plan, watch, commands
        self._news = True  # runs of earlier commands are news too
        self._next = 0.0
        self._split: Split | None = None

    def started(self, slot: int, job: Job) -> None:
        self._watch.started(slot, job)

    def ended(self, slot: int, job: Job, reply: Reply) -> None:
        self._news = self._news or job.verb == "train"
        self._watch.ended(slot, job, reply)

    def skipped(self, job: Job, because: str) -> None:
        self._watch.skipped(job, because)

    def look(self, running: Mapping[int, Job]) -> None:
        """Now, while the slots are busy; not between test scores, of which a part alone would mislead."""
        self._watch.look(running)
        training = all(job.verb == "train" for job in running.values())
        if self._news and training and time.monotonic() >= self._next:
            began = time.monotonic()
            self.write()
            ended = time.monotonic()
            self._next = ended + (ended - began) / SHARE

    def write(self) -> None:
        """What cannot be read now does not end the study, which says at its end what is wrong."""
        self._news = False
        with contextlib.suppress(ProtegeError, OSError):
            findings = gather(self._plan, commands=self._commands, split=self._split)
            self._split = findings.data
            write(self._plan.folder / "findings.json", findings)
