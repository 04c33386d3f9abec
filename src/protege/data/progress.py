"""What one sees while data are fetched or decoded: a bar on a terminal, a line now and then elsewhere, or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bar

from protege.data.places import size
from protege.errors import visible

Reached = Callable[[int], None]  # how much is done in all, not since the last call
Progress = Callable[[str, int | None, str], AbstractContextManager[Reached]]  # what, total, unit ("bytes" or "images")

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def silent(what: str, total: int | None, unit: str) -> Iterator[Reached]:
    yield lambda done: None


@contextmanager
def shown(what: str, total: int | None, unit: str) -> Iterator[Reached]:
    """On standard error, so that what a command prints stays clean."""
    console = Console(stderr=True, highlight=False)
    with (bar if console.is_terminal else lines)(what, total, unit, console) as reached:
        yield reached


@contextmanager
def bar(what: str, total: int | None, unit: str, console: Console) -> Iterator[Reached]:
    counted: list[ProgressColumn] = (
        [DownloadColumn(), TransferSpeedColumn()] if unit == "bytes" else [MofNCompleteColumn()]
    )
    with Bar(
        TextColumn("{task.description}", markup=False), BarColumn(), *counted, TimeRemainingColumn(), console=console
    ) as drawn:
        task = drawn.add_task(visible(what), total=total)
        yield lambda done: drawn.update(task, completed=done)


@contextmanager
def lines(
    what: str, total: int | None, unit: str, console: Console, clock: Callable[[], float] = time.monotonic
) -> Iterator[Reached]:
    """For log files: where it stands every ten seconds, and at the end."""
    started = said = clock()
    first: int | None = None
    last = 0

    def reached(done: int) -> None:
        nonlocal said, first, last
        first = done if first is None else first  # a resumed download's speed counts from where it was resumed
        last = done
        if clock() - said >= SECONDS_BETWEEN_LINES:
            said = clock()
            console.print(
                f"{visible(what)}: {_stand(done, total, unit, (done - first) / (said - started))}",
                soft_wrap=True,
                markup=False,
            )

    yield reached
    console.print(f"{visible(what)}: {_amount(last, unit)} in {clock() - started:.0f} s", soft_wrap=True, markup=False)


def _stand(done: int, total: int | None, unit: str, speed: float) -> str:
    rate = f"{size(speed)}/s" if unit == "bytes" else f"{speed:,.0f} {unit}/s"
    if total is None:
        return f"{_amount(done, unit)}, {rate}"
    left = f", {(total - done) / speed:.0f} s left" if speed > 0 else ""
    return f"{_amount(done, unit)} of {_amount(total, unit)}, {rate}{left}"


def _amount(count: int, unit: str) -> str:
    return size(count) if unit == "bytes" else f"{count:,} {unit}"
