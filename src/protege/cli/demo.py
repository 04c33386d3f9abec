"""The whole story in minutes: students alone and taught, what may be said of the difference, and a file for a device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from protege import runs, stats
from protege.data.sources.bundled import photo_of_test_image
from protege.errors import MissingExtra, RunError, Stopped
from protege.launch.jobs import Job
from protege.launch.launcher import run_jobs
from protege.launch.local import Slots
from protege.runs import Run, cores
from protege.runs.config import Place, RunConfig, TeacherConfig, check_run
from protege.runs.display import console as progress
from protege.runs.hardware import device_of
from protege.ship import load
from protege.ship.export import Exported, export
from protege.ship.figures.measure import measure
from protege.ship.figures.turns import Asked
from protege.ship.formats.build import Wanted
from protege.study.conduct.progress import StudyDisplay
from protege.teacher.bundled import bundled_teacher
from protege.train import plan, train

SEEDS = (0, 1, 2, 3)
FAST: dict[str, Any] = {  # what the recipe fast-teacher is made of
    "momentum": 0.85,
    "nesterov": True,
    "weight_decay": 0.00133,
    "schedule": "linear",
    "norm_bias_lr": 64,
    "look_ahead": 0.95,
}
STUDENT: dict[str, Any] = {  # fifty photographs of each class; chosen on held-out ones, with other seeds
    "data": {"name": "cifar10-mini", "limit": 500},
    "model": {"name": "quick_tiny", "dirac": True, "whiten": True},
    "views": {"padding": 2, "alternate": True},
    "optim": FAST | {"epochs": 48, "batch_size": 64, "lr": 0.15, "warmup_epochs": 8, "floor_lr": 0.01},
    "evaluate_every": 12,
}
TAUGHT: dict[str, Any] = STUDENT | {"method": {"name": "kd", "temperature": 2, "kd_weight": 1, "ce_weight": 0}}
TEACHER: dict[str, Any] = {  # with --full
    "data": "cifar10-mini",
    "model": {"name": "quick_small", "dirac": True, "whiten": True},
    "views": {"padding": 2, "alternate": True},
    "optim": FAST | {"epochs": 24, "batch_size": 128, "lr": 0.3, "warmup_epochs": 4, "floor_lr": 0.02},
    "evaluate_every": 4,
}
LATENCY_ROUND = 0.1  # seconds


@dataclass(frozen=True)
class Arm:
    """The runs of one way of training, a seed each, with their test scores."""

    label: str
    runs: list[Run]

    def values(self, *keys: str) -> list[float]:
        found = [run.evaluation("test")["final"] for run in self.runs]
        for key in keys:
            found = [value[key] for value in found]
        return [100 * value for value in found]


def demonstrate(place: Place, out: Console, full: bool = False) -> None:
    """Train what is not trained yet, evaluate, say what came out, and ship it. `full`: the teacher is trained here as well."""
    device_of(place)  # one that is not there is told now
    progress.print(
        f"protege demo: {len(SEEDS)} students of 500 photographs alone and {len(SEEDS)} taught, by a teacher that is "
        f"{'trained first; some minutes' if full else 'there already; a good minute on two quiet cores'}. "
        "Stop it and start it again as you like."
    )
    teacher = train(check_run(TEACHER), place) if full else bundled_teacher(place.runs)
    alone = [check_run(STUDENT | {"seed": seed}) for seed in SEEDS]
    taught = [check_run(TAUGHT | {"seed": seed, "teacher": teacher}) for seed in SEEDS]
    _make(alone, taught, teacher, place)
    arms = [_arm("student alone", alone, place), _arm("student taught", taught, place)]
    out.print(_table(teacher, arms))
    out.print(_meaning(*reversed(arms)), style="bold", soft_wrap=True, markup=False)
    _ship(arms[1].runs[0], place, out)
    _say_next(out, place, arms[1].runs[0])


# ---- made ----


def _make(alone: list[RunConfig], taught: list[RunConfig], teacher: Run, place: Place) -> None:
    """Side by side, a core each: networks as small as these gain little from a second one."""
    slots = min(cores(), 2 * len(SEEDS))
    quiet = place.model_copy(update={"quiet": True, "wait": True, "threads": place.threads or max(1, cores() // slots)})
    in_pairs = [pair for both in zip(taught, alone, strict=True) for pair in both]
    jobs = [job for config in in_pairs for job in _jobs(config, teacher, quiet)]

    def left() -> list[Job]:
        return [job for job in jobs if not _done(job)]

    waiting = sum(job.verb == "train" for job in left())
    if not left():
        return
    with StudyDisplay("demo", len(in_pairs), len(in_pairs) - waiting, {}, slots, place.quiet) as display:
        outcome = run_jobs(left, display, Slots(place.runs / "log", slots, None, (place.device,)))
    if outcome.stopped:
        raise Stopped("The demo stopped. The same command goes on from here.")
    if outcome.failed:
        raise RunError("; ".join(f"{run}: {said}" for run, said in outcome.failed.items()))


def _jobs(config: RunConfig, teacher: Run, place: Place) -> Iterator[Job]:
    """To train, and to read the test set once, beside the teacher's word on it whether or not it taught."""
    label = f"student {'taught' if config.teacher else 'alone'}, seed {config.seed}"
    job = Job(verb="train", run=plan(config, place).id, config=config, place=place, label=label)
    yield job
    beside = (TeacherConfig(source=str(teacher.path)),)
    yield job.model_copy(update={"verb": "evaluate", "needs": (job.run,), "references": beside})


def _done(job: Job) -> bool:
    run = Run(job.place.runs / job.run)
    return run.finished if job.verb == "train" else (run.evaluations / "test.json").exists()


def _arm(label: str, configs: list[RunConfig], place: Place) -> Arm:
    return Arm(label, [Run(place.runs / plan(config, place).id) for config in configs])


# ---- said ----


def _table(teacher: Run, arms: list[Arm]) -> Table:
    scores = arms[-1].runs[0].evaluation("test")
    table = Table(
        title=f"{scores['images']:,} test images", title_justify="left", box=None, pad_edge=False, header_style="dim"
    )
    for column in ("", "runs", "accuracy %", "95 % interval", "parameters", "agrees with the teacher %", "ECE %"):
        table.add_column(column, justify="left" if not column else "right")
    said = scores["teacher"]
    parameters = f"{teacher.result()['parameters']:,}"
    table.add_row("teacher", "1", f"{100 * said['accuracy']:.2f}", "-", parameters, "-", f"{100 * said['ece']:.1f}")
    for arm in arms:
        accuracy = stats.summary(arm.values("accuracy"))
        interval = "-" if accuracy.interval is None else f"{accuracy.interval.low:.1f} to {accuracy.interval.high:.1f}"
        table.add_row(
            arm.label,
            str(accuracy.n),
            f"{accuracy.mean:.2f}",
            interval,
            f"{arm.runs[0].result()['parameters']:,}",
            _agreement(arm, scores["teachers"]),
            f"{stats.summary(arm.values('ece')).mean:.1f}",
        )
    return table


def _agreement(arm: Arm, teachers: list[str]) -> str:
    """Unknown where students alone were laid beside another teacher, by `--full` or without: no test image is read again for it."""
    if any(run.evaluation("test")["teachers"] != teachers for run in arm.runs):
        return "-"
    return f"{stats.summary(arm.values('fidelity', 'agreement')).mean:.1f}"


def _meaning(taught: Arm, alone: Arm) -> str:
    """Pairs by seed: both arms share initial weights, order and views. It says better only where that is shown."""
    effect = stats.effect(taught.values("accuracy"), alone.values("accuracy"), paired=True)
    verdict = stats.verdict(effect, names=("The taught student's accuracy", "that of the student alone"))
    if verdict.outcome != "higher" or effect.test is None:
        return verdict.sentence
    low, high = effect.test.interval
    return (
        f"The taught student is better: {effect.difference:+.2f} points [{low:+.2f}, {high:+.2f}] "
        f"(95 % interval, paired t-test, {len(taught.runs)} pairs of seeds, p {_p(effect.test.p)})."
    )


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


# ---- shipped ----


def _ship(run: Run, place: Place, out: Console) -> None:
    """The taught student in whole numbers: what it weighs, how long it takes, and what it says of one photo."""
    try:
        made = export(run, place, Wanted(precision="int8"))
    except MissingExtra as missing:
        out.print(f"\nThe taught student as a file for a device: {missing}", soft_wrap=True, markup=False)
        return
    out.print(f"\n{_weighed(made, place)}", soft_wrap=True, markup=False)
    photo, label = _photo(place.runs / "photo.png")
    said = load(made.path).predict(photo)
    out.print(
        f"It says of {photo}, {_a(label)}: {_a(said.name)} ({100 * said.probability:.0f} %).",
        soft_wrap=True,
        markup=False,
    )


def _weighed(made: Exported, place: Place) -> str:
    (timed,) = measure([str(made.path)], place.runs, Asked(seconds=LATENCY_ROUND))
    return (
        f"The taught student in whole numbers: {made.path}, {made.bytes:,} bytes, {timed.latency_ms:.2f} ms an image "
        f"on one thread ({timed.machine['processor']}), {100 * made.likeness.agreement:.1f} % of its first choices as before."
    )


def _photo(file: Path) -> tuple[Path, str]:
    """A test image as a picture to try `protege predict` on; the evaluation has opened it before."""
    picture, label = photo_of_test_image(0)
    with runs.whole(file) as partial:
        picture.save(partial, "PNG")
    return file, label


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _say_next(out: Console, place: Place, run: Run) -> None:
    folder = place.runs
    out.print(
        f"\nEverything is in {folder} (the test set was opened for this table: {folder / 'ledger.jsonl'} says when).",
        soft_wrap=True,
        markup=False,
    )
    out.print("Next:", style="bold")
    for command in (
        f"protege report --runs {folder}",
        f"protege list --runs {folder}",
        f"protege show {run.id} --runs {folder}",
        "protege train --data folder:YOUR_IMAGES --model resnet20",
        "protege train --help",
    ):
        out.print(f"  {command}", soft_wrap=True, markup=False)
