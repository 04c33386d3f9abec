"""The text of a description -> plain values, within bounds: a file of anybody may hold a bomb, and a value no value at all."""

from __future__ import annotations

import math
from typing import Any

MOST_TEXT = 1 << 18  # bytes; our largest study has eight thousand
MOST_NODES = 20_000  # written out, so that ten lines of aliases cannot stand for a million
DEEPEST = 30
LARGEST = 2**63


def plain(text: str) -> Any:
    """Numbers, words, lists and mappings; a `ValueError` that says what else, or how much, was found."""
    import yaml

    if len(text) > MOST_TEXT:
        raise ValueError(f"it has more than {MOST_TEXT:,} characters")
    try:
        _refuse_bombs(text)
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(_in_words(error)) from error
    except (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        # YAML's own readers of dates and tagged numbers
        raise ValueError(f"a value is not what its form says ({type(error).__name__})") from error
    _refuse_odd(value, "")
    return value


def _in_words(error: Exception) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    where = f" at line {mark.line + 1}" if mark else ""
    return f"{problem or ' '.join(str(error).split())}{where}"


def _refuse_bombs(text: str) -> None:
    """Counts what there would be with every alias written out, before anything is made of it."""
    import yaml

    written: dict[str, int] = {}  # nodes below an anchor that is complete
    open_nodes: list[tuple[str | None, int]] = []  # anchor, and the count when it began
    count = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_nodes):
                raise ValueError(f"*{event.anchor} stands inside of itself")
            count += written.get(event.anchor, 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, count))
            count += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                written[anchor] = count - before
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
        if len(open_nodes) > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} levels deep")
        if count > MOST_NODES:
            raise ValueError(f"it stands for more than {MOST_NODES:,} values")


def _refuse_odd(value: Any, place: str) -> None:
    """What no field can be: dates, sets, bytes; numbers that no computer counts with; keys that are no words."""
    at = f" at {place}" if place else ""
    if isinstance(value, dict):
        for key, below in value.items():
            if not isinstance(key, str):
                raise ValueError(f"the name {key!r:.40}{at} is not a word: write it in quotes")  # noqa: TRY004
            _refuse_odd(key, place)
            _refuse_odd(below, f"{place}.{key}".strip("."))
    elif isinstance(value, list):
        for number, below in enumerate(value):
            _refuse_odd(below, f"{place}.{number}".strip("."))
    elif isinstance(value, str):
        if "\0" in value or any("\ud800" <= one <= "\udfff" for one in value):
            raise ValueError(f"a word{at} holds a character that is none")
    elif isinstance(value, int) and not isinstance(value, bool):
        if abs(value) >= LARGEST:
            raise ValueError(f"a number{at} is too large")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value}{at} is not a number to count with")
    elif value is not None and not isinstance(value, bool):
        raise ValueError(f"a value{at} is a {type(value).__name__}: write it in quotes if it is a word")
