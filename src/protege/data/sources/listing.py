"""The image files of a folder: which classes, which parts, in an order that is the same on every machine."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from protege.data.sources.picture import endings
from protege.errors import DataError, suggest

PART_NAMES = {
    "train": ("train", "training"),
    "heldout": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
LONGEST = 60  # letters of a name in a sentence


@dataclass(frozen=True)
class File:
    name: str  # relative to the folder, with forward slashes
    label: int
    part: str
    bytes: int
    changed: int  # nanoseconds


@dataclass(frozen=True)
class Listing:
    """Training files first, then held-out ones, then test ones; in each part class after class."""

    root: Path
    classes: tuple[str, ...]
    files: tuple[File, ...]

    def key(self, recipe: str) -> str:
        """Changes whenever a file is added, removed, renamed or written to, and not when the whole folder moves."""
        listed = [[file.name, file.label, file.part, file.bytes, file.changed] for file in self.files]
        return hashlib.sha256(json.dumps([recipe, self.classes, listed]).encode()).hexdigest()


def listing(root: Path) -> Listing:
    """All images below `root`, which holds a folder for each class, or train/, val/ and test/ with such folders."""
    if not root.is_dir():
        raise DataError(f"{root} is not a folder{' but a file' if root.exists() else ', or not on this machine'}.")
    try:
        parts = _parts(root)
        classes = tuple(sorted(_classes(parts["train"])))
        _refuse_too_few(parts["train"], classes)
        files = [file for part, folder in parts.items() for file in _files_of_part(root, part, folder, classes)]
    except OSError as error:
        raise DataError(f"{error.filename or root} cannot be read: {error.strerror}.") from error
    return Listing(root, tuple(printable(name) for name in classes), tuple(files))


def printable(name: str) -> str:
    """Spelled out where it holds what a terminal would obey and not show."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)


def shown(name: object) -> str:
    """For a sentence: printable, and not longer than one can read."""
    text = printable(str(name))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _classes(folder: Path) -> dict[str, Path]:
    """By name, in the one spelling of letters with accents: systems differ in which they write."""
    return {normalize("NFC", one.name): one for one in sorted(_folders(folder))}


def _parts(root: Path) -> dict[str, Path]:
    """The folder of each part that there is. Where no train/ is meant, the root's own folders are the classes."""
    folders = _folders(root)
    found: dict[str, Path] = {}
    for part, names in PART_NAMES.items():
        named = [folder for folder in folders if folder.name.lower() in names]
        if len(named) > 1:
            raise DataError(f"{root} has both {named[0].name}/ and {named[1].name}/: keep one of them.")
        if named:
            found[part] = named[0]
    others = [folder.name for folder in folders if folder not in found.values()]
    if not others and found:
        if "train" not in found:
            raise DataError(f"{root} has {', '.join(f'{folder.name}/' for folder in found.values())} but no train/.")
        return found
    if "train" not in found or not _folders(found["train"]):
        return {"train": root}
    if len(found) == 1:
        raise DataError(
            f"{root} has train/ with folders in it, and {shown(others[0])}/ beside it: is 'train' a class, or a part? "
            f"Name folder:{found['train']} if it is a part, or rename it if it is a class."
        )
    return found


def _refuse_too_few(folder: Path, classes: tuple[str, ...]) -> None:
    if len(classes) >= 2:
        return
    if not classes:
        loose = " It holds images outside any." if any(_is_picture(one.name) for one in folder.iterdir()) else ""
        raise DataError(
            f"{folder} has no folders, and images of each class belong in a folder with the class's name.{loose}"
        )
    only = _classes(folder)[classes[0]]
    deeper = f" If its folders are the classes, name folder:{only}" if _folders(only) else ""
    raise DataError(f"{folder} holds the one class '{shown(classes[0])}', and there must be two or more.{deeper}")


def _files_of_part(root: Path, part: str, folder: Path, classes: tuple[str, ...]) -> list[File]:
    files: list[File] = []
    found = _classes(folder)
    if unknown := sorted(found.keys() - set(classes)):
        near = suggest(shown(unknown[0]), [shown(name) for name in classes])
        raise DataError(
            f"{folder} has a class '{shown(unknown[0])}' that the training part lacks.{near} "
            "Name the classes alike in every part."
        )
    if not found:
        raise DataError(
            f"{folder} has no class folders. Sort its images into {', '.join(map(shown, classes[:3]))}..., "
            "or move it away and a part will be split off the training images."
        )
    for label, name in enumerate(classes):
        below = sorted(_pictures(found[name])) if name in found else []
        if not below and part == "train":
            raise DataError(f"Class '{shown(name)}' has no images in {shown(found[name])}{_instead(found[name])}.")
        files += [_file(root, path, label, part) for path in below]
    if not files:
        raise DataError(
            f"{folder} has no images in its class folders. Add some, or move it away and a part will be split off."
        )
    return files


def _instead(folder: Path) -> str:
    found = sorted({path.suffix for path in folder.rglob("*") if path.is_file() and _is_visible(path.name)})
    if not found:
        return ". Add some, or remove the folder"
    return f", only files that end in {', '.join(map(shown, found[:5]))}, which Pillow does not read. Convert them, or remove the folder"


def _folders(folder: Path) -> list[Path]:
    return [one for one in folder.iterdir() if one.is_dir() and _is_visible(one.name)]


def _pictures(folder: Path) -> Iterator[str]:
    """At any depth, links followed, circles of links left out. Text, because a Path for each of a million is slow."""
    been: set[str] = set()
    for place, below, names in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(place)
        below[:] = [] if real in been else [name for name in below if _is_visible(name)]
        if real not in been:
            yield from (f"{place}{os.sep}{name}" for name in names if _is_picture(name))
        been.add(real)


def _refuse(error: OSError) -> None:
    raise error


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name != "__MACOSX"


def _is_picture(name: str) -> bool:
    _, dot, ending = name.rpartition(".")
    return _is_visible(name) and (dot + ending).lower() in endings()


def _file(root: Path, path: str, label: int, part: str) -> File:
    try:
        state = os.stat(path)  # noqa: PTH116
        size, changed = state.st_size, state.st_mtime_ns
    except OSError:  # a link to nowhere: reading it will fail, and be told, with the others
        size, changed = -1, 0
    return File(path[len(f"{root}{os.sep}") :].replace(os.sep, "/"), label, part, size, changed)
