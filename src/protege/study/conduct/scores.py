"""What is known of the runs among which an arm chooses: how held-out images judge them, and those that cannot be finished."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from protege.data.files import is_there
from protege.runs import Run, read_json, write_json
from protege.runs.records import Divergence
from protege.study.question.layout import Layout, PlannedRun
from protege.study.question.measures import MEASURES, value_of
from protege.study.question.schema import Study, Which


def higher_chooses(study: Study) -> bool:
    return MEASURES[study.choose_by].higher_is_better is True


def best_of(means: Sequence[float | None], *, higher: bool = True) -> int | None:
    """Position of the highest, or of the lowest; the first of equals; None where there is none."""
    known = [(mean if higher else -mean, -position) for position, mean in enumerate(means) if mean is not None]
    return -max(known)[1] if known else None


def to_judge(plan: Layout, run: PlannedRun) -> bool:
    """Whether a finished run must be evaluated on held-out images before it can be chosen by them: training leaves the accuracy alone."""
    folder = Run(plan.place.runs / run.id)
    return plan.study.choose_by != "accuracy" and folder.finished and not is_there(folder.evaluations / "heldout.json")


def seed_scores(plan: Layout, runs: Sequence[PlannedRun]) -> dict[int, float | None]:
    """What chooses, by seed: the mean where several teachers taught one seed; None if a run is not finished."""
    by_seed: dict[int, list[float | None]] = {}
    for run in runs:
        by_seed.setdefault(run.seed, []).append(_judged(Run(plan.place.runs / run.id), plan.study))
    return {seed: mean_of(dict(enumerate(values))) for seed, values in by_seed.items()}


def _judged(run: Run, study: Study) -> float | None:
    if study.choose_by == "accuracy":
        return heldout_of(run).get(study.report)
    known = run.finished and is_there(run.evaluations / "heldout.json")
    return value_of(MEASURES[study.choose_by], run.evaluation("heldout").get(study.report, {})) if known else None


def mean_of(scores: Mapping[int, float | None]) -> float | None:
    """None where one is missing: a mean over other seeds than its rivals' would not compare."""
    known = [score for score in scores.values() if score is not None]
    return statistics.fmean(known) if known and len(known) == len(scores) else None


def heldout_of(run: Run) -> dict[Which, float]:
    """Accuracy in percent of a finished run on its held-out images, at the last epoch and at the best."""
    if not run.finished:
        return {}
    result = run.result()
    best: Mapping[str, Any] = result.get("best") or {}
    found: dict[Which, float | None] = {"final": result.get("heldout_accuracy"), "best": best.get("heldout_accuracy")}
    return {which: 100 * value for which, value in found.items() if value is not None}


# ---- runs that cannot be finished ----


def divergence_file(root: Path, run_id: str) -> Path:
    """Says that the loss stopped being a number. The same run would do it again; removing the file lets it try."""
    return root / run_id / "diverged.json"


def mark_diverged(root: Path, run_id: str, message: str) -> None:
    write_json(divergence_file(root, run_id), {"run": run_id, "message": message})


def divergence(root: Path, run_id: str) -> str | None:
    file = divergence_file(root, run_id)
    return read_json(file, Divergence)["message"] if file.exists() else None


def settled_run(root: Path, run: PlannedRun) -> bool:
    """Nothing is left to do: finished, diverged, or taught by one that diverged."""
    if Run(root / run.id).finished or divergence(root, run.id) is not None:
        return True
    return any(divergence(root, needed) is not None for needed in run.needs)
