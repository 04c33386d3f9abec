"""What the networks of a study cost where they run: one of each arm is exported as it would ship, and its file is measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from protege.data.files import is_there
from protege.runs import Run
from protege.ship.export import export
from protege.ship.figures.kept import keep, price_of
from protege.ship.figures.measure import measure
from protege.ship.figures.turns import now_and_then
from protege.ship.formats.build import Wanted
from protege.study.conduct.jobs import reported
from protege.study.question.plan import Plan

Say = Callable[[str], None]


def price(plan: Plan, say: Say) -> None:
    """All that were not priced yet, timed in turns. A network of the first seed speaks for its arm, and one for each teacher."""
    waiting = [run for run in shipping(plan) if not is_priced(run, plan.study.report)]
    if not waiting:
        return
    files = [str(file_of(run, plan, say)) for run in waiting]
    say(f"timing {len(files)} files in turns")
    found = measure(files, plan.place.runs, which=plan.study.report, say=now_and_then(say))
    for run, one in zip(waiting, found, strict=True):
        keep(one, plan.place.runs, plan.study.report)
        run.keep_measured(plan.study.report, price_of(one))


def is_priced(run: Run, which: str) -> bool:
    """By its file: what `protege measure RUN` found is of the checkpoint."""
    return str(run.measured().get(which, {}).get("runtime", "")).startswith("onnxruntime")


def shipping(plan: Plan) -> list[Run]:
    first = [runs[0] for _, runs in reported(plan)]
    teachers = {run.place: run for run in reversed(plan.teacher_runs())}
    found = [Run(plan.place.runs / run.id) for run in (*teachers.values(), *first)]
    return [run for run in found if run.finished]


def file_of(run: Run, plan: Plan, say: Say) -> Path:
    """The exported file; in whole numbers where the network was trained so."""
    known = [run.path / "export" / f"onnx-{precision}" / "model.onnx" for precision in ("int8", "fp32")]
    if plan.study.report == "final" and (made := [file for file in known if is_there(file.with_name("card.json"))]):
        return made[0]
    say(f"exporting {run.id}")
    return export(run, plan.place, Wanted(), which=plan.study.report).path
