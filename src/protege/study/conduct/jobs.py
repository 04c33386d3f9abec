"""The runs of a study, in order: teachers, students that choose, the choice, students that are reported, and only then the test set.

All that is known of what is done lies in the runs' folders. So a study may be stopped at any moment and started again, on
another machine too, and a run that was copied in counts as done.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

from protege.errors import RunError
from protege.launch.jobs import Job, Reply
from protege.launch.launcher import Launcher, Outcome, Watch, run_jobs
from protege.runs import write_json
from protege.runs.config import TeacherConfig
from protege.runs.locking import locked
from protege.study.conduct.ask import ask_if_settled
from protege.study.conduct.scores import divergence, mark_diverged, settled_run, to_judge
from protege.study.conduct.select import standing, tried
from protege.study.conduct.trials import due, not_to_the_end, still_to_ask
from protege.study.question.arms import Cell, cell_key
from protege.study.question.layout import Layout, PlannedRun, Tutor
from protege.study.question.plan import Plan

WAVES = {"teacher": "teachers", "select": "select", "report": "report"}  # and then "test"


@dataclass(frozen=True)
class Progress:
    """How far a study is."""

    planned: int  # distinct runs known so far, to be trained to their end; those that are reported are known when their arm is chosen
    still_to_come: int  # reporting runs of arms that are not chosen yet, and trials that are not asked for yet
    finished: int
    begun: int  # with a checkpoint, and not finished
    diverged: int
    unsealed: int  # finished runs whose test scores have been read
    to_unseal: int


def reported(plan: Layout, only: Sequence[str] = ()) -> list[tuple[Cell, list[PlannedRun]]]:
    """The reporting runs of every cell whose configuration is settled."""
    found = []
    for cell in _cells(plan, only):
        chosen = standing(plan, cell).chosen
        if chosen is not None:
            found.append((cell, plan.report_runs(cell, chosen)))
    return found


def _cells(plan: Layout, only: Sequence[str]) -> list[Cell]:
    return [cell for cell in plan.cells if not only or cell.arm in only]


def known_runs(plan: Layout, only: Sequence[str] = ()) -> list[PlannedRun]:
    """Distinct runs, teachers first, then those that choose, then those that are reported."""
    cells = _cells(plan, only)
    select = [run for cell in cells for runs in tried(plan, cell) for run in runs]
    report = [run for _, runs in reported(plan, only) for run in runs]
    used = [key for cell in cells for one in cell.configurations for key in one.teachers]
    teachers = plan.teacher_runs(used) if only else plan.teacher_runs()
    found: dict[str, PlannedRun] = {}
    for run in (*teachers, *select, *report):
        for one in chain_of(run):
            found.setdefault(one.id, one)
    return list(found.values())


def chain_of(run: PlannedRun) -> list[PlannedRun]:
    """The run behind those that it starts from."""
    return [*(chain_of(run.start) if run.start else []), run]


def left(plan: Layout, only: Sequence[str] = ()) -> list[PlannedRun]:
    """What has to be trained now, as far as it is known. Trials of a search that were stopped, or wait for others, are not."""
    parts = _parts(plan, only)
    unsettled = (run for run in known_runs(plan, only) if not settled_run(plan.place.runs, run))
    return [run for run in unsettled if parts.get(run.id) != 0]


def _parts(plan: Layout, only: Sequence[str]) -> dict[str, int]:
    """Of runs that only a search needs: until which epoch each is to be trained now."""
    cells = _cells(plan, only)
    found: dict[str, int] = {}
    for cell in cells:
        for run_id, epochs in due(plan, cell).items() if cell.space else ():
            found[run_id] = max(epochs, found.get(run_id, 0))
    whole = [run for cell in cells if not cell.space for runs in tried(plan, cell) for run in runs]
    for run in (*whole, *plan.teacher_runs()):
        found.pop(run.id, None)
    return found


def to_unseal(plan: Layout) -> list[tuple[PlannedRun, tuple[TeacherConfig, ...] | None]]:
    """Finished reporting runs and teachers, each with the teachers that must be asked live: those that were given, not trained."""
    found: dict[str, tuple[PlannedRun, tuple[TeacherConfig, ...] | None]] = {}
    for run in plan.teacher_runs():
        found[run.id] = (run, ())
    for cell, runs in reported(plan):
        positions = {seed: position for position, seed in enumerate(plan.study.seeds.report)}
        for run in runs:
            lineup = run.tutors or next(iter(plan.lineups(cell.reference, positions[run.seed])), ())
            found.setdefault(run.id, (run, _asked_live(lineup)))
    return [(run, live) for run, live in found.values() if plan.run(run.id).finished]


def _asked_live(lineup: Sequence[Tutor]) -> tuple[TeacherConfig, ...]:
    """Teachers that the study trained leave logits of their own, to be compared with afterwards; given ones do not."""
    return tuple(tutor.config for tutor in lineup) if any(tutor.run is None for tutor in lineup) else ()


def progress(plan: Layout) -> Progress:
    known, root = known_runs(plan), plan.place.runs
    stopped = sum(not_to_the_end(plan, cell) * _seeds(plan, cell) for cell in plan.cells if cell.space)
    open_cells = [cell for cell in plan.cells if not standing(plan, cell).settled]
    opened = [run for run, _ in to_unseal(plan)]
    return Progress(
        planned=len(known) - stopped,
        still_to_come=sum(len(still_to_come(plan, cell)) for cell in open_cells),
        finished=sum(plan.run(run.id).finished for run in known),
        begun=sum(plan.run(run.id).record_file.exists() for run in left(plan)),
        diverged=sum(divergence(root, run.id) is not None for run in known),
        unsealed=sum(unsealed(plan, run) for run in opened),
        to_unseal=len(opened),
    )


def still_to_come(plan: Layout, cell: Cell) -> list[PlannedRun]:
    """Of a cell whose choice is open: what it will report, and trials not asked for yet. The first configuration stands for them."""
    first = cell.configurations[0]
    asked = still_to_ask(plan, cell)
    trials = asked if plan.study.search.stop == "never" else -(-asked // 2)  # so many epochs they take together
    return [*trials * plan.select_runs(cell, first), *plan.report_runs(cell, first)]


def _seeds(plan: Layout, cell: Cell) -> int:
    return len(plan.select_runs(cell, cell.configurations[0]))


def unsealed(plan: Layout, run: PlannedRun) -> bool:
    return (plan.run(run.id).evaluations / "test.json").exists()


# ---- jobs ----


def jobs(plan: Plan, only: Sequence[str] = (), command: str = "") -> list[Job]:
    """What is to be done now. The test set is opened when nothing of the whole study is left to train, and every choice is made."""
    for cell in _cells(plan, only):
        if cell.space:
            ask_if_settled(plan, cell)
    parts = _parts(plan, only)
    training = [_training(plan, run, parts.get(run.id), command) for run in left(plan, only)]
    choosing = [run for run in known_runs(plan, only) if run.role == "select" and to_judge(plan, run)]
    judging = [_evaluation(plan, run, "heldout", None, command) for run in choosing]
    if training or judging or left(plan) or not all(standing(plan, cell).settled for cell in plan.cells):
        return [*judging, *training]
    record_choices(plan)
    return [_evaluation(plan, run, "test", live, command) for run, live in to_unseal(plan) if not unsealed(plan, run)]


def _training(plan: Plan, run: PlannedRun, until: int | None, command: str) -> Job:
    rests = until if until != run.config.optim.epochs else None
    place = plan.place.model_copy(update={"quiet": True, "wait": True, "until": rests})
    folder = plan.run(run.id)
    if folder.record_file.exists():
        place = place.model_copy(update={"threads": folder.record()["threads"]})  # another number would give other bits
    return Job(
        verb="train",
        run=run.id,
        config=run.config,
        place=place,
        label=label(run),
        wave=WAVES[run.role],
        needs=run.needs,
        command=command,
    )


def _evaluation(
    plan: Plan,
    run: PlannedRun,
    split: Literal["heldout", "test"],
    live: tuple[TeacherConfig, ...] | None,
    command: str,
) -> Job:
    return Job(
        verb="evaluate",
        run=run.id,
        config=run.config,
        place=plan.place.model_copy(update={"quiet": True}),
        label=label(run),
        wave=split,
        split=split,
        references=live,
        command=command,
    )


def label(run: PlannedRun) -> str:
    """`kd (temperature 4), seed 100, to select`."""
    varied = cell_key("", None, run.values).strip() if run.role == "select" else ""
    role = "teacher " if run.role == "teacher" else ""
    purpose = ", to select" if run.role == "select" else ""
    return f"{role}{run.place}{f' {varied}' if varied else ''}, seed {run.seed}{purpose}"


def record_choices(plan: Plan) -> None:
    """What was chosen, and when, before a test image was seen."""
    file = plan.folder / "choices.json"
    if file.exists():
        return
    chosen = {cell.key: now.values for cell in plan.cells if (now := standing(plan, cell).chosen) is not None}
    asked = {"question": plan.study.question, "notes": list(plan.study.notes)}
    write_json(file, {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "chosen": chosen, **asked})


@contextlib.contextmanager
def in_charge(plan: Layout) -> Iterator[None]:
    """Others see that somebody looks after the study. A second command on it may help, and is not seen."""
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{plan.folder} cannot be made: {error.strerror}. Choose another folder with --runs.") from error
    with contextlib.ExitStack() as held:
        with contextlib.suppress(RunError):
            held.enter_context(locked(plan.folder, wait=False))
        yield


@final
class Recorder:
    """A watch that keeps what must outlive this process, and passes everything on."""

    def __init__(self, plan: Plan, watch: Watch, command: str = "") -> None:
        self._plan, self._watch, self._command = plan, watch, command
        self._failed: dict[str, str] = {}  # by key
        self._note()

    def started(self, slot: int, job: Job) -> None:
        self._watch.started(slot, job)

    def ended(self, slot: int, job: Job, reply: Reply) -> None:
        if reply.outcome == "diverged":
            mark_diverged(self._plan.place.runs, job.run, reply.message)
        if reply.outcome == "failed":
            self._failed[job.key] = reply.message
            self._note()
        self._watch.ended(slot, job, reply)

    def skipped(self, job: Job, because: str) -> None:
        self._watch.skipped(job, because)

    def look(self, running: Mapping[int, Job]) -> None:
        self._watch.look(running)

    def _note(self) -> None:
        write_json(conduct_file(self._plan), {"command": self._command, "failed": self._failed})


def conduct_file(plan: Layout) -> Path:
    """What the last command was, and what failed under it."""
    return plan.folder / "conduct.json"


def conduct(plan: Plan, watch: Watch, launcher: Launcher, *, only: Sequence[str] = (), command: str = "") -> Outcome:
    """Everything that is left, as far as it can be done."""
    return run_jobs(lambda: jobs(plan, only, command), Recorder(plan, watch, command), launcher)
