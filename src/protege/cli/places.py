"""Options that say where and with what: folders, device, threads. They mean the same in every verb."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import ValidationError

from protege.cli.completion import known_runs
from protege.data.fields import MOST_THREADS
from protege.errors import ConfigError

if TYPE_CHECKING:
    from protege.launch.where import Where
    from protege.runs.config import Place

CLUSTERS = ("--slurm.", "--ray.")
OPEN = {"allow_extra_args": True, "ignore_unknown_options": True}
DESCRIBED = {**OPEN, "help_option_names": []}

RunsOption = Annotated[Path, typer.Option("--runs", help="folder of the runs")]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="folder of the data (else PROTEGE_DATA, else the cache)")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1")]
ThreadsOption = Annotated[int | None, typer.Option("--threads", min=1, max=MOST_THREADS, help="CPU threads (else all)")]
MemoryLimitOption = Annotated[
    float | None,
    typer.Option(
        "--memory-limit",
        min=0,
        help="gigabytes that what teachers said may take (else a tenth of the free disk more, and not above 20)",
    ),
]
OnOption = Annotated[
    Literal["local", "slurm", "ray"],
    typer.Option(
        "--on", help="this machine or a cluster (--slurm.time 04:00:00, --ray.address auto and so on: docs/clusters.md)"
    ),
]
DetachOption = Annotated[bool, typer.Option("--detach", help="on slurm: leave it to a small job of its own")]
LogOption = Annotated[
    list[str] | None,
    typer.Option(
        "--log",
        help="tell a tracker too: tensorboard or wandb (may be repeated; `pip install 'protege[NAME]'`)",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="no progress display")]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]
MovedOption = Annotated[
    str | None,
    typer.Option("--data", help="where the run's data are now, e.g. folder:PATH; they must be the same ones"),
]
RunArgument = Annotated[
    str,
    typer.Argument(metavar="RUN", help="id, beginning or end of an id, or folder", autocompletion=known_runs),
]


def place_of(**fields: Any) -> Place:
    from protege.runs.config import Place

    try:
        return Place(**fields)
    except ValidationError as error:
        raise ConfigError("; ".join(f"--{one['loc'][0]}: {one['msg']}" for one in error.errors())) from error


def where_of(on: str, arguments: list[str], flags: list[str], detach: bool) -> tuple[Where, list[str]]:
    """What the options of clusters say, and the arguments that are none."""
    if detach and on != "slurm":
        raise ConfigError("--detach leaves the work to a job of a cluster: it goes with `--on slurm`.")
    from protege.cli.options import given_fields
    from protege.launch.where import Where
    from protege.runs.config import known_paths, merge, problems_of

    ours, others = apart(arguments, CLUSTERS)
    described: dict[str, Any] = {"on": on}
    for path, value in given_fields(ours, known_paths(Where), flags, lambda _, text: text):
        described = merge(described, path, value)
    if unused := next((one for one in CLUSTERS if one[2:-1] in described and one[2:-1] != on), ""):
        raise ConfigError(f"{unused}... is of no use without `--on {unused[2:-1]}`.")
    try:
        return Where.model_validate(described), others
    except ValidationError as error:
        raise ConfigError("; ".join(f"--{said}" for said in problems_of(error, Where))) from error


def apart(arguments: list[str], beginnings: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Options that begin so with their values, and everything else."""
    ours: list[str] = []
    others: list[str] = []
    value_of = others
    for token in arguments:
        if token.startswith("--"):
            value_of = ours if token.startswith(beginnings) else others
        value_of.append(token)
    return ours, others
