"""A study from plan to findings: what it will take, whether that fits, the runs, and what came out."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from protege.errors import Stopped
from protege.launch.jobs import Job, Reply
from protege.launch.launcher import Unwatched, run_jobs
from protege.launch.local import Slots
from protege.launch.where import Slotted, Where, launcher, slurm_folder
from protege.lazy import need
from protege.runs import read_json
from protege.runs.config import Place
from protege.runs.display import console, duration
from protege.runs.records import Commands
from protege.ship.figures.turns import unheard
from protege.study.conduct.estimate import Estimate, estimate, refuse_what_does_not_fit
from protege.study.conduct.jobs import conduct, in_charge, jobs, known_runs, left, progress, still_to_come
from protege.study.conduct.pricing import price
from protege.study.conduct.probing import probe_all, threads_of_a_slot, untried
from protege.study.conduct.progress import StudyDisplay
from protege.study.conduct.select import standing
from protege.study.conduct.trials import still_to_ask
from protege.study.findings.gather import gather
from protege.study.findings.interim import Interim
from protege.study.findings.record import Findings, write
from protege.study.question.load import load
from protege.study.question.plan import Plan, PlannedRun, warnings_before
from protege.study.question.schema import Scale


def study(file: Path | str, place: Place | None = None, *, scale: Scale = "full", slots: int = 1) -> Findings:
    """Do everything that a study's file asks for, and return what came out. What is finished already is not done again."""
    place = place or Place()
    plan = Plan(load(Path(file), scale), place.model_copy(update={"runs": place.runs.absolute()}), scale)
    _, findings = run_study(plan, slots=slots, threads=place.threads, devices=(place.device,), quiet=place.quiet)
    assert findings is not None
    return findings


def run_study(
    plan: Plan,
    *,
    only: Sequence[str] = (),
    slots: int = 1,
    threads: int | None = None,
    devices: Sequence[str] = ("auto",),
    probing: bool | None = None,
    dry_run: bool = False,
    quiet: bool = False,
    command: str = "",
    where: Where | None = None,
) -> tuple[dict[str, Any], Findings | None]:
    """The plan in figures, and the findings (None of a dry run). Only of this machine can be tried what a run takes.

    Unless `probing` says so, steps are tried before runs are trained, and not for a dry run.
    """
    where = where or Where()
    command = command or shlex.join(sys.argv)
    with contextlib.nullcontext() if dry_run else in_charge(plan):
        slot_threads = threads_of_a_slot(slots, threads)
        if plan.study.ship and not dry_run:
            need("onnxruntime", "export", "Measuring files (`ship: true`)")
        remaining = left(plan, only)
        everything = [*remaining, *_still_to_come(plan)] if remaining and where.on == "local" else []
        open_kinds = untried(plan, everything, slot_threads)
        tries = (not dry_run or not open_kinds) if probing is None else probing
        expected = _expected(plan, everything, slot_threads, slots, devices, quiet) if tries and everything else None
        planned = summary(plan, only, expected, slots) | {"untried": 0 if expected else len(open_kinds)}
        if dry_run:
            return planned | {"scripts": _scripts(plan, only, where, command)}, None
        if expected is not None:
            refuse_what_does_not_fit(expected, plan.place, slots, devices)
        total = planned["runs"]
        with StudyDisplay(
            plan.study.name, total, planned["finished"], expected.by_run if expected else {}, slots, quiet
        ) as display:
            display.say(
                f"{plan.study.name}: {planned['left']} of {total} runs left{_about(planned)}, in {plan.place.runs}"
            )
            commands = list(dict.fromkeys([*commands_so_far(plan), command]))
            watch = Interim(plan, display, commands)
            launched = launcher(where, plan.folder, plan.study.name, Slotted(slots, slot_threads, devices), display.say)
            done = conduct(plan, watch, launched, only=only, command=command)
        if done.stopped:
            watch.write()
            raise Stopped(f"{_how_far(plan)} {launched.after_a_stop}")
        if plan.study.ship and not only and not done.failed:
            price(plan, unheard if quiet else console.print)
        findings = gather(plan, done.failed, commands)
        write(plan.folder / "findings.json", findings)
        return planned, findings


def _how_far(plan: Plan) -> str:
    now = progress(plan)
    whole = now.planned + now.still_to_come
    return f"{plan.study.name} stopped with {now.finished} of {whole} runs finished."


def _scripts(plan: Plan, only: Sequence[str], where: Where, command: str) -> list[str]:
    """What would be submitted, as files."""
    if where.on != "slurm":
        return []
    from protege.launch.slurm.conductor import written

    return [
        str(file)
        for file in written(slurm_folder(plan.folder, plan.study.name), where.slurm, jobs(plan, only, command))
    ]


def commands_so_far(plan: Plan) -> tuple[str, ...]:
    """Those that earlier findings of this study name."""
    file = plan.folder / "findings.json"
    return tuple(read_json(file, Commands)["commands"]) if file.exists() else ()


def summary(plan: Plan, only: Sequence[str], expected: Estimate | None, slots: int) -> dict[str, Any]:
    """What `--dry-run --json` prints."""
    now = progress(plan)
    return {
        "name": plan.study.name,
        "question": plan.study.question,
        "scale": plan.scale,
        "differs": plan.study.differs,
        "differences": plan.study.changes,
        "folder": str(plan.folder),
        "arms": [
            {
                "arm": cell.arm,
                "pair": cell.pair,
                "cell": cell.key,
                "configurations": (count := len(plan.configurations(cell)) + still_to_ask(plan, cell)),
                "search": plan.study.search.said() if cell.space else "",
                "select": count * len(plan.select_runs(cell, cell.configurations[0])),
                "report": len(plan.report_runs(cell, cell.configurations[0])),
            }
            for cell in plan.cells
        ],
        "runs": now.planned + now.still_to_come,
        "teachers": len(plan.teacher_runs()),
        "finished": now.finished,
        "begun": now.begun,
        "diverged": now.diverged,
        "left": len(left(plan, only)) + (now.still_to_come if not only else 0),
        "ids": [run.id for run in known_runs(plan, only)],
        "unsealed": now.unsealed,
        "seconds": expected.seconds / slots if expected else None,
        "disk": expected.disk if expected else None,
        "memory": expected.memory if expected else None,
        "slots": slots,
        "cost": plan.study.cost.sentence() if plan.study.cost else "",
        "warnings": warnings_before(plan.study, plan.cells),
    }


def _expected(
    plan: Plan, everything: Sequence[PlannedRun], threads: int, slots: int, devices: Sequence[str], quiet: bool
) -> Estimate | None:
    kinds = len(untried(plan, everything, threads))
    failed = probe_all(plan, everything, threads, _asked(plan, threads, devices, quiet, kinds))
    for name, message in failed.items():
        console.print(f"no estimate: a few steps of {name} failed: {message}", markup=False, soft_wrap=True)
    return None if failed else estimate(plan, everything, threads, slots)


def _still_to_come(plan: Plan) -> list[PlannedRun]:
    """Reporting runs that are not known yet, as so many copies of the first configuration's."""
    open_cells = [cell for cell in plan.cells if not standing(plan, cell).settled]
    return [run for cell in open_cells for run in still_to_come(plan, cell)]


def _about(planned: Mapping[str, Any]) -> str:
    return "" if planned["seconds"] is None else f", about {duration(planned['seconds'])}"


def _asked(plan: Plan, threads: int, devices: Sequence[str], quiet: bool, kinds: int) -> Callable[[Job], Reply]:
    """Each probe in a process of its own, so that its memory is its own; from the second on it is said how long all will take."""
    began, done_before = time.perf_counter(), 0

    def ask(job: Job) -> Reply:
        nonlocal done_before
        if not quiet:
            each = (time.perf_counter() - began) / done_before if done_before else None
            left = "" if each is None else f", about {duration(each * (kinds - done_before))} more"
            console.print(f"trying a few steps of {job.label}, {done_before + 1} of {kinds}{left}", markup=False)
        done_before += 1
        done = run_jobs(lambda: [job], Unwatched(), Slots(plan.folder / "logs", 1, threads, devices[:1]))
        if done.stopped:
            raise Stopped(f"{plan.study.name} stopped before its first run.")
        return done.replies[0]

    return ask
