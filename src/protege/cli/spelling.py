"""Fields in messages as their user wrote them: `--teacher.model.stem` on the command line, `teacher.model.stem` in a file.

Messages of all rooms name a field by its path (`optim.lr`), or in backticks where that is one word; here is the only place
that knows where it was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass

WORDS = re.compile(r"(?<![\w./-])[a-z]\w*(?:\.[a-z]\w*)+|`[a-z_]+`|(?:(?<=^  )|(?<=^this run: ))\w+(?=: )", re.M)


@dataclass(frozen=True)
class Written:
    """How this command was described."""

    options: frozenset[str] | None = frozenset()  # paths that were typed; None: all that there are
    below: str = ""  # of a verb whose options are fields of one section: `data.`


NOWHERE = Written()
_written: ContextVar[Written] = ContextVar("written", default=NOWHERE)


def were_typed(paths: Iterable[str] | None, below: str = "") -> None:
    """These were options of this command; None says that nothing came from a file."""
    _written.set(Written(None if paths is None else frozenset(paths), below))


def spelled(message: str) -> str:
    """The message with each field as its user wrote it."""
    written = _written.get()
    if written == NOWHERE:
        return message
    sections = _sections()

    def option(found: re.Match[str]) -> str:
        word = found[0]
        path = word.strip("`")
        if path.partition(".")[0] not in sections or path.endswith(".safetensors") or not _was_typed(path, written):
            return word
        path = path.removesuffix(".name").removesuffix(".source")  # which is what a section alone stands for
        typed = f"--{path.removeprefix(written.below).replace('_', '-')}"
        return f"`{typed}`" if word.startswith("`") else typed

    return WORDS.sub(option, message)


def _sections() -> set[str]:
    from protege.runs.config import RunConfig

    return set(RunConfig.model_fields)


def _was_typed(path: str, written: Written) -> bool:
    """Also where only what it is a part of was typed, or a part of it."""
    if written.options is None:
        return path.startswith(written.below)
    return any(f"{path}.".startswith(f"{one}.") or one.startswith(f"{path}.") for one in written.options)
