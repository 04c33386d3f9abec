"""One step: from a state, a batch and what the teacher said of it to the terms of the loss, and to the next state.

It asks nobody, writes nothing and waits for nothing, so it does not know whether it runs once, in several processes, or inside a graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from protege.data.outside.code import FAILURES, failure, is_own
from protege.errors import ConfigError, ModelError, out_of_memory, quoted
from protege.methods.base import Outputs, Progress
from protege.methods.lookup import as_its_authors
from protege.runs.config import RunConfig
from protege.train.learner import mixed
from protege.train.lessons import Rhythm, Shown
from protege.train.optim import LOOKS_EVERY, clip, follow, learning_rate, look_ahead, set_learning_rate
from protege.train.state import Seen, State
from protege.views import normalise

Three = tuple[float, float, float]
LONGEST_NAME = 60  # letters of a part of the loss


@dataclass(frozen=True)
class Step:
    """All that a step needs and that never changes during a run."""

    config: RunConfig
    rhythm: Rhythm
    mean: Three
    std: Three
    precision: str

    def __call__(self, state: State, shown: Shown, said: Outputs) -> Seen:
        """Learn from one batch. The weights move where it completes a step; before that its gradients are added up."""
        seed_generators(mixed(self.config.seed, "step", state.epoch, state.batch), shown.pixels.device)  # for dropout
        terms, student = self.terms(state, shown, said)
        loss = torch.stack(list(terms.values())).sum()
        parts = self.rhythm.parts(state.batch)
        (loss if parts == 1 else loss / parts).backward()
        seen = {name: term.detach().float() for name, term in terms.items()}
        seen["correct"] = (self._deployed(state, student).argmax(1) == shown.batch.labels).sum().float()
        state.batch += 1
        if self.rhythm.completes(state.batch):
            seen |= self._move(state)
        state.history.append(seen)
        return seen

    def terms(self, state: State, shown: Shown, said: Outputs) -> tuple[dict[str, Tensor], Outputs]:
        """The weighted parts of the loss, and what the student said."""
        images = normalise(shown.pixels, self.mean, self.std)
        progress = Progress(state.epoch, self.config.optim.epochs)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            student = self._student(state, images, len(shown.batch.labels))
            with as_its_authors(self.config.method):
                terms = self.config.method.terms(student, said, shown.batch, state.learner.adapters, progress)
                _refuse_odd(terms)
            return terms, student

    def _student(self, state: State, images: Tensor, batch: int) -> Outputs:
        try:
            return state.learner.outputs(images, self.config.method.wants(), batch)
        except FAILURES as error:
            if is_own(self.config.model.name) and "more than 1 value" not in str(error) and not out_of_memory(error):
                raise ModelError(f"{self.config.model.name} fails in training: {failure(error)}") from error
            if "more than 1 value per channel" not in str(error):
                raise
            raise ConfigError(
                f"A batch of {len(images)} image has no statistics where the network's maps are of one pixel. "
                "Choose optim.batch_size 2 or more, or larger images."
            ) from error

    @torch.no_grad()
    def _deployed(self, state: State, student: Outputs) -> Tensor:
        """The logits that count, where a method adds to the student that is deployed."""
        if self.config.method.added() == "nothing":
            return student.logits
        return self.config.method.predict(student, state.learner.adapters)

    def _move(self, state: State) -> Seen:
        optim = self.config.optim
        set_learning_rate(state.optimizer, self.rate(state))
        state.learner.complete_gradients()
        norm = clip(state.learner.parameters(), optim.clip_norm) if optim.clip_norm else None
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        if optim.ema:
            step = self.rhythm.step(state.epoch, state.batch)
            follow(state.mean, state.learner.state_dict(), optim.ema, step)
        if optim.look_ahead:
            self._look_ahead(state, optim.look_ahead)
        return {} if norm is None else {"gradient_norm": norm.detach()}

    def _look_ahead(self, state: State, decay: float) -> None:
        taken, all_steps = self.rhythm.step(state.epoch, state.batch) + 1, self.config.optim.epochs * self.rhythm.steps
        if taken % LOOKS_EVERY == 0 or taken == all_steps:
            look_ahead(state.mean, state.learner.state_dict(), decay, taken / all_steps)

    def rate(self, state: State) -> float:
        """Learning rate of the step that the last batch completes."""
        number = self.rhythm.step(state.epoch, state.batch)
        return learning_rate(self.config.optim, number, self.rhythm.steps)


def _refuse_odd(terms: object) -> None:
    """Of anybody's method: a number for each name, and a loss that can be learned from."""
    if not isinstance(terms, dict) or not terms:
        raise TypeError(f"terms() gives a {type(terms).__name__}, not weighted parts of the loss by name")
    for name, term in terms.items():
        if not isinstance(name, str) or not name.isprintable() or len(name) > LONGEST_NAME:
            raise TypeError(f"terms() calls a part {quoted(name, 40)}, which no table can show")
        if not isinstance(term, Tensor) or term.ndim or not term.is_floating_point():
            found = f"{term.dtype} {list(term.shape)}" if isinstance(term, Tensor) else type(term).__name__
            raise TypeError(f"terms() gives {found} as '{name}', not one real number in a tensor")
    if not any(term.requires_grad for term in terms.values()):
        raise TypeError(f"nothing can be learned from {', '.join(terms)}: none of them depends on the student")


def seed_generators(seed: int, device: torch.device) -> None:
    """Of the host and of this device alone: `torch.manual_seed` would look after every kind of device there might be."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.init()
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)
