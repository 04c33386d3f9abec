"""The table of a selection: what was tried, what was chosen, and whether the images could tell."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from protege import stats
from protege.study.conduct.ask import importances
from protege.study.conduct.scores import higher_chooses, mean_of, seed_scores
from protege.study.conduct.select import Standing, standing, tried
from protege.study.conduct.trials import seconds, trials
from protege.study.findings.record import Candidate, Searched, Selection, Trial
from protege.study.question.arms import Cell, Configuration
from protege.study.question.layout import Layout, PlannedRun
from protege.study.question.measures import MEASURES, Measure


def selection(plan: Layout, cell: Cell, heldout_images: int) -> Selection:
    """Every configuration with its scores, which one was chosen, and whether the images could tell them apart."""
    now = standing(plan, cell)
    candidates = tuple(
        _candidate(plan, configuration, runs, now)
        for configuration, runs in zip(plan.configurations(cell), tried(plan, cell), strict=True)
    )
    means = [candidate.mean / 100 for candidate in candidates if candidate.mean is not None]
    by_accuracy = plan.study.choose_by == "accuracy"  # of which alone it is known how it scatters with the images
    noise = stats.selection_is_noise(means, heldout_images) if by_accuracy and now.settled and len(means) > 1 else None
    return Selection(
        arm=cell.arm,
        pair=cell.pair,
        cell=cell.key,
        measure=plan.study.choose_by,
        score=plan.study.report,
        seeds=plan.study.select_seeds,
        heldout_images=heldout_images,
        candidates=candidates,
        chosen=now.chosen.values if now.chosen else None,
        spread=100 * noise.spread if noise else None,
        standard_error=100 * noise.standard_error if noise else None,
        luck=100 * noise.luck if noise and noise.is_noise else None,
        is_noise=noise.is_noise if noise else None,
        sentence=noise.sentence if noise else _without_noise(now, MEASURES[plan.study.choose_by], len(means)),
        search=_searched(plan, cell) if cell.space else None,
    )


def _searched(plan: Layout, cell: Cell) -> Searched:
    asked, higher = trials(plan, cell), higher_chooses(plan.study)
    told: list[Trial] = []
    for one in asked:
        known = [before.score for before in (*told, one) if before.state == "finished" and before.score is not None]
        best = (max if higher else min)(known) if known else None
        told.append(
            Trial(number=one.number, round=one.round, state=one.state, epochs=one.epochs, score=one.score, best=best)
        )
    return Searched(
        space={path: axis.said() for path, axis in cell.space.items()},
        budget=plan.study.search.said(),
        trials=tuple(told),
        importance=importances(cell.space, asked, higher=higher),
        seconds=seconds(plan, asked),
    )


def _without_noise(now: Standing, measure: Measure, known: int) -> str:
    if not now.settled:
        return "Not every selection run is finished."
    if known > 1:
        return f"Chosen by the {measure.label}, of which it is not computed whether so many images can tell."
    return "One configuration alone did not diverge." if now.chosen else "Every configuration diverged."


def _candidate(plan: Layout, configuration: Configuration, runs: Sequence[PlannedRun], now: Standing) -> Candidate:
    scores = seed_scores(plan, runs)
    known = [score for score in scores.values() if score is not None]
    return Candidate(
        values=configuration.values,
        scores=scores,
        mean=mean_of(scores),
        sd=statistics.stdev(known) if len(known) > 1 else None,
        chosen=now.chosen is configuration,
        ids=tuple(run.id for run in runs),
    )
