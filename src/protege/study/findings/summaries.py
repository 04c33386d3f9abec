"""Cells, teachers and grids: the runs of each taken together over its seeds."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from protege import stats
from protege.data.outside.consent import named_in
from protege.models.config import ModelConfig
from protege.study.conduct.jobs import to_unseal, unsealed
from protege.study.conduct.select import standing
from protege.study.findings.record import (
    Cell,
    Contrast,
    Grid,
    NetworkFacts,
    RunRow,
    Scores,
    Selection,
    Split,
    Summary,
    TeacherFacts,
    Which,
    as_part,
)
from protege.study.findings.rows import WHICH, by_seed, heldout_value, test_value
from protege.study.question.arms import Cell as PlannedCell
from protege.study.question.arms import Configuration, cell_key, cell_label
from protege.study.question.layout import Layout
from protege.study.question.measures import MEASURES, scores

Key = TypeVar("Key")


def summary_of(values: Sequence[float]) -> Summary | None:
    return as_part(Summary, stats.summary(values)) if values else None


def _known(summaries: Mapping[Key, Summary | None]) -> dict[Key, Summary]:
    return {key: one for key, one in summaries.items() if one is not None}


def test_summaries(rows: Sequence[RunRow]) -> dict[Which, dict[str, Summary]]:
    """By epoch and measure; what was not measured is left out."""
    found: dict[Which, dict[str, Summary]] = {
        which: _known({name: summary_of([*by_seed(rows, test_value(which, name)).values()]) for name in MEASURES})
        for which in WHICH
    }
    return {which: measured for which, measured in found.items() if measured}


def heldout_summaries(rows: Sequence[RunRow]) -> dict[Which, Summary]:
    return _known({which: summary_of([*by_seed(rows, heldout_value(which)).values()]) for which in WHICH})


# ---- cells ----


def cells(plan: Layout, rows: Sequence[RunRow], split: Split) -> list[Cell]:
    return [
        _cell(plan, cell, [row for row in rows if row.role == "report" and row.cell == cell.key], split)
        for cell in plan.cells
    ]


def _cell(plan: Layout, cell: PlannedCell, rows: list[RunRow], split: Split) -> Cell:
    chosen = standing(plan, cell).chosen
    shown = chosen or cell.configurations[0]
    done = [row for row in rows if row.state == "finished"]
    seeds = tuple(seed for seed in plan.study.seeds.report if any(row.seed == seed for row in done))
    missing = tuple(
        seed for seed in plan.study.seeds.report if any(row.seed == seed and row.state != "finished" for row in rows)
    )
    return Cell(
        key=cell.key,
        label=_label(cell),
        arm=cell.arm,
        pair=cell.pair,
        values=chosen.values if chosen else {},
        method=chosen.config.method.model_dump(mode="json") if chosen else None,
        student=_facts(shown.config.model, plan, rows, split),
        smaller=smaller(shown),
        teacher=" + ".join(shown.teachers) or None,
        reference=" + ".join(shown.teachers or cell.reference) or None,
        alone=cell.alone,
        adds=shown.config.method.added(),
        configurations=len(plan.configurations(cell)),
        seeds=seeds,
        missing=missing if chosen else plan.study.seeds.report,
        heldout=heldout_summaries(done),
        test=test_summaries(done),
        seconds=_mean_seconds(done),
    )


def smaller(shown: Configuration) -> str:
    """`begun from half, pruned to 0.5 of its multiply-adds`."""
    compress, said = shown.config.compress, [f"begun from {shown.init}"] if shown.init else []
    if compress and compress.prune:
        said.append(f"pruned to {compress.prune:g} of its multiply-adds")
    if compress and compress.weights:
        said.append(f"weights of {compress.weights} bits")
    if compress and compress.activations:
        said.append(f"activations of {compress.activations} bits")
    return ", ".join(said)


def _label(cell: PlannedCell) -> str:
    """Values are part of the name where they are part of the key: where every configuration is a cell of its own."""
    named = cell.arm, cell.pair, cell.configurations[0].values
    return cell_label(*named) if cell.key == cell_key(*named) else cell.key


def _mean_seconds(rows: Sequence[RunRow]) -> float | None:
    known = [row.seconds for row in rows if row.seconds is not None]
    return statistics.fmean(known) if known else None


def _facts(model: ModelConfig, plan: Layout, rows: Sequence[RunRow], split: Split) -> NetworkFacts:
    """On the images that its runs had; before there are any, on the study's."""
    begun = next((run for row in rows if (run := plan.run(row.id)).record_file.exists()), None)
    about = begun.record()["data"] if begun else None
    classes, size = (len(about["classes"]), about["image_size"]) if about else (split.classes, split.image_size)
    parameters, multiply_adds = _measured(model.model_copy(update={"weights": None}).model_dump_json(), classes, size)
    return NetworkFacts(model=model.model_dump(mode="json"), parameters=parameters, multiply_adds=multiply_adds)


@cache
def _measured(model: str, classes: int, size: int) -> tuple[int | None, int | None]:
    from protege.errors import ProtegeError
    from protege.models import build
    from protege.models.measure import multiply_adds, parameter_count

    try:
        with named_in("a run or a study"):
            network = build(ModelConfig.model_validate_json(model), classes)
        return parameter_count(network), multiply_adds(network, size)
    except (ProtegeError, RuntimeError):
        return None, None  # an optional library that is not installed here, or a network that cannot be traced


# ---- teachers ----


def teachers(plan: Layout, rows: Sequence[RunRow], split: Split) -> list[TeacherFacts]:
    return [_teacher(plan, key, rows, split) for key in dict.fromkeys(plan.used_teachers())]


def _teacher(plan: Layout, key: str, rows: Sequence[RunRow], split: Split) -> TeacherFacts:
    tutors = plan.tutors(key)
    own = [row for row in rows if row.role == "teacher" and row.cell == key and row.state == "finished"]
    trained, model = tutors[0].run, tutors[0].run.config.model if tutors[0].run else _given_model(plan, key)
    unknown = NetworkFacts(model={}, parameters=None, multiply_adds=None)
    return TeacherFacts(
        key=key,
        given=trained is None,
        student_of=tuple(tutor.key for tutor in trained.tutors) if trained else (),
        network=_facts(model, plan, own, split) if model else unknown,
        assign=plan.study.teachers[key].assign,
        seeds=tuple(tutor.seed for tutor in tutors if tutor.seed is not None),
        heldout=heldout_summaries(own),
        test=test_summaries(own) if trained else _given_scores(plan, key),
        seconds=_mean_seconds(own),
    )


def _given_model(plan: Layout, key: str) -> ModelConfig | None:
    """None of a run that is not there any more."""
    from protege.errors import RunError
    from protege.teacher.sources import identify

    config = plan.tutors(key)[0].config
    if config.model:
        return config.model
    try:
        (found,) = identify([config], plan.place.runs)
    except RunError:
        return None
    return found.config.model or (found.run.config().model if found.run else None)


def _given_scores(plan: Layout, key: str) -> dict[Which, dict[str, Summary]]:
    """A given teacher was asked when its students were evaluated; what it said then stands in their records."""
    found: dict[str, Scores] = {}
    identities = [tutor.identity for tutor in plan.tutors(key)]
    for run, _ in to_unseal(plan):
        if not unsealed(plan, run):
            continue
        record = plan.run(run.id).evaluation("test")
        if "teacher" in record and len(record["teachers"]) == 1 and record["teachers"][0] in identities:
            found[record["teachers"][0]] = scores(record["teacher"])
    values = {name: [value for one in found.values() if (value := one.get(name)) is not None] for name in MEASURES}
    taken = _known({name: summary_of(those) for name, those in values.items()})
    return {"final": taken} if taken else {}


# ---- grids ----


def grids(
    plan: Layout, selections: Sequence[Selection], found: Sequence[Cell], contrasts: Sequence[Contrast] = ()
) -> list[Grid]:
    """What was chosen among, on held-out images; or, in the literature protocol, every configuration on the test set."""
    chosen = [_held_out_grid(selection) for selection in selections if selection.search is None]
    varied = [cell for cell in plan.cells if cell.configurations[0].values and not cell.chosen_by_selection]
    arms = Counter((cell.arm, cell.pair) for cell in varied)
    several = [one for one, count in arms.items() if count > 1]
    said = {frozenset(one.cells): one.lead_by_chance for one in contrasts if one.measure == "accuracy"}
    return [*chosen, *(_tested_grid(plan, arm, pair, found, said) for arm, pair in several)]


def _held_out_grid(selection: Selection) -> Grid:
    points = [
        (one.values, summary_of([score for score in one.scores.values() if score is not None]))
        for one in selection.candidates
    ]
    return Grid(
        arm=selection.arm,
        pair=selection.pair,
        split="heldout",
        measure=selection.measure,
        paths=_paths(points),
        points=tuple(points),
        luck=selection.luck,
    )


def _tested_grid(
    plan: Layout, arm: str, pair: str | None, found: Sequence[Cell], said: Mapping[frozenset[str], float | None]
) -> Grid:
    """Luck from the spread over seeds: that of a mean of n seeds is their sd over the root of n.

    `said`: what a question `among` the same cells says of it, from the error of all arms.
    """
    cells_of = [cell for cell in found if cell.arm == arm and cell.pair == pair]
    points = [(cell.values, cell.scores(plan.study.report).get("accuracy")) for cell in cells_of]
    errors = [one.sd / one.n**0.5 for _, one in points if one is not None and one.sd is not None]
    luck = said.get(frozenset(cell.key for cell in cells_of))
    if luck is None and errors and len(points) > 1:
        luck = stats.gain_by_chance(len(points), statistics.fmean(errors))
    return Grid(arm=arm, pair=pair, split="test", paths=_paths(points), points=tuple(points), luck=luck)


def _paths(points: Sequence[tuple[dict[str, Any], Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path for values, _ in points for path in values))
