"""Of runs that no study planned: their data, machines, ledger, costs, and what weakens what they say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from protege import runs
from protege.report.loose.grouping import Group, Member, judged_by
from protege.study.findings import Cell, Costs, Hardware, RunRow, Split
from protege.study.findings.rows import machines


def split(one: Member) -> Split:
    about = one.record["data"]
    return Split(
        name=about["name"],
        classes=len(about["classes"]),
        train=about["train"],
        heldout=about["heldout"],
        test=about["test"],
        image_size=about["image_size"],
        fingerprint=about["fingerprint"],
    )


def hardware(read: Sequence[Member]) -> Iterator[Hardware]:
    return machines(one.record for one in read)


def ledger(root: Path, ids: set[str]) -> list[dict[str, Any]]:
    return [entry for entry in runs.read_ledger(root)[0] if entry["run"] in ids]


def costs(rows: Sequence[RunRow]) -> Costs:
    once = list({row.id: row for row in rows}.values())
    teachers = {row.id for row in rows if row.role == "teacher"}
    spent = {row.id: row.seconds or 0.0 for row in once}
    of_teachers = sum(seconds for name, seconds in spent.items() if name in teachers)
    return Costs(
        stated="",
        seconds=sum(spent.values()),
        teacher_seconds=of_teachers,
        select_seconds=0.0,
        report_seconds=sum(spent.values()) - of_teachers,
        runs=len(once),
        finished=sum(row.state == "finished" for row in once),
    )


def warnings(groups: Sequence[Group], rows: Sequence[RunRow], cells: Sequence[Cell], root: Path) -> Iterable[str]:
    yield "No hypothesis, protocol or number of seeds was named in advance: choosing what to report after looking flatters it."
    if len({judged_by(one) for one in groups}) > 1:
        yield "These runs were judged by different test images: their accuracies do not compare."
    unfinished = sorted({row.id for row in rows if row.state != "finished"})
    if unfinished:
        yield f"{len(unfinished)} run(s) are not finished and count for nothing, {unfinished[0]} among them."
    sealed = [cell.label for cell in cells if cell.seeds and not cell.test]
    if sealed:
        listed = ", ".join(sealed[:4]) + (" and others" if len(sealed) > 4 else "")
        yield f"The test set was not opened for {listed}: `protege evaluate RUN --test` opens it."
    partly = [cell.label for cell in cells if cell.test and cell.test["final"]["accuracy"].n < len(cell.seeds)]
    if partly:
        yield f"Only some seeds of {', '.join(partly[:4])} have test scores, and the figures are theirs alone."
    if damaged := runs.read_ledger(root)[1]:
        yield f"{damaged} line(s) of the ledger {root / runs.LEDGER} cannot be read: what they said of test sets is not known."
    read = [str(entry["run"]) for entry in ledger(root, {row.id for row in rows})]
    again = sorted({name for name in read if read.count(name) > 1})
    if again:
        yield f"The test set was read more than once for {len(again)} run(s), {again[0]} among them; the ledger says when."
