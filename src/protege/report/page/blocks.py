"""What a report consists of, before it is HTML or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from protege.report.page.table import Table


@dataclass(frozen=True)
class Words:
    text: str


@dataclass(frozen=True)
class Bullets:
    items: Sequence[str]
    folded: str = ""


@dataclass(frozen=True)
class Figures:
    """Drawings beside each other under one caption; `folded` ones open at a click, and on paper by themselves."""

    drawings: Sequence[Markup]
    caption: str
    folded: str = ""
    title: str = ""

    @property
    def rows(self) -> bool:
        """Whether they use the whole width of a page: such drawings are made twice."""
        return all('class="wide"' in drawing for drawing in self.drawings)


@dataclass(frozen=True)
class Picture:
    """One image that was taken for another class."""

    source: str  # a data URI
    label: str
    said: str
    wrong: int  # runs that said so
    runs: int


@dataclass(frozen=True)
class Gallery:
    """A row of pictures for each group."""

    groups: Sequence[tuple[str, Sequence[Picture]]]
    caption: str


@dataclass(frozen=True)
class Code:
    text: str
    folded: str = ""


Block = Words | Bullets | Figures | Gallery | Code | Table


@dataclass(frozen=True)
class Section:
    anchor: str
    title: str
    blocks: Sequence[Block]
    data: Sequence[Table] = ()  # behind its charts: written as CSV, printed nowhere


@dataclass(frozen=True)
class Page:
    """`first_line` stands above everything: that a report is of a reduced study, or not complete."""

    title: str
    first_line: str
    question: str
    answer: str
    picture: Figures | None
    facts: Sequence[tuple[str, str]]
    warnings: Sequence[str]
    sections: Sequence[Section]
    made: str
    also: Sequence[str] = ()  # the other things that were asked, answered
    arms: Sequence[tuple[str, str]] = ()  # what stands behind their names

    @property
    def tables(self) -> list[Table]:
        return [block for section in self.sections for block in section.blocks if isinstance(block, Table)]

    @property
    def one_machine(self) -> bool:
        """Whether all figures are of the hardware that the facts name, so that no table has to."""
        named = any(name == "hardware" for name, _ in self.facts)
        return named and len({row.hardware for table in self.tables for row in table.rows if row.hardware}) == 1

    @property
    def data(self) -> list[Table]:
        return [table for section in self.sections for table in section.data]
