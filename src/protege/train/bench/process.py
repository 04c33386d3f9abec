"""A process that measures one thing, so that its allocator and its peak of memory are its own: from inside and from outside."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import traceback
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from protege import runs
from protege.errors import ProtegeError
from protege.runs.hardware import peak_memory
from protege.train.bench.limits import rates
from protege.train.bench.messages import Reply, Request, Took
from protege.train.bench.ours import Ours
from protege.train.bench.prepare import prepare
from protege.train.bench.theirs import Theirs

PATIENCE = 10.0  # seconds for a process to end by itself
LONG = 2.0  # seconds of a pass after which one of them is warming up enough
LOOPS = {"reference": Theirs, "ours": Ours}


class Process:
    """A copy of one process that has imported everything and done nothing: torch is loaded once, not for each of them."""

    def __init__(self, log: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
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
        said = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
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


# ---- inside it ----


def serve(requests: Connection, log: str) -> None:
    """Until nobody asks any more. What is printed on the way goes to `log`."""
    os.setsid()  # a Ctrl-C is for who started us, who then hangs up
    multiprocessing.set_start_method(None, force=True)  # loaders start as they would in a script of their own
    with Path(log).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    with contextlib.suppress(EOFError, BrokenPipeError):
        for reply in answers(_heard(requests)):
            requests.send(reply.model_dump_json())


def _heard(requests: Connection) -> Iterator[Request]:
    while True:
        yield Request.model_validate_json(requests.recv())


def answers(requests: Iterable[Request]) -> Iterator[Reply]:
    """One for each request; the way to train that was opened last stays open. A failure is a reply, and the last one."""
    loop: Theirs | Ours | None = None
    for request in requests:
        try:
            if request.verb == "open":
                loop, took = _opened(request)
                yield Reply(took=took, peak_memory=_peak(torch.device(request.setting.device)))
            else:
                yield _answer(request, loop)
        except Exception as error:
            if not isinstance(error, ProtegeError):
                traceback.print_exc()
            yield Reply(problem=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
            return


def _opened(request: Request) -> tuple[Theirs | Ours, Took]:
    """Warmed up, and what its last pass took."""
    assert request.pair and request.variant and request.weights
    loop = LOOPS[request.variant.role](request.pair, request.setting, request.variant, request.weights)
    took = loop.passed(1)
    if (
        took.seconds < LONG or request.variant.execution != "eager"
    ):  # a first pass may compile for its smaller last batch
        took = loop.passed(1)
    return loop, took


def _answer(request: Request, loop: Theirs | Ours | None) -> Reply:
    device = torch.device(request.setting.device)
    if request.verb == "prepare":
        assert request.pair
        return Reply(facts=prepare(request.pair, request.setting), environment=runs.environment())
    if request.verb == "rates":
        torch.set_num_threads(request.setting.threads)
        return Reply(rates=rates(device))
    assert loop is not None
    return Reply(took=loop.passed(request.passes), peak_memory=_peak(device))


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_memory()
