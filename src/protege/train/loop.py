"""The one training loop.

Notable: order, views, initial weights and dropout are pure functions of (seed, epoch, step), so a run that was killed ends
bit-equal to one that was not; the test set is never touched here; the teacher is asked, never called by a method.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from protege import data, runs
from protege.data.base import Splits
from protege.errors import Diverged, Stopped
from protege.evaluate import Predictor, predict, score
from protege.methods.base import Batch, Outputs, Progress, Shapes, nobody
from protege.models import EXTERNAL, build, check
from protege.runs.config import Place, RunConfig, check_run, run_id
from protege.runs.display import TrainingDisplay
from protege.runs.hardware import device_of
from protege.runs.process import settle, stoppable
from protege.teacher import recall, speaking
from protege.teacher.sources import Source, identify, refuse_any_leak
from protege.train.arithmetic import Chosen, choose, record, recorded
from protege.train.learner import Learner, mixed
from protege.train.optim import (
    build_optimizer,
    clip,
    follow,
    learning_rate,
    optimizer_tensors,
    restore_optimizer,
    set_learning_rate,
)
from protege.views import Rendered, Views, normalise, order

CHECKED_EVERY = 50  # steps between looks at the loss on a GPU, where a look makes the host wait


@dataclass(frozen=True)
class Plan:
    """A run that is known but perhaps not begun: its id, its data and who teaches."""

    config: RunConfig
    id: str
    sources: tuple[Source, ...]


def plan(config: RunConfig, place: Place) -> Plan:
    """Cheap: no pixel is read. Errors in names and teachers show here, before any work."""
    check(config.model)
    sources = tuple(identify(config.teacher, place.runs))
    fingerprint = data.fingerprint(config.data, place.data_dir)
    return Plan(config, run_id(config, fingerprint, [source.identity for source in sources]), sources)


def train(run: RunConfig | Mapping[str, Any], place: Place | None = None) -> runs.Run:
    """Train to the end and return the finished run; one that is already finished is returned as it is."""
    place = place or Place()
    config = check_run(run) if isinstance(run, Mapping) else run
    planned = plan(config, place)
    known = runs.Run(place.runs / planned.id)
    if known.finished:
        return known
    splits = data.load(config.data, place.data_dir)
    if config.model.weights or config.model.name.startswith(EXTERNAL):
        # a missing library, or a file that does not fit, shows before there is a folder
        build(config.model, len(splits.classes))
    refuse_any_leak(planned.sources, config.data, splits, place.data_dir)
    begun = runs.start(place.runs, planned.id, record_of(planned, splits, place))
    with runs.locked(begun, place.wait):
        if not begun.finished:  # the process that we waited for may have done it
            settle(begun, place)
            with stoppable() as stop:
                Training(planned, begun, splits, place, stop).to_the_end()
    return begun


def record_of(planned: Plan, splits: Splits, place: Place) -> dict[str, Any]:
    return {
        "id": planned.id,
        "config": planned.config.model_dump(mode="json"),
        "data": {
            "name": splits.name,
            "fingerprint": splits.fingerprint,
            "content": splits.content,
            "classes": list(splits.classes),
            "mean": list(splits.mean),
            "std": list(splits.std),
            "train": len(splits.train),
            "heldout": len(splits.heldout) if splits.heldout else 0,
            "test": len(splits.test),
            "image_size": splits.train.pixels.shape[-1],
            "images": splits.images,
        },
        "teachers": [source.identity for source in planned.sources],
        "device": str(device_of(place)),
        "threads": place.threads or runs.cores(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": shlex.join(sys.argv),
        "environment": runs.environment(),
    }


@dataclass
class Best:
    """The epoch with the best held-out accuracy so far, and its weights."""

    epoch: int = -1
    accuracy: float = -1.0
    weights: dict[str, Tensor] = field(default_factory=dict)


class Training:
    """One run between its first step and its result. Everything that must survive a crash goes through `_save` and `_restore`."""

    def __init__(self, planned: Plan, run: runs.Run, splits: Splits, place: Place, stop: threading.Event) -> None:
        self.config, self.run, self.place, self.stop = planned.config, run, place, stop
        self.device = device_of(place)
        self.splits = splits
        self.images = splits.train.to(self.device if _fits(splits.train.pixels, self.device) else "cpu")
        self.method = self.config.method
        ahead = self.config.optim.epochs * len(splits.train)
        begun = recorded(run)
        said_in = begun.teachers if begun else None
        self.teacher = speaking.load(planned.sources, splits, self.device, ahead, said_in) if planned.sources else None
        self.memory: recall.Remembered | None = None
        # batches of this epoch that the teacher has spoken about, and what it said
        self.heard: tuple[range, list[Tensor]] = (range(0), [])
        taught_by = self.teacher.shapes() if self.teacher else Shapes(0)
        self.learner = Learner.fresh(self.config, splits, taught_by).to(self.device)
        if self.device.type == "cpu" or self.config.optim.precision != "fp32":
            self.learner = self.learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = build_optimizer(self.learner, self.config.optim)
        self.views = Views(self.config.views, splits.train.pixels.shape[-1])
        self.mean_weights = self._copy_of_weights() if self.config.optim.ema else {}
        self.best = Best()
        self.epoch, self.batch = 0, 0  # the next batch to be trained on
        self.history: list[dict[str, Tensor]] = []  # of this epoch, a batch each; on the device, fetched at its end
        self.seconds = 0.0
        self.display = TrainingDisplay(run.id, str(run.path), self.config.optim.epochs, len(self.images), place.quiet)
        self.arithmetic = begun or self._choose()

    # ---- the arithmetic ----

    def _choose(self) -> Chosen:
        student, batches = self.learner.student, self.config.optim.epochs * self._batches_per_epoch()
        chosen = choose(self.config, student, self._first_batch(), batches, self.place.compile, self.display.say)
        voices = self.teacher.voices if self.teacher else []
        chosen = chosen.model_copy(update={"teachers": tuple(voice.precision for voice in voices)})
        record(self.run, chosen)
        return chosen

    def _first_batch(self) -> tuple[Tensor, Tensor]:
        """Images and labels to try things on."""
        positions = torch.arange(min(self.config.optim.batch_size, len(self.images)), device=self.images.labels.device)
        pixels, labels = (kept[positions].to(self.device) for kept in (self.images.pixels, self.images.labels))
        return normalise(pixels, self.splits.mean, self.splits.std), labels

    def compile(self) -> None:
        """As was chosen."""
        if self.arithmetic.execution != "eager":
            images = self._first_batch()[0]
            self.learner.compile_student(self.method.wants(), images, self.arithmetic, self.display.say)

    # ---- the loop ----

    def to_the_end(self) -> None:
        with self.display:
            if self.teacher:
                self.memory = recall.remembered(
                    self.teacher, self.config, self.splits, self.images, self.place, self.display.say
                )
            self.compile()
            self._restore()
            self._saved_at = time.perf_counter()
            while self.epoch < self.config.optim.epochs:
                self._train_epoch()
            self._finish()

    def _train_epoch(self) -> None:
        optim, total = self.config.optim, len(self.images)
        positions = order(self.config.seed, self.epoch, total, self.images.pixels.device)
        batches = self._batches_per_epoch()
        started = time.perf_counter()
        self.learner.train()
        while self.batch < batches:
            self._hear(positions)
            chosen = positions[self.batch * optim.batch_size : (self.batch + 1) * optim.batch_size]
            self._train_batch(chosen, last=self.batch == batches - 1)
            self.display.trained(self.epoch, len(chosen))
            if self._at_a_step():
                self._stop_if_asked()
                if self.batch < batches and time.perf_counter() - self._saved_at > self.place.checkpoint_seconds:
                    self._check_numbers()
                    self._save()
        self._check_numbers()  # this waits for the device, so that the clock tells all of the epoch
        self._end_epoch(time.perf_counter() - started)

    def _stop_if_asked(self) -> None:
        if self.stop.is_set():
            self._check_numbers()
            self._save()
            raise Stopped(
                f"{self.run.id} stopped at epoch {self.epoch + 1} of {self.config.optim.epochs}. The same command goes on from here."
            )

    def _hear(self, positions: Tensor) -> None:
        """Ask the teacher about the batches ahead, as far as its memory has no answer; one that reads features is asked batch by batch."""
        if self.memory is None or self.batch in self.heard[0]:
            return
        size, step = self.config.optim.batch_size, self.config.optim.accumulate
        ahead = max(1, self.memory.chunk // (size * step)) * step  # whole steps, so that a stop finds no gradients
        chunk = range(self.batch, min(self.batch + ahead, self._batches_per_epoch()))

        def between(images: int) -> None:
            self.display.asked(images)
            self._stop_if_asked()

        self.heard = (chunk, self.memory.listen(positions[chunk.start * size : chunk.stop * size], self.epoch, between))

    def _said(self, rendered: Rendered) -> Outputs:
        """What the teacher says of the batch: remembered, or live."""
        if self.teacher is None:
            return nobody()
        if self.memory is None:
            return self.teacher.ask(rendered.pixels, self.method.wants())
        start = (self.batch - self.heard[0].start) * self.config.optim.batch_size
        return recall.outputs(self.heard[1], slice(start, start + len(rendered.pixels)))

    def _batches_per_epoch(self) -> int:
        """A last batch of a single image is left out: its batch statistics would be undefined."""
        total, size = len(self.images), self.config.optim.batch_size
        batches = -(-total // size)
        return batches - 1 if total % size == 1 and batches > 1 else batches

    def _at_a_step(self) -> bool:
        """Whether the last batch completed an optimiser step: between batches of one step gradients are not saved."""
        return self.batch % self.config.optim.accumulate == 0 or self.batch == self._batches_per_epoch()

    def _train_batch(self, positions: Tensor, last: bool) -> None:
        optim = self.config.optim
        torch.manual_seed(mixed(self.config.seed, "step", self.epoch, self.batch))  # dropout
        rendered = self.views.render(self.images, positions, self.config.seed, self.epoch).to(self.device)
        labels, indices = (kept[positions].to(self.device) for kept in (self.images.labels, self.images.indices))
        batch = Batch(labels, indices, rendered.partners, rendered.share)
        terms, student = self._terms(rendered, batch)
        loss = torch.stack(list(terms.values())).sum()
        (loss / optim.accumulate).backward()
        self.batch += 1
        seen = {name: term.detach().float() for name, term in terms.items()}
        seen["correct"] = (self._deployed(student).argmax(1) == batch.labels).sum().float()
        if self._at_a_step() or last:
            seen |= self._step()
        self.history.append(seen)
        if self.device.type == "cpu" or self.batch % CHECKED_EVERY == 0:
            self._check_numbers(newest=1 if self.device.type == "cpu" else CHECKED_EVERY)

    def _terms(self, rendered: Rendered, batch: Batch) -> tuple[dict[str, Tensor], Outputs]:
        read = self.method.wants()
        said = self._said(rendered)
        images = normalise(rendered.pixels, self.splits.mean, self.splits.std)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.arithmetic.student == "bf16"):
            student = self.learner.outputs(images, read)
            progress = Progress(self.epoch, self.config.optim.epochs)
            return self.method.terms(student, said, batch, self.learner.adapters, progress), student

    @torch.no_grad()
    def _deployed(self, student: Outputs) -> Tensor:
        """The logits that count, where a method adds to the student that is deployed."""
        if self.method.added() == "nothing":
            return student.logits
        return self.method.predict(student, self.learner.adapters)

    def _rate(self) -> tuple[float, int]:
        """Learning rate and number of the step that the last batch completes."""
        steps = -(-self._batches_per_epoch() // self.config.optim.accumulate)
        step = self.epoch * steps + -(-self.batch // self.config.optim.accumulate) - 1
        return learning_rate(self.config.optim, step, steps), step

    def _step(self) -> dict[str, Tensor]:
        optim = self.config.optim
        rate, step = self._rate()
        set_learning_rate(self.optimizer, rate)
        norm = clip(self.learner.parameters(), optim.clip_norm) if optim.clip_norm else None
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if optim.ema:
            follow(self.mean_weights, self.learner.state_dict(), optim.ema, step)
        return {} if norm is None else {"gradient_norm": norm.detach()}

    def _check_numbers(self, newest: int | None = None) -> None:
        """A loss that is not finite ends the run before it can reach a checkpoint."""
        start = 0 if newest is None else max(0, len(self.history) - newest)
        for number, seen in enumerate(self.history[start:], start):
            if not all(value.isfinite() for value in seen.values()):
                values = ", ".join(f"{name} {value.item():.4g}" for name, value in seen.items() if name != "correct")
                raise Diverged(
                    f"The loss of {self.run.id} is no longer a number at epoch {self.epoch + 1}, batch {number + 1}: {values}. "
                    f"Try a lower optim.lr ({self.config.optim.lr:g} now), optim.warmup_epochs, or optim.clip_norm. "
                    f"The last good checkpoint is kept in {self.run.path}."
                )

    # ---- the end of an epoch ----

    def _end_epoch(self, seconds: float) -> None:
        metrics = self._epoch_metrics()
        last = self.epoch == self.config.optim.epochs - 1
        if self.splits.heldout is not None and (last or (self.epoch + 1) % self.config.evaluate_every == 0):
            metrics |= self._look_at_heldout()
        runs.append_line(self.run.metrics_file, metrics)
        seen = len(self.history) * self.config.optim.batch_size
        runs.append_line(
            self.run.times_file, {"epoch": self.epoch, "seconds": seconds, "images_per_second": seen / seconds}
        )
        self.display.epoch_done(metrics)
        self.seconds += seconds
        self.epoch, self.batch, self.history, self.heard = self.epoch + 1, 0, [], (range(0), [])
        if last or self.stop.is_set() or time.perf_counter() - self._saved_at > self.place.checkpoint_seconds:
            self._save()

    def _epoch_metrics(self) -> dict[str, Any]:
        names = [name for name in self.history[0] if name not in ("correct", "gradient_norm")]
        means = {name: torch.stack([seen[name] for seen in self.history]).double().mean().item() for name in names}
        trained = min(len(self.history) * self.config.optim.batch_size, len(self.images))
        correct = torch.stack([seen["correct"] for seen in self.history]).sum().item()
        metrics: dict[str, Any] = {"epoch": self.epoch, "terms": means, "train_accuracy": correct / trained}
        metrics["lr"] = self._rate()[0]
        norms = [seen["gradient_norm"] for seen in self.history if "gradient_norm" in seen]
        if norms:
            metrics["gradient_norm"] = {
                "mean": torch.stack(norms).mean().item(),
                "largest": torch.stack(norms).max().item(),
            }
        return metrics

    def _look_at_heldout(self) -> dict[str, float]:
        assert self.splits.heldout is not None
        with self._final_weights():
            logits = predict(self.predictor(), self.splits.heldout, self.device)
            found = score(logits, self.splits.heldout.labels)
            if found.accuracy > self.best.accuracy:
                self.best = Best(self.epoch, found.accuracy, self._copy_of_weights())
        return {"heldout_accuracy": found.accuracy, "heldout_nll": found.nll}

    def predictor(self) -> Predictor:
        return Predictor(self.learner.student, self.splits.mean, self.splits.std, self.method, self.learner.adapters)

    def _copy_of_weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.learner.state_dict().items()}

    @contextlib.contextmanager
    def _final_weights(self) -> Iterator[None]:
        """The weights that would be kept if training ended now: the running mean where there is one."""
        if not self.config.optim.ema:
            yield
            return
        kept = self._copy_of_weights()
        self.learner.load_state_dict(self.mean_weights)
        try:
            yield
        finally:
            self.learner.load_state_dict(kept)

    # ---- what survives ----

    def _save(self) -> None:
        tensors = {f"learner.{name}": value for name, value in self.learner.state_dict().items()}
        tensors |= {f"optimizer.{name}": value for name, value in optimizer_tensors(self.optimizer).items()}
        tensors |= {f"mean.{name}": value for name, value in self.mean_weights.items()}
        tensors |= {f"best.{name}": value for name, value in self.best.weights.items()}
        names = list(dict.fromkeys(name for seen in self.history for name in seen))
        for name in names:
            tensors[f"history.{name}"] = torch.stack(
                [seen.get(name, torch.tensor(torch.nan)).cpu() for seen in self.history]
            )
        state = {
            "epoch": self.epoch, "batch": self.batch, "seconds": self.seconds,
            "best_epoch": self.best.epoch, "best_accuracy": self.best.accuracy, "history": names,
        }  # fmt: skip
        runs.save_checkpoint(self.run, tensors, state)
        self._saved_at = time.perf_counter()

    def _restore(self) -> None:
        found = runs.load_checkpoint(self.run)
        if found is None:
            runs.keep_lines(self.run.metrics_file, 0)
            runs.keep_lines(self.run.times_file, 0)
            return
        tensors, state, warning = found
        if warning:
            self.display.say(f"warning: {warning}")
        parts: dict[str, dict[str, Tensor]] = {"learner": {}, "optimizer": {}, "mean": {}, "best": {}, "history": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        self.learner.load_state_dict(parts["learner"])
        restore_optimizer(self.optimizer, parts["optimizer"])
        self.mean_weights = {name: value.to(self.device) for name, value in parts["mean"].items()}
        self.best = Best(
            state["best_epoch"],
            state["best_accuracy"],
            {name: value.to(self.device) for name, value in parts["best"].items()},
        )
        self.epoch, self.batch, self.seconds = state["epoch"], state["batch"], state["seconds"]
        in_order = {name: parts["history"][name] for name in state["history"]}
        self.history = _unstacked(in_order, self.batch, self.device)
        runs.keep_lines(self.run.metrics_file, self.epoch)
        runs.keep_lines(self.run.times_file, self.epoch)
        self.display.resumed(self.epoch, self.epoch * len(self.images) + self.batch * self.config.optim.batch_size)

    def _finish(self) -> None:
        with self._final_weights():
            final = self._copy_of_weights()
        about = {
            "run": self.run.id,
            "model": self.config.model.model_dump(mode="json"),
            "classes": list(self.splits.classes),
        }
        self._keep(final, "final", about)
        if self.best.weights:
            self._keep(self.best.weights, "best", about)
        metrics = self.run.metrics()
        result = {
            "id": self.run.id,
            "epochs": self.epoch,
            "train_accuracy": metrics[-1]["train_accuracy"],
            "heldout_accuracy": metrics[-1].get("heldout_accuracy"),
            "best": {"epoch": self.best.epoch, "heldout_accuracy": self.best.accuracy} if self.best.weights else None,
            "parameters": sum(parameter.numel() for parameter in self.learner.student.parameters()),
            "seconds": self.seconds,
            "teacher_asked": self.memory.asked if self.memory else None,  # images since the run was last taken up
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        runs.write_json(self.run.result_file, result)
        runs.drop_checkpoints(self.run)

    def _keep(self, weights: dict[str, Tensor], which: str, about: dict[str, Any]) -> None:
        """The student by its module's own names; the adapters only where the deployed student needs them."""
        student = {
            name.removeprefix("student.module."): value
            for name, value in weights.items()
            if name.startswith("student.module.")
        }
        runs.write_weights(self.run.weights_file(which), student, about)
        if self.method.added() != "nothing":
            adapters = {
                name.removeprefix("adapters."): value for name, value in weights.items() if name.startswith("adapters.")
            }
            runs.write_weights(self.run.adapters_file(which), adapters, about)


def _fits(pixels: Tensor, device: torch.device) -> bool:
    """Whether the images may live on the device with the networks; larger sets stay on the CPU and travel a batch at a time."""
    return device.type == "cpu" or pixels.nbytes < 0.4 * torch.cuda.mem_get_info(device)[0]


def _unstacked(history: dict[str, Tensor], batches: int, device: torch.device) -> list[dict[str, Tensor]]:
    return [
        {name: values[batch].to(device) for name, values in history.items() if not values[batch].isnan()}
        for batch in range(batches)
    ]
