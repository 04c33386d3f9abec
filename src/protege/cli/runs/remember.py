"""`protege remember`: what teachers said, listed, asked ahead of training, and dropped."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from protege.cli.options import describe, file_or_option, flags_of
from protege.cli.places import (
    DESCRIBED,
    DataDirOption,
    DeviceOption,
    JsonOption,
    MemoryLimitOption,
    QuietOption,
    RunsOption,
    ThreadsOption,
    place_of,
)
from protege.errors import ConfigError
from protege.runs.display import console, out

if TYPE_CHECKING:
    from protege.runs.config import Place, RunConfig
    from protege.teacher.memory_folder import Entry

app = typer.Typer(
    no_args_is_help=True, help="What teachers said of every view: see it, ask ahead of training, drop it."
)


@app.command("list")
def show(runs: RunsOption = Path("runs"), as_json: JsonOption = False) -> None:
    """What is remembered, and how much room it takes."""
    from protege.teacher.memory_folder import overview

    folder = _folder(runs)
    entries = overview(folder)
    if as_json:
        print(json.dumps([asdict(entry) for entry in entries]))
        return
    if not entries:
        out.print(f"Nothing is remembered in {folder}: a taught run remembers as it trains.")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("key", "teacher", "data", "views", "known", "MB", "last used", ""):
        table.add_column(column)
    for entry in entries:
        table.add_row(*_row(entry))
    out.print(table)


def _folder(runs: Path) -> Path:
    from protege.runs.config import Place

    return Place(runs=runs).memory


def _row(entry: Entry) -> list[str]:
    about = (entry.about or {}).get("about", entry.about or {})
    share = "" if not entry.possible else f" ({100 * entry.known / entry.possible:.1f} %)"
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.last_used))
    names = [str(about.get(field, "?")) for field in ("teacher", "data", "views")]
    return [
        entry.key,
        *names,
        f"{entry.known:,}{share}",
        f"{entry.bytes_on_disk / 1e6:,.1f}",
        used,
        "in use" if entry.in_use else "",
    ]


@app.command("drop")
def drop_memories(
    key: Annotated[str | None, typer.Argument(help="beginning of a key, as `protege remember list` shows it")] = None,
    everything: Annotated[bool, typer.Option("--all", help="drop all of them")] = False,
    force: Annotated[bool, typer.Option("--force", help="also while a run uses it")] = False,
    runs: RunsOption = Path("runs"),
) -> None:
    """Forget; runs that need it ask their teacher again."""
    if (not key) != everything:
        raise ConfigError("Say which memory to drop: the beginning of its key, or --all.")
    from protege.teacher.memory_folder import drop

    dropped = drop(_folder(runs), key, force)
    freed = sum(entry.bytes_on_disk for entry in dropped) / 1e6
    out.print(f"dropped {len(dropped)} and freed {freed:,.1f} MB")


@app.command("warm", context_settings=DESCRIBED, short_help="Ask the teacher ahead of training.")
def warm(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="a YAML file of fields")] = None,
    every_view: Annotated[
        bool, typer.Option("--every-view", help="all views there are, not only those of the run's epochs")
    ] = False,
    runs: RunsOption = Path("runs"),
    data_dir: DataDirOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    memory_limit: MemoryLimitOption = None,
    quiet: QuietOption = False,
) -> None:
    """Ask the teacher all that a run will need: the fields are those of `protege train`. It may be stopped and started again."""
    file, arguments = file_or_option(file, context)
    config = describe(file, arguments, flags_of(context))
    place = place_of(
        runs=runs, data_dir=data_dir, device=device, threads=threads, memory_limit=memory_limit, quiet=quiet
    )
    import torch

    if threads:
        torch.set_num_threads(threads)
    _warm_up(config, place, every_view)


def _warm_up(config: RunConfig, place: Place, every_view: bool) -> None:
    """Ask ahead, with a progress bar; plain lines where there is no terminal."""
    from protege.teacher.recall import warm

    columns = (
        TextColumn("asking the teacher"),
        BarColumn(),
        TextColumn("{task.fields[said]}", markup=False),
        TimeRemainingColumn(),
    )
    last = None
    with Progress(*columns, console=console, transient=True, disable=place.quiet) as progress:
        task = progress.add_task("", total=None, said="")
        for last in warm(config, place, every_view, console.print):
            said = f"{last.done:,} of {last.total:,}, {last.asked:,} of them new"
            progress.update(task, total=last.total, completed=last.done, said=said)
            if not console.is_terminal and not place.quiet:
                console.print(f"asking the teacher: {said}")
    if last is not None:
        out.print(
            f"{last.total:,} images in their views are remembered in {place.memory}; {last.asked:,} were asked about now."
        )
