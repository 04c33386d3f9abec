"""`protege list`: the runs of a folder, chosen, ordered and grouped as its user wishes."""

from __future__ import annotations

import json
import operator
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from protege.cli.places import JsonOption, RunsOption
from protege.errors import ConfigError, suggest
from protege.runs.display import out, table_of

if TYPE_CHECKING:
    from protege.runs.keeping.rows import Row

HEADS = {
    "id": "run", "teachers": "taught by", "heldout_accuracy": "held-out %", "smaller": "made smaller", "bytes": "MB", "study": "studies",
}  # fmt: skip
SHOWN = ("id", "data", "seed", "teachers", "state", "heldout_accuracy", "parameters", "bytes")
ALIASES = {
    "run": "id", "teacher": "teachers", "accuracy": "heldout_accuracy", "held-out": "heldout_accuracy", "size": "bytes",
    "studies": "study", "init": "model.weights",
}  # fmt: skip
CONDITION = re.compile(r"([\w.-]+)(!=|<=|>=|=|<|>|~)(.*)", re.S)
ORDERED: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def list_runs(
    runs: RunsOption = Path("runs"),
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            help='only these: "method=kd accuracy>0.9 optim.lr<=0.1 model~resnet"; fields are columns of --json, '
            "or of the run's description; ~ is: contains",
        ),
    ] = None,
    sort: Annotated[
        str | None, typer.Option("--sort", help="by this field, the smallest first; -accuracy: the largest first")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="so many: the first by --sort, else the newest")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="these fields instead: id,seed,accuracy,optim.lr")
    ] = None,
    grouped: Annotated[
        bool | None, typer.Option("--group/--no-group", help="by study (else where nothing is sorted)")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """All runs of a folder: what they are, how far they are, how good, and how much room they take."""
    from protege.runs import every
    from protege.runs.keeping.belonging import studies_of
    from protege.runs.keeping.rows import row_of

    studies = studies_of(runs)
    rows = [row_of(run) | {"study": studies.get(run.id, [])} for run in every(runs)]
    chosen = ordered(filtered(rows, where), sort, limit)
    if as_json:
        print(json.dumps([{key: value for key, value in row.items() if key != "fields"} for row in chosen]))
    elif not rows:
        out.print(
            f"No runs in {runs} yet. `protege demo` makes some; `protege train --help` says how to make your own."
        )
    else:
        names = [_known(name.strip(), chosen) for name in columns.split(",")] if columns else list(_told(chosen))
        _show(chosen, names, runs, len(rows), sort is None if grouped is None else grouped)


def _told(rows: Sequence[Row]) -> Sequence[str]:
    """Columns of those that were not asked for: what was taken away is told where anything was."""
    return (*SHOWN[:-1], "smaller", SHOWN[-1]) if any(row["smaller"] for row in rows) else SHOWN


# ---- which, and in which order ----


def filtered(rows: Sequence[Row], where: str | None) -> list[Row]:
    """Those that meet every condition of `where`; a run that has no such field meets none about it."""
    try:
        words = shlex.split(where or "")
    except ValueError as error:
        raise ConfigError(f"--where {where}: {error}.") from error
    chosen = list(rows)
    for word in words:
        found = CONDITION.fullmatch(word)
        if found is None:
            raise ConfigError(
                f"--where: '{word}' is no condition. Write FIELD=VALUE, or with != < <= > >= ~ (contains)."
            )
        name, relation, value = found.groups()
        field = _known(name, rows)
        chosen = [row for row in chosen if _holds(field, _value(row, field), relation, value)]
    return chosen


def _known(name: str, rows: Sequence[Row]) -> str:
    field = ALIASES.get(name, name).replace("-", "_")
    known = {one for row in rows for one in (*row, *row["fields"])} - {"fields"} | {*SHOWN, "study"}
    if field not in known:
        raise ConfigError(f"No run here has a field '{name}'.{suggest(name, [*known, *ALIASES])}")
    return field


def _value(row: Row, field: str) -> Any:
    return row[field] if field in row else row["fields"].get(field)


def _holds(field: str, value: Any, relation: str, wanted: str) -> bool:
    if isinstance(value, list):
        return (
            all(_holds(field, one, relation, wanted) for one in value)
            if relation == "!="
            else any(_holds(field, one, relation, wanted) for one in value)
        )
    if value is None:
        return False
    number = _number(field, wanted)
    if relation == "~":
        return wanted.lower() in str(value).lower()
    if relation in ORDERED:
        if number is None:
            raise ConfigError(f"--where: {field}{relation}{wanted} wants a number.")
        return isinstance(value, int | float) and ORDERED[relation](value, number)
    same = (
        value == number
        if isinstance(value, int | float) and number is not None
        else str(value).lower() == wanted.lower()
    )
    return same == (relation == "=")


def _number(field: str, text: str) -> float | None:
    """A share may be written in percent, and a size in MB, as the table shows them."""
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        return None
    if field.endswith("accuracy") and (value > 1 or text.endswith("%")):
        return value / 100
    return value * 1e6 if field == "bytes" else value


def ordered(rows: Sequence[Row], sort: str | None, limit: int | None) -> list[Row]:
    """Oldest first, or by a field; runs that do not have it come last."""
    if sort is None:
        return list(rows)[-limit:] if limit else list(rows)
    field, down = _known(sort.removeprefix("-"), rows), sort.startswith("-")
    have = [row for row in rows if _value(row, field) is not None]
    numbers = all(isinstance(_value(row, field), int | float) for row in have)
    have.sort(key=lambda row: _value(row, field) if numbers else str(_value(row, field)), reverse=down)
    return [*have, *(row for row in rows if _value(row, field) is None)][:limit]


# ---- on a terminal ----


def _show(rows: Sequence[Row], columns: Sequence[str], runs: Path, of: int, grouped: bool) -> None:
    counted = f"{len(rows)} runs" if len(rows) == of else f"{len(rows)} of {of} runs"
    table = table_of(
        f"{counted} in {runs}, {sum(row['bytes'] for row in rows) / 1e6:,.1f} MB",
        *(HEADS.get(name, name) for name in columns),
    )
    for study, members in _groups(rows) if grouped else [("", rows)]:
        if study:
            table.add_row(f"study {study}", style="bold")
        for row in members:
            table.add_row(*(_shown(name, _value(row, name)) for name in columns))
    out.print(table)


def _groups(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Runs of no study, then those of each; a run that several count stands with each of them."""
    studies = sorted({name for row in rows for name in row["study"]})
    alone = [row for row in rows if not row["study"]]
    return [("", alone), *((study, [row for row in rows if study in row["study"]]) for study in studies)]


def _shown(name: str, value: Any) -> str:
    if value is None or value == []:
        return "-"
    if name.endswith("accuracy"):
        return f"{100 * value:.2f}"
    if name == "bytes":
        return f"{value / 1e6:,.1f}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if name == "parameters" else str(value)
