"""The rows of the run table: what is known of every run of a study, in percent where the measure says so."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray

from protege import runs
from protege.evaluate import fidelity, logits_of
from protege.runs.keeping.rows import short
from protege.study.conduct.jobs import reported
from protege.study.conduct.scores import divergence, heldout_of
from protege.study.conduct.trials import trials
from protege.study.findings.record import Hardware, RunRow, Scores, Which
from protege.study.question.arms import Cell
from protege.study.question.layout import Layout, PlannedRun, Tutor
from protege.study.question.measures import scores

WHICH: tuple[Which, ...] = ("final", "best")
VERSIONS = ("processor", "torch", "python", "numpy", "system", "protege", "git", "host")  # of `runs.environment`


@final
class Rows:
    """Reads the folders of a study's runs, each file once."""

    def __init__(self, plan: Layout, failed: Mapping[str, str]) -> None:
        self._plan, self._failed = plan, failed
        self._said: dict[tuple[str, str], torch.Tensor | None] = {}
        self._stopped = {
            run.id
            for cell in plan.cells
            for one in (trials(plan, cell) if cell.space else ())
            for run in one.runs
            if one.state == "stopped"
        }

    def all(self) -> list[RunRow]:
        """Teachers, then runs that choose, then those that are reported, in the order of the study's file."""
        plan = self._plan
        teachers = [self._row(run, None, "teacher", [()], opened=True) for run in plan.teacher_runs()]
        select = [
            self._row(run, cell, "select", [()], opened=False)
            for cell in plan.cells
            for one in plan.configurations(cell)
            for run in plan.select_runs(cell, one)
        ]
        report = [
            self._row(run, cell, "report", self._references(cell, run), opened=True)
            for cell, runs in reported(plan)
            for run in runs
        ]
        return [*teachers, *select, *report]

    def _references(self, cell: Cell, run: PlannedRun) -> list[tuple[Tutor, ...]]:
        """Its own teachers; of a student alone those that its pair would have had (all of them, where they are crossed)."""
        if run.tutors:
            return [run.tutors]
        return self._plan.lineups(cell.reference, self._plan.study.seeds.report.index(run.seed))

    def _row(
        self,
        planned: PlannedRun,
        cell: Cell | None,
        role: Literal["teacher", "select", "report"],
        references: Sequence[tuple[Tutor, ...]],
        *,
        opened: bool,
    ) -> RunRow:
        run = self._plan.run(planned.id)
        result = run.result() if run.finished else {}
        record = run.record() if run.record_file.exists() else {}
        state, error = self._state(planned, run)
        return RunRow(
            id=planned.id,
            role=role,
            cell=planned.place,
            arm=cell.arm if cell else None,
            pair=cell.pair if cell else None,
            values=planned.values,
            seed=planned.seed,
            teachers=tuple(tutor.run.id if tutor.run else short(tutor.config.source) for tutor in planned.tutors),
            state=state,
            error=error,
            epochs=result.get("epochs"),
            heldout=heldout_of(run),
            best_epoch=(result.get("best") or {}).get("epoch"),
            test=self._test(run, references) if opened and run.finished else {},
            reference=" + ".join(tutor.key for tutor in references[0]) or None if references else None,
            parameters=result.get("parameters"),
            seconds=result.get("seconds"),
            device=_device(record),
            path=_below(self._plan.place.runs, run),
        )

    def _state(
        self, planned: PlannedRun, run: runs.Run
    ) -> tuple[Literal["finished", "unfinished", "stopped", "diverged", "failed"], str | None]:
        root = run.path.parent
        if run.finished:
            return "finished", None
        if (message := divergence(root, run.id)) is not None:
            return "diverged", message
        for needed in planned.needs:
            if divergence(root, needed) is not None:
                return "diverged", f"its teacher {needed} diverged"
        if planned.role == "select" and planned.id in self._stopped:
            return "stopped", None
        return ("failed", self._failed[run.id]) if run.id in self._failed else ("unfinished", None)

    # ---- test scores ----

    def _test(self, run: runs.Run, references: Sequence[tuple[Tutor, ...]]) -> dict[Which, Scores]:
        file = run.evaluations / "test.json"
        if not file.exists():
            return {}
        found = run.evaluation("test")
        return {
            which: scores(found[which], self._nearness(run, which, found, references), run.measured().get(which))
            for which in WHICH
            if which in found
        }

    def _nearness(
        self, run: runs.Run, which: Which, found: Mapping[str, Any], references: Sequence[tuple[Tutor, ...]]
    ) -> dict[str, float] | None:
        """To each lineup that the run is compared with; their mean."""
        near = [one for lineup in references if lineup and (one := self._to_one(run, which, found, lineup))]
        return {name: statistics.fmean(one[name] for one in near) for name in near[0]} if near else None

    def _to_one(
        self, run: runs.Run, which: Which, found: Mapping[str, Any], lineup: tuple[Tutor, ...]
    ) -> dict[str, float] | None:
        """From the logits that teachers of the study left; given teachers were asked when the run was evaluated."""
        said = [self._logits(tutor.run.id, tutor.config.weights) if tutor.run else None for tutor in lineup]
        known = [one for one in said if one is not None]
        if len(known) == len(lineup):
            own = self._logits(run.id, which)
            alike = own is not None and all(one.shape == own.shape for one in known)
            return asdict(fidelity(own, _together(known))) if own is not None and alike else None
        if found["teachers"] == [tutor.identity for tutor in lineup]:
            return found[which].get("fidelity")
        return None

    def _logits(self, run_id: str, which: str) -> torch.Tensor | None:
        if (run_id, which) not in self._said:
            run = self._plan.run(run_id)
            there = (run.evaluations / f"test-{which}.safetensors").exists()
            self._said[run_id, which] = logits_of(run, "test", which)[0] if there else None
        return self._said[run_id, which]

    def correct(self, run_id: str, which: Which) -> NDArray[np.bool_] | None:
        """Whether each test image was right, in the order of the set; None where what the network said is gone."""
        run = self._plan.run(run_id)
        if not (run.evaluations / f"test-{which}.safetensors").exists():
            return None
        logits, labels = logits_of(run, "test", which)
        return (logits.argmax(1) == labels).numpy()

    def judged_by(self, cell: str) -> str:
        return self._plan.judged_by(cell)


def _below(root: Path, run: runs.Run) -> str:
    """Where its folder is: below the folder of runs, or anywhere."""
    path = run.path.absolute()
    return str(path.relative_to(root.absolute())) if path.is_relative_to(root.absolute()) else str(path)


def _together(logits: Sequence[torch.Tensor]) -> torch.Tensor:
    """Several teachers speak with the mean of their probabilities."""
    if len(logits) == 1:
        return logits[0]
    return torch.stack([one.double().log_softmax(1) for one in logits]).logsumexp(0)


def _device(record: Mapping[str, Any]) -> str | None:
    if not record:
        return None
    on_gpu = str(record["device"]).startswith("cuda")
    return record["environment"]["gpu"] if on_gpu else record["environment"]["processor"]


# ---- machines ----


def machines(records: Iterable[Mapping[str, Any]]) -> Iterator[Hardware]:
    """A machine with its versions a row, however many runs it made."""
    found: dict[tuple[str | None, ...], list[int]] = {}
    for record in records:
        known = record["environment"]
        device = known["gpu"] if str(record["device"]).startswith("cuda") else "cpu"
        found.setdefault((device, *(known.get(name) for name in VERSIONS)), []).append(record["threads"])
    for (device, *versions), threads in found.items():
        described = {"device": device, "threads": sorted(set(threads)), "runs": len(threads)}
        yield Hardware.model_validate(described | dict(zip(VERSIONS, versions, strict=True)))


# ---- values over seeds ----


def by_seed(rows: Iterable[RunRow], read: Callable[[RunRow], float | None]) -> dict[int, float]:
    """One value a seed: the mean over its teachers, where it had several. Seeds without a value are left out."""
    found: dict[int, list[float]] = {}
    for row in rows:
        value = read(row)
        if value is not None and row.seed is not None:
            found.setdefault(row.seed, []).append(value)
    return {seed: statistics.fmean(values) for seed, values in found.items()}


def test_value(which: Which, measure: str) -> Callable[[RunRow], float | None]:
    return lambda row: row.test.get(which, {}).get(measure)


def heldout_value(which: Which) -> Callable[[RunRow], float | None]:
    return lambda row: row.heldout.get(which)
