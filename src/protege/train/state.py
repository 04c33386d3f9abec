"""All of a run that moves from step to step: saved, restored, moved and compared as one flat list of tensors and numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from protege.runs.config import RunConfig
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
    mean: Tensors  # running mean of the weights that are deployed; empty where none is kept
    deployed: tuple[str, ...]  # beginnings of the names of what is kept at the end: not peers, not memory banks
    best: Best = field(default_factory=Best)
    epoch: int = 0  # of the next batch
    batch: int = 0
    seconds: float = 0.0  # of training, in epochs that are complete
    begun_seconds: float = 0.0  # of training, in this epoch until it was last saved
    history: list[Seen] = field(default_factory=list)  # of this epoch; on the device, fetched at its end

    @classmethod
    def fresh(cls, learner: Learner, config: RunConfig) -> Self:
        deployed = ("student.",) if config.method.added() == "nothing" else ("student.", "adapters.")
        state = cls(learner, build_optimizer(learner, config.optim), {}, deployed)
        state.mean = state.weights() if config.optim.ema or config.optim.look_ahead else {}
        return state

    def weights(self) -> Tensors:
        """A copy of what would be deployed, buffers included."""
        named = self.learner.state_dict().items()
        return {name: value.detach().clone() for name, value in named if name.startswith(self.deployed)}

    @contextlib.contextmanager
    def final_weights(self) -> Iterator[None]:
        """The weights that would be kept if training ended now: the running mean where there is one."""
        if not self.mean:
            yield
            return
        kept = self.weights()
        self.learner.load_state_dict(self.mean, strict=False)  # which need not hold what is not deployed
        try:
            yield
        finally:
            self.learner.load_state_dict(kept, strict=False)

    def next_epoch(self) -> None:
        self.epoch, self.batch, self.history, self.begun_seconds = self.epoch + 1, 0, [], 0.0

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
            "begun_seconds": self.begun_seconds, "history": list(parts["history"]),
            "best_epoch": self.best.epoch, "best_accuracy": self.best.accuracy,
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
        # checkpoints of earlier versions hold more than is deployed
        mean, best = (
            {name: value.to(device) for name, value in parts[part].items() if name.startswith(self.deployed)}
            for part in ("mean", "best")
        )
        self.mean = mean
        self.best = Best(numbers["best_epoch"], numbers["best_accuracy"], best)
        self.epoch, self.batch, self.seconds = numbers["epoch"], numbers["batch"], numbers["seconds"]
        self.begun_seconds = numbers.get("begun_seconds", 0.0)  # which those do not tell
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
