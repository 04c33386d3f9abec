"""One run, with fields that a search chooses: `protege train --search optim.lr 0.01 0.5 log`.

A study of one arm, whose trials have a seed of their own; what they choose is then trained with the run's seed. No test image is seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protege.errors import ConfigError, Diverged, RunError, Stopped
from protege.launch.jobs import Job
from protege.launch.launcher import run_jobs
from protege.launch.where import Slotted, Where, launcher
from protege.runs import Run, find
from protege.runs.config import Description, Place, RunConfig, TeacherConfig
from protege.runs.keeping.hub import is_hub
from protege.study.conduct.jobs import Recorder, jobs, left
from protege.study.conduct.progress import StudyDisplay
from protege.study.conduct.select import standing
from protege.study.conduct.trials import Trial, trials
from protege.study.question.load import study_of
from protege.study.question.plan import Plan
from protege.study.question.schema import Values
from protege.study.question.search import in_words
from protege.teacher.sources import on_a_hub

ARM, SELECT = "run", 100


@dataclass(frozen=True)
class Chosen:
    """The run, trained to its end, and the trials that it was chosen by."""

    run: Run
    values: Values
    trials: Sequence[Trial]


def search(
    given: Description,
    config: RunConfig,
    axes: Mapping[str, Sequence[str]],
    count: int,
    place: Place,
    where: Where,
    command: str,
) -> Chosen:
    """As many trials as `count`, and then the best of them. The same command goes on where it was stopped.

    `given` is the description as it was typed: what was left out may follow from what is searched, as the rate from the optimiser.
    """
    plan = _plan(given, config, axes, count, place)
    (cell,) = plan.cells
    total = plan.study.search.most + 1
    done = sum(
        Run(plan.place.runs / run.id).finished
        for one in plan.configurations(cell)
        for run in plan.select_runs(cell, one)
    )
    with StudyDisplay("search", total, done, {}, 1, place.quiet) as display:
        here = Slotted(1, place.threads, (place.device,))
        launched = launcher(where, plan.folder, "search", here, display.say)
        outcome = run_jobs(lambda: _sealed(plan, command), Recorder(plan, display, command), launched)
    if outcome.stopped:
        raise Stopped(
            f"The search stopped after {len(trials(plan, cell))} of {count} trials. The same command goes on from here."
        )
    chosen = standing(plan, cell).chosen
    if chosen is None and not left(plan):
        raise Diverged("Every trial diverged. Search lower values of optim.lr, or give optim.clip_norm.")
    runs = plan.report_runs(cell, chosen) if chosen else []
    if chosen is None or not (run := Run(plan.place.runs / runs[0].id)).finished:
        raise RunError(next(iter(outcome.failed.values()), "The search did not come to its end."))
    return Chosen(run, chosen.values, trials(plan, cell))


def _sealed(plan: Plan, command: str) -> list[Job]:
    return [job for job in jobs(plan, command=command) if job.verb == "train" or job.split == "heldout"]


def _plan(given: Description, config: RunConfig, axes: Mapping[str, Sequence[str]], count: int, place: Place) -> Plan:
    here = place.model_copy(update={"runs": place.runs.absolute(), "quiet": True})
    try:
        space = {path: in_words(words) for path, words in axes.items()}
    except ValueError as error:
        raise ConfigError(f"--search: {error}") from error
    teachers = [_found(one, here) for one in config.teacher]
    base = {path: value for path, value in given.items() if path not in ("seed", "teacher")}
    described = {
        "question": f"which {' and '.join(space)}?",
        "base": base | ({"teacher": teachers} if teachers else {}),
        "arms": {ARM: {"search": space}},
        "seeds": {"select": [SELECT + (config.seed == SELECT)], "report": [config.seed]},
        "search": {"trials": count},
    }
    return Plan(study_of("search", described, origin="--search"), here)


def _found(teacher: TeacherConfig, place: Place) -> dict[str, object]:
    """By its folder where it is a run, for a bare name would be a network that a study trains first."""
    source = on_a_hub(teacher.source)
    if teacher.model is None and not is_hub(source):
        source = str(find(place.runs, source).path)
    return {**teacher.model_dump(mode="json", exclude_defaults=True), "source": source}
