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


class ProtegeError(Exception):
    """Anything that the user can put right."""


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


def suggest(wrong: str, known: "list[str] | tuple[str, ...] | set[str] | dict[str, object]") -> str:
    """`" Did you mean 'x'?"`, or nothing where no known name is near."""
    from difflib import get_close_matches

    near = get_close_matches(wrong, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""
