"""Worker slots on this machine: several runs at once, each in a process and on cores of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import final

from protege.launch.jobs import Job, Reply, reply_in, write
from protege.launch.launcher import News
from protege.runs import cores

LOOKS_EVERY = 0.25  # seconds at most that one waits for news
GLANCES_EVERY = 0.02  # seconds between looks for a reply
KILLED = "The process was killed, most likely for want of memory. Use fewer --slots, or a smaller optim.batch_size."


@final
class Slots:
    """A launcher: `slots` processes of `threads` threads (else the cores are shared out), on devices in turn.

    What they say beside their replies is in `log`. Jobs and replies lie in a folder of this launcher alone: two commands
    at work on the same runs share the log, and must not take each other's replies.
    """

    chains = False
    look_every = 0.0  # they lie here
    after_a_stop = "The same command goes on from here."

    def __init__(
        self,
        log: Path,
        slots: int = 1,
        threads: int | None = None,
        devices: Sequence[str] = ("auto",),
        forgives: int = 0,
        if_killed: str = KILLED,
    ) -> None:
        threads = threads or max(1, cores() // slots)
        self.forgives = forgives
        self._mail = Path(tempfile.gettempdir()) / f"protege-slots-{uuid.uuid4().hex}"
        self._slots = [
            _Slot(number, threads, devices[number % len(devices)], log, self._mail, if_killed)
            for number in range(slots)
        ]
        self._begun: list[News] = []

    def room(self) -> int:
        return sum(slot.job is None for slot in self._slots)

    def take(self, jobs: Sequence[Job]) -> None:
        free = [slot for slot in self._slots if slot.job is None]
        for slot, job in zip(free, jobs, strict=False):
            slot.give(job)
            self._begun.append(News(slot.number, job))

    def busy(self) -> bool:
        return any(slot.job for slot in self._slots)

    def news(self) -> Sequence[News]:
        begun, self._begun = self._begun, []
        until = time.monotonic() + (0 if begun else LOOKS_EVERY)
        while not (ended := list(self._ended())) and time.monotonic() < until:
            time.sleep(GLANCES_EVERY)
        return [*begun, *ended]

    def _ended(self) -> Iterator[News]:
        for slot in self._slots:
            if (reply := slot.reply()) is not None:
                yield News(slot.number, slot.free(), reply)

    def end(self, asked: Sequence[int]) -> None:
        for slot in self._slots:
            slot.close()
        for slot in self._slots:
            slot.end(asked)
        shutil.rmtree(self._mail, ignore_errors=True)


@final
class _Slot:
    """One worker process, started when it is first needed and again if it dies."""

    def __init__(self, number: int, threads: int, device: str, log: Path, mail: Path, if_killed: str) -> None:
        self.number = number
        self._threads, self._device, self._if_killed = threads, device, if_killed
        name = f"slot-{number + 1}"
        self._log, self._job, self._reply = log / f"{name}.log", mail / f"{name}.job.json", mail / f"{name}.reply.json"
        self._process: subprocess.Popen[str] | None = None
        self.job: Job | None = None

    def give(self, job: Job) -> None:
        place = job.place.model_copy(update={"threads": job.place.threads or self._threads, "device": self._device})
        self.job = job.model_copy(update={"place": place})
        self._reply.unlink(missing_ok=True)
        write(self._job, self.job)
        process = self._started()
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died just now, which is seen below
            process.stdin.write(json.dumps([str(self._job), str(self._reply)]) + "\n")
            process.stdin.flush()

    def free(self) -> Job:
        assert self.job is not None
        job, self.job = self.job, None
        return job

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            self.end(())
            threads = str(self._threads)
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("a") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "protege.launch.worker", "--slot"],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    text=True,
                    env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
                    start_new_session=True,  # a Ctrl-C is ours to pass on, once
                )
        return self._process

    def reply(self) -> Reply | None:
        """Of the job in hand: what the worker wrote, or that it ended without a word."""
        if self.job is None or self._process is None:
            return None
        code = self._process.poll()  # before the file is looked for, which may be the last that it did
        if (said := reply_in(self._reply)) is not None or code is None:
            return said
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        ended = f"The process ended {how}; what it said last is in {self._log}."
        return Reply(key=self.job.key, outcome="died", message=self._if_killed if code == -signal.SIGKILL else ended)

    def close(self) -> None:
        """The end of its input asks a working process for a checkpoint."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def end(self, asked: Sequence[int]) -> None:
        """Waits for a process that was closed, unless Ctrl-C is typed twice."""
        process, self._process = self._process, None
        while process is not None and process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=LOOKS_EVERY)
            if list(asked).count(signal.SIGINT) > 1:
                process.kill()
