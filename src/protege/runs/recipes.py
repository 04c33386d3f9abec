"""Recipes: fields of a run that go well together, under one name. What is typed beside a recipe wins.

A run does not know that it was made by one: its description holds the fields, and its id is theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from protege.errors import ConfigError, suggest
from protege.runs.config import Description, merge


@dataclass(frozen=True)
class Recipe:
    """Fields by their dotted paths."""

    summary: str
    fields: dict[str, Any]


RECIPES: dict[str, Recipe] = {
    "fast-teacher": Recipe(
        "a wide, short network that learns CIFAR in few epochs, after Jordan 2024 (arXiv:2404.00498)",
        {
            "model.name": "quick",
            "model.dirac": True,
            "model.whiten": True,
            "method.label_smoothing": 0.2,
            "views.cutout": 12,
            "views.alternate": True,
            "optim.epochs": 40,
            "optim.batch_size": 1024,
            "optim.lr": 1.5,
            "optim.momentum": 0.85,
            "optim.nesterov": True,
            "optim.weight_decay": 0.00133,
            "optim.norm_bias_lr": 64.0,
            "optim.schedule": "linear",
            "optim.warmup_epochs": 9.0,
            "optim.floor_lr": 0.1,
            "optim.look_ahead": 0.95,
        },
    ),
}


def with_recipe(description: Description, name: str) -> Description:
    """The description with the recipe's fields over it."""
    if name not in RECIPES:
        raise ConfigError(f"There is no recipe '{name}'.{suggest(name, list(RECIPES))} There are {', '.join(RECIPES)}.")
    for path, value in RECIPES[name].fields.items():
        description = merge(description, path, value)
    return description
