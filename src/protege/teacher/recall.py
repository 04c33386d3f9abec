"""A teacher that is asked once: its logits of every view are remembered, and shared by all runs."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from protege import data, runs
from protege.data.base import Images, Splits, at_a_time
from protege.errors import ConfigError
from protege.methods.base import Outputs
from protege.runs.config import Place, RunConfig
from protege.runs.files import allocated
from protege.runs.hardware import device_of, fp32_on
from protege.runs.process import compute_alike
from protege.runs.process.ranks import ALONE, Ranks, present
from protege.teacher import speaking
from protege.teacher.memory import Kept, Memory, OneForAll, answers
from protege.teacher.seen import refuse_any_leak
from protege.teacher.sources import identify
from protege.teacher.speaking import Teacher, Voice, ask, together
from protege.views import Views

ASKED_TOGETHER = {"cpu": 250, "cuda": 1000}  # images; always as many, for the arithmetic depends on the shape
CHUNK_BYTES = 64 << 20  # of logits that are fetched ahead of the training
MOST_BYTES = 20 * 10**9  # of all memories together, where no limit is named
WORTH_SAYING = 10**9  # bytes
Render = Callable[[Tensor], Tensor]  # places in a chunk -> pixels
Between = Callable[[int], None]  # called before every batch that a network looks at, with its size


@dataclass
class Remembered:
    """The voices of a teacher with a memory each, for one run's images and views. Of several processes each asks its share."""

    teacher: Teacher
    memories: list[Kept]
    views: Views
    images: Images
    seed: int
    ranks: Ranks = ALONE
    asked: int = 0  # images that a network had to look at

    @property
    def device(self) -> torch.device:
        """Of the teacher, where views are drawn as well."""
        return next(self.teacher.voices[0].network.parameters()).device

    @property
    def chunk(self) -> int:
        """How many images to listen about at a time."""
        return max(1, CHUNK_BYTES // (4 * self.memories[0].extent.classes))

    def close(self) -> None:
        for memory in self.memories:
            memory.close()

    def bytes_to_come(self, epochs: int) -> int:
        """At most: each epoch shows each image in one view, and a view that is known takes no more room."""
        extent = self.memories[0].extent
        views = epochs if extent.views is None else min(epochs, extent.views)
        rows = sum(max(0, views * len(self.images) - memory.count_known()) for memory in self.memories)
        return rows * 4 * (extent.words + 2)  # a checksum, and a place

    def listen(self, positions: Tensor, epoch: int, between: Between) -> list[Tensor]:
        """Each voice's logits of these images in this epoch's views."""
        numbers = self.views.numbers(self.seed, epoch, self.images.indices[positions])

        def render(places: Tensor) -> Tensor:
            return self.views.render(self.images, positions[places], self.seed, epoch, self.device).pixels

        return self._listen(positions, numbers, render, between)

    def listen_to_view(self, positions: Tensor, number: int, between: Between) -> list[Tensor]:
        """Each voice's logits of one numbered view of these images."""
        numbers = torch.full_like(positions, number)

        def render(places: Tensor) -> Tensor:
            return self.views.render_numbered(
                self.images.pixels[positions[places]].to(self.device), numbers[places].to(self.device)
            )

        return self._listen(positions, numbers, render, between)

    def _listen(self, positions: Tensor, numbers: Tensor, render: Render, between: Between) -> list[Tensor]:
        return [
            self._listen_to(voice, memory, positions, numbers, render, between)
            for voice, memory in zip(self.teacher.voices, self.memories, strict=True)
        ]

    def _listen_to(
        self, voice: Voice, memory: Kept, positions: Tensor, numbers: Tensor, render: Render, between: Between
    ) -> Tensor:
        @torch.inference_mode()
        def tell(places: Tensor) -> Tensor:
            between(len(places))
            mine = places[self.ranks.part(len(places))].to(positions.device)
            return self.ranks.gathered(ask(voice, render(mine)).logits, len(places)).cpu()

        indices = self.images.indices[positions].cpu()
        together = self.ranks.count * at_a_time(ASKED_TOGETHER[self.device.type], self.views.image_size)
        found = answers(memory, indices, numbers.cpu(), tell, together)
        self.asked += found.asked
        return found.logits.to(self.device)


def outputs(said: list[Tensor], part: slice) -> Outputs:
    """One batch of what was listened to."""
    return together([Outputs(logits[part]) for logits in said])


def remembered(
    taught_by: Teacher, config: RunConfig, splits: Splits, images: Images, place: Place, say: Callable[[str], None]
) -> Remembered | None:
    """The teacher's memory for this run; None where the run wants more than logits, or no remembering."""
    if config.remember == "none" or set(config.method.wants()) != {"logits"}:
        return None
    views = Views(config.views, splits.train.pixels.shape[-1])
    limit = default_limit(place.memory) if place.memory_limit is None else int(place.memory_limit * 1e9)
    open_memory = partial(
        Memory.open,
        place.memory,
        images=splits.images,
        views=views.count,
        classes=len(splits.classes),
        dtype=config.remember,
        limit_bytes=limit,
        say=say,
    )
    ranks = present()
    openings = [partial(open_memory, _about(voice, config, splits, views)) for voice in taught_by.voices]
    memories = [opening() if ranks.alone else OneForAll(opening, ranks) for opening in openings]
    kept = Remembered(taught_by, memories, views, images, config.seed, ranks)
    if (wanted := kept.bytes_to_come(config.optim.epochs)) > WORTH_SAYING:
        say(
            f"what the teacher says will take up to {wanted / 1e9:.1f} GB in {place.memory}, "
            f"which may grow to {limit / 1e9:.1f} GB (--memory-limit)"
        )
    return kept


def default_limit(root: Path) -> int:
    """Bytes that a folder of memories may grow to where nobody said: a tenth of what is free beside it, and never above `MOST_BYTES`."""
    there = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    used = allocated(root)
    return min(used + shutil.disk_usage(there).free // 10, max(used, MOST_BYTES))


def _about(voice: Voice, config: RunConfig, splits: Splits, views: Views) -> dict[str, object]:
    """All that can change the words: the weights, the pixels, the views, the arithmetic."""
    return {
        "teacher": voice.name,
        "weights": voice.weights,
        "data": splits.name,
        "content": splits.content,
        "views": views.identity(config.seed),
        # images mixed in come from this run's training images, and no others
        "partners": splits.fingerprint if config.views.mix != "none" else None,
        "mean": list(voice.mean),
        "std": list(voice.std),
        "precision": voice.precision,
        "device": fp32_on(next(voice.network.parameters()).device),
    }


# ---- ahead of training ----


@dataclass(frozen=True)
class Warming:
    """How far asking ahead of training is."""

    done: int
    total: int  # images in all views that are wanted
    asked: int  # of those done, the ones that were not remembered before


def warm(config: RunConfig, place: Place, every_view: bool, say: Callable[[str], None]) -> Iterator[Warming]:
    """Ask the teacher all that a run of this description will need, or all views there are.

    What is known is not asked again, so it may be stopped anywhere.
    """
    splits = data.load(config.data, place.data_dir)
    sources = identify(config.teacher, place.runs)
    refuse_any_leak(sources, config, splits, place)
    if not sources:
        raise ConfigError("Nobody to listen to: name a run or a weights file as `teacher`.")
    compute_alike(place.threads or runs.cores())
    ahead = config.optim.epochs * len(
        splits.train
    )  # what the run will see, so that the teacher speaks as it will to it
    taught_by = speaking.load(sources, splits, device_of(place), ahead, folder=place.runs)
    kept = remembered(taught_by, config, splits, splits.train, place, say)
    if kept is None:
        raise ConfigError(
            f"method {config.method.name} with remember {config.remember} remembers nothing: it asks the teacher live."
        )
    if every_view and kept.views.count is None:
        raise ConfigError(
            f"The views {kept.views.identity(config.seed)} are a stream without end: leave --every-view out."
        )
    rounds = range(kept.views.count or 0) if every_view else range(config.optim.epochs)
    listen = kept.listen_to_view if every_view else kept.listen
    total = len(rounds) * len(splits.train)
    with contextlib.closing(kept):
        for done, number in enumerate(rounds):
            for positions in torch.arange(len(splits.train)).split(kept.chunk):
                listen(positions, number, lambda images: None)
            yield Warming((done + 1) * len(splits.train), total, kept.asked)
