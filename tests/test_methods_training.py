"""Every method in the real loop: a few dozen steps on real images, whose terms fall, and which a kill does not change."""

from __future__ import annotations

import functools
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from protege import data
from protege.methods import METHODS, parse_method
from protege.runs import Run, read_weights
from protege.runs.config import Place, check_run
from protege.train import loop as training

DATA = {"name": "cifar10-mini", "limit": 400, "heldout": 50, "image_size": 16}
STEPS, BROKEN_AFTER = 50, 30  # two epochs of 25 batches of 16; broken off in the second
BASE: dict[str, Any] = {
    "data": DATA,
    "model": "resnet8",
    "optim": {"epochs": 2, "batch_size": 16, "lr": 0.05},
    "evaluate_every": 2,
}
# As published but for what lasts longer than two epochs; and what cannot be left out.
SETTINGS: dict[str, dict[str, Any]] = {
    "dkd": {"warmup_epochs": 0},
    "reviewkd": {"warmup_epochs": 0},
    "ctkd": {"ramp_epochs": 1},
    "ft": {"paraphraser_epochs": 1},
    "ab": {"pretraining_epochs": 1},
    "sum": {"parts": [{"method": "kd"}, {"method": "at", "weight": 0.5}]},
}
# One of each kind: logits alone, a memory bank, adapters with batch norm, two phases, a changed student, no teacher.
HALF_PRECISION = ("kd", "crd", "reviewkd", "ft", "simkd", "byot", "dml")
every_method = pytest.mark.parametrize("name", METHODS)


@dataclass(frozen=True)
class Lesson:
    """A finished run, all its steps, and a copy of its folder as a kill after `BROKEN_AFTER` steps leaves it."""

    run: Run
    steps: list[dict[str, float]]  # the terms of each
    killed: Path

    def fall(self) -> tuple[float, float]:
        """The method's own terms together: mean of their first ten steps and of their last ten."""
        terms = {term for step in self.steps for term in step} - {"labels", "correct"} or {"labels"}
        seen = [[step[term] for step in self.steps if term in step] for term in sorted(terms)]
        return sum(mean(values[:10]) for values in seen), sum(mean(values[-10:]) for values in seen)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def place(root: Path, memory: Path) -> Place:
    """No checkpoint but those that a test asks for; what a teacher said serves all methods."""
    return Place(runs=root, threads=1, quiet=True, checkpoint_seconds=1e9, memory_dir=memory)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for all runs of this file. The images are read once for all of them."""
    root = tmp_path_factory.mktemp("methods")
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        patch.setattr(data, "load", functools.cache(data.load))
        yield root


@pytest.fixture(scope="module")
def teachers(folder: Path) -> list[str]:
    """A resnet14 that knows something of these images, and a resnet8 beside it for methods that hear several."""
    longer = {"optim": {"epochs": 6, "batch_size": 16, "lr": 0.05}, "evaluate_every": 6}
    wanted = [BASE | longer | {"model": "resnet14"}, BASE | {"seed": 1}]
    return [str(training.train(check_run(one), place(folder / "teachers", folder / "memory")).path) for one in wanted]


@pytest.fixture(scope="module")
def learn(folder: Path, teachers: list[str]) -> Callable[[str], Lesson]:
    """Train by the method of that name, once for all tests."""

    @functools.cache
    def once(name: str) -> Lesson:
        return taught(describe(name, teachers), folder, name)

    return once


def describe(name: str, teachers: list[str], **optim: Any) -> dict[str, Any]:
    method = {"name": name} | SETTINGS.get(name, {})
    heard = (teachers if name == "multi" else teachers[:1]) if parse_method(method).wants_teacher() else []
    return BASE | {"method": method, "teacher": heard, "optim": BASE["optim"] | optim}


def taught(description: dict[str, Any], folder: Path, name: str) -> Lesson:
    killed, steps = folder / "killed" / name, []
    train_batch, end_epoch = training.Training.train_batch, training.Training.end_epoch

    def keep(self: Any, *args: Any, **options: Any) -> None:
        train_batch(self, *args, **options)
        if len(steps) + self.state.batch == BROKEN_AFTER:
            self.save()
            shutil.copytree(self.run.path, killed / self.run.id)

    def note(self: Any, seconds: float) -> None:
        steps.extend({term: value.item() for term, value in seen.items()} for seen in self.state.history)
        end_epoch(self, seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Training, "train_batch", keep)
        patch.setattr(training.Training, "end_epoch", note)
        run = training.train(check_run(description), place(folder / "runs", folder / "memory"))
    return Lesson(run, steps, killed)


def outcome(run: Run) -> tuple[bytes, ...]:
    """All that must be the same bits: the curve, the student, and what a method adds to it."""
    files = [run.metrics_file, *run.path.glob("*.safetensors")]
    return tuple(file.read_bytes() for file in sorted(files))


@every_method
def test_it_learns_what_it_is_to_teach(name: str, learn: Callable[[str], Lesson]) -> None:
    """All terms are numbers throughout, bear the same names in the record, and the method's own fall."""
    lesson = learn(name)
    assert len(lesson.steps) == STEPS
    assert all(math.isfinite(value) for step in lesson.steps for value in step.values())
    recorded = {term for line in lesson.run.metrics() for term in line["terms"]}
    assert recorded == {term for step in lesson.steps for term in step} - {"correct"}
    first, last = lesson.fall()
    assert last < first


@every_method
def test_killed_in_the_middle_it_ends_bit_equal(
    name: str, learn: Callable[[str], Lesson], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adapters, memory banks, peers and phases come back from the checkpoint: 20 steps from there end where all 50 did."""
    lesson = learn(name)
    done: list[int] = []
    train_batch = training.Training.train_batch

    def count(self: Any, *args: Any, **options: Any) -> None:
        train_batch(self, *args, **options)
        done.append(self.state.batch)

    monkeypatch.setattr(training.Training, "train_batch", count)
    again = training.train(lesson.run.config(), place(lesson.killed, folder / "memory"))
    assert len(done) == STEPS - BROKEN_AFTER
    assert outcome(again) == outcome(lesson.run)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "supervised"])
def test_it_teaches_something_that_the_labels_do_not(name: str, learn: Callable[[str], Lesson]) -> None:
    """The same first weights, images and order, and yet another student."""
    mine, alone = (read_weights(learn(one).run.weights_file())[0] for one in (name, "supervised"))
    assert mine.keys() == alone.keys()
    assert any(not torch.equal(mine[weight], alone[weight]) for weight in mine if weight.endswith("weight"))


@pytest.mark.parametrize("name", HALF_PRECISION)
def test_in_half_precision_it_goes_the_same_way(
    name: str, learn: Callable[[str], Lesson], folder: Path, teachers: list[str]
) -> None:
    """Networks in bf16, losses in float32: the first step's terms are those of full precision to a twentieth, and they fall."""
    lesson = taught(describe(name, teachers, precision="bf16"), folder, f"{name}-bf16")
    assert all(math.isfinite(value) for step in lesson.steps for value in step.values())
    first, last = lesson.fall()
    assert last < first
    full = learn(name).steps[0]
    for term, value in lesson.steps[0].items():
        if term != "correct":
            assert value == pytest.approx(full[term], rel=0.05, abs=0.02), term
