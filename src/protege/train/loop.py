"""The one training loop.

Notable: order, views, initial weights and dropout are pure functions of (seed, epoch, step), so a run that was killed ends
bit-equal to one that was not; the test set is never touched here; the teacher is asked, never called by a method.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from numpy import ndarray
from torch import Tensor

from protege import data, runs
from protege.data.base import Splits
from protege.data.mapped import Mapped
from protege.data.outside.code import is_own, keep
from protege.errors import DataError, Stopped
from protege.evaluate import Predictor, accuracy_and_nll, predict
from protege.methods.base import Outputs, Shapes
from protege.methods.lookup import from_outside
from protege.models import check
from protege.models.cutting import Kept
from protege.runs.config import Place, RunConfig, check_run
from protege.runs.display import TrainingDisplay
from protege.runs.display.trackers import Trackers, confusions, refuse_missing
from protege.runs.hardware import device_of, fp32_on
from protege.runs.identity import known_as
from protege.runs.process import begun_by, settle, stoppable
from protege.runs.process.ranks import present
from protege.runs.records import PrunedRecord
from protege.teacher import recall, speaking
from protege.teacher.seen import Seen, listed, refuse_any_leak
from protege.teacher.sources import Source, identify
from protege.train.arithmetic import Chosen, choose, record, recorded
from protege.train.divergence import Watch
from protege.train.hints import hints
from protege.train.learner import Learner
from protege.train.lessons import Lessons, Shown
from protege.train.pruned import chosen, kept_in, sentence
from protege.train.record import Record, described
from protege.train.slices import DividedLearner, refuse_what_cannot_be_divided, share
from protege.train.state import Best, State
from protege.train.step import Step
from protege.views import Views, normalise


@dataclass(frozen=True)
class Plan:
    """A run that is known but perhaps not begun: its id, its data and who teaches."""

    config: RunConfig
    id: str
    sources: tuple[Source, ...]
    data: str  # fingerprint


def plan(config: RunConfig, place: Place) -> Plan:
    """Cheap: no pixel is read. Errors in names and teachers show here, before any work."""
    check(config.model)
    sources = tuple(identify(config.teacher, place.runs))
    fingerprint = data.fingerprint(config.data, place.data_dir)
    identities = [source.identity for source in sources]
    config = config.model_copy(update={"teacher": tuple(source.config for source in sources)})
    return Plan(*known_as(config, fingerprint, identities, place.runs), sources, fingerprint)


def train(run: RunConfig | Mapping[str, Any], place: Place | None = None) -> runs.Run:
    """Train to the end and return the finished run; one that is already finished is returned as it is.

    With `place.until` it may rest before its end, and goes on from there another time.
    """
    place, ranks = place or Place(), present()
    config = check_run(run) if isinstance(run, Mapping) else run
    refuse_what_cannot_be_divided(config, place, ranks)
    refuse_missing(place.log)
    planned = plan(config, place)
    ranks.agree(planned.id, "run")
    known = runs.Run(place.runs / planned.id)
    if ranks.from_first(lambda: known.finished):
        return known
    splits = data.load(config.data, place.data_dir)
    if splits.fingerprint != planned.data:
        raise DataError(f"{splits.name} gave other images at the second look. It must give the same ones every time.")
    inherited = refuse_any_leak(planned.sources, config, splits, place)
    began = ranks.from_first(known.record_file.exists)
    rehearsed = None if began else _rehearse(planned, splits, place)
    with contextlib.ExitStack() as held:

        def begin() -> runs.Run:
            begun = runs.start(place.runs, planned.id, record_of(planned, splits, place, inherited))
            held.enter_context(runs.locked(begun, place.wait))
            if is_own(config.model.name):
                keep(config.model.name, begun.code)
            for name in filter(is_own, from_outside(config.method)):
                keep(name, begun.methods)
            return begun

        begun = ranks.from_first(begin)
        if not ranks.from_first(lambda: begun.finished):  # the process that we waited for may have done it
            settle(begun, place)
            kept = ranks.from_first(lambda: kept_in(begun, planned.config, splits, rehearsed))
            stop = held.enter_context(stoppable())
            training = Training(planned, begun, splits, place, stop, kept)
            held.enter_context(contextlib.closing(training)).to_the_end()
    return begun


def _rehearse(planned: Plan, splits: Splits, place: Place) -> PrunedRecord | None:
    """What does not fit (a missing library, weights, a teacher, a method and its layers) shows before there is a folder.
    What was found out by it: which channels are pruned away."""
    device_of(place)
    taught_by = speaking.load(planned.sources, splits, torch.device("cpu")).shapes() if planned.sources else Shapes(0)
    pruned = chosen(planned.config, splits)
    Learner.fresh(planned.config, splits, taught_by, pruned and pruned["kept"])
    return pruned


def record_of(planned: Plan, splits: Splits, place: Place, inherited: Seen | None = None) -> dict[str, Any]:
    written = described(planned.id, planned.config, planned.sources, splits, place)
    return written | {"seen": listed(place.runs, splits, inherited or Seen())}


class Training:
    """One run between its first step and its result: who takes part, and the order in which things happen."""

    def __init__(
        self,
        planned: Plan,
        run: runs.Run,
        splits: Splits,
        place: Place,
        stop: threading.Event,
        kept: Kept | None = None,
    ) -> None:
        """`kept` are the student's channels where others were pruned away."""
        config = planned.config
        self.config, self.run, self.splits, self.place, self.stop = config, run, splits, place, stop
        self.ranks = ranks = present()
        self.device = device_of(place)
        self.images = splits.train.to(self.device if _fits(splits.train.pixels, self.device) else "cpu")
        begun = ranks.from_first(lambda: recorded(run))
        said_in = begun.teachers if begun else None
        ahead = config.optim.epochs * len(splits.train)
        self.teacher = (
            speaking.load(planned.sources, splits, self.device, ahead, said_in, place.runs) if planned.sources else None
        )
        views = Views(config.views, splits.train.pixels.shape[-1])
        self.lessons = Lessons(config, self.images, views, self.device, self.teacher, self._asked, ranks)
        self.rhythm = self.lessons.rhythm
        self.state = State.fresh(self._learner(kept), config)
        self.display = TrainingDisplay(run.id, str(run.path), config.optim.epochs, len(self.images), place.quiet)
        self.arithmetic = begun or ranks.from_first(self._choose)
        self.step = Step(config, self.rhythm, splits.mean, splits.std, self.arithmetic.student)
        self.record = Record(run, config, splits.classes, self.rhythm, place.checkpoint_seconds)
        self.watch = Watch(run, config)
        self.trackers = Trackers(run, place.log if ranks.first else (), self.display.say)

    # ---- the loop ----

    def to_the_end(self) -> None:
        with self.display:
            self._begin()
            epochs = self.config.optim.epochs
            while self.state.epoch < min(self.place.until or epochs, epochs):
                self.train_epoch()
            if self.state.epoch == epochs:
                asked = self.lessons.memory.asked if self.lessons.memory else None
                self.ranks.from_first(lambda: self.record.finish(self.state, asked))
                self.trackers.end(self._pictures)

    def close(self) -> None:
        """Others may drop what the teacher said now, however the run ended."""
        if self.lessons.memory:
            self.lessons.memory.close()
        self.trackers.close()

    def train_epoch(self) -> None:
        state = self.state
        self._since = time.perf_counter() - state.begun_seconds
        state.learner.train()
        for shown, said in self.lessons.of_epoch(state.epoch, start=state.batch):
            self.train_batch(shown, said)
            if self.rhythm.completes(state.batch):
                self._pause(state.batch < self.rhythm.batches)
        self.watch.whole(state)  # this waits for the device, so that the clock tells all of the epoch
        self.end_epoch(time.perf_counter() - self._since)

    def train_batch(self, shown: Shown, said: Outputs) -> None:
        self.step(self.state, shown, said)
        self.display.trained(self.state.epoch, len(shown.batch.labels))
        self.watch.after_batch(self.state)

    def end_epoch(self, seconds: float) -> None:
        state = self.state
        last = state.epoch == self.config.optim.epochs - 1
        looks = last or (state.epoch + 1) % self.config.evaluate_every == 0
        heldout = self._look_at_heldout() if looks and self.splits.heldout is not None else {}
        rate = self.step.rate(state)
        self.display.epoch_done(self.ranks.from_first(lambda: self.record.epoch(state, rate, seconds, heldout)))
        self.trackers.follow()
        state.seconds += seconds
        state.next_epoch()
        self._since = time.perf_counter()
        if last or state.epoch == self.place.until or any(self._wished()):
            self.save()

    def save(self) -> None:
        self.watch.whole(self.state)
        self.state.begun_seconds = time.perf_counter() - self._since
        self.ranks.from_first(lambda: self.record.save(self.state))

    def _pause(self, within_epoch: bool) -> None:
        """Between steps, where a run can be broken off."""
        stop, due = self._wished()
        if stop or (due and within_epoch):
            self.save()
        if stop:
            raise Stopped(
                f"{self.run.id} stopped at epoch {self.state.epoch + 1} of {self.config.optim.epochs}. "
                "The same command goes on from here."
            )

    def _wished(self) -> list[bool]:
        """An end, which any process may have been asked for; and a checkpoint, which the first writes."""
        return self.ranks.any(self.stop.is_set(), self.ranks.first and self.record.is_due())

    def _asked(self, images: int) -> None:
        """Before every batch that the teacher is asked about ahead."""
        self.display.asked(images)
        self._pause(within_epoch=False)

    def _look_at_heldout(self) -> dict[str, float]:
        state, heldout = self.state, self.splits.heldout
        assert heldout is not None
        with state.final_weights():
            mine = predict(self.predictor(), heldout.at(self.ranks.shown(len(heldout))), self.device)
            accuracy, nll = accuracy_and_nll(self.ranks.gathered(mine, len(heldout)), heldout.labels)
            self.watch.scores(state, nll)
            if accuracy > state.best.accuracy:
                state.best = Best(state.epoch, accuracy, state.weights())
        return {"heldout_accuracy": accuracy, "heldout_nll": nll}

    def _pictures(self) -> dict[str, ndarray]:
        if (heldout := self.splits.heldout) is None:
            return {}
        with self.state.final_weights():
            said = predict(self.predictor(), heldout, self.device).argmax(1)
        return {"heldout/confusions": confusions(heldout.labels.tolist(), said.tolist(), self.splits.classes)}

    def predictor(self) -> Predictor:
        learner = self.state.learner
        return Predictor(learner.student, self.splits.mean, self.splits.std, self.config.method, learner.adapters)

    # ---- before the first step ----

    def _begin(self) -> None:
        for moved in self.ranks.from_first(lambda: list(self._moved(self.run.record()))):
            self.display.say(f"note: {moved}: the last bits will differ")
        for hint in hints(self.config, self.splits.train.pixels.shape[-1]):
            self.display.say(f"note: {hint}")
        if self.run.pruned_file.exists():
            self.display.say(sentence(self.run.pruned()))
        if self.teacher:
            self.lessons.memory = recall.remembered(
                self.teacher, self.config, self.splits, self.images, self.place, self.display.say
            )
        self.compile()
        resumed, warning = self.ranks.from_first(lambda: self.record.restore(self.state))
        share(self.state, self.ranks)
        if warning:
            self.display.say(f"warning: {warning}")
        if resumed:
            state = self.state
            self.display.resumed(state.epoch, state.epoch * len(self.images) + self.rhythm.trained(state.batch))

    def _moved(self, began: Mapping[str, Any]) -> Iterator[str]:
        """Since it began: a cluster may requeue it onto a GPU of another kind."""
        if (processes := begun_by(began)) != self.ranks.count:
            yield f"begun by {processes} processes, going on with {self.ranks.count}"
        here = fp32_on(self.device)
        if (there := began.get("fp32", here)) != here:
            yield f"begun on {there}, going on with {here}"

    def _learner(self, kept: Kept | None) -> Learner:
        taught_by = self.teacher.shapes() if self.teacher else Shapes(0)
        kind = Learner if self.ranks.alone else DividedLearner
        learner = kind.fresh(self.config, self.splits, taught_by, kept).to(self.device)
        learner.ranks = self.ranks
        return learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as images are, in every precision

    def _choose(self) -> Chosen:
        student, batches = self.state.learner.student, self.config.optim.epochs * self.rhythm.batches
        chosen = choose(self.config, student, self._first_batch(), batches, self.place, self.display.say)
        voices = self.teacher.voices if self.teacher else []
        chosen = chosen.model_copy(update={"teachers": tuple(voice.precision for voice in voices)})
        record(self.run, chosen)
        return chosen

    def _first_batch(self) -> tuple[Tensor, Tensor]:
        """Images and labels to try things on."""
        images = max(self.ranks.sizes(min(self.config.optim.batch_size, len(self.images))))
        positions = torch.arange(images, device=self.images.labels.device)
        pixels, labels = (kept[positions].to(self.device) for kept in (self.images.pixels, self.images.labels))
        return normalise(pixels, self.splits.mean, self.splits.std), labels

    def compile(self) -> None:
        """As was chosen; several processes look into each other's batch norms, which a graph cannot."""
        if self.arithmetic.execution != "eager" and self.ranks.alone:
            images, wants = self._first_batch()[0], self.config.method.wants()
            self.state.learner.compile_student(wants, images, self.arithmetic, self.display.say)


def _fits(pixels: Tensor | Mapped, device: torch.device) -> bool:
    """Whether the images may live on the device with the networks; larger sets stay on the CPU and travel a batch at a time."""
    return device.type == "cpu" or pixels.nbytes < 0.4 * torch.cuda.mem_get_info(device)[0]
