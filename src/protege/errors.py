"""What can go wrong, in the user's words. The command line prints each as one clear line and exits 2.

ProtegeError
├── ConfigError            a value in a description of a run, a file or a command line
├── DataError              a dataset that is missing, damaged or unfit
│   └── UnsafePickle       a pickle that holds more than arrays, lists and strings
├── ModelError             a name, a stage or a weights file that does not fit
│   └── ShapeMismatch      student and teacher that this method cannot compare
├── RunError               a run's folder that is damaged, foreign or busy
├── Diverged               a loss that stopped being a number
├── NotEnoughSpace         a disk or a memory that is too small, with the figures
└── MissingExtra           an optional library that is not installed

Stopped is none of these: the user or the scheduler asked for an end, and nothing is lost.
"""

from __future__ import annotations

import reprlib

WIDEST = 480  # characters in a line of a message
MOST_LINES = 20  # of a list of mistakes


class ProtegeError(Exception):
    """Anything that the user can put right, in one line; of several mistakes a line each in `listed`.

    Names and values come from files of anybody: what is not printable is shown by its number, and what is long is cut.
    """

    def __init__(self, message: str = "", *listed: str) -> None:
        shown = [*listed[:MOST_LINES], *([f"and {len(listed) - MOST_LINES} more"] if len(listed) > MOST_LINES else [])]
        super().__init__("\n".join([in_a_line(message), *(f"  {in_a_line(one)}" for one in shown)]))


class ConfigError(ProtegeError):
    """A value in a description of a run, a file or a command line."""


class DataError(ProtegeError):
    """A dataset that is missing, damaged or unfit."""


class UnsafePickle(DataError):
    """A pickle that holds more than arrays, lists and strings."""


class ModelError(ProtegeError):
    """A name, a stage or a weights file that does not fit."""


class ShapeMismatch(ModelError):
    """Student and teacher that this method cannot compare."""


class RunError(ProtegeError):
    """A run's folder that is damaged, foreign or busy."""


class Diverged(ProtegeError):
    """A loss that stopped being a number."""


class NotEnoughSpace(ProtegeError):
    """A disk or a memory that is too small, with the figures."""


class MissingExtra(ProtegeError):
    """An optional library that is not installed."""


class Stopped(BaseException):
    """An end was asked for; what is needed to go on is written."""


def visible(text: str, kept: str = "") -> str:
    """`text` with what a terminal would obey, or could not print, shown by its number: `\\x1b`, `\\n`, `\\udcff`."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in kept else one.encode("unicode_escape").decode() for one in text)


def no_formula(text: str) -> str:
    """For a cell of a table: a spreadsheet would take some words for formulas, whoever wrote them."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def in_a_line(text: str, widest: int = WIDEST) -> str:
    """One printable line; of a long one its beginning and its end."""
    if len(text) > 4 * widest:  # each character may take ten
        text = f"{text[: 2 * widest]}{text[-2 * widest :]}"
    line = visible(text)
    if len(line) <= widest:
        return line
    end = widest // 3
    return f"{line[: widest - end - 5]} ... {line[-end:]}"


def quoted(value: object, widest: int = 80) -> str:
    """A value as a message repeats it: never longer than `widest`, however large or deep it is."""
    return in_a_line(_Repr.repr(value), widest)


_Repr = reprlib.Repr()
_Repr.maxlevel, _Repr.maxstring, _Repr.maxother, _Repr.maxlong = 3, 200, 200, 60


def out_of_memory(error: BaseException) -> bool:
    """Whether there was no room on the host or a GPU; PyTorch says so in words of its own."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error)


def suggest(wrong: str, known: list[str] | tuple[str, ...] | set[str] | dict[str, object]) -> str:
    """`" Did you mean 'x'?"`, or nothing where no known name is near."""
    from difflib import get_close_matches

    near = get_close_matches(wrong[:100], list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""
