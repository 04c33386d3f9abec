"""What the teacher said of every (image, view), computed at first need and shared by all runs and processes.

ROOT/<key>/  about.json    whose words these are, readable; its date is that of the last use
             places.bin    see memory_files.py
             rows.bin
             in-use        locked, shared, by everybody who has this memory open
ROOT/lock    held while something is stored

The key is the hash of all that can change the teacher's words, which only the caller can know.
Never in the way of training: a full disk or a limit ends the storing and not the run.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from protege.errors import ConfigError, DataError, ModelError, NotEnoughSpace, RunError
from protege.runs.files import allocated
from protege.runs.process.ranks import Ranks
from protege.teacher.memory_files import PAGE, Checksum, Files, Integers, Words
from protege.teacher.memory_folder import ABOUT, KEY_LENGTH, storing, take_into_use, write_about

LOG = logging.getLogger(__name__)
FORMAT = 1  # in the key: raise it when the files mean something else
SPARE_BYTES = 10**9  # left free on the disk, for checkpoints
EPOCHS_AHEAD = 8  # of a stream: places are made for so many at a time
MOST_EPOCHS = 1 << 16  # a wrong number must not make a huge table
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

Dtype = Literal["fp16", "fp32"]
Ask = Callable[[Tensor], Tensor]  # positions in a chunk -> their logits [batch_size, C]


@dataclass(frozen=True)
class Extent:
    """What a memory can hold. `views` of None is a stream, whose views are numbered by the epoch."""

    images: int
    views: int | None
    classes: int
    dtype: Dtype

    @property
    def words(self) -> int:
        """Words of 4 bytes in a row of logits."""
        return self.classes if self.dtype == "fp32" else -(-self.classes // 2)

    @property
    def most_views(self) -> int:
        return self.views or MOST_EPOCHS


class Memory:
    """The words of one teacher, open until `close` or the end of the process. Indices, numbers and logits live on the CPU.

    `full` says why nothing more is stored, `damaged` how many rows were found wrong.
    """

    def __init__(
        self,
        root: Path,
        key: str,
        extent: Extent,
        limit_bytes: int | None,
        spare_bytes: int,
        say: Callable[[str], None],
    ) -> None:
        """Use `Memory.open`."""
        self.root, self.folder, self.extent = root, root / key[:KEY_LENGTH], extent
        self.limit_bytes, self.spare_bytes, self._say = limit_bytes, spare_bytes, say
        self.full: str | None = None
        self.damaged = 0
        self._files = Files(self.folder, key, extent.images, extent.words, extent.most_views)
        self._checksum = Checksum(key, extent.words)
        self._storing = threading.Lock()  # between the threads of one process, if several use this
        self._release: Callable[[], object] | None = None

    @classmethod
    def open(
        cls,
        root: Path,
        about: Mapping[str, Any],
        images: int,
        views: int | None,
        classes: int,
        dtype: Dtype = "fp16",
        limit_bytes: int | None = None,
        spare_bytes: int = SPARE_BYTES,
        say: Callable[[str], None] = LOG.warning,
    ) -> Self:
        """The memory of what `about` describes: the same description opens the same memory.

        `limit_bytes` is for all of `root`; `spare_bytes` stay free on its disk. `say` hears once of damage, and once of the end of storing.
        """
        extent = Extent(images, views, classes, dtype)
        described = {"format": FORMAT, **vars(extent), "about": dict(about)}
        text = json.dumps(described, sort_keys=True, allow_nan=False)
        memory = cls(root, hashlib.sha256(text.encode()).hexdigest(), extent, limit_bytes, spare_bytes, say)
        try:
            memory._release = weakref.finalize(memory, os.close, take_into_use(memory.folder))
            write_about(memory.folder, described)
            memory._files.attach()
        except OSError as error:
            if error.errno not in FULL:
                raise RunError(
                    f"{memory.folder} cannot hold what the teacher says: {error.strerror}. Choose another folder, or do not remember."
                ) from error
            memory._stop(error.strerror)
        return memory

    # ---- reading ----

    def recall(self, indices: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """float32 logits [n, C] and bool [n], which of them are known; the others are NaN."""
        at = self._checked(indices, numbers)
        rows, known, stored = self._look(*at)
        self._tell_damage(int((stored & ~known).sum()))
        logits = self._logits(rows)
        if not known.all():
            logits[torch.from_numpy(~known)] = torch.nan
        return logits, torch.from_numpy(known)

    def count_known(self) -> int:
        """How many rows are there, of `images` x `views`; not verified."""
        return self._files.known()

    def _look(self, indices: Integers, numbers: Integers) -> tuple[Words, np.ndarray, np.ndarray]:
        """Rows, which of them are right, and which were stored at all."""
        places = self._files.find(indices, numbers)
        stored = places >= 0
        if not stored.any():
            return np.zeros((len(places), self._files.width), np.uint32), stored, stored
        rows = self._files.read(places)
        return rows, stored & (rows[:, -1] == self._checksum(rows, indices, numbers)), stored

    def _checked(self, indices: Tensor, numbers: Tensor) -> tuple[Integers, Integers]:
        if len(indices) != len(numbers):
            raise DataError(f"{len(indices)} indices and {len(numbers)} numbers of views: each image needs one view.")
        for name, values, bound in (("image", indices, self.extent.images), ("view", numbers, self.extent.most_views)):
            if len(values) and not 0 <= int(values.min()) <= int(values.max()) < bound:
                wrong = int(values[(values < 0) | (values >= bound)][0])
                raise DataError(f"There is no {name} {wrong} in {self.folder}, which holds {name}s 0 to {bound - 1}.")
        return indices.numpy().astype(np.int64), numbers.numpy().astype(np.int64)

    def _logits(self, rows: Words) -> Tensor:
        values = rows.view(np.float16 if self.extent.dtype == "fp16" else np.float32)
        return torch.from_numpy(values[:, : self.extent.classes]).float().contiguous()

    def _tell_damage(self, rows: int) -> None:
        if rows and not self.damaged:
            self._say(
                f"{self._files.rows_file} holds damaged rows ({rows} of those just read). They are asked of the teacher again."
            )
        self.damaged += rows

    # ---- storing ----

    def store(self, indices: Tensor, numbers: Tensor, logits: Tensor) -> Tensor:
        """The values as they will be recalled: rounded, and another process's where it was first. Also when nothing more is stored."""
        at = self._checked(indices, numbers)
        rows = self._rows(logits, *at)
        first, again = _distinct(at[1] * self.extent.images + at[0])
        rows, indices_once, numbers_once = rows[first], at[0][first], at[1][first]
        with self._storing:
            if self.full is None:
                self._store_missing(rows, indices_once, numbers_once)
        there, known, _ = self._look(indices_once, numbers_once)
        return self._logits(np.where(known[:, None], there, rows)[again])

    def _store_missing(self, rows: Words, indices: Integers, numbers: Integers) -> None:
        """What was said first stays, so that all who ever ask get the same answer."""
        try:
            with storing(self.root):
                _, known, _ = self._look(indices, numbers)
                if not known.all():
                    self._append(rows[~known], indices[~known], numbers[~known])
        except NotEnoughSpace as error:
            self._stop(str(error))
        except OSError as error:
            self._stop(error.strerror)

    def _append(self, rows: Words, indices: Integers, numbers: Integers) -> None:
        ahead = -(-(int(numbers.max()) + 1) // EPOCHS_AHEAD) * EPOCHS_AHEAD
        views = self.extent.views or ahead
        self._make_sure_of_room(rows.nbytes + self._files.missing_bytes(views))
        self._files.cover(views)
        self._files.append(rows, indices, numbers)

    def _make_sure_of_room(self, wanted: int) -> None:
        wanted += 2 * PAGE  # begun at either end
        if self.limit_bytes is not None and (used := allocated(self.root)) + wanted > self.limit_bytes:
            raise NotEnoughSpace(f"{used / 1e6:.0f} of {self.limit_bytes / 1e6:.0f} MB are used")
        if (free := shutil.disk_usage(self.root).free) - wanted < self.spare_bytes:
            raise NotEnoughSpace(
                f"the disk has {free / 1e6:.0f} MB free, and {self.spare_bytes / 1e6:.0f} MB stay so for checkpoints"
            )

    def _rows(self, logits: Tensor, indices: Integers, numbers: Integers) -> Words:
        """[n, words + 1] with checksums."""
        extent = self.extent
        if tuple(logits.shape) != (len(indices), extent.classes):
            raise ModelError(
                f"{self.folder} needs logits of shape {(len(indices), extent.classes)}, not {tuple(logits.shape)}."
            )
        rounded = logits.detach().to("cpu", torch.float16 if extent.dtype == "fp16" else torch.float32)
        if not rounded.isfinite().all():
            _refuse(logits.detach().cpu(), indices, numbers)
        rows = np.zeros((len(indices), extent.words + 1), np.uint32)
        rows.view(np.float16 if extent.dtype == "fp16" else np.float32)[:, : extent.classes] = rounded.numpy()
        rows[:, -1] = self._checksum(rows, indices, numbers)
        return rows

    def _stop(self, reason: str | None) -> None:
        self.full = reason or "an error of the system"
        self._say(
            f"{self.folder} takes no more: {self.full}. What it holds is used, the rest is asked of the teacher each time."
        )

    # ---- the end ----

    def close(self) -> None:
        """Others may drop this memory now."""
        if self._release is not None:
            with contextlib.suppress(OSError):
                os.utime(self.folder / ABOUT)
            self._release()
            self._release = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _refuse(logits: Tensor, indices: Integers, numbers: Integers) -> None:
    """Values that are no numbers, or that fp16 cannot hold."""
    in_question = logits if not logits.isfinite().all() else logits.to(torch.float16)
    row = int((~in_question.isfinite().all(1)).nonzero()[0])
    where = f"for view {numbers[row]} of image {indices[row]}"
    if in_question is logits:
        raise ModelError(
            f"The teacher's logits {where} are not all numbers. Its weights are damaged, or its training diverged."
        )
    largest = float(logits[row].abs().max())
    raise ConfigError(f"The teacher's largest logit {where} is {largest:g}, but fp16 ends at 65504. Remember in fp32.")


# ---- of several processes ----


class OneForAll:
    """A memory that the first of several processes keeps for all: what it finds and stores, the others are told."""

    _memory: Memory  # of the first

    def __init__(self, open_memory: Callable[[], Memory], ranks: Ranks) -> None:
        self._ranks, self._opened = ranks, contextlib.ExitStack()

        def opened() -> Extent:
            self._memory = self._opened.enter_context(open_memory())
            return self._memory.extent

        self.extent = ranks.from_first(opened)

    def recall(self, indices: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        return self._ranks.from_first(lambda: self._memory.recall(indices, numbers))

    def store(self, indices: Tensor, numbers: Tensor, logits: Tensor) -> Tensor:
        return self._ranks.from_first(lambda: self._memory.store(indices, numbers, logits))

    def count_known(self) -> int:
        return self._ranks.from_first(lambda: self._memory.count_known())  # noqa: PLW0108 (others have none)

    def close(self) -> None:
        self._opened.close()


Kept = Memory | OneForAll


# ---- every (image, view) of a chunk ----


@dataclass(frozen=True)
class Answers:
    """A chunk's logits, float32 [n, C], in its order, and how many (image, view) the teacher was asked for."""

    logits: Tensor
    asked: int


def answers(memory: Kept, indices: Tensor, numbers: Tensor, ask: Ask, batch_size: int) -> Answers:
    """Recall what is known, ask for the rest and store it, batch by batch.

    `ask` gets positions in this chunk, always `batch_size` of them: the last batch is filled up with its first. A network's
    arithmetic depends on the shape of a batch (with few images also on the place in it), and an answer must not depend on
    what was known before.
    """
    logits, known = memory.recall(indices, numbers)
    missing = (~known).nonzero().squeeze(1)
    first, again = _distinct((numbers[missing] * memory.extent.images + indices[missing]).numpy())
    wanted = missing[torch.from_numpy(first)]
    found = []
    for positions in wanted.split(batch_size) if len(wanted) else ():
        filled = torch.cat([positions, positions[:1].expand(batch_size - len(positions))])
        said = ask(filled)[: len(positions)]
        found.append(memory.store(indices[positions], numbers[positions], said))
    if found:
        logits[missing] = torch.cat(found)[torch.from_numpy(again)]
    return Answers(logits, len(wanted))


def _distinct(places: Integers) -> tuple[Integers, Integers]:
    """Where each place appears first, in this order, and for all places which of these they are."""
    _, first, again = np.unique(places, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[again]
