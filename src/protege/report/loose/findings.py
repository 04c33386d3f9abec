"""Findings of any set of runs: what can be said where no study named a hypothesis, a protocol or a budget in advance."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from protege.errors import ConfigError, RunError
from protege.evaluate import fidelity, logits_of
from protege.report.loose import grouping, provenance
from protege.report.loose.explore import answer, explore
from protege.report.loose.grouping import Group, Known, Member, arranged, cell_key, control_of, run_of, teacher_key
from protege.runs import Run
from protege.runs.config import TeacherConfig
from protege.study.conduct.scores import divergence, heldout_of
from protege.study.findings import Cell, Findings, NetworkFacts, RunRow, Scores, Summary, TeacherFacts, Which
from protege.study.findings.rows import WHICH
from protege.study.findings.summaries import heldout_summaries, network_facts, summary_of, test_summaries
from protege.study.question.measures import MEASURES, scores


def findings_of(found: Sequence[Run], root: Path) -> Findings:
    """Runs that differ in seed only become one arm; taught ones are compared with the same network alone."""
    read, unread = grouping.members(found, root)
    if not read:
        why = unread[0] if unread else "`protege demo` makes some, `protege train` makes your own."
        raise ConfigError(f"There are no runs to report in {root}. {why}")
    known = arranged(root, grouping.groups(read))
    rows = list(_rows(known))
    cells = [_cell(known, group, rows) for group in known.cells]
    effects = explore(cells, rows, dict(_controls(known)), root)
    return Findings(
        name=f"{len(read)} runs of {root.name}",
        folder="report",  # where it will lie
        question="What do these runs say?",
        answer=answer(effects, cells),
        complete=all(row.state == "finished" for row in rows),
        scale="full",
        protocol="heldout" if read[0].record["data"]["heldout"] else "literature",
        score="final",
        notes=(),
        warnings=(*unread, *provenance.warnings(known.cells, rows, cells, root)),
        data=provenance.split(known.cells[0].first if known.cells else read[0]),
        select_seeds=(),
        report_seeds=tuple(sorted({row.seed for row in rows if row.role == "report" and row.seed is not None})),
        measures=tuple(MEASURES.values()),
        budgets=(),
        teachers=(*(_teacher(known, group, rows) for group in known.teachers), *_given(known)),
        cells=tuple(cells),
        effects=tuple(effects),
        selections=(),
        grids=(),
        published=(),
        runs=tuple(rows),
        ledger=tuple(provenance.ledger(root, {row.id for row in rows})),
        hardware=tuple(provenance.hardware(read)),
        commands=tuple(dict.fromkeys(str(one.record["command"]) for one in read)),
        costs=provenance.costs(rows),
        study={},
        made=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    )


# ---- rows ----


def _rows(known: Known) -> Iterator[RunRow]:
    for group in known.teachers:
        for one in group.members:
            yield _row(known, group, one, "teacher", known.teacher_keys[group.digest], None)
    for group in known.cells:
        for one in group.members:
            yield _row(known, group, one, "report", cell_key(known, group), _reference(known, group))


def _row(
    known: Known, group: Group, one: Member, role: Literal["teacher", "report"], cell: str, reference: str | None
) -> RunRow:
    run, result = one.run, one.run.result() if one.run.finished else {}
    diverged = divergence(run.path.parent, run.id)
    on_gpu = str(one.record["device"]).startswith("cuda")
    return RunRow(
        id=run.id,
        role=role,
        cell=cell,
        arm=known.keys[group.digest] if role == "report" else None,
        pair=known.pairs[group.digest] if role == "report" else None,
        values={},
        seed=one.config.seed,
        teachers=tuple(run_of(name) or name[:21] for name in one.teachers),
        state="finished" if run.finished else "diverged" if diverged else "unfinished",
        error=diverged,
        epochs=result.get("epochs"),
        heldout=heldout_of(run),
        best_epoch=(result.get("best") or {}).get("epoch"),
        test=_test(known, group, one, role),
        reference=reference if role == "report" else None,
        parameters=result.get("parameters"),
        seconds=result.get("seconds"),
        device=one.record["environment"]["gpu" if on_gpu else "processor"],
        path=str(run.path.relative_to(known.root)) if run.path.is_relative_to(known.root) else str(run.path.absolute()),
    )


def _reference(known: Known, group: Group) -> str | None:
    """Its teachers; of one alone those of the first that is compared with it."""
    taught_by = group.taught_by or next(
        (one.taught_by for one in known.cells if control_of(one, known.cells) is group), ()
    )
    return " + ".join(teacher_key(known, one) for one in taught_by) or None


def _test(known: Known, group: Group, one: Member, role: str) -> dict[Which, Scores]:
    """What evaluations read before; nothing is opened for a report."""
    file = one.run.evaluations / "test.json"
    if not file.exists() or not one.run.finished:
        return {}
    found = one.run.evaluation("test")
    kept: list[Which] = [which for which in WHICH if which in found]
    return {
        which: scores(found[which], _nearness(known, group, one, which, found, role), one.run.measured().get(which))
        for which in kept
    }


def _nearness(
    known: Known, group: Group, one: Member, which: Which, found: Mapping[str, Any], role: str
) -> Mapping[str, float] | None:
    """As it was evaluated, else from what the teacher said to the same images; a teacher is compared with nobody."""
    if role == "teacher":
        return None
    return found[which].get("fidelity") or _to_teachers(known, group, one, which)


def _to_teachers(known: Known, group: Group, one: Member, which: Which) -> dict[str, float] | None:
    """From logits that an evaluation of the one teacher left; the mean over its seeds for a student that had none of them."""
    compared = next((other for other in known.cells if control_of(other, known.cells) is group), None)
    digests = group.taught_by or (compared.taught_by if compared else ())
    if len(digests) != 1:
        return None
    own = {run_of(name) for name in one.teachers}
    taught_by = [
        teacher
        for other in known.teachers
        if other.digest == digests[0]
        for teacher in other.members
        if not own or teacher.run.id in own
    ]
    try:
        said = [logits_of(teacher.run, "test", "final")[0] for teacher in taught_by]
        mine = logits_of(one.run, "test", which)[0]
    except RunError:
        return None
    near = [asdict(fidelity(mine, other)) for other in said if other.shape == mine.shape]
    return {name: statistics.fmean(pair[name] for pair in near) for name in near[0]} if near else None


# ---- cells and teachers ----


def _cell(known: Known, group: Group, rows: Sequence[RunRow]) -> Cell:
    key = cell_key(known, group)
    done = [row for row in rows if row.role == "report" and row.cell == key and row.state == "finished"]
    config, about = group.first.config, group.first.record["data"]
    seeds = tuple(dict.fromkeys(row.seed for row in done if row.seed is not None))
    every = dict.fromkeys(one.config.seed for one in group.members)
    return Cell(
        key=key,
        label=key,
        arm=known.keys[group.digest],
        pair=known.pairs[group.digest],
        values={},
        method=config.method.model_dump(mode="json"),
        student=network_facts(config.model, len(about["classes"]), about["image_size"]),
        teacher=" + ".join(teacher_key(known, one) for one in group.taught_by) or None,
        reference=_reference(known, group),
        alone=not group.taught_by,
        adds=config.method.added(),
        configurations=1,
        seeds=seeds,
        missing=tuple(seed for seed in every if seed not in seeds),
        heldout=heldout_summaries(done),
        test=test_summaries(done),
        seconds=_mean_seconds(done),
    )


def _teacher(known: Known, group: Group, rows: Sequence[RunRow]) -> TeacherFacts:
    key, about = known.teacher_keys[group.digest], group.first.record["data"]
    done = [row for row in rows if row.role == "teacher" and row.cell == key and row.state == "finished"]
    return TeacherFacts(
        key=key,
        given=False,
        student_of=tuple(teacher_key(known, one) for one in group.taught_by),
        network=network_facts(group.first.config.model, len(about["classes"]), about["image_size"]),
        assign="rotate",
        seeds=tuple(one.config.seed for one in group.members),
        heldout=heldout_summaries(done),
        test=test_summaries(done),
        seconds=_mean_seconds(done),
    )


def _given(known: Known) -> Iterator[TeacherFacts]:
    """Teachers that are not among the runs: what their students' evaluations say of them."""
    here = {group.digest for group in known.groups}
    met: dict[str, tuple[Member, TeacherConfig]] = {}
    for group in known.cells:
        for identity, config in zip(group.taught_by, group.first.config.teacher, strict=True):
            if identity not in here:
                met.setdefault(identity, (group.first, config))
    for identity, (student, config) in met.items():
        about = student.record["data"]
        facts = NetworkFacts(model={}, parameters=None, multiply_adds=None)
        if config.model is not None:
            facts = network_facts(config.model, len(about["classes"]), about["image_size"])
        yield TeacherFacts(
            key=teacher_key(known, identity),
            given=True,
            student_of=(),
            network=facts,
            assign="rotate",
            seeds=(),
            heldout={},
            test=_said_by(identity, known),
            seconds=None,
        )


def _said_by(identity: str, known: Known) -> dict[Which, dict[str, Summary]]:
    """It was asked when its students were evaluated, and always said the same."""
    for group in known.cells:
        for one in group.members:
            file = one.run.evaluations / "test.json"
            found = one.run.evaluation("test") if file.exists() else {}
            if found.get("teachers") == [identity] and "teacher" in found:
                known_scores = {name: scores(found["teacher"]).get(name) for name in MEASURES}
                taken = {name: summary_of([value]) for name, value in known_scores.items() if value is not None}
                return {"final": {name: one for name, one in taken.items() if one is not None}}
    return {}


def _mean_seconds(rows: Sequence[RunRow]) -> float | None:
    found = [row.seconds for row in rows if row.seconds is not None]
    return statistics.fmean(found) if found else None


def _controls(known: Known) -> Iterator[tuple[str, str]]:
    for group in known.cells:
        control = control_of(group, known.cells)
        if control is not None:
            yield cell_key(known, group), cell_key(known, control)
