"""One image file of any kind -> uint8 [3, S, S]."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

MOST_BYTES = (
    1 << 30
)  # of a file, which may be a hole of terabytes; the largest picture has half as many, not compressed
# Pillow opens these too, but they are documents, films and measurements, or need other programs.
NOT_PICTURES = {"EPS", "PS", "WMF", "MPEG", "HDF5", "GRIB", "BUFR", "PDF", "FITS", "MCIDAS", "SPIDER", "GBR"}


@cache
def endings() -> frozenset[str]:
    """File name endings, lower case, of the pictures that this machine's Pillow can open."""
    known, kinds = Image.registered_extensions(), formats()
    return frozenset(ending for ending, kind in known.items() if kind in kinds)


@cache
def formats() -> tuple[str, ...]:
    """What those may hold, whatever they are called: a PostScript program that is named x.jpg would be run by Ghostscript."""
    Image.init()
    return tuple(kind for kind in Image.OPEN if kind not in NOT_PICTURES)


@contextmanager
def strict_about_bombs() -> Iterator[None]:
    """A picture of more than 89 million pixels is refused, not merely warned about; Pillow's other remarks are dropped.

    Warnings belong to the whole process, so this surrounds the threads that decode.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def decoded(path: Path | BinaryIO, side: int) -> npt.NDArray[np.uint8]:
    """The file's (first) image: turned as EXIF says, on white where transparent, made `side` x `side`."""
    if isinstance(path, Path) and not path.is_file():  # a pipe would wait for ever
        raise ValueError("no such file" if not path.exists() else "not a regular file")
    if isinstance(path, Path) and path.stat().st_size > MOST_BYTES:
        raise ValueError(f"it holds more than {MOST_BYTES:,} bytes")
    with Image.open(path, formats=formats()) as image:
        image.draft("RGB", (2 * side, 2 * side))  # JPEG only: decode no more than twice the size that is needed
        return fitted(as_seen(image), side)


def fitted(image: Image.Image, side: int) -> npt.NDArray[np.uint8]:
    """The shorter side to `side` and the middle of the longer; bicubic, averaging where it shrinks."""
    square = image if image.size == (side, side) else ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))


def as_seen(image: Image.Image) -> Image.Image:
    """In red, green and blue: turned as EXIF says, on white where transparent."""
    image.load()
    return _rgb(_upright(image))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # EXIF is often damaged where the pixels are not
        return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels, whose white is anyone's guess")
    if image.mode.startswith("I"):
        # 16 bits, which Pillow would clip to white rather than scale.
        deep = np.asarray(image).astype(np.int64)
        low, high = int(deep.min()), int(deep.max())
        if low < 0 or high > 65535 or 0 < high < 4096:  # else an image of 12 bits would come out nearly black
            raise ValueError(f"grey values from {low} to {high} where white should be 65535; save it with 8 bits")
        image = Image.fromarray((deep >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
