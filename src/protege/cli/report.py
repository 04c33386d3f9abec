"""`protege report` and `protege look`: finished runs -> a page to open and to hand on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from protege.cli.places import (
    DataDirOption,
    DeviceOption,
    JsonOption,
    MovedOption,
    RunArgument,
    RunsOption,
    ThreadsOption,
    place_of,
)
from protege.errors import ConfigError, visible


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
        bool,
        typer.Option(
            "--pictures/--no-pictures", help="show images that are taken for another class, and what networks see"
        ),
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


def look(
    run: RunArgument,
    teacher: Annotated[
        list[str] | None, typer.Option("--teacher", help="look at this run as the teacher (its own otherwise)")
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option("--beside", help="another student to look at (else the same one alone, where it was trained)"),
    ] = None,
    images: Annotated[int, typer.Option("--images", min=20, max=5000, help="held-out images to look at")] = 500,
    plane: Annotated[
        Literal["pca", "tsne"],
        typer.Option("--plane", help="how features come into the plane; tsne: pip install 'protege[tsne]'"),
    ] = "pca",
    folder: Annotated[Path | None, typer.Option("--out", help="folder of the page (else `look` in the run's)")] = None,
    runs: RunsOption = Path("runs"),
    data: MovedOption = None,
    data_dir: DataDirOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """A page of pictures: features in the plane, where networks look, whose mistakes are whose, what the teacher says beyond the label."""
    from protege.data.files import is_folder, is_there
    from protege.runs import find
    from protege.runs.config import TeacherConfig

    place = place_of(runs=runs.absolute(), data_dir=data_dir, device=device, threads=threads)
    found = find(place.runs, run)
    out = (folder or found.path / "look").absolute()
    if is_there(out) and not is_folder(out):
        raise ConfigError(f"--out {folder} is a file. Name a folder.")
    from protege.report.look.page import look as look_at
    from protege.report.look.wanted import Wanted
    from protege.report.page.written import write_page

    wanted = Wanted(
        found,
        [TeacherConfig(source=name) for name in teacher] if teacher else None,
        [find(place.runs, name) for name in beside or ()],
        images,
        plane,
        data,
    )
    page = look_at(wanted, place)
    files = write_page(page, out, "look")
    if as_json:
        print(json.dumps({"answer": page.answer, "page": str(files[0]), "files": [str(path) for path in files]}))
        return
    print(visible(page.answer))
    print(visible(f"look: {files[0]} ({len(files) - 1} more files beside it)"))
