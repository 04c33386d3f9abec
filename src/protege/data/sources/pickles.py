"""A reader of pickles that can hold dictionaries, lists, text and plain arrays, and can run nothing.

A pickle is a program: `pickle.load` runs whatever it names. This reader hands out stand-ins for the
names that an array needs, each of which does that one thing, and refuses every other name before anything happens.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable

import numpy as np

from protege.errors import DataError, UnsafePickle


def _dtype(spec: str, align: object = False, copy: object = False) -> np.dtype:
    kind = np.dtype(spec)
    if kind.kind not in "biuf":
        raise ValueError(f"arrays of {kind} are not numbers")
    return kind


def _reconstruct(kind: object, shape: tuple[int, ...], typecode: object) -> np.ndarray:
    if shape != (0,):
        raise ValueError(f"an array that begins with shape {shape}")
    return np.empty(shape, np.uint8)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1")


ADMITTED: dict[tuple[str, str], Callable[..., object] | str] = {
    ("numpy", "ndarray"): "ndarray",  # only ever passed to _reconstruct, so a word serves
    ("numpy", "dtype"): _dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("_codecs", "encode"): _encode,
}


MOST_TUPLES = 1000  # arrays and lists of labels need a dozen


class _Reader(pickle.Unpickler):
    def __init__(self, content: bytes, place: str) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")
        self.place = place

    def find_class(self, module_name: str, global_name: str) -> object:
        try:
            return ADMITTED[module_name, global_name]
        except KeyError:
            raise UnsafePickle(
                f"{self.place} is a pickle that asks for {module_name}.{global_name}; data need only arrays and lists. "
                "It was not run. Fetch the file anew from its authors."
            ) from None

    def persistent_load(self, pid: object) -> object:
        raise UnsafePickle(
            f"{self.place} is a pickle that refers to something outside itself ({pid!r}). It was not run."
        )


def read_pickle(content: bytes, place: str) -> object:
    """What the pickle holds. `place` is the file's name, for errors."""
    try:
        _refuse_towers(content)
        return _Reader(content, place).load()
    except UnsafePickle:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise DataError(
            f"{place} is not a whole pickle of arrays and lists: {error or type(error).__name__}."
        ) from error


def _refuse_towers(content: bytes) -> None:
    """Tuples within tuples, as a key: Python works out their hash one within the other, and a deep tower ends the process."""
    tuples = sum(code.name.startswith("TUPLE") for code, _, _ in pickletools.genops(content))
    if tuples > MOST_TUPLES:
        raise ValueError(f"it builds {tuples:,} tuples")
