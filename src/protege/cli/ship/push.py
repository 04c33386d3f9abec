"""`protege push`: a finished run to the Hugging Face hub."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from protege.cli.places import DataDirOption, RunArgument, RunsOption
from protege.runs.display import out


def push(
    run: RunArgument,
    target: Annotated[str, typer.Argument(metavar="hub:USER/NAME", help="the repository; made where it is not there")],
    private: Annotated[bool, typer.Option("--private", help="of a repository that is made now")] = False,
    licence: Annotated[
        str | None, typer.Option("--license", help="yours to say, in the hub's words: mit, apache-2.0, cc-by-4.0, ...")
    ] = None,
    exports: Annotated[
        bool, typer.Option("--exports/--no-exports", help="and the ONNX files that `protege export` has made of it")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would be sent, and send nothing")] = False,
    runs: RunsOption = Path("runs"),
    data_dir: DataDirOption = None,
) -> None:
    """Send a run to the Hugging Face hub: weights, description, scores, card. Again, it takes the place of the one before."""
    from protege.runs import find
    from protege.ship.push import lay_out, repo_of, send

    repo, found = repo_of(target), find(runs, run)
    with tempfile.TemporaryDirectory(prefix="protege-push-") as name:
        folder = Path(name)
        files = lay_out(found, folder, target, licence=licence, exports=exports, data_dir=data_dir)
        for file in files:
            out.print(f"  {file}  {(folder / file).stat().st_size:,} bytes", soft_wrap=True)
        if dry_run:
            out.print((folder / "README.md").read_text(), soft_wrap=True, markup=False, highlight=False)
            out.print(f"nothing was sent; without --dry-run it goes to {target}", style="dim", soft_wrap=True)
            return
        sent = send(folder, target, private)
    out.print(f"{sent.url}: {len(files)} files, commit {sent.commit[:7]}", soft_wrap=True)
    out.print(f"anywhere: protege predict hub:{repo} PHOTO, or --teacher hub:{repo}", style="dim", soft_wrap=True)
