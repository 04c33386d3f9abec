"""The whole story in minutes: a teacher, a student alone, the same student taught, and what may be said of the difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from protege import runs, stats
from protege.errors import RunError, Stopped
from protege.evaluate import evaluate
from protege.launch.jobs import Job
from protege.launch.launcher import run_jobs
from protege.launch.local import Slots
from protege.runs import Run, cores
from protege.runs.config import Place, RunConfig, TeacherConfig, check_run
from protege.runs.display import console as progress
from protege.study.conduct.progress import StudyDisplay
from protege.train import plan, train

SEEDS = (0, 1, 2)
TEACHER: dict[str, Any] = {
    "data": "cifar10-mini",
    "model": "resnet20",
    "optim": {"epochs": 12, "batch_size": 64, "lr": 0.05},
}
STUDENT: dict[str, Any] = {
    "data": "cifar10-mini",
    "model": "resnet8",
    "optim": {"epochs": 7, "batch_size": 64, "lr": 0.05},
}


@dataclass(frozen=True)
class Arm:
    """The runs of one way of training, a seed each, with their test scores."""

    label: str
    runs: list[Run]
    scores: list[dict[str, Any]]

    def values(self, *keys: str) -> list[float]:
        found = [score["final"] for score in self.scores]
        for key in keys:
            found = [value[key] for value in found]
        return [100 * value for value in found]


def demonstrate(place: Place, out: Console) -> None:
    """Train what is not trained yet, evaluate, and say what came out."""
    progress.print(
        f"protege demo: a teacher, then {len(SEEDS)} students alone and {len(SEEDS)} taught; a few minutes. "
        "Stop it and start it again as you like."
    )
    teacher = check_run(TEACHER)
    alone = [check_run(STUDENT | {"seed": seed}) for seed in SEEDS]
    taught = [check_run(STUDENT | {"seed": seed, "teacher": place.runs / plan(teacher, place).id}) for seed in SEEDS]
    _train_all({"teacher": [teacher], "student alone": alone, "student taught": taught}, place)
    taught_by = train(teacher, place)
    arms = [
        _arm("teacher", [taught_by], taught_by, place),
        _arm("student alone", [train(config, place) for config in alone], taught_by, place),
        _arm("student taught", [train(config, place) for config in taught], taught_by, place),
    ]
    out.print(_table(arms))
    out.print(_meaning(arms[2], arms[1]))
    _say_next(out, place, arms[2].runs[0])


def _train_all(arms: dict[str, list[RunConfig]], place: Place) -> None:
    """Side by side, a core each: networks as small as these gain little from a second one."""
    slots = min(cores(), 1 + len(SEEDS))
    quiet = place.model_copy(update={"quiet": True, "threads": place.threads or max(1, cores() // slots)})
    labelled = [(f"{arm}, seed {config.seed}", config) for arm, configs in arms.items() for config in configs]
    teacher = runs.Run(place.runs / plan(arms["teacher"][0], place).id)

    def left() -> list[Job]:
        """Who is to be taught has no id before the teacher is finished."""
        ready = [(label, config) for label, config in labelled if teacher.finished or not config.teacher]
        jobs = [
            Job(verb="train", run=plan(config, place).id, config=config, place=quiet, label=label)
            for label, config in ready
        ]
        return [job for job in jobs if not runs.Run(place.runs / job.run).finished]

    waiting = len(left()) + (0 if teacher.finished else len(arms["student taught"]))
    if not waiting:
        return
    with StudyDisplay("demo", len(labelled), len(labelled) - waiting, {}, slots, place.quiet) as display:
        outcome = run_jobs(left, display, Slots(place.runs / "log", slots))
    if outcome.stopped:
        raise Stopped("The demo stopped. `protege demo` goes on from here.")
    if outcome.failed:
        raise RunError("; ".join(f"{run}: {said}" for run, said in outcome.failed.items()))


def _arm(label: str, runs: list[Run], teacher: Run, place: Place) -> Arm:
    return Arm(label, runs, [_test_scores(run, teacher, place) for run in runs])


def _test_scores(run: Run, teacher: Run, place: Place) -> dict[str, Any]:
    """Each test score is read once; demonstrating again reads what was written then."""
    file = run.evaluations / "test.json"
    if file.exists():
        return run.evaluation("test")
    return evaluate(run, place, test=True, teachers=[TeacherConfig(source=str(teacher.path))])


def _table(arms: list[Arm]) -> Table:
    images = arms[0].scores[0]["images"]
    table = Table(title=f"{images:,} test images", title_justify="left", box=None, pad_edge=False, header_style="dim")
    for column in ("", "runs", "accuracy %", "95 % interval", "parameters", "agrees with the teacher %", "ECE %"):
        table.add_column(column, justify="left" if not column else "right")
    for arm in arms:
        accuracy = stats.summary(arm.values("accuracy"))
        interval = "-" if accuracy.interval is None else f"{accuracy.interval.low:.1f} to {accuracy.interval.high:.1f}"
        agreement = "-" if arm.label == "teacher" else f"{stats.summary(arm.values('fidelity', 'agreement')).mean:.1f}"
        parameters = f"{arm.runs[0].result()['parameters']:,}"
        table.add_row(
            arm.label,
            str(accuracy.n),
            f"{accuracy.mean:.2f}",
            interval,
            parameters,
            agreement,
            f"{stats.summary(arm.values('ece')).mean:.1f}",
        )
    return table


def _meaning(taught: Arm, alone: Arm) -> str:
    """Pairs by seed: both arms share initial weights, order and views."""
    effect = stats.effect(taught.values("accuracy"), alone.values("accuracy"), paired=True)
    return stats.verdict(effect, names=("The taught student's accuracy", "that of the student alone")).sentence


def _say_next(out: Console, place: Place, run: Run) -> None:
    folder = place.runs
    out.print(
        f"\nEverything is in {folder} (the test set was opened for this table: {folder / 'ledger.jsonl'} says when).",
        soft_wrap=True,
    )
    out.print("Next:", style="bold")
    for command in (
        f"protege report --runs {folder}",
        f"protege list --runs {folder}",
        f"protege show {run.id} --runs {folder}",
        "protege train --data folder:YOUR_IMAGES --model resnet20",
        "protege train --help",
    ):
        out.print(f"  {command}", soft_wrap=True)
