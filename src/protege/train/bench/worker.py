"""A process that measures one thing, so that its allocator and its peak of memory are its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import traceback
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from protege import runs
from protege.errors import ProtegeError
from protege.runs.hardware import peak_memory
from protege.train.bench.machine import rates
from protege.train.bench.messages import Reply, Request, Took
from protege.train.bench.ours import Ours
from protege.train.bench.prepare import prepare
from protege.train.bench.small_study import grown
from protege.train.bench.theirs import Theirs

LONG = 2.0  # seconds of a pass after which one of them is warming up enough
LOOPS = {"reference": Theirs, "ours": Ours}


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
    if request.verb == "study":
        assert request.pair and request.weights
        made = grown(request.pair, request.setting, request.arithmetic, request.weights, request.runs)
        return Reply(grown=made, peak_memory=_peak(device))
    assert loop is not None
    return Reply(took=loop.passed(request.passes), peak_memory=_peak(device))


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_memory()
