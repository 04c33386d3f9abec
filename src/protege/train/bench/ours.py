"""Our own training loop, opened like any run and held open: a pass is one of its epochs.

What is normally chosen per machine is pinned here, by the same record in the run's folder that a run taken up again reads.
"""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import torch

from protege import data, runs
from protege.runs import process
from protege.runs.config import Place, RunConfig, check_run
from protege.runs.tuning import now
from protege.teacher import recall, speaking
from protege.train import loop, step
from protege.train.arithmetic import Chosen, Execution, record
from protege.train.bench.messages import Took
from protege.train.bench.variants import Arithmetic, Pair, Setting, Variant
from protege.train.optim import build_optimizer
from protege.views import normalise

MANY = 1_000_000  # epochs: the last one never comes


class Ours:
    """A run of protege between two epochs."""

    def __init__(self, pair: Pair, setting: Setting, variant: Variant, weights: Path) -> None:
        self.variant, self.setting = variant, setting
        config = described(pair, setting, variant, weights)
        place = Place(
            runs=setting.folder / f"runs-{threading.get_native_id()}", data_dir=setting.data_dir, device=setting.device,
            threads=setting.threads, checkpoint_seconds=1e9, quiet=True,
        )  # fmt: skip
        self.training = opened(config, place, variant)
        self.memories = 0  # made so far

    @property
    def images(self) -> int:
        return len(self.training.images)

    def passed(self, passes: int) -> Took:
        """Train so many epochs. What the teacher is to have said before is put into its memory first, and takes no time."""
        device, training, seconds, asked = self.training.device, self.training, 0.0, 0
        for _ in range(passes):
            self._remind()
            started = now(device)
            training.train_epoch()
            seconds += now(device) - started
            asked += training.lessons.memory.asked if training.lessons.memory else 0
        return Took(images=passes * self.images, seconds=seconds, asked=asked)

    def _remind(self) -> None:
        """A new memory that knows the wanted share of the views of the coming epoch, and no others.

        What it knows is random: reading it takes as long as reading what a teacher said.
        """
        training = self.training
        if training.teacher is None or self.variant.method != "kd":
            return
        self.memories += 1
        place = training.place.model_copy(update={"memory_dir": training.place.runs / f"memory-{self.memories}"})
        kept = recall.remembered(
            training.teacher, training.config, training.splits, training.images, place, training.display.say
        )
        assert kept is not None
        indices = training.images.indices[: round(self.variant.known * self.images)]
        if len(indices):
            numbers = kept.views.numbers(training.config.seed, training.state.epoch, indices)
            said = torch.randn(len(indices), len(training.splits.classes))
            kept.memories[0].store(indices.cpu(), numbers.cpu(), said)
        training.lessons.memory = kept


def described(pair: Pair, setting: Setting, variant: Variant, weights: Path) -> RunConfig:
    """As a user would describe it; the rate is low so that no loss can diverge, which costs the same time."""
    few = (
        {"limit": variant.images(pair.batch_size, recall.ASKED_TOGETHER["cpu"])} if setting.device_kind == "cpu" else {}
    )
    taught = {"teacher": {"source": str(weights), "model": pair.teacher}} if variant.method != "supervised" else {}
    precision = variant.arithmetic.student
    return check_run(
        {
            "data": setting.data.model_dump() | {"heldout": 0, "resplit": None} | few,
            "model": pair.student,
            "method": variant.method,
            "optim": {"epochs": MANY, "batch_size": pair.batch_size, "lr": 1e-3, "precision": precision},
            **taught,
        }
    )


def opened(config: RunConfig, place: Place, variant: Variant) -> loop.Training:
    """A run as `protege.train.train` begins it, before its first epoch, with the variant's choices."""
    planned = loop.plan(config, place)
    splits = data.load(config.data, place.data_dir)
    run = runs.start(place.runs, planned.id, loop.record_of(planned, splits, place))
    pin(run, variant.arithmetic, bool(config.teacher), variant.execution)
    process.settle(run, place)
    training = loop.Training(planned, run, splits, place, threading.Event())
    _lay_out(training, variant.channels_last)
    training.compile()
    return training


def pin(run: runs.Run, arithmetic: Arithmetic, taught: bool, execution: Execution = "eager") -> None:
    """What the run would else choose when it begins."""
    teachers = (arithmetic.teacher,) if taught else ()
    record(run, Chosen(student=arithmetic.student, execution=execution, teachers=teachers))


def _lay_out(training: loop.Training, channels_last: bool) -> None:
    """Weights and images of both networks. A run has no choice here, so the plain layout is put in from outside."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    state = training.state
    state.learner.to(memory_format=layout)  # type: ignore[call-overload]
    state.optimizer = build_optimizer(state.learner, training.config.optim)  # its memories follow the weights
    for voice in training.teacher.voices if training.teacher else []:
        voice.network.to(memory_format=layout)  # type: ignore[call-overload]
    if not channels_last:
        loop.normalise = step.normalise = speaking.normalise = partial(normalise, channels_last=False)
