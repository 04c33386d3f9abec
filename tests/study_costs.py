"""What a study takes, by arithmetic: images times the price of one, and a few seconds for each run.

An upper bound where runs share what a teacher said. `studies/README.md` says where the prices come from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from protege.models.config import ModelConfig
from protege.runs.config import RunConfig
from protege.study.conduct.probing import kinds
from protege.study.question.plan import Plan, PlannedRun
from protege.views import Views

Price = Callable[[ModelConfig, int], float]  # of a network at a size of images: seconds of training an image

# Images a second in training on one CPU core, at 32 x 32 pixels unless a size is named.
CPU = {
    "resnet8": 1380,
    "resnet14": 775,
    "resnet20": 546,
    "resnet32": 340,
    "resnet44": 250,
    "resnet8_40": 303,
    "quick": 346,
    "quick_small": 970,
    "mobilenet_v2": 250,
    "mobilenet_v2_half": 850,
    "resnet18 imagenet": 390,
    "resnet34 imagenet": 195,
    "resnet50 imagenet": 120,
    "resnet101 imagenet": 65,
    "resnet18 16": 188,
    "resnet34 16": 100,
    "resnet50 16": 75,
    "resnet18 imagenet 16": 840,
    "resnet34 imagenet 16": 400,
    "resnet50 imagenet 16": 235,
}
# Seconds for 50,000 images in training on one H200, at 32 x 32 pixels unless a size is named.
GPU = {
    "resnet18": 1.5,
    "resnet34": 3.0,
    "resnet50": 6.0,
    "resnet101": 11.0,
    "mobilenet_v2": 5.0,
    "resnet8": 2.0,  # as many kernels as resnet8x4, and no other price
    "resnet8x4": 2.0,
    "resnet32x4": 4.0,
    "resnet18 imagenet": 0.8,
    "resnet34 imagenet": 1.4,
    "resnet50 imagenet": 2.0,
    "resnet18 imagenet 224": 5.0,
    "resnet34 imagenet 224": 9.5,
}
FORWARD = 1 / 3  # of the price of training
PUBLISHED = {  # images of the training part, of the test part, classes, pixels of a side
    "cifar10": (50_000, 10_000, 10, 32),
    "cifar100": (50_000, 10_000, 100, 32),
    "cifar10-mini": (5_000, 2_000, 10, 32),
    "folder:images": (13_000, 0, 10, 64),  # as many as the publication seems to have had
}


@dataclass(frozen=True)
class Counts:
    train: int
    heldout: int
    test: int
    size: int


def cpu_price(model: ModelConfig, size: int) -> float:
    return 1 / _listed(CPU, model, size, 1 / (size / 32) ** 2)


def gpu_price(model: ModelConfig, size: int) -> float:
    return _listed(GPU, model, size, (size / 32) ** 2) / 50_000


def _listed(prices: Mapping[str, float], model: ModelConfig, size: int, scale: float) -> float:
    name = model.name + (" imagenet" if model.stem == "imagenet" else "")
    return prices.get(f"{name} {size}") or prices[name] * scale


def counts(config: RunConfig) -> Counts:
    data = config.data
    train, test, classes, size = PUBLISHED[data.name]
    share = len(data.classes) / classes if data.classes else 1.0
    train, test = round(train * share), round(test * share)
    if data.resplit:
        everything = train + test
        train, heldout, test = (round(everything * part) for part in data.resplit)
    else:
        heldout = data.heldout if isinstance(data.heldout, int) else round(data.heldout * train)
        train -= heldout
    return Counts(min(train, data.limit or train), heldout, test, data.image_size or size)


def all_runs(plan: Plan) -> list[PlannedRun]:
    """With those of arms that are not chosen yet, as if the first configuration were; what is shared counts once."""
    found = {(None, run.id): run for run in plan.teacher_runs()}
    for cell in plan.cells:
        for one in cell.configurations:
            found |= {(None, run.id): run for run in plan.select_runs(cell, one)}
        tag = cell.arm if cell.chosen_by_selection else None
        found |= {(tag, run.id): run for run in plan.report_runs(cell, cell.configurations[0])}
    return list(found.values())


def minutes_on_two_cores(plan: Plan) -> float:
    """With a slot a core, 5 seconds to start each run, and before them 7 to try a few steps of each kind."""
    trying = 7 * len(kinds(plan, all_runs(plan), threads=1))
    return (trying + _seconds(all_runs(plan), cpu_price, 5) / 2) / 60


def hours_on_a_gpu(plan: Plan) -> float:
    """One run after another, 10 seconds to start each."""
    return _seconds(all_runs(plan), gpu_price, 10) / 3600


def _seconds(runs: list[PlannedRun], price: Price, each: float) -> float:
    return sum(_alone(run, price) + each for run in runs) + _asking(runs, price)


def _alone(run: PlannedRun, price: Price) -> float:
    config, there = run.config, counts(run.config)
    looks = math.ceil(config.optim.epochs / config.evaluate_every) * there.heldout
    tested = 0 if run.role == "select" else there.test * (2 if there.heldout else 1)  # the last epoch, and the best
    images = config.optim.epochs * there.train + FORWARD * (looks + tested)
    return images * price(config.model, there.size)


def _asking(runs: list[PlannedRun], price: Price) -> float:
    """A teacher that is remembered says each view of an image once; one whose features are read is asked every time."""
    total = 0.0
    remembered: dict[str, tuple[PlannedRun, int]] = {}
    for run in runs:
        for tutor in run.tutors:
            if set(run.config.method.wants()) == {"logits"}:
                _, before = remembered.get(tutor.identity, (run, 0))
                remembered[tutor.identity] = run, before + run.config.optim.epochs
            else:
                total += _asked(run, tutor.identity, run.config.optim.epochs, price)
    for identity, (run, epochs) in remembered.items():
        views = Views(run.config.views, counts(run.config).size).count or epochs
        total += _asked(run, identity, min(views, epochs), price)
    return total


def _asked(run: PlannedRun, identity: str, times: int, price: Price) -> float:
    teacher = next(tutor.run for tutor in run.tutors if tutor.identity == identity)
    assert teacher is not None
    there = counts(run.config)
    return FORWARD * times * there.train * price(teacher.config.model, there.size)
