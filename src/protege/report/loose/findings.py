"""Findings of any set of runs: what can be said where no study named a hypothesis, a protocol or a budget in advance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from protege.errors import ConfigError
from protege.report.loose.grouping import groups, members
from protege.report.loose.layout import Loose
from protege.runs import Run
from protege.study.findings import Cell, Effect, Findings
from protege.study.findings.gather import facts, of_runs
from protege.study.findings.seal import ledger_warnings


def findings_of(found: Sequence[Run], root: Path) -> Findings:
    """Runs that differ in seed only become one arm; taught ones are compared with the same network alone, by a study's tests."""
    read, unread = members(found, root)
    if not read:
        why = unread[0] if unread else "`protege demo` makes some, `protege train` makes your own."
        raise ConfigError(f"There are no runs to report in {root}. {why}")
    known = Loose(root, groups(read))
    commands = dict.fromkeys(str(one.record["command"]) for one in read)
    made = facts(known, {}, tuple(commands), known.split)
    effects = tuple(_exploring(effect) for effect in made.effects)
    changes = {
        "folder": "report",  # where it will lie
        "answer": _answer(effects, made.cells),
        "complete": all(row.state == "finished" for row in made.runs),
        "effects": effects,
        "budgets": (),
        "over": "",
        "study": {},
    }
    loose = made.model_copy(update=changes)
    return loose.model_copy(update={"warnings": (*unread, *_warnings(known, loose))})


def _exploring(effect: Effect) -> Effect:
    return effect.model_copy(update={"primary": False, "sentence": f"Exploring: {effect.sentence}"})


def _answer(effects: Sequence[Effect], cells: Sequence[Cell]) -> str:
    """Says that nothing was named in advance, and then what there is to see."""
    opening = "No hypothesis was named in advance, so nothing is concluded"
    if len(effects) == 1:
        said = effects[0].sentence.removeprefix("Exploring: ")
        return f"{opening}; exploring, {said[0].lower()}{said[1:]}"
    if effects:
        counts = {name: sum(one.outcome == name for one in effects) for name in ("higher", "lower")}
        undecided = len(effects) - sum(counts.values())
        return (
            f"{opening}; of {len(effects)} taught arms against the same network alone, {counts['higher']} are higher, "
            f"{counts['lower']} lower and {undecided} not shown to differ (p-values corrected for {effects[0].family})."
        )
    if any(cell.test for cell in cells):
        return f"{opening}; there are no test scores of both a taught network and the same one alone, so there is nothing to compare."
    return f"{opening}; the test set of these runs has not been opened, so only held-out accuracies are known."


def _warnings(known: Loose, found: Findings) -> Iterator[str]:
    yield "No hypothesis, protocol or number of seeds was named in advance: choosing what to report after looking flatters it."
    if len({known.judged_by(cell.key) for cell in known.cells}) > 1:
        yield "These runs were judged by different test images: their accuracies do not compare."
    unfinished = sorted({row.id for row in found.runs if row.state != "finished"})
    if unfinished:
        yield f"{len(unfinished)} run(s) are not finished and count for nothing, {unfinished[0]} among them."
    sealed = [cell.label for cell in found.cells if cell.seeds and not cell.test]
    if sealed:
        listed = ", ".join(sealed[:4]) + (" and others" if len(sealed) > 4 else "")
        yield f"The test set was not opened for {listed}: `protege evaluate RUN --test` opens it."
    partly = [cell.label for cell in found.cells if cell.test and cell.test["final"]["accuracy"].n < len(cell.seeds)]
    if partly:
        yield f"Only some seeds of {', '.join(partly[:4])} have test scores, and the figures are theirs alone."
    yield from ledger_warnings(known, found.runs)
    yield from of_runs(known, found)
