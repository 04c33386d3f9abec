"""A table before it is HTML, Markdown, CSV or LaTeX: typed columns, so that all four print the same figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from protege.study.findings import Interval, Summary

Kind = Literal["text", "count", "number", "p", "estimate", "range"]


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
    only_data: bool = field(default=False)  # behind a chart: written as CSV, printed nowhere


def estimate(summary: Summary | None) -> Estimate | None:
    return None if summary is None else Estimate(summary.mean, summary.sd, summary.n)


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
    return f"{_number(value.mean, column)} ± {value.sd:.{column.decimals}f}"


def _number(value: float, column: Column) -> str:
    rounded = round(value, column.decimals) + 0.0  # no "-0.00"
    return f"{rounded:{'+' if column.signed else ''}.{column.decimals}f}"


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


def trimmed(table: Table) -> Table:
    """Without columns in which nothing is known; the first stays, for it names the rows."""
    kept = [
        number
        for number in range(len(table.columns))
        if number == 0 or any(row.values[number] is not None for row in table.rows)
    ]
    rows = tuple(replace(row, values=tuple(row.values[number] for number in kept)) for row in table.rows)
    return replace(table, columns=tuple(table.columns[number] for number in kept), rows=rows)


def hardware_of(table: Table) -> list[str]:
    return list(dict.fromkeys(row.hardware for row in table.rows if row.hardware))


def with_hardware(table: Table) -> Table:
    """Hardware as a last column, for a file that stands alone."""
    if not hardware_of(table):
        return table
    rows = tuple(replace(row, values=(*row.values, row.hardware or None)) for row in table.rows)
    return replace(table, columns=(*table.columns, Column("hardware")), rows=rows)


def for_reading(table: Table) -> Table:
    """Hardware in the note where it is the same for all rows, else a column."""
    found = hardware_of(table)
    if len(found) > 1:
        return with_hardware(table)
    return replace(table, note=sentence(table.note, f"Hardware: {found[0]}.")) if found else table


def sentence(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def headed(names: Sequence[str | Column]) -> tuple[Column, ...]:
    """Plain names are columns of text."""
    return tuple(Column(name) if isinstance(name, str) else name for name in names)
