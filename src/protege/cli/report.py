"""`protege report`: finished runs -> a page to open and to hand on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from protege.cli.places import MovedOption
from protege.errors import visible


def report(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STUDY | RUN ...]",
            help="a study (name, YAML file or folder), or runs (ids); default: the only study there is, else all runs",
            show_default=False,
        ),
    ] = None,
    runs: Annotated[Path, typer.Option("--runs", help="folder of the runs")] = Path("runs"),
    folder: Annotated[
        Path | None, typer.Option("--out", help="folder of the report (else `report` beside the findings or the runs)")
    ] = None,
    every_run: Annotated[
        bool, typer.Option("--all", help="all runs of the folder, whatever study they belong to")
    ] = False,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="show images that are taken for another class")
    ] = True,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", help="folder of the data (else PROTEGE_DATA, else the cache)")
    ] = None,
    data: MovedOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of text")] = False,
) -> None:
    """One self-contained page with Markdown, CSV and LaTeX tables, of a study or of any runs. Trains and opens nothing."""
    from protege.data.outside.consent import unread
    from protege.report.source import find

    with unread():
        found = find(names or [], runs.absolute(), every_run)
        from protege.report.make import make_report

        made = make_report(found.findings, found.root, folder or found.folder, data_dir, pictures, data)
    if as_json:
        answer = {"answer": found.findings.answer, "complete": found.findings.complete, "page": str(made.page)}
        print(json.dumps({**answer, "files": [str(path) for path in made.files]}))
        return
    print(visible(found.findings.answer))
    for warning in made.unread:
        print(f"warning: {visible(warning)}")
    print(visible(made.sentence()))
