"""Code of others: what of it may run. A method, a network or images may be in a file of Python, and reading a record must not run one.

Who types its name, or writes it in a program, has consented, and the digest of the file is remembered on this machine.
A description that comes from a file needs that digest, or `protege --trust-code`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from protege.data.files import content_of
from protege.data.places import cache_folder


@dataclass(frozen=True)
class Rule:
    """What is done about code from outside that a description names."""

    imports: bool = True
    asks: bool = False  # whether its digest must be known here
    origin: str = ""  # which file names it
    digest: str | None = None  # of the file, or of several one after another, where a run recorded them


AS_TYPED = Rule()
_rule: ContextVar[Rule] = ContextVar("rule", default=AS_TYPED)
_trusts_all: ContextVar[bool] = ContextVar("trusts_all", default=False)
_allowed: set[str] = set()  # digests of what may run in this process


def trust_all() -> None:
    """What `--trust-code` says, for the rest of the process."""
    _trusts_all.set(True)


def rule() -> Rule:
    return _rule.get()


@contextlib.contextmanager
def unread() -> Iterator[None]:
    """Here nothing is imported: a method from outside keeps its name and its fields, and can do nothing."""
    with _under(Rule(imports=False)):
        yield


@contextlib.contextmanager
def named_in(origin: str) -> Iterator[None]:
    """Here the description comes from a file, which anybody may have written."""
    with _under(Rule(asks=True, origin=origin) if _rule.get().imports else _rule.get()):
        yield


@contextlib.contextmanager
def recorded(origin: str, digest: str | None) -> Iterator[None]:
    """Here the description is a run's record, which says what the file was."""
    with _under(Rule(asks=True, origin=origin, digest=digest) if _rule.get().imports else _rule.get()):
        yield


@contextlib.contextmanager
def already_asked() -> Iterator[None]:
    """Here code runs whose name was read before: only what was allowed then, or is known."""
    with _under(Rule(asks=True, origin="a description") if _rule.get() is AS_TYPED else _rule.get()):
        yield


@contextlib.contextmanager
def _under(other: Rule) -> Iterator[None]:
    token = _rule.set(other)
    try:
        yield
    finally:
        _rule.reset(token)


def refuse_unknown(place: str, digest: str) -> None:
    """A `ValueError` unless this code may run now. What may is known from then on."""
    asked = _rule.get()
    if asked.asks and not _trusts_all.get():
        trust = f"{asked.origin} names it; where you trust that code: protege --trust-code ..."
        if asked.digest is not None and digest not in asked.digest:
            raise ValueError(f"{place} is another file now than the run was made with. {trust}")
        if digest not in _known():
            raise ValueError(f"{place} is code that was not run on this machine yet. {trust}")
    remember(digest)


def _file() -> Path:
    return cache_folder() / "trusted-code"


def _known() -> set[str]:
    try:
        return _allowed | set(content_of(_file()).decode("ascii", "replace").split())
    except OSError:
        return _allowed


def remember(digest: str) -> None:
    """That this content may run on this machine. Where the cache cannot be written to, consent is asked for again."""
    if digest in _known():
        return
    _allowed.add(digest)
    with contextlib.suppress(OSError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(_file(), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o644)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{digest}\n")
