"""Which configuration an arm is reported with: by the mean over the selection seeds of one measure of held-out images (accuracy)."""

from __future__ import annotations

from dataclasses import dataclass

from protege.study.conduct.scores import best_of, higher_chooses, mean_of, seed_scores, settled_run, to_judge
from protege.study.conduct.trials import complete
from protege.study.question.arms import Cell, Configuration
from protege.study.question.layout import Layout, PlannedRun


@dataclass(frozen=True)
class Standing:
    """How far the choice of a cell is."""

    settled: bool  # every selection run is finished and judged, or has diverged, and no search asks for more
    chosen: Configuration | None  # None while not settled, and where every configuration diverged


def standing(plan: Layout, cell: Cell) -> Standing:
    """A cell of one configuration has nothing to choose. The first of equals wins, in the order of the grid or of the trials."""
    if not cell.chosen_by_selection:
        return Standing(True, cell.configurations[0])
    candidates = tried(plan, cell)
    if not (complete(plan, cell) if cell.space else _all_known(plan, candidates)):
        return Standing(False, None)
    means = [mean_of(seed_scores(plan, runs)) for runs in candidates]
    best = best_of(means, higher=higher_chooses(plan.study))
    return Standing(True, None if best is None else plan.configurations(cell)[best])


def _all_known(plan: Layout, candidates: list[list[PlannedRun]]) -> bool:
    runs = [run for runs in candidates for run in runs]
    return all(settled_run(plan.place.runs, run) for run in runs) and not any(to_judge(plan, run) for run in runs)


def tried(plan: Layout, cell: Cell) -> list[list[PlannedRun]]:
    return [plan.select_runs(cell, configuration) for configuration in plan.configurations(cell)]
