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

    @property
    def tables(self) -> list[Table]:
        return [block for section in self.sections for block in section.blocks if isinstance(block, Table)]

    @property
    def data(self) -> list[Table]:
        return [table for section in self.sections for table in section.data]
