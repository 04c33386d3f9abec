"""One face for all that can answer: `load(RUN_OR_FILE).predict(photo)`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from protege.data.files import is_file
from protege.errors import ConfigError
from protege.lazy import without_collecting
from protege.ship.about import About
from protege.ship.photos import Photo, pixels_of
from protege.ship.runtimes import InOnnxRuntime, InTorch, InTorchExport, Pixels, Runtime

Probabilities = npt.NDArray[np.float64]
FILES = (".onnx", ".pt2", ".xml", ".pte")


@dataclass(frozen=True)
class Prediction:
    """What was said of one photo."""

    probabilities: Probabilities  # [classes]
    classes: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.top(1)[0][0]

    @property
    def probability(self) -> float:
        return self.top(1)[0][1]

    def top(self, count: int = 3) -> list[tuple[str, float]]:
        """The likeliest classes, first the likeliest."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.classes[place], float(self.probabilities[place])) for place in order]


class Shipped:
    """A run or a file, ready: setting up happened once, each call only computes."""

    def __init__(self, runtime: Runtime, calibrated: bool = True) -> None:
        self.runtime = runtime
        self.calibrated = calibrated and runtime.about.temperature is not None

    @property
    def about(self) -> About:
        return self.runtime.about

    @property
    def classes(self) -> tuple[str, ...]:
        """Names; none of a file that names none, whose answers are numbered."""
        return self.about.classes

    @property
    def preprocessing(self) -> str:
        return self.about.preprocessing

    @overload
    def predict(self, images: Photo) -> Prediction: ...
    @overload
    def predict(self, images: Sequence[Photo]) -> list[Prediction]: ...
    def predict(self, images: Photo | Sequence[Photo]) -> Prediction | list[Prediction]:
        """Of one photo or many: paths, PIL images, or uint8 arrays [height, width, 3]."""
        if isinstance(images, list | tuple):
            pixels = np.stack([pixels_of(image, self.about.size) for image in images]) if images else None
            return [] if pixels is None else self.said(pixels)
        return self.said(pixels_of(images, self.about.size)[None])[0]  # pyright: ignore[reportArgumentType]

    def said(self, pixels: Pixels) -> list[Prediction]:
        """Of pixels [images, 3, size, size] that are cut to size already."""
        probabilities = self.probabilities(pixels)
        names = self.classes or tuple(str(number) for number in range(probabilities.shape[1]))
        return [Prediction(row, names) for row in probabilities]

    def probabilities(self, pixels: Pixels) -> Probabilities:
        """[images, classes] of pixels [images, 3, size, size] that are cut to size already."""
        logits = self.runtime.logits(pixels).astype(np.float64)
        if self.calibrated and self.about.temperature:
            logits /= self.about.temperature
        raised = np.exp(logits - logits.max(1, keepdims=True))
        return raised / raised.sum(1, keepdims=True)


def load(
    source: str | os.PathLike[str],
    runs: str | os.PathLike[str] = "runs",
    *,
    which: str = "final",
    threads: int | None = None,
    calibrated: bool = True,
) -> Shipped:
    """A run (id, beginning or end of an id, folder, hub:USER/NAME) or an exported file. torch is not imported for an ONNX file."""
    return Shipped(runtime_of(source, Path(runs), which, threads), calibrated)


def runtime_of(source: str | os.PathLike[str], runs: Path, which: str, threads: int | None) -> Runtime:
    """What computes it, with the library that it takes, loaded if nothing has loaded it before."""
    with without_collecting():
        return _runtime(source, runs, which, threads)


def _runtime(source: str | os.PathLike[str], runs: Path, which: str, threads: int | None) -> Runtime:
    if os.fspath(source).startswith("hub:"):
        from protege.runs.keeping.hub import repository

        return InTorch(repository(os.fspath(source)).run(), which, threads)
    path = Path(source)
    if is_file(path) or path.suffix in FILES:
        if path.suffix not in FILES:
            raise ConfigError(f"{path} is neither a run nor an exported file ({', '.join(FILES)}).")
        return file_runtime(path, threads)
    from protege.runs import find

    run = find(runs, os.fspath(source))
    if not run.finished or (which == "best" and not run.weights_file("best").exists()):
        raise ConfigError(f"{run.id} has no {which} weights: it is not finished, or it held no images out.")
    return InTorch(run, which, threads)


def file_runtime(path: Path, threads: int | None) -> Runtime:
    if path.suffix == ".onnx":
        return InOnnxRuntime(path, threads)
    if path.suffix == ".pt2":
        return InTorchExport(path, threads)
    if path.suffix == ".pte":
        from protege.ship.formats.executorch_file import InExecuTorch

        return InExecuTorch(path, threads)
    from protege.ship.formats.openvino_file import InOpenVino

    return InOpenVino(path, threads)
