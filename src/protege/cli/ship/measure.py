"""`protege measure`: bytes, accuracy and milliseconds of runs and exported files, side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from protege.cli.places import DataDirOption, JsonOption, RunsOption, place_of
from protege.cli.ship.predict import WhichOption
from protege.data.fields import MOST_THREADS
from protege.runs.display import console, out, table_of

if TYPE_CHECKING:
    from protege.ship.figures.judge import Judge
    from protege.ship.figures.measure import Measured

SourcesArgument = Annotated[list[str], typer.Argument(metavar="RUN_OR_FILE...", help="runs, or exported files")]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, max=MOST_THREADS, help="CPU threads")]
TestOption = Annotated[bool, typer.Option("--test", help="judge on the test set; the ledger keeps a line of it")]


def measure(
    sources: SourcesArgument,
    threads: ThreadsOption = 1,
    batch: Annotated[int, typer.Option("--batch", min=1, help="images at a time")] = 1,
    test: TestOption = False,
    which: WhichOption = "final",
    runs: RunsOption = Path("runs"),
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bytes, costs, accuracy, agreement, latency, throughput and memory; each network in a process of its own, in turns."""
    judge = judging(test, which, runs, data_dir)
    from protege.ship.figures.kept import keep
    from protege.ship.figures.measure import measure as measure_all
    from protege.ship.figures.turns import Asked

    with told() as say:
        found = measure_all(sources, runs, Asked(threads, batch), which=which, judge=judge, say=say)
    for one in found:
        keep(one, runs, which)
    if as_json:
        print(json.dumps([asdict(one) for one in found]))
        return
    out.print(size_table(found))
    out.print(speed_table(found))
    machine = found[0].machine
    out.print(
        f"batch {batch}, {threads} thread(s), {found[0].rounds} rounds in turns, on {machine['processor']} "
        f"({machine['cores']} cores); latency is the median with the quartiles of the rounds, memory that of the whole process",
        style="dim",
        soft_wrap=True,
    )


def judging(test: bool, which: str, runs: Path, data_dir: Path | None) -> Judge:
    place = place_of(runs=runs, data_dir=data_dir, device="cpu")
    from protege.ship.figures.judge import Judge

    return Judge(place, which, test)


@contextmanager
def told() -> Iterator[Callable[[str], None]]:
    """Where it stands: a live line on a terminal, a line now and then elsewhere."""
    from protege.ship.figures.turns import now_and_then

    if console.is_terminal:
        with console.status("") as status:
            yield status.update
    else:
        yield now_and_then(lambda sentence: console.print(sentence, soft_wrap=True))


def size_table(found: list[Measured]) -> Table:
    split = "test" if found[0].split == "test" else "held-out"
    size = table_of(
        "size and worth",
        "",
        "bytes",
        "parameters",
        "multiply-adds",
        f"{split} %",
        "95 %",
        "as its run %",
        "as its teacher %",
    )
    for one in found:
        size.add_row(
            short(one.source), f"{one.bytes:,}", count(one.parameters), count(one.multiply_adds), share(one.accuracy),
            " to ".join(share(bound) for bound in one.interval) if one.interval else "-",
            share(one.agreement_run), share(one.agreement_teacher),
        )  # fmt: skip
    return size


def speed_table(found: list[Measured]) -> Table:
    speed = table_of("speed", "", "runtime", "ms", "quartiles", "p95 ms", "images/s", "memory MB", "load s")
    for one in found:
        speed.add_row(
            short(one.source), one.runtime, milliseconds(one.latency_ms), quartiles(one), f"{one.latency_p95_ms:.3f}",
            f"{one.images_per_second:,.0f}", f"{one.peak_bytes / 1e6:.0f}", f"{one.load_seconds:.2f}",
        )  # fmt: skip
    return speed


def milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def quartiles(one: Measured) -> str:
    return f"{one.latency_low_ms:.3f} to {one.latency_high_ms:.3f}"


def short(source: str) -> str:
    """Of a file, as much of its path as tells it from its sisters."""
    path = Path(source)
    return "/".join(path.parts[-4:]) if path.suffix else path.name


def count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
