"""Options that say where and with what: folders, device, threads. They mean the same in every verb."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from protege.errors import ConfigError

if TYPE_CHECKING:
    from protege.runs.config import Place

DESCRIBED = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

RunsOption = Annotated[Path, typer.Option("--runs", help="folder of the runs")]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="folder of the data (else PROTEGE_DATA, else the cache)")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1")]
ThreadsOption = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads (else all)")]
MemoryLimitOption = Annotated[
    float | None,
    typer.Option(
        "--memory-limit",
        min=0,
        help="gigabytes that what teachers said may take (else a tenth of the free disk more, and not above 20)",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="no progress display")]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]
MovedOption = Annotated[
    str | None,
    typer.Option("--data", help="where the run's data are now, e.g. folder:PATH; they must be the same ones"),
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="id, beginning or end of an id, or folder")]


def place_of(**fields: Any) -> Place:
    from protege.runs.config import Place

    try:
        return Place(**fields)
    except ValidationError as error:
        raise ConfigError("; ".join(f"--{one['loc'][0]}: {one['msg']}" for one in error.errors())) from error
