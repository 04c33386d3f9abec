"""All methods on one pair, with the same budget each: none diverges, none is inert, none costs more than its formula implies.

    python benchmarks/methods.py --data-dir DIR --scale reduced --runs runs/methods --out results/methods

Every run is a process of its own with one CPU thread, so that its peak memory is its own. Stop it and start it again as
you like: what was measured is kept in RUNS/measured. Accuracies are of held-out images; the test set stays sealed.

reduced   2 seeds of every method and of the student alone, 140 steps each; with 34 methods on two quiet cores 12 to 15 minutes. Reckoned
          from the CPU time of one thread: .07 s a step alone, .11 by most methods, .24 by reviewkd, .5 by semckd, and 5 s a run besides
full      a GPU: resnet32x4 -> resnet8x4 as in the literature, 240 epochs; many GPU-hours
tiny      seconds a run, to try this script; its figures mean nothing
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from methods_table import Measured, write_table
from picture import refuse_without_matplotlib

from protege.errors import Diverged
from protege.methods import METHODS, parse_method
from protege.runs import read_json, write_json
from protege.runs.config import Place, TeacherConfig, check_run

Description = dict[str, Any]
SEEDS = (0, 1)


@dataclass(frozen=True)
class Scale:
    """What is trained on what for how long; the same for every method."""

    teacher: str
    student: str
    data: Description  # of the student; the teacher sees all images of the same classes
    data_words: str
    optim: Description
    teacher_epochs: int
    presets_of: str  # pair whose published settings are used, where a method has some
    settings: Mapping[str, Description] = field(default_factory=dict)  # over the presets

    @property
    def pair(self) -> str:
        return f"{self.teacher} -> {self.student}"


# Published schedules that would outlast a short run, shortened in proportion or to what shows both phases.
SHORTENED: dict[str, Description] = {
    "dkd": {"warmup_epochs": 0},
    "reviewkd": {"warmup_epochs": 0},
    "ctkd": {"ramp_epochs": 1},
    "ft": {"paraphraser_epochs": 1},
    "ab": {"pretraining_epochs": 2},
    # 400 is for teachers of 240 epochs, whose maps have shrunk; on those of a few epochs it diverges. 50 is the authors' for ImageNet.
    "semckd": {"semantic_weight": 50},
}
COMPOSED: dict[str, Description] = {
    "multi": {"weighting": "confidence"},  # of the teacher's last and its best epoch
    "sum": {"parts": [{"method": "kd"}, {"method": "crd", "weight": 0.8}]},  # what papers write as CRD + KD
}
TEN_CLASSES = list(range(10))
SCALES: dict[str, Scale] = {
    "tiny": Scale(
        "resnet14",
        "resnet8",
        {"name": "cifar10-mini", "limit": 128, "heldout": 100},
        "128 images of cifar10-mini",
        {"epochs": 2, "batch_size": 64, "lr": 0.05},
        1,
        "resnet56 -> resnet20",
        SHORTENED | {"ab": {"pretraining_epochs": 1}},
    ),
    "reduced": Scale(
        "resnet20",
        "resnet8",
        {"name": "cifar100", "classes": TEN_CLASSES, "heldout": 0.3, "limit": 2240},
        "2,240 images of ten classes of CIFAR-100, 1,500 held out",
        {"epochs": 4, "batch_size": 64, "lr": 0.05},
        10,
        "resnet56 -> resnet20",
        SHORTENED,
    ),
    "full": Scale(
        "resnet32x4",
        "resnet8x4",
        {"name": "cifar100"},
        "CIFAR-100, 45,000 images, 5,000 held out",
        {
            "epochs": 240, "batch_size": 64, "lr": 0.05, "schedule": "multistep", "schedule_every": "epoch", "milestones": [150, 180, 210],
        },
        240,
        "resnet32x4 -> resnet8x4",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One run to be made and measured in a process of its own."""

    method: str  # "teacher" for the teacher itself
    description: Description
    reference: str | None = None  # folder of the run with which the student's answers are compared
    count: bool = False  # count the arithmetic of a step, once for each method

    @property
    def label(self) -> str:
        said = json.dumps([self.description, self.reference is not None], sort_keys=True)
        return f"{self.method}-{self.description['seed']}-{hashlib.sha256(said.encode()).hexdigest()[:10]}"


def main() -> None:
    if sys.argv[1:2] == ["one"]:
        print(json.dumps(one(json.load(sys.stdin))))
        return
    options = parser().parse_args()
    refuse_without_matplotlib()
    scale = SCALES[options.scale]
    names = options.methods.split(",") if options.methods else list(METHODS)
    found = measure_all(scale, list(dict.fromkeys(["supervised", "kd", *names])), options)
    about = {
        "scale": options.scale,
        "pair": scale.pair,
        "data": scale.data_words,
        "budget": f"{scale.optim['epochs']} epochs, batch {scale.optim['batch_size']}",
        "seeds": list(SEEDS),
        "presets": scale.presets_of,
        "settings": {**COMPOSED, **scale.settings},
        "command": shlex.join(["python", *sys.argv]),
        "slots": options.slots,
    }
    for file in write_table(options.out, about, found):
        print(file)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder of the official CIFAR files (else PROTEGE_DATA)")
    parser.add_argument("--scale", choices=SCALES, default="reduced")
    parser.add_argument("--runs", type=Path, default=Path("runs/methods"), help="folder of the runs")
    parser.add_argument("--out", type=Path, default=Path("results/methods"), help="folder of the table and the figure")
    parser.add_argument("--methods", help="only these, separated by commas")
    parser.add_argument("--slots", type=int, default=2, help="processes at a time, one CPU thread each")
    parser.add_argument("--device", default="auto")
    return parser


# ---- which runs ----


def teacher_job(scale: Scale) -> Job:
    data = {name: value for name, value in scale.data.items() if name != "limit"}
    optim = scale.optim | {"epochs": scale.teacher_epochs}
    return Job("teacher", {"data": data, "model": scale.teacher, "optim": optim, "seed": 0})


def student_job(scale: Scale, name: str, seed: int, teacher: str | None) -> Job:
    """Asked live, as the papers do: remembering is measured elsewhere."""
    preset = METHODS[name].presets.get(scale.presets_of, {})
    method = {"name": name, **preset, **COMPOSED.get(name, {}), **scale.settings.get(name, {})}
    description: Description = {
        "data": scale.data, "model": scale.student, "optim": scale.optim, "method": method, "remember": "none",
        "seed": seed, "evaluate_every": scale.optim["epochs"],
    }  # fmt: skip
    if needs_teacher(method):
        description["teacher"] = [teacher, {"source": teacher, "weights": "best"}] if name == "multi" else teacher
    return Job(name, description, teacher, count=seed == SEEDS[0])


def settings_of(method: Description) -> Description:
    """What is not as the method comes."""
    fields = METHODS[method["name"]].model_fields if method else {}
    return {name: value for name, value in method.items() if name != "name" and value != fields[name].default}


def needs_teacher(method: Description) -> bool:
    return parse_method(method).wants_teacher()


def measure_all(scale: Scale, names: Sequence[str], options: argparse.Namespace) -> list[Measured]:
    """The teacher first; beside it the methods that need none, whose answers are compared with its afterwards."""
    untaught = [name for name in names if not METHODS[name].needs_teacher]
    show = Progress(1 + (len(names) + len(untaught)) * len(SEEDS))
    with ThreadPoolExecutor(options.slots) as pool:

        def start(job: Job) -> Future[Measured]:
            return pool.submit(measured, job, options, show)

        teaching = start(teacher_job(scale))
        alone = [
            start(replace(student_job(scale, name, seed, None), count=False)) for seed in SEEDS for name in untaught
        ]
        taught_by = teaching.result()
        if "run" not in taught_by:
            raise SystemExit(f"The teacher failed: {taught_by.get('failed')}")
        teacher = str((options.runs / taught_by["run"]).resolve())
        done = [start(student_job(scale, name, seed, teacher)) for seed in SEEDS for name in names]
        first = {(found["method"], found["seed"]): found for found in (one.result() for one in alone)}
        results = [one.result() for one in done]
    return [taught_by, *({**first.get((found["method"], found["seed"]), {}), **found} for found in results)]


# ---- one run in a process of its own ----


def measured(job: Job, options: argparse.Namespace, show: Progress) -> Measured:
    """Measured before, or now; a failure is tried again next time."""
    file = options.runs / "measured" / f"{job.label}.json"
    if file.exists():
        found = read_json(file)
    else:
        found = {"method": job.method, "seed": job.description["seed"], **_in_a_process(job, options)}
        if "failed" not in found:
            write_json(file, found)
    show(found)
    return {**found, "settings": settings_of(job.description.get("method", {}))}


def _in_a_process(job: Job, options: argparse.Namespace) -> Measured:
    place = {"runs": str(options.runs.resolve()), "device": options.device, "threads": 1, "quiet": True, "wait": True}
    if options.data_dir:
        place["data_dir"] = str(options.data_dir.resolve())
    started = time.perf_counter()
    asked = {"description": job.description, "reference": job.reference, "count": job.count, "place": place}
    done = subprocess.run(
        [sys.executable, __file__, "one"],
        input=json.dumps(asked),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["?"])[-1]}
    return {**json.loads(done.stdout.splitlines()[-1]), "process_seconds": time.perf_counter() - started}


def one(asked: Mapping[str, Any]) -> Measured:
    """Train, measure, compare with the teacher. A run that was finished before tells neither memory nor CPU time."""
    import torch

    from protege.evaluate import evaluate
    from protege.runs import environment
    from protege.train import train

    torch.set_num_threads(1)
    place, config = Place(**asked["place"]), check_run(asked["description"])
    try:
        with _timed() as steps:
            run = train(config, place)
    except Diverged as error:
        return {"diverged": str(error), "environment": environment()}
    found: Measured = {"run": run.id, "environment": environment()}
    if steps:
        found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found["cpu_step"] = median(steps)
        if torch.cuda.is_available():
            found["gpu_peak_mb"] = torch.cuda.max_memory_allocated() / 2**20
    metrics, result = run.metrics(), run.result()
    found |= {
        "accuracy": result["heldout_accuracy"],
        "parameters": result["parameters"],
        "terms": [line["terms"] for line in metrics],
        "seconds": [line["seconds"] for line in run.times()],
    }
    if asked["reference"]:
        scores = evaluate(run, place, teachers=[TeacherConfig(source=asked["reference"])])
        found["agreement"] = scores["final"]["fidelity"]["agreement"]
    if asked["count"]:
        found["gflop"] = arithmetic(asked["description"], place) / 1e9
    return found


@contextlib.contextmanager
def _timed() -> Iterator[list[float]]:
    """CPU seconds of every step that is made meanwhile: unlike time on the clock, they do not grow when others use the machine."""
    from protege.train import loop as training

    steps: list[float] = []
    step = training.Training.train_batch

    def timed(self: Any, *args: Any, **options: Any) -> None:
        started = time.process_time()
        step(self, *args, **options)
        steps.append(time.process_time() - started)

    with _replaced(training.Training, "train_batch", timed):
        yield steps


def arithmetic(description: Description, place: Place) -> int:
    """Multiplications and additions of one step: both networks, adapters and terms, forward and backward."""
    from torch.utils.flop_counter import FlopCounterMode

    from protege.train import loop as training

    size = description["optim"]["batch_size"]
    optim = {"epochs": 1, "batch_size": size, "lr": 1e-3}
    step = training.Training.train_batch
    counters: list[FlopCounterMode] = []

    def counted(self: Any, *args: Any, **options: Any) -> None:
        with FlopCounterMode(display=False) as counter:
            step(self, *args, **options)
        counters.append(counter)

    short = {**description, "data": {**description["data"], "limit": size}, "optim": optim}
    with tempfile.TemporaryDirectory() as folder, _replaced(training.Training, "train_batch", counted):
        training.train(check_run(short), place.model_copy(update={"runs": Path(folder)}))
    return counters[0].get_total_flops()


@contextlib.contextmanager
def _replaced(owner: Any, name: str, by: Callable[..., Any]) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, by)
    try:
        yield
    finally:
        setattr(owner, name, before)


class Progress:
    """A line for every run that is done, and when the rest will be."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.started = total, 0, time.perf_counter()

    def __call__(self, found: Measured) -> None:
        self.done += 1
        passed = time.perf_counter() - self.started
        left = max(0, self.total - self.done) * passed / self.done / 60
        said = found.get("diverged") or found.get("failed") or f"{100 * (found['accuracy'] or 0):.1f} %"
        print(
            f"[{self.done}/{self.total}] {found['method']} seed {found['seed']}: {said}  (about {left:.0f} min left)",
            flush=True,
        )


if __name__ == "__main__":
    main()
