"""What a shell offers behind the cursor: runs, and fields of a run with their values. Looks at names only, and never fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from protege.errors import ProtegeError


def known_runs(context: typer.Context, incomplete: str) -> list[str]:
    """Ids of the folder that `--runs` names so far."""
    from protege.runs import every

    with contextlib.suppress(ProtegeError, OSError):
        return [run.id for run in every(Path(context.params.get("runs") or "runs")) if run.id.startswith(incomplete)]
    return []


class Describing(TyperCommand):
    """A verb whose options are fields of a run as well: they are offered, and so are the names that they take."""

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        before = _typed_before(ctx)
        if before.startswith("--") and "=" not in before and not incomplete.startswith("-"):
            found = list(values_of(before[2:].replace("-", "_"), ctx, incomplete))
            if found:
                return [_item(one) for one in found]
        offered = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            offered += [_item(option) for option in field_options(ctx) if option.startswith(incomplete)]
        return offered


def _item(value: str) -> Any:
    from typer._click.shell_completion import CompletionItem

    return CompletionItem(value)


def _typed_before(ctx: Any) -> str:
    """The last word that is complete; the first one may have been taken for the verb's argument."""
    words = _words(ctx)
    return words[-1] if words else ""


def _words(ctx: Any) -> list[str]:
    file = ctx.params.get("file")
    return [*([str(file)] if file else []), *ctx.args]


def field_options(ctx: Any) -> Iterator[str]:
    from protege.methods import METHODS
    from protege.runs.config import RunConfig, known_paths

    for path in known_paths(RunConfig):
        yield f"--{path.replace('_', '-')}"
    named = [after for word, after in pairwise(_words(ctx)) if word == "--method"]
    method = METHODS.get(named[-1]) if named else None
    for name in method.model_fields if method else ():
        if name != "name":
            yield f"--method.{name.replace('_', '-')}"


def values_of(path: str, ctx: Any, incomplete: str) -> Iterator[str]:
    """Names that this field takes."""
    from protege.data import DATASETS
    from protege.methods import METHODS
    from protege.models import MODELS

    known: dict[str, Any] = {
        "model": MODELS, "model.name": MODELS, "teacher.model": MODELS, "method": METHODS, "method.name": METHODS,
        "data": [name for name in DATASETS if name != "folder"],
    }  # fmt: skip
    names = known_runs(ctx, incomplete) if path in ("teacher", "init") else [*known.get(path, ()), *_choices(path)]
    yield from (name for name in names if name.startswith(incomplete))


def _choices(path: str) -> tuple[str, ...]:
    """Of a field that is one of a few words."""
    from typing import get_args

    from protege.runs.config import RunConfig, fields_below

    for known, info, _ in fields_below(RunConfig):
        if known == path:
            inside = [info.annotation, *get_args(info.annotation)]
            return tuple(word for one in inside for word in get_args(one) if isinstance(word, str))
    return ()
