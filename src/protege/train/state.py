"""All of a run that moves from step to step: saved, restored, moved and compared as one flat list of tensors and numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from protege.runs.config import OptimConfig
from protege.train.learner import Learner
from protege.train.optim import Optimizer, build_optimizer, optimizer_tensors, restore_optimizer

Tensors = dict[str, Tensor]
Seen = dict[str, Tensor]  # of one batch: terms of the loss, "correct", and "gradient_norm" where a step clipped


@dataclass
class Best:
    """The epoch with the best held-out accuracy so far, and its weights."""

    epoch: int = -1
    accuracy: float = -1.0
    weights: Tensors = field(default_factory=dict)


@dataclass
class State:
    """Whatever is not in here is a pure function of the description, so two equal states go on alike, bit for bit."""

    learner: Learner
    optimizer: Optimizer
    mean: Tensors  # running mean of the weights; empty where none is kept
    best: Best = field(default_factory=Best)
    epoch: int = 0  # of the next batch
    batch: int = 0
    seconds: float = 0.0  # of training, in epochs that are complete
    history: list[Seen] = field(default_factory=list)  # of this epoch; on the device, fetched at its end

    @classmethod
    def fresh(cls, learner: Learner, config: OptimConfig) -> Self:
        state = cls(learner, build_optimizer(learner, config), {})
        state.mean = state.weights() if config.ema else {}
        return state

    def weights(self) -> Tensors:
        """A copy, of the learner's buffers too."""
        return {name: value.detach().clone() for name, value in self.learner.state_dict().items()}

    @contextlib.contextmanager
    def final_weights(self) -> Iterator[None]:
        """The weights that would be kept if training ended now: the running mean where there is one."""
        if not self.mean:
            yield
            return
        kept = self.weights()
        self.learner.load_state_dict(self.mean)
        try:
            yield
        finally:
            self.learner.load_state_dict(kept)

    def next_epoch(self) -> None:
        self.epoch, self.batch, self.history = self.epoch + 1, 0, []

    # ---- as a whole ----

    def packed(self) -> tuple[Tensors, dict[str, Any]]:
        """Tensors by a flat name, and numbers: the contents of a checkpoint."""
        parts = {
            "learner": self.learner.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
            "mean": self.mean,
            "best": self.best.weights,
            "history": _stacked(self.history),
        }
        tensors = {f"{part}.{name}": value for part, named in parts.items() for name, value in named.items()}
        numbers = {
            "epoch": self.epoch, "batch": self.batch, "seconds": self.seconds,
            "best_epoch": self.best.epoch, "best_accuracy": self.best.accuracy, "history": list(parts["history"]),
        }  # fmt: skip
        return tensors, numbers

    def unpack(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Become what was packed, on the device where the learner is."""
        parts: dict[str, Tensors] = {"learner": {}, "optimizer": {}, "mean": {}, "best": {}, "history": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        device = next(self.learner.parameters()).device
        self.learner.load_state_dict(parts["learner"])
        restore_optimizer(self.optimizer, parts["optimizer"])
        self.mean = {name: value.to(device) for name, value in parts["mean"].items()}
        best = {name: value.to(device) for name, value in parts["best"].items()}
        self.best = Best(numbers["best_epoch"], numbers["best_accuracy"], best)
        self.epoch, self.batch, self.seconds = numbers["epoch"], numbers["batch"], numbers["seconds"]
        in_order = {name: parts["history"][name] for name in numbers["history"]}
        self.history = _unstacked(in_order, self.batch, device)


def _stacked(history: list[Seen]) -> Tensors:
    """A tensor a name, with no number where a batch had none."""
    names = dict.fromkeys(name for seen in history for name in seen)
    nothing = torch.tensor(torch.nan)
    return {name: torch.stack([seen.get(name, nothing).cpu() for seen in history]) for name in names}


def _unstacked(history: Tensors, batches: int, device: torch.device) -> list[Seen]:
    return [
        {name: values[batch].to(device) for name, values in history.items() if not values[batch].isnan()}
        for batch in range(batches)
    ]
