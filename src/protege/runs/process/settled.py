"""What a training process asks of its machine: threads, memory that stays, and an end that loses nothing."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from protege import runs
from protege.errors import RunError
from protege.runs.config import Place
from protege.runs.process.ranks import present

SAME_STOP = 2.0  # seconds after the first


def settle(run: runs.Run, place: Place) -> None:
    """The same bits on the same hardware: deterministic kernels, and as many threads and processes as the run began with."""
    ranks = present()
    record = ranks.from_first(run.record)
    threads, processes = record["threads"], begun_by(record)
    if place.threads not in (None, threads):
        raise RunError(
            f"{run.id} began with {threads} threads; {place.threads} would change its bits. Leave --threads out, or remove {run.path}."
        )
    if processes != ranks.count and not place.regroup:
        raise RunError(
            f"{run.id} began on {processes} process{'es' if processes > 1 else ''}, and {ranks.count} would change its last bits. "
            f"Start it on {processes}, or say --regroup to go on all the same."
        )
    compute_alike(threads)


def begun_by(record: Mapping[str, Any]) -> int:
    """Processes; runs from before there could be several do not say."""
    return record.get("processes", 1)


def compute_alike(threads: int) -> None:
    """All that training and asking a teacher ahead of it must have in common, so that both get the same answers."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # What fp32 means on a GPU is told, not left to defaults that change: convolutions of 10-bit mantissas, products of 23.
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = False
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Tell glibc not to give freed activations back to the system: the next step asks for the same again, and pays for it."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


@contextlib.contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Ctrl-C, and what schedulers send (SIGTERM, SIGUSR1), set an event that the loop looks at between steps.

    A second Ctrl-C ends at once, but for one that torchrun passes on beside the terminal; a scheduler's second signal finds what
    the first is doing.
    """
    stop, first = threading.Event(), 0.0
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: object) -> None:
        nonlocal first
        if stop.is_set() and number == signal.SIGINT and time.monotonic() - first > SAME_STOP:
            raise KeyboardInterrupt
        if not stop.is_set():
            first = time.monotonic()
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
