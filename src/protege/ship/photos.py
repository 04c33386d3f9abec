"""Photos from wherever they are -> pixels, read as training reads them."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from protege.data.files import is_folder, is_there
from protege.data.sources.picture import as_seen, decoded, endings, fitted, strict_about_bombs
from protege.errors import DataError

Pixels = npt.NDArray[np.uint8]  # [3, size, size]
Photo = str | os.PathLike[str] | Image.Image | npt.NDArray[Any]
STDIN = "-"
MOST = 1 << 28  # bytes of standard input


def pixels_of(photo: Photo, size: int) -> Pixels:
    """One photo, cut and scaled to `size`."""
    if isinstance(photo, np.ndarray):
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
            raise DataError(f"A photo as an array is uint8 [height, width, 3], not {photo.dtype} {list(photo.shape)}.")
        photo = Image.fromarray(photo)
    if isinstance(photo, Image.Image):
        return fitted(as_seen(photo), size)
    return read(Path(photo), size)


def read(file: Path | io.BytesIO, size: int, name: str | None = None) -> Pixels:
    """One file, or an error that names it."""
    try:
        with strict_about_bombs():
            return decoded(file, size)
    except FileNotFoundError as error:
        raise DataError(f"There is no file {file}.") from error
    except Exception as error:  # a damaged picture may fail in any way
        raise DataError(f"{name or file} cannot be read as a picture: {error!s:.200}") from error


@dataclass(frozen=True)
class Found:
    """A photo that was named, or that lies in a folder that was."""

    name: str
    file: Path | io.BytesIO
    asked_for: bool  # by its own name: then it must be readable


def find(names: Sequence[str]) -> list[Found]:
    """Files, all pictures below folders, and standard input: a picture, or names a line each."""
    return [found for name in names for found in _of(name)]


def _of(name: str) -> Iterator[Found]:
    if name == STDIN:
        yield from _standard_input(sys.stdin.buffer.read(MOST + 1) if sys.stdin else b"")
    elif is_folder(path := Path(name)):
        below = sorted(one for one in path.rglob("*") if one.suffix.lower() in endings() and one.is_file())
        if not below:
            raise DataError(f"There is no picture in {path}.")
        yield from (Found(str(one), one, asked_for=False) for one in below)
    elif not is_there(path):
        raise DataError(f"There is no file or folder {name}.")
    else:
        yield Found(name, path, asked_for=True)


def _standard_input(content: bytes) -> Iterator[Found]:
    if len(content) > MOST:
        raise DataError(f"Standard input holds more than {MOST:,} bytes: give pictures by their names, a line each.")
    try:
        names = content.decode().splitlines()
    except UnicodeDecodeError:  # pictures are not text
        yield Found("standard input", io.BytesIO(content), asked_for=True)
        return
    if not any(name.strip() for name in names):
        raise DataError("Standard input is empty: give a picture, or names of pictures, a line each.")
    for name in names:
        if name.strip() and name.strip() != STDIN:
            yield from _of(name.strip())
