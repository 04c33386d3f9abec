"""A table before it is HTML, Markdown, CSV or LaTeX: typed columns, so that all four print the same figures."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeVar

from protege.stats.claims import figure
from protege.study.findings import Interval, Summary

Kind = Literal["text", "count", "number", "p", "estimate", "range"]
Thing = TypeVar("Thing")


class Estimate(NamedTuple):
    """A mean over seeds with its spread. `sd` is None where one seed is all there is."""

    mean: float
    sd: float | None
    n: int


class Range(NamedTuple):
    low: float
    high: float


Value = str | int | float | Estimate | Range | None  # None: not known, never zero


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind = "text"
    decimals: int = 2
    signed: bool = False  # a difference: + or - before it

    @property
    def numeric(self) -> bool:
        return self.kind != "text"


@dataclass(frozen=True)
class Row:
    values: tuple[Value, ...]
    hardware: str = ""  # where its figures were measured
    style: str = ""  # of its network, in charts
    marked: bool = False  # chosen, or primary


@dataclass(frozen=True)
class Table:
    name: str  # of its files
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    note: str = ""
    long: bool = False  # with a filter, however few its rows
    folded: bool = False  # opens at a click: for those who look closer


class Dress(NamedTuple):
    """What a row says of its figures, and how it looks."""

    hardware: str = ""
    style: str = ""
    marked: bool = False


def table_of(
    name: str,
    title: str,
    things: Iterable[Thing],
    columns: Sequence[tuple[str | Column, Callable[[Thing], Value]]],
    note: str = "",
    dress: Callable[[Thing], Dress] = lambda _: Dress(),
    long: bool = False,
    folded: bool = False,
) -> Table:
    """A row for each thing; a column is what it is called (text, unless it says more) and how it is read.

    Columns in which nothing is known are left out; the first stays, for it names the rows.
    """
    rows = [(dress(one), tuple(read(one) for _, read in columns)) for one in things]
    kept = [place for place in range(len(columns)) if place == 0 or any(row[place] is not None for _, row in rows)]
    heads = (columns[place][0] for place in kept)
    return Table(
        name,
        title,
        tuple(Column(head) if isinstance(head, str) else head for head in heads),
        tuple(Row(tuple(row[place] for place in kept), *dressed) for dressed, row in rows),
        note,
        long,
        folded,
    )


def estimate(summary: Summary | None) -> Estimate | None:
    return None if summary is None else Estimate(summary.mean, summary.sd, summary.n)


def estimate_of(values: Sequence[float]) -> Estimate:
    return Estimate(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def interval(found: Interval | None) -> Range | None:
    return None if found is None else Range(found.low, found.high)


def said(value: Value, column: Column) -> str:
    """One value for people; `-` where it is not known."""
    if value is None:
        return "-"
    if isinstance(value, Estimate):
        return _estimate(value, column)
    if isinstance(value, Range):
        return f"{_number(value.low, column)} to {_number(value.high, column)}"
    if isinstance(value, str):
        return value
    if column.kind == "p":
        return p_value(value)
    return f"{value:,}" if column.kind == "count" else _number(value, column)


def _estimate(value: Estimate, column: Column) -> str:
    if value.sd is None:
        return f"{_number(value.mean, column)} (1 seed)"
    return f"{_number(value.mean, column)} ± {figure(value.sd, column.decimals, signed=False)}"


def _number(value: float, column: Column) -> str:
    return figure(value, column.decimals, column.signed)


def number(count: int, thing: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def numbers(counts: Mapping[str, int], thing: str) -> str:
    """`3 seeds each`; `teacher large: 1 seed; the others: 3 seeds`."""
    by_count: dict[int, list[str]] = {}
    for name, count in counts.items():
        by_count.setdefault(count, []).append(name)
    if len(by_count) == 1:
        return f"{number(next(iter(by_count)), thing)} each"
    most = max(by_count, key=lambda count: len(by_count[count]))
    parts = [f"{', '.join(names)}: {number(count, thing)}" for count, names in by_count.items() if count != most]
    rest = by_count[most]
    return "; ".join([*parts, f"{'the others' if len(rest) > 1 else rest[0]}: {number(most, thing)}"])


def p_value(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 or p == 0 else f"{p:.0e}"


def sort_key(value: Value) -> float | str | None:
    """What a column is sorted by: the mean, the middle of a range, or the text."""
    if isinstance(value, Estimate):
        return value.mean
    if isinstance(value, Range):
        return (value.low + value.high) / 2
    return value


def hardware_of(table: Table) -> list[str]:
    return list(dict.fromkeys(row.hardware for row in table.rows if row.hardware))


def with_hardware(table: Table) -> Table:
    """Hardware as a last column, for a file that stands alone."""
    if not hardware_of(table):
        return table
    rows = tuple(replace(row, values=(*row.values, row.hardware or None)) for row in table.rows)
    return replace(table, columns=(*table.columns, Column("hardware")), rows=rows)


def for_reading(table: Table, said_above: bool = False) -> Table:
    """Hardware in the note where it is the same for all rows, else a column; nowhere where it is that of the whole page."""
    found = hardware_of(table)
    if len(found) > 1:
        return with_hardware(table)
    if said_above:
        return table
    return replace(table, note=sentence(table.note, f"Hardware: {found[0]}.")) if found else table


def sentence(*parts: str) -> str:
    return " ".join(part for part in parts if part)


# ---- varied values, as a study's file says them ----


def plain(value: Any) -> str:
    """`0.5`, `fitnet`, `[1, 2]`."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def last(path: str) -> str:
    return path.rpartition(".")[2]


def varied(values: Mapping[str, Any]) -> str:
    """`temperature 4, kd_weight 0.9`."""
    return ", ".join(f"{last(path)} {plain(value)}" for path, value in values.items())
