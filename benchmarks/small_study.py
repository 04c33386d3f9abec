"""A study of one teacher, really made, small in images but not in proportions.

At full size a run of 200 epochs meets 162 views of an image: asking the teacher about all of them is 0.81 epochs of
asking for each 1 trained. Here crops with padding 1 and no flips make 9 views, and a run has 11 epochs: 0.82.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from growth import Grown, Growth, measured

from protege import runs
from protege.runs.config import Place, RunConfig, check_run
from protege.teacher import recall
from protege.train import loop
from protege.train.bench.ours import described, opened, pin
from protege.train.bench.prepare import prepare
from protege.train.bench.variants import Arithmetic, Pair, Setting, Variant

EPOCHS = 11
VIEWS: dict[str, Any] = {"padding": 1, "flip": False}


def made(pair: Pair, setting: Setting, number: int = 8) -> Growth:
    """In a process of its own."""
    with tempfile.TemporaryDirectory(prefix="protege-study-") as folder:
        here = setting.model_copy(update={"folder": Path(folder)})
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return measured(pair, pool.submit(prepared, pair, here, number).result())


def prepared(pair: Pair, setting: Setting, number: int) -> Grown:
    facts = prepare(pair, setting)
    return grown(pair, setting, facts.arithmetic, facts.weights, number)


def grown(pair: Pair, setting: Setting, arithmetic: Arithmetic, weights: Path, number: int) -> Grown:
    """The teacher's first pass and so many taught runs with a seed each; before, between and after them the student alone."""
    place = Place(
        runs=setting.folder / "study", data_dir=setting.data_dir, device=setting.device, threads=setting.threads,
        checkpoint_seconds=1e9, quiet=True,
    )  # fmt: skip
    alone = Variant(name="alone", method="supervised", arithmetic=arithmetic, in_asks=True)
    taught = alone.model_copy(update={"name": "taught", "method": "kd"})
    _warm_up(_small(pair, setting, alone, weights, seed=number), place, arithmetic)
    first, images, views = _first_pass(_small(pair, setting, taught, weights, seed=number), place, taught)
    by_itself, runs = [], []
    for seed in range(number):
        if seed % max(1, number // 2) == 0:
            by_itself.append(_seconds(_small(pair, setting, alone, weights, seed), place, arithmetic))
        runs.append(_seconds(_small(pair, setting, taught, weights, seed), place, arithmetic))
    by_itself.append(_seconds(_small(pair, setting, alone, weights, number + 1), place, arithmetic))
    return Grown(epochs=EPOCHS, images=images, views=views, alone=tuple(by_itself), first_pass=first, runs=tuple(runs))


def _small(pair: Pair, setting: Setting, variant: Variant, weights: Path, seed: int) -> RunConfig:
    whole = described(pair, setting, variant, weights).model_dump()
    return check_run({**whole, "optim": {**whole["optim"], "epochs": EPOCHS}, "views": VIEWS, "seed": seed})


def _warm_up(config: RunConfig, place: Place, arithmetic: Arithmetic) -> None:
    """The first steps of a process are slower, and no run of the study is to bear that."""
    short = config.model_copy(update={"optim": config.optim.model_copy(update={"epochs": 1})})
    _seconds(short, place, arithmetic)


def _seconds(config: RunConfig, place: Place, arithmetic: Arithmetic) -> float:
    """Of the loop: asking, looking up and training. Starting and ending a run is the same small time for each."""
    pin(runs.Run(place.runs / loop.plan(config, place).id), arithmetic, taught=bool(config.teacher))
    return loop.train(config, place).result()["seconds"]


def _first_pass(config: RunConfig, place: Place, variant: Variant) -> tuple[float, int, int]:
    """Seconds, images and views: the teacher is asked about every view, into the memory that the runs will share."""
    training = opened(config, place, variant)
    assert training.teacher is not None
    kept = recall.remembered(training.teacher, config, training.splits, training.images, place, training.display.say)
    assert kept is not None and kept.views.count is not None
    positions = torch.arange(len(training.images), device=training.images.labels.device)
    kept.listen_to_view(positions[:1], 0, lambda images: None)  # warms up
    started = time.perf_counter()
    for view in range(kept.views.count):
        kept.listen_to_view(positions, view, lambda images: None)
    return time.perf_counter() - started, len(positions), kept.views.count
