"""A name or a folder -> training, held-out and test images. Imported without torch, which waits to be needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from protege.data.base import Description, Identity, Images, Source, Splits
from protege.data.config import DATASETS, DataConfig
from protege.data.outside.code import is_own

if TYPE_CHECKING:
    from protege.data.progress import Progress

    Dataset = Callable[[DataConfig, Path | None, Progress], Source]


def _later(module: str, function: str) -> Dataset:
    """A source that is imported at its first use, for it needs torch."""

    def source(config: DataConfig, folder: Path | None, progress: Progress) -> Source:
        return getattr(import_module(f"protege.data.sources.{module}"), function)(config, folder, progress)

    return source


# Each takes a description, the folder of the data (None: PROTEGE_DATA, else the cache) and what shows progress.
# What it returns has read no pixels yet.
OURS: dict[str, Dataset] = {
    "cifar10": _later("cifar", "cifar10"),
    "cifar100": _later("cifar", "cifar100"),
    "cifar10-mini": _later("bundled", "cifar10_mini"),
    "folder": _later("folder", "image_folder"),
}
DATASETS |= OURS
OWN = _later("own", "own_images")


def load(config: DataConfig | str, folder: Path | None = None, progress: Progress | None = None) -> Splits:
    """The images, on the CPU. What is missing is downloaded or decoded first; `progress.silent` says nothing of it."""
    from protege.data.reading import read

    config = DataConfig.model_validate(config)
    return read(source_of(config, folder, progress), config)


def identify(config: DataConfig | str, folder: Path | None = None, progress: Progress | None = None) -> Identity:
    """What a study is planned with: classes, size, fingerprint. CIFAR need not be there; a new folder is decoded."""
    from protege.data.reading import identity

    config = DataConfig.model_validate(config)
    return identity(source_of(config, folder, progress), config)


def fingerprint(config: DataConfig | str, folder: Path | None = None, progress: Progress | None = None) -> str:
    """The `Splits.fingerprint` that `load` would give."""
    return identify(config, folder, progress).fingerprint


def describe(config: DataConfig | str, folder: Path | None = None, progress: Progress | None = None) -> Description:
    """Counts of each part and class, repeated images, normalisation, and where the files lie. Reads every image."""
    from protege.data import reading

    config = DataConfig.model_validate(config)
    return reading.describe(source_of(config, folder, progress), config)


def source_of(config: DataConfig, folder: Path | None = None, progress: Progress | None = None) -> Source:
    """What a name stands for, before any pixel of a published set is read."""
    from protege.data.progress import shown

    known = OWN if is_own(config.name) else DATASETS[config.name.partition(":")[0]]
    source = known(config, folder, progress or shown)
    others = config.without and DataConfig(name=config.without)
    return replace(source, without=source_of(others, folder, progress)) if others else source


__all__ = [
    "DATASETS",
    "DataConfig",
    "Description",
    "Identity",
    "Images",
    "Source",
    "Splits",
    "describe",
    "fingerprint",
    "identify",
    "load",
    "source_of",
]
