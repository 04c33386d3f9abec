"""A training that no longer computes numbers ends before it can reach a checkpoint or a result."""

from __future__ import annotations

from dataclasses import dataclass

from protege import runs
from protege.errors import Diverged
from protege.runs.config import RunConfig
from protege.train.state import State

CHECKED_EVERY = {"cpu": 1, "cuda": 50}  # batches between looks at the loss: a GPU makes the host wait for each


@dataclass(frozen=True)
class Watch:
    """Looks at a run from outside."""

    run: runs.Run
    config: RunConfig

    def check(self, state: State, newest: int | None = None) -> None:
        """Of this epoch's batches, the `newest`, or all."""
        start = 0 if newest is None else max(0, len(state.history) - newest)
        for number, seen in enumerate(state.history[start:], start):
            if not all(value.isfinite() for value in seen.values()):
                values = ", ".join(f"{name} {value.item():.4g}" for name, value in seen.items() if name != "correct")
                raise Diverged(
                    f"The loss of {self.run.id} is no longer a number at epoch {state.epoch + 1}, batch {number + 1}: {values}. "
                    f"Try a lower optim.lr ({self.config.optim.lr:g} now), optim.warmup_epochs, or optim.clip_norm. "
                    f"The last good checkpoint is kept in {self.run.path}."
                )
