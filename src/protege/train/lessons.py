"""What is shown and said: the batches of an epoch, and the teacher's word on each. Pure in (seed, epoch), whatever came before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from protege.data.base import Images
from protege.methods.base import Batch, Outputs, nobody
from protege.runs.config import OptimConfig, RunConfig
from protege.runs.process.ranks import ALONE, Ranks
from protege.teacher import recall
from protege.teacher.speaking import Teacher
from protege.train.slices import gathered
from protege.views import Views, order


@dataclass(frozen=True)
class Rhythm:
    """How images make batches, and batches steps."""

    images: int
    batch_size: int
    accumulate: int

    @classmethod
    def of(cls, images: int, optim: OptimConfig) -> Rhythm:
        return cls(images, optim.batch_size, optim.accumulate)

    @property
    def batches(self) -> int:
        """A last batch of a single image is left out: its batch statistics would be undefined."""
        batches = -(-self.images // self.batch_size)
        return batches - 1 if self.images % self.batch_size == 1 and batches > 1 else batches

    @property
    def steps(self) -> int:
        return -(-self.batches // self.accumulate)

    def completes(self, batches: int) -> bool:
        """Whether so many batches end in an optimiser step; between those of one step gradients are not saved."""
        return batches % self.accumulate == 0 or batches == self.batches

    def step(self, epoch: int, batches: int) -> int:
        """Number in the whole run of the step that the last of so many batches belongs to."""
        return epoch * self.steps + -(-batches // self.accumulate) - 1

    def parts(self, batch: int) -> float:
        """How many times the images of this batch make those of its step, so that each image of a step weighs as much as any other."""
        if self.accumulate == 1:
            return 1.0
        first = batch - batch % self.accumulate
        together = self.trained(min(first + self.accumulate, self.batches)) - self.trained(first)
        return together / (self.trained(batch + 1) - self.trained(batch))

    def trained(self, batches: int) -> int:
        """Images in so many batches of an epoch."""
        return min(batches * self.batch_size, self.images)

    def part(self, first: int, end: int) -> slice:
        """Of an epoch's positions: those of the batches from `first` to before `end`."""
        return slice(first * self.batch_size, end * self.batch_size)


@dataclass(frozen=True)
class Shown:
    """One batch as the networks see it, not yet normalised; of several processes each has the pixels of its own slice."""

    pixels: Tensor
    batch: Batch


@dataclass
class Lessons:
    """The teacher is asked ahead as far as its memory has no answer; one that reads features is asked batch by batch.

    `between` is called before every batch that a teacher looks at, with its size: it may end the run there.
    """

    config: RunConfig
    images: Images
    views: Views
    device: torch.device
    teacher: Teacher | None
    between: Callable[[int], None]
    ranks: Ranks = ALONE
    memory: recall.Remembered | None = None

    @property
    def rhythm(self) -> Rhythm:
        return Rhythm.of(len(self.images), self.config.optim)

    def of_epoch(self, epoch: int, start: int) -> Iterator[tuple[Shown, Outputs]]:
        """From batch `start` on."""
        rhythm = self.rhythm
        positions = order(self.config.seed, epoch, rhythm.images, self.images.pixels.device)
        heard: tuple[range, list[Tensor]] = (range(0), [])
        for batch in range(start, rhythm.batches):
            if self.memory is not None and batch not in heard[0]:
                chunk = self._chunk(batch, self.memory.chunk)
                heard = chunk, self.memory.listen(positions[rhythm.part(chunk.start, chunk.stop)], epoch, self.between)
            shown = self._shown(positions[rhythm.part(batch, batch + 1)], epoch)
            if self.memory is not None:
                place = rhythm.part(batch - heard[0].start, batch - heard[0].start + 1)
                yield shown, recall.outputs(heard[1], place)
            else:
                yield shown, self._live(shown)

    def _chunk(self, batch: int, images: int) -> range:
        """Batches to listen about at a time: whole steps, so that a stop finds no gradients."""
        rhythm = self.rhythm
        ahead = max(1, images // (rhythm.batch_size * rhythm.accumulate)) * rhythm.accumulate
        return range(batch, min(batch + ahead, rhythm.batches))

    def _shown(self, positions: Tensor, epoch: int) -> Shown:
        batch, own = len(positions), positions[self.ranks.shown(len(positions))]
        rendered = self.views.render(self.images, own, self.config.seed, epoch, self.device)
        labels, indices = (kept[positions].to(self.device) for kept in (self.images.labels, self.images.indices))
        mixed = (
            None if part is None else self.ranks.gathered(part, batch) for part in (rendered.partners, rendered.share)
        )
        return Shown(rendered.pixels, Batch(labels, indices, *mixed))

    def _live(self, shown: Shown) -> Outputs:
        if not self.teacher:
            return nobody()
        said = self.teacher.ask(shown.pixels, self.config.method.wants())
        return gathered(said, self.ranks, len(shown.batch.labels))
