"""What a row of a table or a line of a chart speaks of: a teacher, or one arm of one pair, over its seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from protege.study.findings import Cell, Findings, NetworkFacts, RunRow, Summary, TeacherFacts, Which
from protege.study.findings.rows import by_seed, test_value

COLOURS, SHADES = 7, 5  # by name; further colours are made from their number
IN_ONE_CHART = 6  # besides the teacher and the student alone: more lines cannot be told apart


@dataclass(frozen=True)
class Subject:
    """A teacher or a cell of the findings, looked at alike."""

    id: str  # "teacher/KEY" or "cell/KEY": the keys alone may be the same
    label: str
    kind: Literal["teacher", "alone", "taught"]
    of: TeacherFacts | Cell  # its seeds and scores
    facts: NetworkFacts
    teachers: tuple[str, ...]  # keys of those that taught it
    rows: tuple[RunRow, ...]  # its reported runs
    style: str  # in charts
    arm: str | None = None  # None: a teacher
    pair: str | None = None
    reference: str | None = None  # key of the teacher with which it is compared

    def scores(self, score: Which) -> Mapping[str, Summary]:
        return self.of.scores(score)

    def by_seed(self, score: Which, measure: str) -> dict[int, float]:
        which = score if score in self.of.test else "final"
        return by_seed(self.rows, test_value(which, measure))

    @property
    def short(self) -> str:
        """For a chart of its pair alone."""
        return self.label.removesuffix(f": {self.pair}")

    @property
    def hardware(self) -> str:
        return ", ".join(dict.fromkeys(row.device for row in self.rows if row.device and row.state == "finished"))


def subjects(findings: Findings) -> tuple[Subject, ...]:
    """Teachers first, then cells in the order of the study."""
    keys, styles = [one.key for one in findings.teachers], _styles(findings.cells)
    teachers = (
        Subject(
            id=f"teacher/{one.key}",
            label=f"teacher {one.key}",
            kind="teacher",
            of=one,
            facts=_as_measured(one.network, one.test, findings.score),
            teachers=one.student_of,
            rows=tuple(findings.runs_of(one.key, "teacher")),
            style="teacher",
        )
        for one in findings.teachers
    )
    students = (
        Subject(
            id=f"cell/{one.key}",
            label=one.label,
            kind="alone" if one.alone else "taught",
            of=one,
            facts=_as_measured(one.student, one.test, findings.score),
            teachers=tuple(named(one.teacher, keys)),
            rows=tuple(findings.runs_of(one.key)),
            style=styles[one.key],
            arm=one.arm,
            pair=one.pair,
            reference=one.reference,
        )
        for one in findings.cells
    )
    return (*teachers, *students)


def _as_measured(described: NetworkFacts, test: Mapping[Which, Mapping[str, Summary]], score: Which) -> NetworkFacts:
    """A network that was made smaller computes less than its description has it."""
    known = test.get(score, {})
    found = {name: round(known[name].mean) for name in ("parameters", "multiply_adds") if name in known}
    return described.model_copy(update=found) if found else described


def named(several: str | None, keys: Sequence[str]) -> Iterable[str]:
    """Findings name several teachers as `a + b`."""
    if several is None or several in keys:
        return [several] if several else []
    return several.split(" + ")


def _styles(cells: Sequence[Cell]) -> dict[str, str]:
    """A colour for each arm, in shades where it has several configurations; those alone are grey. The same everywhere."""
    found: dict[str, str] = {}
    for alone in (True, False):
        own = [cell for cell in cells if cell.alone == alone]
        for number, arm in enumerate(dict.fromkeys(cell.arm for cell in own)):
            colour = f"alone dash{number % 3}" if alone else f"hue{number} dash{number // COLOURS % 3}"
            values = {cell.key: _values(cell, cells) for cell in own if cell.arm == arm}
            configurations = list(dict.fromkeys(values.values()))
            for key, configuration in values.items():
                found[key] = colour + _shade(configurations.index(configuration), len(configurations))
    return found


def _shade(place: int, count: int) -> str:
    """From light to dark, the colour itself in the middle; of more than there are shades, the next are dashed."""
    first = max(0, (SHADES - count) // 2)
    shade, dash = (first + place) % SHADES, (first + place) // SHADES
    return "" if count == 1 else f" shade{shade} dash{dash % 3}"


def _values(cell: Cell, cells: Sequence[Cell]) -> str:
    """Those that tell it from other cells of its arm in the pair, if there are any."""
    several = sum(other.arm == cell.arm and other.pair == cell.pair for other in cells) > 1
    return str(sorted(cell.values.items(), key=str)) if several else ""


# ---- which go into one chart ----


@dataclass(frozen=True)
class Panel:
    """Few enough to be told apart: the teachers and those alone, and some of the taught."""

    title: str
    subjects: tuple[Subject, ...]

    def label(self, one: Subject) -> str:
        """Without the pair, where the title says it."""
        return one.short if self.title else one.label


def panels(known: Sequence[Subject]) -> list[Panel]:
    """One for each pair, or several where a pair has many arms; each repeats what the others are compared with."""
    students = [one for one in known if one.kind != "teacher"]
    if not students:
        return [Panel("", tuple(known))] if known else []
    found = []
    for pair in dict.fromkeys(one.pair for one in students):
        own = [one for one in students if one.pair == pair]
        fixed = [*teachers_of(own, known), *(one for one in own if one.kind == "alone")][:IN_ONE_CHART]
        taught = [one for one in own if one not in fixed]
        parts = _parts(taught) or [[]]
        for number, part in enumerate(parts):
            found.append(Panel(_panel_title(pair, part, number, len(parts)), (*fixed, *part)))
    return found


def _parts(taught: Sequence[Subject]) -> list[list[Subject]]:
    """The configurations of an arm side by side where they fit into one chart."""
    parts: list[list[Subject]] = []
    for arm in dict.fromkeys(one.arm for one in taught):
        own = [one for one in taught if one.arm == arm]
        if parts and len(parts[-1]) + len(own) <= IN_ONE_CHART:
            parts[-1] += own
        else:
            parts += [own[start : start + IN_ONE_CHART] for start in range(0, len(own), IN_ONE_CHART)]
    return parts


def _panel_title(pair: str | None, part: Sequence[Subject], number: int, parts: int) -> str:
    """An arm's name where all of its configurations are one part."""
    if parts == 1:
        return pair or ""
    one_arm = len({one.arm for one in part}) == 1 < len(part) < IN_ONE_CHART
    said = str(part[0].arm) if one_arm else f"part {number + 1} of {parts}"
    return f"{pair}, {said}" if pair else said if one_arm else f"Part {number + 1} of {parts}"


def teachers_of(students: Iterable[Subject], known: Sequence[Subject]) -> list[Subject]:
    """The teachers that taught them or that they are compared with."""
    keys = [one.id.removeprefix("teacher/") for one in known if one.kind == "teacher"]
    wanted = {key for one in students for key in (*one.teachers, *named(one.reference, keys))}
    return [one for one in known if one.kind == "teacher" and one.id.removeprefix("teacher/") in wanted]
