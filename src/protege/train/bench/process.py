"""A worker process, as seen from outside."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from pathlib import Path
from types import TracebackType
from typing import Self

from protege.train.bench.messages import Reply, Request

PATIENCE = 10.0  # seconds for a process to end by itself


class Process:
    """A copy of one process that has imported everything and done nothing: torch is loaded once, not for each of them."""

    def __init__(self, log: Path) -> None:
        from protege.train.bench.worker import serve  # torch, which help must not wait for

        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["protege.train.bench.worker"])
        self.log = log
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, str(log)))
        self._process.start()
        theirs.close()

    def ask(self, request: Request) -> Reply:
        self.tell(request)
        return self.hear()

    def tell(self, request: Request) -> None:
        with contextlib.suppress(BrokenPipeError):  # it died, which `hear` says
            self._ours.send(request.model_dump_json())

    def hear(self) -> Reply:
        try:
            return Reply.model_validate_json(self._ours.recv())
        except (EOFError, ConnectionResetError):
            return Reply(problem=self._cause())

    def _cause(self) -> str:
        self._process.join()
        code = self._process.exitcode
        if code == -signal.SIGKILL:
            return "the process was killed, most likely for want of memory"
        said = self.log.read_text().strip().splitlines() if self.log.exists() else []
        return f"the process ended with code {code}" + (f": {said[-1]}" if said else "")

    def dismiss(self) -> None:
        """It ends when it has answered."""
        self._ours.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.dismiss()
        if error is not None:
            self._process.terminate()
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
