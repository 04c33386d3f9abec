"""Run fields inside a study's file: told apart from the study's own, and merged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from protege.errors import quoted, suggest
from protege.runs.config import Description, RunConfig, merge

RUN_FIELDS = tuple(name for name in RunConfig.model_fields if name != "seed")
IDENTITY = ("name", "source")  # a section that has one of these is another thing, not a refinement


def aliased(path: str) -> str:
    """The run's own name of a field: `student` is the model, and dashes are underscores."""
    head, dot, rest = path.replace("-", "_").partition(".")
    return f"{'model' if head == 'student' else head}{dot}{rest}"


def fields_and_rest(given: Any, own: tuple[str, ...]) -> Any:
    """A mapping with the run fields under `fields`, and the study's own as they are; an unknown name is an error."""
    if isinstance(given, BaseModel):
        return given
    if not isinstance(given, Mapping):
        raise ValueError(f"{quoted(given)} is not a mapping of fields")  # noqa: TRY004
    fields: Description = {}
    rest: dict[str, Any] = {}
    problems = []
    for key, value in given.items():
        path = aliased(str(key))
        head = path.partition(".")[0]
        if key in own:
            rest[key] = value
        elif head == "seed":
            problems.append("leave `seed` to the study's `seeds`")
        elif head not in RUN_FIELDS:
            problems.append(f"there is no field '{key}'.{suggest(str(key), [*own, *RUN_FIELDS, 'student'])}")
        elif path in fields:
            problems.append("student and model are the same field: give one")
        else:
            fields[path] = value
    if problems:
        raise ValueError("; ".join(problems))
    return {**rest, "fields": fields}


def merge_fields(base: Description, over: Mapping[str, Any]) -> Description:
    """`over` on top of `base`. A section with a name of its own replaces; one without refines; a dotted path sets one field."""
    merged = dict(base)
    for path, value in over.items():
        if "." in path:
            merged = merge(merged, path, value)
        elif isinstance(value, Mapping) and merged.get(path) is not None and not any(key in value for key in IDENTITY):
            merged[path] = {**_section(merged[path], path), **value}
        else:
            merged[path] = value
    return merged


def _section(value: Any, path: str) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    if path == "views":
        from protege.views.config import SHORTHANDS

        return SHORTHANDS.get(value, {"name": value})
    return {"source" if path == "teacher" else "name": value}
