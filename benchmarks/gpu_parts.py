"""The parts of gpu.py, each a process: `python gpu_parts.py NAME --seconds N --out DIR`. Results are written after every figure."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import isnan
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch.profiler import ProfilerActivity, profile

from protege import data, runs
from protege.data.places import data_folder
from protege.errors import Stopped
from protege.evaluate import evaluate
from protege.methods.base import Outputs
from protege.runs import Run
from protege.runs.config import Place, RunConfig, check_run, digest
from protege.runs.process import settle, stoppable
from protege.runs.tuning import now
from protege.teacher import recall
from protege.train import loop
from protege.train.bench.conduct import Plan, measure
from protege.train.bench.ours import Ours
from protege.train.bench.outcome import Outcome
from protege.train.bench.prepare import examples, fresh, stand_in
from protege.train.bench.tables import markdown, table
from protege.train.bench.variants import STRONG, Arithmetic, Pair, Setting, Variant, What
from protege.train.bench.written import setting_of
from protege.train.lessons import Shown

WAYS = ("reference", STRONG, "ours", "ours, remembered", "ours, student alone")
PAIRS = (
    Pair(teacher="resnet34", student="mobilenet_v2", batch_size=128),
    Pair(teacher="resnet32x4", student="resnet8x4", batch_size=64),
    Pair(teacher="resnet50", student="resnet18", batch_size=128),
    Pair(teacher="resnet34", student="mobilenet_v2", batch_size=1024),
)
TINY = Pair(teacher="resnet14", student="resnet8", batch_size=32)
TESTS = Path(__file__).resolve().parents[1] / "tests"


@dataclass(frozen=True)
class Asked:
    """What the command line said, and until when."""

    out: Path
    setting: Setting
    tiny: bool
    deadline: float

    @property
    def left(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    @property
    def place(self) -> Place:
        own = {"data_dir": self.setting.data_dir, "device": self.setting.device, "threads": self.setting.threads}
        return Place(runs=self.setting.folder, quiet=True, **own)

    def write(self, name: str, text: str, figures: Any) -> None:
        """Each file whole, so that whatever ends this process leaves what was found before."""
        with runs.whole(self.out / f"{name}.md") as partial:
            partial.write_text(text)
        with runs.whole(self.out / f"{name}.json") as partial:
            partial.write_text(json.dumps({"environment": runs.environment(), name: figures}, indent=1))


# ---- two whole trainings ----


@dataclass(frozen=True)
class Whole:
    """One whole training, or what there is of it."""

    what: str
    seconds: float  # from beginning to end; of a stopped one, what all its epochs would have taken
    goal: float | None = None
    accuracy: float | None = None  # on the test images
    asked: int | None = None  # images that the teacher had to look at
    computed: str = ""  # precision and execution, as chosen
    finished: bool = True


def described(name: str, tiny: bool, epochs: int, **fields: Any) -> RunConfig:
    """Recipe fixed beforehand and all official training images, so that the test set may say how good it is."""
    length = 1 if tiny else epochs * (10 if name == "cifar10-mini" else 1)
    optim = {
        "epochs": length,
        "batch_size": 128,
        "lr": 0.1,
        "nesterov": True,
        "weight_decay": 5e-4,
        "precision": "auto",
    }
    limit = {"limit": 300} if tiny else {}
    return check_run({"data": {"name": name, "heldout": 0, **limit}, "optim": optim, **fields})


def trained(config: RunConfig, place: Place, seconds: float, kind: type[loop.Training] = loop.Training) -> Run:
    """As `protege.train.train`; after so many seconds it stops as it would for Ctrl-C, but no signal is sent."""
    planned = loop.plan(config, place)
    splits = data.load(config.data, place.data_dir)
    run = runs.start(place.runs, planned.id, loop.record_of(planned, splits, place))
    with runs.locked(run, wait=False), stoppable() as stop:
        settle(run, place)
        timer = threading.Timer(seconds, stop.set)
        timer.daemon = True
        timer.start()
        try:
            kind(planned, run, splits, place, stop).to_the_end()
        finally:
            timer.cancel()
    return run


def whole(what: str, goal: float, config: RunConfig, place: Place, seconds: float) -> Whole:
    started = time.perf_counter()
    try:
        run = trained(config, place, seconds)
    except Stopped:
        run = Run(place.runs / loop.plan(config, place).id)
        return Whole(f"{what}, stopped", projected(run), goal, computed=computed(run), finished=False)
    took = time.perf_counter() - started
    accuracy = evaluate(run, place, test=True)["final"]["accuracy"]
    return Whole(what, took, goal, accuracy, run.result()["teacher_asked"], computed(run))


def computed(run: Run) -> str:
    chosen = runs.read_json(run.arithmetic_file)
    return f"{chosen['student']}, {chosen['execution']}" + "".join(f", teacher {one}" for one in chosen["teachers"])


def projected(run: Run) -> float:
    """From the epochs that there were; the first is left out where there are more."""
    times = [line["seconds"] for line in run.times()]
    steady = times[1:] or times
    return run.config().optim.epochs * sum(steady) / len(steady) if steady else float("nan")


def remembered(config: RunConfig, place: Place, deadline: float) -> Whole:
    started, asked, done = time.perf_counter(), 0, True
    for warming in recall.warm(config, place, every_view=False, say=print):
        asked, done = warming.asked, warming.done == warming.total
        if time.monotonic() > deadline:
            break
    what = "the teacher asked about the views of the next run"
    return Whole(what if done else f"{what}, stopped", time.perf_counter() - started, asked=asked, finished=done)


def trainings(name: str, asked: Asked) -> Iterator[Whole]:
    """The student has a teacher even where there is no time for a good one: its time does not depend on what that knows."""
    teacher_name, student_name = ("resnet14", "resnet8") if asked.tiny else ("resnet34", "mobilenet_v2")
    teacher = described(name, asked.tiny, 100, model=teacher_name)
    found = whole(f"{teacher_name}, {teacher.optim.epochs} epochs", 150.0, teacher, asked.place, 0.45 * asked.left)
    yield found
    if not found.finished:
        teacher = described(name, True, 1, model=teacher_name)
        yield whole(f"{teacher_name} in its stead, 1 epoch of 300 images", 150.0, teacher, asked.place, asked.left)
    source = str(asked.place.runs / loop.plan(teacher, asked.place).id)
    student = described(name, asked.tiny, 200, model=student_name, teacher=source, method="kd")
    yield remembered(student, asked.place, time.monotonic() + 0.3 * asked.left)
    what = f"{student_name} taught, {student.optim.epochs} epochs, remembered"
    yield whole(what, 120.0, student, asked.place, asked.left)


def runs_part(asked: Asked) -> None:
    has_cifar = (data_folder(asked.setting.data_dir) / "cifar-10-batches-py").is_dir()
    name = "cifar10" if has_cifar and not asked.tiny else "cifar10-mini"
    found: list[Whole] = []
    for one in trainings(name, asked):
        found.append(one)
        asked.write("runs", f"# Runs\n\n{wholes_table(found, name)}\n", [asdict(each) for each in found])


def wholes_table(found: list[Whole], name: str) -> str:
    lines = [
        [
            one.what,
            "not one epoch" if isnan(one.seconds) else f"{one.seconds:,.0f} s",
            "" if one.goal is None else f"{one.goal:,.0f} s",
            "" if one.asked is None else f"{one.asked:,}",
            "" if one.accuracy is None else f"{100 * one.accuracy:.2f} %",
            one.computed,
        ]
        for one in found
    ]
    return table((f"on {name}", "seconds", "goal", "teacher asked", "test accuracy", "computed in"), lines)


# ---- equal bits ----


class BrokenOff(loop.Training):
    """Stops in the middle of its second epoch."""

    def train_batch(self, shown: Shown, said: Outputs) -> None:
        super().train_batch(shown, said)
        if self.state.epoch == 1 and self.state.batch == 2:
            self.stop.set()


def same_part(asked: Asked) -> None:
    """Small runs in folders of their own; weights are compared by digest."""
    found: dict[str, bool] = {}

    def small(model: str, **fields: Any) -> RunConfig:
        optim = {"epochs": 3, "batch_size": 64, "lr": 0.05, "precision": fields.pop("precision", "fp32")}
        return check_run(
            {"data": {"name": "cifar10-mini", "limit": 600, "heldout": 0}, "optim": optim, "model": model, **fields}
        )

    def made(config: RunConfig, folder: str, kind: type[loop.Training] = loop.Training) -> str:
        place = asked.place.model_copy(update={"runs": asked.place.runs / folder, "compile": False})
        return digest(trained(config, place, asked.left, kind).weights_file())

    def tell(what: str, equal: bool) -> None:
        found[what] = equal
        lines = [[one, "equal" if yes else "**different**"] for one, yes in found.items()]
        asked.write("same", f"# The same bits\n\n{table(('weights of', ''), lines)}\n", found)

    def broken(config: RunConfig, folder: str) -> str:
        try:
            made(config, folder, BrokenOff)
        except Stopped:
            return made(config, folder)
        raise RuntimeError("the run was not broken off")

    for precision in ("fp32", "bf16"):
        config = small("resnet8", precision=precision)
        first = made(config, f"{precision}-a")
        tell(f"a run made twice, {precision}", made(config, f"{precision}-b") == first)
        tell(f"a run broken off and taken up again, {precision}", broken(config, f"{precision}-c") == first)
    teacher = trained(small("resnet14"), asked.place, asked.left)
    taught = small("resnet8", teacher=str(teacher.path), method="kd")
    cold = made(taught, "cold")
    place = asked.place.model_copy(update={"runs": asked.place.runs / "warm"})
    for _ in recall.warm(taught, place, every_view=False, say=print):
        pass
    tell("taught with an empty memory, and with a full one", made(taught, "warm") == cold)


# ---- what a step launches ----


@dataclass(frozen=True)
class Launched:
    """A step of a taught student whose teacher is remembered."""

    pair: str
    execution: str
    steps: int
    milliseconds: float  # a step, without the profiler
    kernels: float  # a step
    waits: float  # of the host for the device, a step
    busy: float  # share of the profiled time in which a kernel ran


WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "aten::_local_scalar_dense")


def launched(pair: Pair, asked: Asked, execution: str) -> Launched:
    both = Arithmetic(student="bf16", teacher="bf16")
    way = Variant.model_validate(
        {"name": "taught", "method": "kd", "known": 1.0, "arithmetic": both, "execution": execution}
    )
    device, setting = torch.device(asked.setting.device), asked.setting
    splits = data.load(setting.data.model_copy(update={"heldout": 0, "resplit": None}), setting.data_dir)
    teacher = fresh(pair.teacher, len(splits.classes)).to(device)
    weights = stand_in(teacher, examples(splits, 32, device)[0], setting.folder / f"{pair.teacher}.pth")
    ours = Ours(pair, setting, way, weights)
    ours.passed(1)
    took = ours.passed(1)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    started = now(device)
    with profile(activities=activities) as seen:
        ours.passed(1)
        seconds = now(device) - started
    events = list(seen.events() or [])
    kernels = [event for event in events if str(event.device_type).endswith("CUDA")]
    steps = ours.training.rhythm.batches
    busy = sum(event.time_range.elapsed_us() for event in kernels) / 1e6 / seconds
    waits = sum(event.name in WAITS for event in events)
    return Launched(
        pair.label, execution, steps, 1000 * took.seconds / steps, len(kernels) / steps, waits / steps, busy
    )


def steps_part(asked: Asked) -> None:
    found: list[Launched] = []
    ways = ("eager",) if asked.setting.device_kind == "cpu" else ("eager", "graphs")
    for pair in (TINY,) if asked.tiny else PAIRS[:3]:
        for execution in ways:
            found.append(launched(pair, asked, execution))
            lines = [
                [f"{one.pair}, {one.execution}", str(one.steps), f"{one.milliseconds:.2f}", f"{one.kernels:.0f}", f"{one.waits:.2f}",
                 f"{100 * one.busy:.0f} %"]
                for one in found
            ]  # fmt: skip
            head = (
                "taught, remembered, bf16",
                "steps",
                "ms a step",
                "kernels a step",
                "waits a step",
                "busy, profiled",
            )
            asked.write("steps", f"# Steps\n\n{table(head, lines)}\n", [asdict(one) for one in found])


# ---- speeds ----


def measured(name: str, groups: Sequence[tuple[Pair, What]], asked: Asked, **more: Any) -> None:
    """A pair at a time, so that one that takes too long takes nothing from those before."""
    found: list[Outcome] = []
    for number, group in enumerate(groups):
        minutes = asked.left / 60 / (len(groups) - number)
        found.append(measure(Plan(groups=(group,), rounds=3, minutes=0.7 * minutes, **more), asked.setting))
        text = "\n\n".join(markdown(one) for one in found)
        asked.write(name, f"# {name.capitalize()}\n\n{text}", [one.model_dump(mode="json") for one in found])


def speeds_part(asked: Asked) -> None:
    pairs = (TINY,) if asked.tiny else PAIRS
    measured("speeds", [(pair, "kd") for pair in pairs], asked, only=WAYS)


def slots_part(asked: Asked) -> None:
    measured(
        "slots", [(TINY if asked.tiny else PAIRS[0], "slots")], asked, slots=(1, 2) if asked.tiny else (1, 2, 4, 8)
    )


# ---- the tests ----


def tests_part(asked: Asked) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "0",
        "-q",
        "-rA",
        "-p",
        "no:cacheprovider",
        "-k",
        "on_a_gpu",
        str(TESTS),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS.parent, check=False)
    said = done.stdout[-4000:]
    asked.write("tests", f"# Tests that need a GPU\n\n```\n{said}\n```\n", {"code": done.returncode, "said": said})
    if done.returncode:
        raise SystemExit(f"pytest ended with {done.returncode}")


PARTS: dict[str, Callable[[Asked], None]] = {
    "runs": runs_part,
    "same": same_part,
    "steps": steps_part,
    "speeds": speeds_part,
    "slots": slots_part,
    "tests": tests_part,
}


def main(
    part: str,
    out: Annotated[Path, typer.Option("--out")],
    seconds: Annotated[float, typer.Option("--seconds")],
    data_dir: Annotated[Path | None, typer.Option("--data-dir")] = None,
    device: Annotated[str, typer.Option("--device")] = "auto",
    tiny: Annotated[bool, typer.Option("--tiny")] = False,
) -> None:
    deadline = time.monotonic() + 0.9 * seconds  # what remains is for writing and ending
    setting = setting_of("cifar10-mini", data_dir, device, None, compiled=False)
    setting = setting.model_copy(update={"loader_workers": min(16, setting.threads)})
    with tempfile.TemporaryDirectory(prefix="protege-gpu-", ignore_cleanup_errors=True) as folder:
        PARTS[part](Asked(out, setting.model_copy(update={"folder": Path(folder)}), tiny, deadline))


if __name__ == "__main__":
    typer.run(main)
