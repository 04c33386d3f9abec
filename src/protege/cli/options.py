"""Options that are fields of a description: read by their dotted names, checked together, shown with their meanings."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from pydantic import BaseModel, ValidationError
from rich.table import Table

from protege.cli.spelling import were_typed
from protege.errors import ConfigError, suggest
from protege.runs.display import table_of
from protege.runs.plain import plain

if TYPE_CHECKING:
    from protege.runs.config import RunConfig


# Which fields there are below is known when the method or the network is: the check of the description says so.
OPEN = (
    "method.",
    *(f"{model}{part}." for model in ("", "model.", "teacher.model.") for part in ("stages", "args")),
)


def given_fields(
    arguments: list[str], known: list[str], flags: list[str], read: Callable[[str, str], Any] | None = None
) -> Iterator[tuple[str, Any]]:
    """`--optim.epochs 6`, `--method.kd-weight=0.7`, `--optim.nesterov` as (dotted path, value); an unknown name gets a suggestion."""
    problems = []
    waiting = list(arguments)
    while waiting:
        token = waiting.pop(0)
        if not token.startswith("--"):
            problems.append(f"'{token}' is neither an option nor its value.")
            continue
        name, equals, value = token[2:].partition("=")
        path = name.replace("-", "_")
        if not equals:
            value = waiting.pop(0) if waiting and not waiting[0].startswith("--") else "true"
        if path not in known and not path.startswith(OPEN):
            options = ["--" + other.replace("_", "-") for other in (*known, *flags)]
            problems.append(f"there is no option --{name}.{suggest('--' + name, options)}")
            continue
        yield path, (read or _value)(path, value)
    if problems:
        raise ConfigError(*problems) if len(problems) == 1 else ConfigError(f"{len(problems)} mistakes:", *problems)


def _value(path: str, text: str) -> Any:
    """As in a YAML file, but 010 is ten, and a teacher whose id ends in digits is no number."""
    if re.fullmatch(r"[+-]?0\d{1,18}", text) and path != "teacher":
        return int(text)
    try:
        value = plain(text)
    except ValueError:
        return text  # a word, as far as it goes
    return text if path == "teacher" and not isinstance(value, list | dict | None) else value


def describe(file: Path | None, arguments: list[str], flags: list[str], recipe: str | None = None) -> RunConfig:
    """The checked description from an optional file, a recipe over it, and the options over both."""
    return described(file, arguments, flags, recipe)[1]


def described(
    file: Path | None, arguments: list[str], flags: list[str], recipe: str | None = None
) -> tuple[dict[str, Any], RunConfig]:
    """The same as it was given, too: fields that were left out may still follow from others."""
    from protege.data.outside.consent import named_in
    from protege.runs.config import RunConfig, check_run, known_paths, merge, read_yaml
    from protege.runs.recipes import with_recipe

    description = read_yaml(file) if file else {}
    description = with_recipe(description, recipe) if recipe else description
    fields = list(given_fields(arguments, known_paths(RunConfig), flags))
    were_typed([path for path, _ in fields] if file else None)
    for path, value in sorted(fields, key=lambda field: field[0].count(".")):  # a section, then what refines it
        description = merge(description, path, value)
    _allow_what_was_typed(fields)
    with named_in(str(file)) if file else contextlib.nullcontext():
        return description, check_run(description, str(file) if file and not arguments else "this run")


def recipe_table() -> Table:
    from protege.runs.recipes import RECIPES

    table = table_of("recipes: fields under one name; options typed beside it win", "recipe", "meaning", "fields")
    for name, recipe in RECIPES.items():
        fields = " ".join(f"--{path.replace('_', '-')} {value}" for path, value in recipe.fields.items())
        table.add_row(name, recipe.summary, fields)
    return table


def _allow_what_was_typed(fields: list[tuple[str, Any]]) -> None:
    """Code whose name was typed may run; what else a file names is asked about. What is wrong with a name is said later."""
    from protege.data.outside.code import allow, is_own
    from protege.methods import resolve

    for path, value in fields:
        with contextlib.suppress(ValueError):
            if path in ("method", "method.name"):
                resolve(str(value))
            elif isinstance(value, str) and is_own(value):
                allow(value)


def field_tables(method: str | None) -> Iterator[Table]:
    """Every field of a run with its default and meaning, a table a section."""
    from protege.methods import METHODS
    from protege.runs.config import RunConfig, fields_below

    sections: dict[str, Table] = {}
    for path, info, _ in fields_below(RunConfig):
        section, _, rest = path.partition(".")
        if not rest and info.description and section in ("seed", "evaluate_every"):
            section = "run"
        table = sections.setdefault(section, table_of(section, "option", "default", "meaning"))
        table.add_row(f"--{path.replace('_', '-')}", default_of(info), info.description or "")
    yield from sections.values()
    chosen = [method] if method in METHODS else list(METHODS)
    for name in chosen:
        declared = METHODS[name]
        table = table_of(f"method {name}: {(declared.__doc__ or '').strip()}", "option", "default", "meaning")
        for field, info in declared.model_fields.items():
            if field != "name":
                table.add_row(f"--method.{field.replace('_', '-')}", default_of(info), info.description or "")
        yield table


def cluster_table() -> Table:
    """What is asked of a cluster, of `protege study run` too."""
    from protege.launch.where import Where
    from protege.runs.config import fields_below

    table = table_of("on a cluster (--on slurm, --on ray; docs/clusters.md)", "option", "default", "meaning")
    for path, info, _ in fields_below(Where):
        if "." in path and path != "slurm.teachers":
            table.add_row(f"--{path.replace('_', '-')}", default_of(info), info.description or "")
    return table


def default_of(info: Any) -> str:
    from pydantic_core import PydanticUndefined

    if info.default_factory is not None:
        made = info.get_default(call_default_factory=True, validated_data={})
        return made if isinstance(made, str) else str(getattr(made, "name", "")) or "-"
    if info.default is PydanticUndefined:
        return "must be given"
    return "-" if info.default in (None, ()) else str(info.default)


def file_or_option(file: Path | None, context: typer.Context) -> tuple[Path | None, list[str]]:
    """What typer takes for the file may be the first of the fields."""
    if file is not None and str(file).startswith("--"):
        return None, [str(file), *context.args]
    return file, list(context.args)


def flags_of(context: typer.Context) -> list[str]:
    return [
        name.removeprefix("--")
        for parameter in context.command.params
        for name in parameter.opts
        if name.startswith("--")
    ]


def checked(
    model: type[BaseModel],
    description: dict[str, Any],
    arguments: list[str],
    flags: list[str],
    section: str,
    begin: str = "",
) -> Any:
    """A part of a run, described by options that name its fields alone, or after `begin`."""
    from protege.runs.config import known_paths, merge

    were_typed(None, below=f"{section}.".removesuffix(begin))
    for path, value in given_fields(arguments, [f"{begin}{known}" for known in known_paths(model)], flags):
        description = dict(merge(description, path.removeprefix(begin), value))
    try:
        return model.model_validate(description)
    except ValidationError as error:
        raise ConfigError("; ".join(_option_and_problem(one, begin) for one in error.errors())) from error


def _option_and_problem(one: Any, begin: str) -> str:
    """The name itself is an argument, and no option."""
    path = ".".join(map(str, one["loc"])).replace("_", "-")
    return f"{'' if path in ('', 'name') else f'--{begin}{path}: '}{one['msg'].removeprefix('Value error, ')}"
