"""Does quick arithmetic cost accuracy? bf16, compiling and a remembered teacher against plain fp32, the same seeds each way.

    python benchmarks/parity.py --data-dir DIR_OF_CIFAR10                   # about 10 minutes on two cores, one run on each
    python benchmarks/parity.py --images 50000 --epochs 60 --seeds 5 ...    # on a GPU
    python benchmarks/parity.py --teacher resnet34 --student mobilenet_v2 --way typed ...

A resnet20 teaches a resnet8 on part of CIFAR-10, unless others are named; accuracies are of 5,000 held-out images, the test set
stays sealed. What a run would choose for this machine is pinned, through the same record that a run taken up again reads. Finished
runs are kept in RUNS.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from protege import runs, stats
from protege.runs.config import Place, RunConfig, check_run
from protege.train import plan, train
from protege.train.arithmetic import Execution
from protege.train.bench.ours import pin
from protege.train.bench.tables import table
from protege.train.bench.variants import Arithmetic

HERE = Path(__file__).resolve().parent
PLAIN = "plain: fp32, as it is written, teacher asked live"
TYPED = "typed: both in bf16, remembered in fp16"


@dataclass(frozen=True)
class Way:
    """How the same run is computed."""

    arithmetic: Arithmetic = field(default_factory=Arithmetic)
    execution: Execution = "eager"
    remember: str = "none"


WAYS: dict[str, Way] = {
    PLAIN: Way(),
    "student in bf16": Way(Arithmetic(student="bf16")),
    "student compiled": Way(execution="compiled"),
    "teacher remembered in fp16": Way(remember="fp16"),
    "teacher in bf16": Way(Arithmetic(teacher="bf16"), remember="fp16"),
    TYPED: Way(Arithmetic(student="bf16", teacher="bf16"), remember="fp16"),
    "all three, and the teacher in bf16": Way(Arithmetic(student="bf16", teacher="bf16"), "compiled", "fp16"),
}


@dataclass(frozen=True)
class Size:
    data: dict[str, Any]
    epochs: int
    teacher: str
    student: str

    def described(self, model: str, seed: int, **more: Any) -> RunConfig:
        optim = {"epochs": self.epochs, "batch_size": 64, "lr": 0.05, "weight_decay": 5e-4, "precision": "fp32"}
        return check_run({"data": self.data, "model": model, "optim": optim, "seed": seed, "evaluate_every": 2, **more})


def accuracy(config: RunConfig, place: Place, way: Way) -> float:
    """Held-out accuracy of the last epoch, in percent."""
    run = runs.Run(place.runs / plan(config, place).id)
    if not run.finished:
        pin(run, way.arithmetic, bool(config.teacher), way.execution)
    found = train(config, place).result()["heldout_accuracy"]
    return 100 * found


def compared(found: dict[str, list[float]]) -> list[list[str]]:
    """A line for each way: itself, and how far it is from the plain one, seed by seed."""
    plain = stats.summary(found[PLAIN])
    lines = []
    for name, values in found.items():
        own = stats.summary(values)
        line = [name, f"{own.mean:.2f}", f"{own.sd:.2f}", ", ".join(f"{value:.2f}" for value in values)]
        if name == PLAIN:
            lines.append([*line, "", "", ""])
            continue
        effect = stats.effect(values, found[PLAIN], paired=True)
        test = effect.test  # None where all seeds differ by the same, mostly nothing
        span = f"{test.interval.low:+.2f} to {test.interval.high:+.2f}" if test else "-"
        less = "yes" if abs(effect.difference) < (plain.sd or 0) or not effect.difference else "no"
        lines.append([*line, f"{effect.difference:+.2f}", span, less])
    return lines


def written(found: dict[str, list[float]], size: Size, minutes: float, out: Path, threads: int) -> Path:
    about = runs.environment()
    command = shlex.join(["python", "benchmarks/parity.py", *sys.argv[1:]])
    heads = (
        "way",
        "held-out %",
        "sd",
        "seed by seed",
        "minus plain",
        "95 % interval, paired",
        "less than the sd of plain",
    )
    text = "\n".join(
        [
            "# Quick arithmetic and accuracy",
            "",
            f"- command: `{command}`",
            f"- {time.strftime('%Y-%m-%d')}, {minutes:.1f} minutes of this call; a run a core, {threads} thread(s) each",
            f"- {about.get('gpu') or about.get('processor')}; {about.get('system')}; torch {about.get('torch')}, "
            f"Python {about.get('python')}, protege at {about.get('git')}",
            f"- {size.teacher} -> {size.student}, KD at temperature 4, {size.data['limit']:,} images of CIFAR-10, {size.epochs} epochs, "
            f"{len(found[PLAIN])} seeds; accuracy on {size.data['heldout']:,} held-out images",
            "",
            table(heads, compared(found)),
            "",
        ]
    )  # fmt: skip
    hardware = str(about.get("gpu") or about.get("processor")).lower().replace(" ", "-")
    name = f"parity_{size.teacher}-{size.student}_{hardware}_{time.strftime('%Y-%m-%d')}"
    figures = {"command": command, "environment": about, "size": asdict(size), "minutes": minutes, "accuracy": found}
    (out / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    (out / f"{name}.md").write_text(text)
    print(text)
    return out / f"{name}.md"


def main(
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="folder of CIFAR-10")] = None,
    images: Annotated[int, typer.Option("--images", help="that the student learns from")] = 10_000,
    epochs: Annotated[int, typer.Option("--epochs")] = 8,
    seeds: Annotated[int, typer.Option("--seeds", min=2)] = 3,
    slots: Annotated[int, typer.Option("--slots", min=1, help="runs at a time, of one thread each")] = 2,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda")] = "auto",
    root: Annotated[Path, typer.Option("--runs", help="folder of the runs")] = Path("runs/parity"),
    out: Annotated[Path, typer.Option("--out", help="folder of the results")] = HERE / "results",
    data: Annotated[str, typer.Option("--data", help="cifar10, or cifar10-mini to try this script")] = "cifar10",
    taught_by: Annotated[str, typer.Option("--teacher", help="network of the teacher")] = "resnet20",
    student: Annotated[str, typer.Option("--student", help="network of the student")] = "resnet8",
    way: Annotated[list[str] | None, typer.Option("--way", help="beginning of its name, beside the plain one")] = None,
) -> None:
    began = time.monotonic()
    heldout = 5000 if data == "cifar10" else 500
    size = Size({"name": data, "limit": images, "heldout": heldout}, epochs, taught_by, student)
    ways = {name: one for name, one in WAYS.items() if way is None or name.startswith((PLAIN, *way))}
    place = Place(runs=root.absolute(), data_dir=data_dir, device=device, threads=1, quiet=True)
    teacher = train(size.described(taught_by, seed=100), place)
    print(f"the teacher has {100 * teacher.result()['heldout_accuracy']:.2f} %", flush=True)
    asked = {
        (name, seed): (
            size.described(student, seed, teacher=str(teacher.path), method="kd", remember=one.remember),
            place.model_copy(update={"runs": place.runs / f"way-{number}"}),
            one,
        )
        for seed in range(seeds)
        for number, (name, one) in enumerate(WAYS.items())
        if name in ways
    }
    found = answers(asked, slots)
    out.mkdir(parents=True, exist_ok=True)
    print(written(found, size, (time.monotonic() - began) / 60, out, 1))


def answers(asked: dict[tuple[str, int], tuple[RunConfig, Place, Way]], slots: int) -> dict[str, list[float]]:
    """Ways take turns within a seed, so that all are made on the same machine at about the same time."""
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(slots, mp_context=context) as pool:
        waiting = {key: pool.submit(accuracy, *work) for key, work in asked.items()}
        found: dict[str, list[float]] = {name: [] for name, _ in asked}
        for (name, seed), future in waiting.items():
            found[name].append(future.result())
            print(f"seed {seed}, {name}: {found[name][-1]:.2f} %", flush=True)
    return found


if __name__ == "__main__":
    typer.run(main)
