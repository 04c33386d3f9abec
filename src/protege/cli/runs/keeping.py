"""`protege remove`, `pack` and `unpack`: runs that go, and runs that move."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protege.cli.completion import known_runs
from protege.cli.places import RunsOption
from protege.errors import ConfigError, RunError
from protege.runs.display import out

if TYPE_CHECKING:
    from protege.runs import Run

RunsArgument = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help="id, beginning or end of an id, or folder", autocompletion=known_runs),
]


def _named(names: list[str], root: Path) -> list[Run]:
    """Each run once, however often it is named."""
    from protege.runs import find

    return list({run.id: run for run in (find(root, name) for name in names)}.values())


def remove(
    names: RunsArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="also what taught a run that stays, and what a study counts")
    ] = False,
    runs: RunsOption = Path("runs"),
) -> None:
    """Remove runs for good, after a question. The ledger keeps its lines: what was read of a test set stays read."""
    from protege.runs.files import allocated
    from protege.runs.keeping.belonging import needed_by, removed

    chosen = _named(names, runs)
    if (needed := needed_by(chosen, runs)) and not force:
        reasons = [
            f"{name}: {'; '.join(why[:3])}{f' and {len(why) - 3} more' if len(why) > 3 else ''}"
            for name, why in needed.items()
        ]
        raise RunError("Nothing was removed. Remove what needs these as well, or give --force:", *reasons)
    size = sum(allocated(run.path) for run in chosen) / 1e6
    if not yes:
        for run in chosen:
            out.print(f"  {run.id}", soft_wrap=True)
        if not (sys.stdin and sys.stdin.isatty()):
            raise ConfigError("Nothing was removed: nobody is there to be asked. Give --yes.")
        typer.confirm(f"Remove {len(chosen)} runs for good, {size:,.1f} MB?", abort=True)
    removed(chosen, runs)
    out.print(f"removed {len(chosen)} runs and freed {size:,.1f} MB")


def pack(
    names: RunsArgument,
    file: Annotated[Path, typer.Option("--out", "-o", help="the file to write, e.g. runs.tar", show_default=False)],
    teachers: Annotated[
        bool, typer.Option("--teachers/--no-teachers", help="and the runs that they were taught by")
    ] = True,
    runs: RunsOption = Path("runs"),
) -> None:
    """Runs in one file, for another machine. Images stay behind: give them there by `--data`, they are compared."""
    from protege.runs.keeping.archive import pack as packed
    from protege.runs.keeping.archive import with_teachers

    chosen = _named(names, runs)
    going = with_teachers(chosen, runs) if teachers else chosen
    size = packed(going, runs, file)
    more = f", {len(going) - len(chosen)} of them teachers" if len(going) > len(chosen) else ""
    out.print(f"{file}: {len(going)} runs{more}, {size / 1e6:,.1f} MB", soft_wrap=True)
    out.print(f"there: protege unpack {shlex.quote(file.name)}", style="dim", soft_wrap=True)


def unpack(
    file: Annotated[Path, typer.Argument(help="a file that `protege pack` wrote")], runs: RunsOption = Path("runs")
) -> None:
    """Runs out of a file. What is here already stays as it is."""
    from protege.runs.keeping.archive import unpack as unpacked

    new, there = unpacked(file, runs)
    for name in new:
        out.print(f"  {name}", soft_wrap=True)
    out.print(
        f"{len(new)} runs unpacked into {runs}{f'; {len(there)} were here already' if there else ''}", soft_wrap=True
    )
