"""What the ledger tells of how the test set was read: traces of a second try, of a reading that nobody wrote down, of a changed question.

It holds against mistakes. Who has the files can read any image without a line; that only `evaluate` opens them is a convention.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from protege import runs
from protege.runs.config import digest
from protege.runs.records import Choices
from protege.study.findings.record import RunRow
from protege.study.question.layout import Layout

Line = Mapping[str, Any]


def ledger_of(plan: Layout, rows: Sequence[RunRow]) -> list[dict[str, Any]]:
    ids = {row.id for row in rows}
    return [line for line in runs.read_ledger(plan.place.runs)[0] if line["run"] in ids]


def seal_warnings(plan: Layout, rows: Sequence[RunRow]) -> Iterator[str]:
    file = plan.folder / "choices.json"
    choices: Mapping[str, Any] = runs.read_json(file, Choices) if file.exists() else {}
    chosen_at = datetime.fromisoformat(choices["time"]) if choices else None
    own = ledger_of(plan, rows)
    yield from _early(own, chosen_at)
    yield from _elsewhere(runs.read_ledger(plan.place.runs)[0], own, chosen_at)
    yield from ledger_warnings(plan, rows)
    yield from _reworded(plan, choices)


def ledger_warnings(plan: Layout, rows: Sequence[RunRow]) -> Iterator[str]:
    """Of any runs, whether or not a study made choices before."""
    own = ledger_of(plan, rows)
    yield from _unrecorded(rows, own)
    yield from _again(plan, own)
    if damaged := runs.read_ledger(plan.place.runs)[1]:
        yield f"{damaged} line(s) of the ledger cannot be read: what they said of test sets is not known."


def _early(own: Sequence[Line], chosen_at: datetime | None) -> Iterator[str]:
    """A choice made after test scores were read could have followed them. Reading again what was chosen before changes nothing."""
    early = {str(line["run"]) for line in own if _before(line, chosen_at)}
    if early:
        yield f"Test scores of {len(early)} run(s) had been read before this study made its choices, {min(early)} among them."


def _before(line: Line, when: datetime | None) -> bool:
    return when is None or datetime.fromisoformat(line["time"]) < when


def _elsewhere(lines: Sequence[Line], own: Sequence[Line], chosen_at: datetime | None) -> Iterator[str]:
    """Other seeds, or another study: a second try on the same test images cannot be told from a first."""
    images, ids = {one for line in own for one in _images_of(line)}, {line["run"] for line in own}
    others = [
        line for line in lines if images & _images_of(line) and line["run"] not in ids and _before(line, chosen_at)
    ]
    if others:
        count = len({line["run"] for line in others})
        yield (
            f"The same test images had been read of {count} other run(s) in this folder before this study made its choices "
            f"({others[0]['run']} first). What was seen then may have shaped this study; its p-values do not know."
        )


def _images_of(line: Line) -> set[str]:
    """What tells which images were read; lines of before name the whole dataset alone."""
    return {line[name] for name in ("data", "test") if name in line}


def _unrecorded(rows: Sequence[RunRow], own: Sequence[Line]) -> Iterator[str]:
    known = {line["run"] for line in own}
    silent = sorted({row.id for row in rows if row.test} - known)
    if silent:
        yield (
            f"Test scores of {len(silent)} run(s) are there without a line in the ledger, {silent[0]} among them: "
            "their test set was opened, and nothing says when or how often."
        )


def _again(plan: Layout, own: Sequence[Line]) -> Iterator[str]:
    """Lines of versions before weights were noted tell of repeated readings, not of what was read."""
    remade, changed, often = set(), set(), set()
    for run in dict.fromkeys(line["run"] for line in own):
        read = [line.get("weights") for line in own if line["run"] == run]
        weights = plan.run(run).weights_file("final")
        if len({one for one in read if one}) > 1:
            remade.add(run)
        elif len(read) > 1:
            often.add(run)
        if read[-1] and weights.exists() and digest(weights) != read[-1]:
            changed.add(run)
    if remade:
        yield f"{len(remade)} run(s) were made again after their test scores had been read, {min(remade)} among them; the last counts."
    if changed:
        yield f"The weights of {len(changed)} run(s) are not those that were read, {min(changed)} among them."
    if often:
        yield f"Test scores of {len(often)} run(s) were read more than once, {min(often)} among them."


def _reworded(plan: Layout, choices: Mapping[str, Any]) -> Iterator[str]:
    now: dict[str, Any] = {"question": plan.study.question, "notes": list(plan.study.notes)}
    for what, were in (("question", "was"), ("notes", "were")):
        if what in choices and choices[what] != now[what]:
            before = choices[what] if isinstance(choices[what], str) else " ".join(choices[what])
            yield f'The {what} {were} worded otherwise before the test set was opened: "{before}"'
