"""Who is compared with whom: the hypotheses of a study, as members of one family over its cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from protege.study.findings.record import Cell, RunRow
from protege.study.question.schema import Hypothesis, Values


@dataclass(frozen=True)
class Member:
    """Treatment minus control; or that minus another such difference (`than`); or several cells `among` themselves."""

    hypothesis: Hypothesis
    treatment: Cell
    control: Cell
    primary: bool
    than: tuple[Cell, Cell] | None = None
    among: tuple[Cell, ...] = ()

    @property
    def key(self) -> str:
        return f"{self._key} in {self.hypothesis.measure}"

    @property
    def _key(self) -> str:
        if self.among:
            return "among " + ", ".join(cell.key for cell in self.among)
        first = f"{self.treatment.key} - {self.control.key}"
        return f"({first}) - ({self.than[0].key} - {self.than[1].key})" if self.than else first

    @property
    def cells(self) -> tuple[Cell, ...]:
        return self.among or (self.treatment, self.control, *(self.than or ()))

    @property
    def weights(self) -> tuple[float, ...]:
        """Of the cells in the difference; of cells among themselves, none."""
        return () if self.among else (1.0, -1.0, -1.0, 1.0)[: len(self.cells)]

    @property
    def pair(self) -> str | None:
        """That of all, to be said once; None where they have none, or each its own."""
        pairs = {cell.pair for cell in self.cells}
        return self.treatment.pair if len(pairs) == 1 else None

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(cell.short if self.pair else cell.label for cell in self.cells)

    @property
    def named(self) -> str:
        """`kd against alone (R34 -> R18)`."""
        labels = self.labels
        if self.among:
            return "among " + ", ".join(labels)
        first = " against ".join(labels[:2])
        both = f"{first}, minus {' against '.join(labels[2:])}" if self.than else first
        return both + (f" ({self.pair})" if self.pair else "")


def family(asked: Sequence[Hypothesis], cells: Sequence[Cell], rows: Sequence[RunRow] = ()) -> list[Member]:
    """Hypotheses times pairs (and, in the literature protocol, times configurations). Where none is primary, all are.

    Pairs with the same student share their arms alone, and arms may share configurations: the same runs are compared once.
    """
    any_primary = any(one.primary for one in asked)
    found: dict[Any, Member] = {}
    for hypothesis in asked:
        for member in _members(hypothesis, cells, hypothesis.primary or not any_primary):
            known = [runs_of(rows, cell) for cell in member.cells]
            if not member.among and not member.than and known[0] and known[0] == known[1]:
                continue  # two names for the same runs
            same = (*known, hypothesis.measure) if known and all(known) else member.key
            found[same] = _one_of(found[same], member) if same in found else member
    return list(found.values())


def _one_of(first: Member, again: Member) -> Member:
    """What was asked twice, under two names for the same runs, keeps the narrower margin, and is primary if it was once."""
    margins = [one.hypothesis.margin for one in (first, again) if one.hypothesis.margin is not None]
    test = first.hypothesis.test or again.hypothesis.test
    hypothesis = first.hypothesis.model_copy(update={"margin": min(margins, default=None), "test": test})
    return replace(first, hypothesis=hypothesis, primary=first.primary or again.primary)


def _members(hypothesis: Hypothesis, cells: Sequence[Cell], primary: bool) -> Iterator[Member]:
    pairs = dict.fromkeys(cell.pair for cell in cells if hypothesis.pair in (None, cell.pair))
    for pair in pairs:
        if hypothesis.among:
            those = tuple(cell for arm in hypothesis.among for cell in _cells_of(cells, arm, pair, {}))
            if len(those) > 1:
                yield Member(hypothesis, those[0], those[1], primary, among=those)
        elif hypothesis.treatment:
            for first in _differences(cells, hypothesis, pair):
                if (other := hypothesis.than) is None:
                    yield Member(hypothesis, *first, primary)
                    continue
                update = {key: value for key, value in other.model_dump().items() if value}
                elsewhere = hypothesis.model_copy(update=update)
                for second in _differences(cells, elsewhere, other.pair or pair):
                    if [one.values for one in first] == [one.values for one in second] or not _tested_all(cells):
                        yield Member(hypothesis, *first, primary, than=second)


def _tested_all(cells: Sequence[Cell]) -> bool:
    """Whether every configuration is a cell of its own, so that differences of unlike ones are not meant."""
    return len({(cell.arm, cell.pair) for cell in cells}) < len(cells)


def _differences(cells: Sequence[Cell], asked: Hypothesis, pair: str | None) -> Iterator[tuple[Cell, Cell]]:
    for treatment in _cells_of(cells, asked.treatment or "", pair, asked.at):
        for control in _cells_of(cells, asked.control, asked.control_pair or pair, asked.control_at):
            if treatment.key != control.key:
                yield treatment, control


def _cells_of(cells: Sequence[Cell], arm: str, pair: str | None, at: Values) -> list[Cell]:
    return [
        cell
        for cell in cells
        if cell.arm == arm and cell.pair == pair and all(cell.values.get(path) == value for path, value in at.items())
    ]


def own_rows(rows: Sequence[RunRow], cell: Cell) -> list[RunRow]:
    """Reported runs of a cell whose test scores were read."""
    return [row for row in rows if row.role == "report" and row.cell == cell.key and row.test]


def runs_of(rows: Sequence[RunRow], cell: Cell) -> frozenset[str]:
    return frozenset(row.id for row in own_rows(rows, cell))
