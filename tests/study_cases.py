"""The files of studies/ as tests look at them (loaded and planned once, the fields of their configurations); and one that takes seconds."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from protege.runs.config import Place, RunConfig
from protege.study.question.arms import cells
from protege.study.question.load import load
from protege.study.question.plan import Plan
from protege.study.question.schema import Scale, Study

FOLDER = Path(__file__).parents[1] / "studies"
FILES = {file.stem: file for file in sorted(FOLDER.glob("*.yaml"))}
SCALES: tuple[Scale, Scale] = ("full", "reduced")
OF_SECONDS: dict[str, Any] = {
    "question": "does distillation help?",
    "base": {
        "data": {"name": "cifar10-mini", "classes": ["cat", "dog"], "limit": 128, "heldout": 100},
        "teacher": "resnet14",
        "student": "resnet8",
        "optim": {"epochs": 2, "batch_size": 64, "lr": 0.05},
    },
    "arms": {"alone": {"method": "supervised"}, "kd": {"method": "kd", "vary": {"method.temperature": [1, 4]}}},
    "seeds": {"select": [100], "report": 2},
    "compare": [{"treatment": "kd"}],
}


@cache
def study(name: str, scale: Scale = "full") -> Study:
    return load(FILES[name], scale)


@cache
def planned(name: str, scale: Scale = "full") -> Plan:
    return Plan(study(name, scale), Place(runs=Path("runs").absolute()), scale)


def students(name: str, arm: str | None = None) -> list[RunConfig]:
    found = [cell for cell in cells(study(name)) if arm in (None, cell.arm)]
    return [one.config for cell in found for one in cell.configurations]


def values(configs: Iterable[RunConfig], *paths: str) -> list[Any]:
    """Of each configuration, the fields at these dotted paths: a tuple of several, or the one itself."""
    found = []
    for config in configs:
        row = []
        for path in paths:
            value: Any = config
            for part in path.split("."):
                value = getattr(value, part)
            row.append(value)
        found.append(tuple(row) if len(row) > 1 else row[0])
    return found


def published(name: str) -> set[tuple[Any, ...]]:
    """(teacher or arm, pair, varied values, control, value, measure) of every figure of a study."""
    return {
        (one.teacher or one.arm, one.pair, *one.at.values(), one.against, one.value, one.measure)
        for one in study(name).published
    }


def optimiser(config: RunConfig) -> tuple[Any, ...]:
    of = config.optim
    return (of.optimizer, of.epochs, of.batch_size, of.lr, of.momentum, of.nesterov, of.weight_decay, of.schedule)
