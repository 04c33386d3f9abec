"""A training that no longer computes numbers ends before it can reach a checkpoint or a result."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from protege import runs
from protege.errors import Diverged
from protege.runs.config import RunConfig
from protege.train.state import State

CHECKED_EVERY = 100  # batches between looks at the loss on a GPU, where a look makes the host wait


@dataclass
class Watch:
    """Looks at a run from outside. Each look waits for the device once."""

    run: runs.Run
    config: RunConfig
    looked: tuple[int, int] = (0, 0)  # at the batches of this epoch before this one

    def after_batch(self, state: State) -> None:
        every = 1 if state.history[-1]["correct"].device.type == "cpu" else CHECKED_EVERY
        if state.batch % every == 0:
            self.losses(state)

    def whole(self, state: State) -> None:
        """All that a checkpoint would hold."""
        norms = torch._foreach_norm([tensor.detach() for _, tensor in trained(state.learner)])  # type: ignore[attr-defined]
        start, new = self._new(state)
        if _finite([*new, *norms]):
            return
        self._tell(state, start)
        name = next((name for name, tensor in trained(state.learner) if not tensor.isfinite().all()), "too large")
        raise Diverged(
            f"The weights of {self.run.id} are no longer numbers{self._when(state)}: {name}. {self._advice()}"
        )

    def losses(self, state: State) -> None:
        """Of the batches that were not looked at before."""
        start, new = self._new(state)
        if not _finite(new):
            self._tell(state, start)

    def _new(self, state: State) -> tuple[int, list[Tensor]]:
        start = self.looked[1] if self.looked[0] == state.epoch else 0
        self.looked = (state.epoch, len(state.history))
        return start, [value for seen in state.history[start:] for value in seen.values()]

    def scores(self, state: State, nll: float) -> None:
        """Of held-out images."""
        if not math.isfinite(nll):
            raise Diverged(
                f"What {self.run.id} says of held-out images is no longer a number{self._when(state)}: nll {nll:g}. {self._advice()}"
            )

    def _tell(self, state: State, start: int) -> None:
        for number, seen in enumerate(state.history[start:], start):
            if not all(value.isfinite() for value in seen.values()):
                values = ", ".join(f"{name} {value.item():.4g}" for name, value in seen.items() if name != "correct")
                raise Diverged(
                    f"The loss of {self.run.id} is no longer a number{self._when(state)}, batch {number + 1}: {values}. {self._advice()}"
                )

    def _when(self, state: State) -> str:
        return f" at epoch {state.epoch + 1}"

    def _advice(self) -> str:
        return (
            f"Try a lower optim.lr ({self.config.optim.lr:g} now), optim.warmup_epochs, or optim.clip_norm. "
            f"The last good checkpoint is kept in {self.run.path}."
        )


def _finite(values: list[Tensor]) -> bool:
    """Of scalars on one device, by one wait for it."""
    return not values or math.isfinite(torch.stack(values).sum().item())


def trained(learner: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Weights, and the statistics of norms; what else a network or a method keeps may hold infinity on purpose."""
    yield from learner.named_parameters()
    for path, part in learner.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is not None:
            yield f"{path}.running_mean", part.running_mean
            assert part.running_var is not None
            yield f"{path}.running_var", part.running_var
