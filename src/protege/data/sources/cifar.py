"""CIFAR-10 and CIFAR-100 from their official archives.

Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from protege.data.base import Published, Source, Three
from protege.data.config import DataConfig
from protege.data.places import data_folder, read_record, size
from protege.data.progress import Progress
from protege.data.sources.classes import CIFAR10, CIFAR100, CIFAR100_COARSE
from protege.data.sources.download import Download, download
from protege.data.sources.pickles import read_pickle
from protege.data.sources.resize import resized
from protege.errors import DataError

SIDE = 32
LARGEST_FILE = 1 << 29  # bytes; the largest official one has 155 MB, and a bomb must not fill the memory

LARGEST_ARCHIVE = 1 << 29  # unpacked; the larger official one has 186 MB


@dataclass(frozen=True)
class Archive:
    """An official archive: where it comes from, and the published md5 sum of all that is read of it."""

    title: str
    file: str
    folder: str  # inside the archive, and beside it where somebody unpacked it
    md5: str
    bytes: int
    url: str
    variable: str  # of the environment, for another address
    train: Mapping[str, str]  # file: md5
    test: Mapping[str, str]
    counts: tuple[int, int]  # training images, test images
    classes: tuple[str, ...]
    superclasses: tuple[str, ...]  # none, or those of the labels under `coarse`
    fine: str  # key of the labels
    coarse: str | None
    mean: Three
    std: Three

    @property
    def sums(self) -> dict[str, str]:
        return {**self.train, **self.test}

    @property
    def content(self) -> str:
        return hashlib.sha256(json.dumps(["cifar", self.train, self.test]).encode()).hexdigest()


ARCHIVES = {
    "cifar10": Archive(
        title="CIFAR-10",
        file="cifar-10-python.tar.gz",
        folder="cifar-10-batches-py",
        md5="c58f30108f718f92721af3b95e74349a",
        bytes=170_498_071,
        url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        variable="PROTEGE_CIFAR10_URL",
        train={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        },
        test={"test_batch": "40351d587109b95175f43aff81a1287e"},
        counts=(50_000, 10_000),
        classes=CIFAR10,
        superclasses=(),
        fine="labels",
        coarse=None,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    ),
    "cifar100": Archive(
        title="CIFAR-100",
        file="cifar-100-python.tar.gz",
        folder="cifar-100-python",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        bytes=169_001_437,
        url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        variable="PROTEGE_CIFAR100_URL",
        train={"train": "16019d7e3df5f24257cddd939b257f8d"},
        test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
        counts=(50_000, 10_000),
        classes=CIFAR100,
        superclasses=CIFAR100_COARSE,
        fine="fine_labels",
        coarse="coarse_labels",
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
    ),
}


def cifar10(config: DataConfig, folder: Path | None, progress: Progress) -> Source:
    return _source(ARCHIVES["cifar10"], config, folder, progress)


def cifar100(config: DataConfig, folder: Path | None, progress: Progress) -> Source:
    return _source(ARCHIVES["cifar100"], config, folder, progress)


def _source(archive: Archive, config: DataConfig, folder: Path | None, progress: Progress) -> Source:
    root = data_folder(folder)
    found = Source(
        classes=archive.superclasses if config.labels == "coarse" else archive.classes,
        mean=archive.mean,
        std=archive.std,
        size=SIDE,
        parts=(archive.counts[0], 0, archive.counts[1]),
        content=archive.content,
        place=lambda: str(_where(archive, root) or f"{root} (not downloaded yet)"),
        read=lambda: _published(archive, root, config.labels, progress),
    )
    return resized(found, config.image_size, archive.title, progress)


def _where(archive: Archive, root: Path) -> Path | None:
    """The unpacked folder if it is whole, else the archive, else nothing."""
    folder = root / archive.folder
    if all((folder / name).is_file() for name in archive.sums):
        return folder
    packed = root / archive.file
    return packed if packed.is_file() else None


def _published(archive: Archive, root: Path, labels: str, progress: Progress) -> Published:
    place = _where(archive, root)
    if place is None:
        wanted = Download(
            os.environ.get(archive.variable) or archive.url,
            root / archive.file,
            archive.md5,
            archive.bytes,
            archive.variable,
        )
        place = download(wanted, progress)
    files = _unpacked(archive, place) if place.is_dir() else _packed(archive, place)
    batches = {name: _batch(content, archive, f"{place}/{name}") for name, content in files}
    in_order = [batches[name] for name in archive.sums]
    pixels, fine, coarse = (np.concatenate(parts) for parts in zip(*in_order, strict=True))
    _check(archive, place, pixels, fine, coarse)
    strata = torch.from_numpy(fine)
    return Published(torch.from_numpy(pixels), torch.from_numpy(coarse) if labels == "coarse" else strata, strata)


def _packed(archive: Archive, path: Path) -> Iterator[tuple[str, bytes]]:
    """The files straight from the archive: nothing is unpacked, so no name in it can lead anywhere."""
    wanted = {f"{archive.folder}/{name}": name for name in archive.sums}
    if not path.is_file():  # a pipe would wait for ever
        raise DataError(f"{path} is no regular file, and so not the archive of {archive.title}.")
    try:
        with gzip.open(path) as packed, tarfile.open(fileobj=cast(Any, _Bounded(packed)), mode="r|") as tar:
            for member in tar:
                name = wanted.pop(member.name, None)
                if name is None:
                    continue
                content = tar.extractfile(member)
                if content is None or member.size > LARGEST_FILE:
                    raise DataError(
                        f"{path} holds {member.name} of {size(member.size)}, which is not a file of {archive.title}."
                    )
                yield name, _right(content.read(), archive.sums[name], f"{path}/{name}", path)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path} is damaged ({error}). Delete it, and it will be downloaded again.") from error
    if wanted:
        raise DataError(f"{path} lacks {', '.join(wanted)}. Delete it, and it will be downloaded again.")


class _Bounded:
    """What a packed file unpacks to, as far as an archive may go: its headers, too, could stand for terabytes."""

    def __init__(self, packed: gzip.GzipFile) -> None:
        self._packed, self._left = packed, LARGEST_ARCHIVE

    def read(self, count: int) -> bytes:
        content = self._packed.read(count)
        self._left -= len(content)
        if self._left < 0:
            raise OSError(f"it unpacks to more than {size(LARGEST_ARCHIVE)}")
        return content


def _unpacked(archive: Archive, folder: Path) -> Iterator[tuple[str, bytes]]:
    """The files of a folder, checked once: a stamp beside them remembers which were found right."""
    stamp = folder / ".protege-checked.json"
    known = read_record(stamp)
    seen: dict[str, list[int | str]] = {}
    for name, expected in archive.sums.items():
        content, state = _content(folder / name, archive)
        seen[name] = [state.st_size, state.st_mtime_ns, expected]
        yield name, content if known.get(name) == seen[name] else _right(content, expected, f"{folder}/{name}", folder)
    if known != seen:
        _write_stamp(stamp, seen)


def _content(path: Path, archive: Archive) -> tuple[bytes, os.stat_result]:
    try:
        state = path.stat()
        if state.st_size > LARGEST_FILE:
            raise DataError(f"{path} has {size(state.st_size)}, which no file of {archive.title} has.")
        return path.read_bytes(), state
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def _right(content: bytes, expected: str, place: str, remove: Path) -> bytes:
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != expected:
        raise DataError(
            f"{place} is damaged: its md5 is {found}, and {expected} is the published one. "
            f"Delete {remove}, and it will be downloaded again."
        )
    return content


def _write_stamp(stamp: Path, seen: Mapping[str, object]) -> None:
    partial = stamp.with_name(f"{stamp.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(seen))
        partial.replace(stamp)
    except OSError:  # somebody else's folder: it is checked again next time
        return


Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]


def _batch(content: bytes, archive: Archive, place: str) -> Arrays:
    """Pixels, fine labels and coarse labels (fine again where there are none)."""
    held = read_pickle(content, place)
    if not isinstance(held, dict):
        raise DataError(f"{place} holds a {type(held).__name__}, not a batch of {archive.title}.")
    pixels = held.get("data")
    if (
        not isinstance(pixels, np.ndarray)
        or pixels.dtype != np.uint8
        or pixels.ndim != 2
        or pixels.shape[1] != 3 * SIDE * SIDE
    ):
        raise DataError(f"{place} holds no 'data' of images as rows of {3 * SIDE * SIDE} bytes.")
    fine = _labels(held, archive.fine, len(pixels), place)
    coarse = _labels(held, archive.coarse, len(pixels), place) if archive.coarse else fine
    return pixels.reshape(-1, 3, SIDE, SIDE), fine, coarse


def _labels(held: Mapping[str, object], key: str, count: int, place: str) -> npt.NDArray[np.int64]:
    labels = held.get(key)
    if (
        not isinstance(labels, list)
        or len(labels) != count
        or not all(type(one) is int and 0 <= one < 1000 for one in labels)
    ):
        raise DataError(f"{place} holds no '{key}' with a number below 1,000 for each of its {count:,} images.")
    return np.array(labels, np.int64)


def _check(archive: Archive, place: Path, pixels: npt.NDArray[np.uint8], *labels: npt.NDArray[np.int64]) -> None:
    if len(pixels) != sum(archive.counts):
        raise DataError(f"{place} holds {len(pixels):,} images; {archive.title} has {sum(archive.counts):,}.")
    for these, classes in zip(labels, (archive.classes, archive.superclasses or archive.classes), strict=True):
        if these.min() < 0 or these.max() >= len(classes):
            raise DataError(
                f"{place} holds labels {these.min()} to {these.max()}, but {archive.title} has 0 to {len(classes) - 1}."
            )
