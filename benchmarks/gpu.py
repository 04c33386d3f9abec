"""All that only a GPU can tell, in one command of ten minutes: speeds near the machine's limit, slots, and two whole trainings.

    python benchmarks/gpu.py --out DIR                             # on the machine that has one
    python benchmarks/gpu.py --device cpu --tiny --out DIR         # to try this script: its figures mean nothing

speeds   images/s of three pairs at batch 128 and 1024: reference, memory empty and full, student alone; share of the limit
slots    1, 2, 4, 8 runs at once on one GPU
runs     ResNet-34 on CIFAR-10 for 100 epochs (goal: 150 s), its words on all views that are needed, and one MobileNetV2
         taught for 200 epochs at batch 128 (goal: 120 s once they are remembered), with their accuracies

Every part is printed and written as soon as it is there, and a run that would outlast --minutes is stopped and said so.
Without CIFAR-10 (--data-dir, or PROTEGE_DATA) the runs take cifar10-mini for as many steps: the times are as good, the
accuracies are those of 5,000 images.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import isnan
from pathlib import Path
from typing import Annotated, Any

import typer

from protege.cli.bench import CompileOption, parse_slots
from protege.data.places import data_folder
from protege.evaluate import evaluate
from protege.runs import Run
from protege.runs.config import Place, RunConfig, check_run
from protege.teacher import recall
from protege.train import loop
from protege.train.bench.conduct import Plan, measure
from protege.train.bench.tables import markdown, table
from protege.train.bench.variants import Pair, Setting, What
from protege.train.bench.written import setting_of, write

WAYS = ("reference", "ours", "ours, remembered", "ours, student alone")
NETWORKS = (("resnet32x4", "resnet8x4"), ("resnet34", "mobilenet_v2"), ("resnet50", "resnet18"))
SHARES = {"speeds": 0.3, "slots": 0.1}  # of the minutes; the runs have the rest


@dataclass(frozen=True)
class Whole:
    """One whole training, or what there is of it."""

    what: str
    seconds: float  # from beginning to end; of a stopped one, what all its epochs would have taken
    goal: float | None = None
    accuracy: float | None = None  # on the test images
    asked: int | None = None  # images that the teacher had to look at
    finished: bool = True


def groups_of_speeds(tiny: bool, batch_sizes: tuple[int, ...]) -> tuple[tuple[Pair, What], ...]:
    """The first pair at 64 as well, where the literature has it."""
    if tiny:
        return ((Pair(teacher="resnet14", student="resnet8", batch_size=32), "kd"),)
    pairs = [Pair(teacher="resnet32x4", student="resnet8x4", batch_size=64)]
    pairs += [
        Pair(teacher=teacher, student=student, batch_size=size) for teacher, student in NETWORKS for size in batch_sizes
    ]
    return tuple((pair, "kd") for pair in pairs)


def groups_of_slots(tiny: bool) -> tuple[tuple[Pair, What], ...]:
    teacher, student = ("resnet14", "resnet8") if tiny else ("resnet34", "mobilenet_v2")
    return ((Pair(teacher=teacher, student=student, batch_size=32 if tiny else 128), "slots"),)


# ---- two whole trainings ----


def described(data: str, tiny: bool, **fields: Any) -> RunConfig:
    """Recipe fixed beforehand and all official training images, so that the test set may say how good it is."""
    epochs = fields.pop("epochs") * (10 if data == "cifar10-mini" and not tiny else 1)
    limit = {"limit": 300} if tiny else {}
    optim = {
        "epochs": 1 if tiny else epochs, "batch_size": 128, "lr": 0.1, "nesterov": True, "weight_decay": 5e-4,
        "precision": "auto",
    }  # fmt: skip
    return check_run({"data": {"name": data, "heldout": 0, **limit}, "optim": optim, **fields})


@contextmanager
def stopped_after(seconds: float) -> Iterator[None]:
    """The loop answers this signal with a checkpoint and an end."""
    timer = threading.Timer(max(1.0, seconds), os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def whole(what: str, goal: float, config: RunConfig, place: Place, seconds: float) -> Whole:
    started = time.perf_counter()
    try:
        with stopped_after(seconds):
            run = loop.train(config, place)
    except loop.Stopped:
        return Whole(f"{what}, stopped", projected(config, place), goal, finished=False)
    took = time.perf_counter() - started
    accuracy = evaluate(run, place, test=True)["final"]["accuracy"]
    return Whole(what, took, goal, accuracy, run.result()["teacher_asked"])


def projected(config: RunConfig, place: Place) -> float:
    """From the epochs that there were; the first is left out where there are more."""
    times = [line["seconds"] for line in Run(place.runs / loop.plan(config, place).id).times()]
    steady = times[1:] or times
    return config.optim.epochs * sum(steady) / len(steady) if steady else float("nan")


def remembered(config: RunConfig, place: Place) -> Whole:
    started, asked = time.perf_counter(), 0
    for warming in recall.warm(config, place, every_view=False, say=print):
        asked = warming.asked
    return Whole("the teacher asked about the views of the next run", time.perf_counter() - started, asked=asked)


def trainings(data: str, place: Place, tiny: bool, deadline: float) -> Iterator[Whole]:
    teacher_name, student_name = ("resnet14", "resnet8") if tiny else ("resnet34", "mobilenet_v2")
    taught_by = described(data, tiny, model=teacher_name, epochs=100)
    teacher = whole(
        f"{teacher_name}, {taught_by.optim.epochs} epochs", 150.0, taught_by, place, deadline - time.monotonic()
    )
    yield teacher
    if not teacher.finished:
        return
    source = str(place.runs / loop.plan(taught_by, place).id)
    student = described(data, tiny, model=student_name, epochs=200, teacher=source, method="kd")
    yield remembered(student, place)
    yield whole(
        f"{student_name} taught, {student.optim.epochs} epochs, remembered",
        120.0,
        student,
        place,
        deadline - time.monotonic(),
    )


def wholes_table(found: list[Whole], data: str) -> str:
    lines = [
        [
            one.what,
            "not one epoch" if isnan(one.seconds) else f"{one.seconds:,.0f} s",
            "" if one.goal is None else f"{one.goal:,.0f} s",
            "" if one.asked is None else f"{one.asked:,}",
            "" if one.accuracy is None else f"{100 * one.accuracy:.2f} %",
        ]
        for one in found
    ]
    return table((f"on {data}", "seconds", "goal", "teacher asked", "test accuracy"), lines)


# ---- the command ----


def measured(name: str, plan: Plan, setting: Setting, out: Path) -> None:
    outcome = measure(plan, setting)
    print(f"# {name}\n\n{markdown(outcome)}", flush=True)
    write(outcome, out, f"gpu-{name}")


def main(
    out: Annotated[Path, typer.Option("--out", help="folder of the results")],
    parts: Annotated[str, typer.Option("--parts", help="with commas")] = "speeds,slots,runs",
    minutes: Annotated[float, typer.Option("--minutes", help="that all of it may take")] = 9.0,
    batch_sizes: Annotated[str, typer.Option("--batch-sizes", help="of the speeds")] = "128,1024",
    slots: Annotated[str, typer.Option("--slots", help="runs at once")] = "1,2,4,8",
    compiled: CompileOption = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="folder of CIFAR-10")] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda")] = "auto",
    threads: Annotated[int | None, typer.Option("--threads", help="CPU threads (else all)")] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="seconds of work, to try this script")] = False,
) -> None:
    deadline = time.monotonic() + 60 * minutes
    setting = setting_of("cifar10-mini", data_dir, device, threads, compiled)
    rounds = 3 if tiny else 5
    if "speeds" in parts:
        sizes = tuple(int(size) for size in batch_sizes.split(","))
        plan = Plan(groups=groups_of_speeds(tiny, sizes), only=WAYS, rounds=rounds, minutes=minutes * SHARES["speeds"])
        measured("speeds", plan, setting, out)
    if "slots" in parts:
        numbers = parse_slots("1,2" if tiny else slots)
        plan = Plan(groups=groups_of_slots(tiny), rounds=rounds, minutes=minutes * SHARES["slots"], slots=numbers)
        measured("slots", plan, setting, out)
    if "runs" in parts:
        runs(out, setting, tiny, deadline)


def runs(out: Path, setting: Setting, tiny: bool, deadline: float) -> None:
    has_cifar = (data_folder(setting.data_dir) / "cifar-10-batches-py").is_dir()
    data = "cifar10" if has_cifar and not tiny else "cifar10-mini"
    with tempfile.TemporaryDirectory(prefix="protege-gpu-") as folder:
        place = Place(
            runs=Path(folder), data_dir=setting.data_dir, device=setting.device, threads=setting.threads, quiet=True,
            compile=setting.compile,
        )  # fmt: skip
        found: list[Whole] = []
        for one in trainings(data, place, tiny, deadline):
            found.append(one)
            print(f"\n# runs\n\n{wholes_table(found, data)}", flush=True)
            (out / "gpu-runs.json").write_text(json.dumps([asdict(each) for each in found], indent=1))


if __name__ == "__main__":
    typer.run(main)
