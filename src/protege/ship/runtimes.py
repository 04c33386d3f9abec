"""What computes: a checkpoint in torch, an ONNX file in onnxruntime, a .pt2 in torch. Each turns pixels into logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from protege.data.files import content_of
from protege.data.outside import consent
from protege.errors import ModelError
from protege.lazy import load_shapes, need
from protege.ship.about import LARGEST_IMAGE, About, read_about

if TYPE_CHECKING:
    from protege.runs import Run

Pixels = npt.NDArray[np.uint8]  # [images, 3, size, size]
Logits = npt.NDArray[np.float32]  # [images, classes]
MOST_IMAGES = 1024  # that a file may want at a time
LARGEST_FILE = 2 << 30  # what one ONNX file can hold


class Runtime(ABC):
    """A classifier that is ready to answer."""

    about: About
    name: str  # of the library that computes

    @abstractmethod
    def output(self, given: Any) -> npt.NDArray[Any]:
        """What the network computes, and nothing else: this is what is timed."""

    def given(self, pixels: Pixels) -> Any:
        """What the network is fed for these pixels."""
        return pixels if self.about.raw else self.normalised(pixels)

    def logits(self, pixels: Pixels) -> Logits:
        """Of pictures that are cut to size already; up to a constant, where the file gives probabilities."""
        found = self.output(self.given(pixels)).astype(np.float32)
        if not self.about.raw:
            return found
        return np.log(np.maximum(found, 1e-30)) * np.float32(self.about.temperature or 1)

    def refuse_other_answers(self, path: Path) -> None:
        """What a file says of its classes, against its answer to one black image."""
        about = self.about
        answer = self.output(self.given(np.zeros((1, 3, about.size, about.size), np.uint8)))
        if answer.ndim != 2 or len(answer) != 1 or (about.classes and answer.shape[1] != len(about.classes)):
            raise ModelError(
                f"{path} names {len(about.classes)} classes, but answers {list(answer.shape)}: export it again."
            )

    def normalised(self, pixels: Pixels) -> npt.NDArray[np.float32]:
        """As training saw them."""
        mean, std = (np.asarray(three).reshape(1, 3, 1, 1) for three in (self.about.mean, self.about.std))
        factor, shift = (1 / (255 * std)).astype(np.float32), (mean / std).astype(np.float32)
        return pixels.astype(np.float32) * factor - shift


class InOnnxRuntime(Runtime):
    """An ONNX file, ours or another's whose input and output tell enough."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        library = need("onnxruntime", "export", f"Running {path.name}")
        options = library.SessionOptions()
        options.log_severity_level = 4
        if threads:
            options.intra_op_num_threads = threads
        content = contents(path)  # in memory, so that a file cannot name others to be read as its weights
        try:
            self.session = library.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # each kind of damage has its own exception
            raise ModelError(
                f"{path} is damaged, or no ONNX file that onnxruntime can run: {first_words(error)}"
            ) from error
        self.path, self.name = path, f"onnxruntime {library.__version__}"
        self.input = self._only(self.session.get_inputs(), path, "input")
        self.answer = self._only(self.session.get_outputs(), path, "output").name
        self.batch = self._fixed(path)
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.about = read_about(metadata, str(path)) or self._guessed(path)
        self._refuse_lies(path)

    @staticmethod
    def _only(those: list[Any], path: Path, what: str) -> Any:
        if len(those) != 1:
            raise ModelError(f"{path} has {len(those)} {what}s, and an image classifier has one.")
        return those[0]

    def _fixed(self, path: Path) -> int | None:
        """How many images it takes, where it takes no other number."""
        first = (self.input.shape or [None])[0]
        if not isinstance(first, int):
            return None
        if not 0 < first <= MOST_IMAGES:
            raise ModelError(f"{path} takes {first} images at a time; up to {MOST_IMAGES} are fed.")
        return first

    def _guessed(self, path: Path) -> About:
        """Of a file that is not ours: its classes have no names, and its pixels are taken from 0 to 1."""
        shape = self.input.shape
        if len(shape) != 4 or shape[1] != 3 or not isinstance(shape[2], int) or shape[2] != shape[3]:
            raise ModelError(f"{path} takes {shape}, not square colour images [images, 3, size, size].")
        if not 0 < shape[2] <= LARGEST_IMAGE:
            raise ModelError(f"{path} takes images of {shape[2]} pixels a side; up to {LARGEST_IMAGE} are fed.")
        bytes_in = self.input.type == "tensor(uint8)"
        return About((), shape[2], (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), raw=bytes_in)

    def _refuse_lies(self, path: Path) -> None:
        """The file's own shapes against what it says of itself; the answer to one black image decides."""
        about, shape = self.about, list(self.input.shape)
        wanted = "tensor(uint8)" if about.raw else "tensor(float)"
        if shape[1:] != [3, about.size, about.size] or self.input.type != wanted:
            raise ModelError(
                f"{path} says that it takes {about.size} x {about.size} {'bytes' if about.raw else 'numbers'}, "
                f"but takes {shape} of {self.input.type}: export it again."
            )
        self.refuse_other_answers(path)

    def output(self, given: Any) -> npt.NDArray[Any]:
        if self.batch is None or self.batch == len(given):
            return self._answer(given)
        parts = [given[start : start + self.batch] for start in range(0, len(given), self.batch)]
        return np.concatenate([self._answer(filled(part, self.batch)) for part in parts])[: len(given)]

    def _answer(self, given: Any) -> npt.NDArray[Any]:
        try:
            return np.asarray(self.session.run([self.answer], {self.input.name: given})[0])
        except Exception as error:
            raise ModelError(f"{self.path} fails on an image: {first_words(error)}") from error


def filled(images: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """With empty images behind them, so that there are `count`."""
    return np.concatenate([images, np.zeros((count - len(images), *images.shape[1:]), images.dtype)])


class InTorch(Runtime):
    """A finished run, as it is deployed."""

    def __init__(self, run: Run, which: str = "final", threads: int | None = None) -> None:
        import torch

        from protege.evaluate import predictor_of

        if threads:
            torch.set_num_threads(threads)
        self.predictor = predictor_of(run, which, torch.device("cpu"))
        for part in (self.predictor.network, self.predictor.adapters):
            if part is not None:
                part.eval().requires_grad_(False)
        self.name = f"torch {torch.__version__}"
        self.about = about_run(run, which)

    def given(self, pixels: Pixels) -> Any:
        import torch

        return torch.from_numpy(pixels)

    def output(self, given: Any) -> npt.NDArray[Any]:
        import torch

        with torch.inference_mode():
            return self.predictor(given).float().numpy()


class InTorchExport(Runtime):
    """A .pt2 file that this machine wrote, or that is trusted, for torch may unpickle what is inside."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        import torch

        if threads:
            torch.set_num_threads(threads)
        refuse_untrusted(path)
        load_shapes()  # whole, before the first of what reads the file is imported
        extra = {"about": ""}
        try:
            program = torch.export.load(path, extra_files=extra)
        except Exception as error:
            raise ModelError(f"{path} is damaged, or no .pt2 file: {first_words(error)}") from error
        import json

        try:
            metadata = json.loads(extra["about"] or "{}")
        except ValueError:
            metadata = {}
        about = read_about(metadata, str(path)) if isinstance(metadata, dict) else None
        if about is None:
            raise ModelError(f"{path} does not say what it takes: protege runs the .pt2 files that it exported.")
        self.path, self.about, self.name = path, about, f"torch.export {torch.__version__}"
        self.module = program.module()
        self.refuse_other_answers(path)

    def given(self, pixels: Pixels) -> Any:
        import torch

        return torch.from_numpy(super().given(pixels))

    def output(self, given: Any) -> npt.NDArray[Any]:
        import torch

        try:
            with torch.inference_mode():
                return self.module(given).numpy()
        except Exception as error:  # whatever is in the file
            raise ModelError(f"{self.path} fails on an image: {first_words(error)}") from error


def refuse_untrusted(path: Path) -> None:
    """An archive that torch opens is code, and ExecuTorch does not check a program as it runs; those that were exported or
    allowed here are known by their contents."""
    try:
        with consent.named_in(str(path)):
            consent.refuse_unknown(str(path), sha256(contents(path)).hexdigest())
    except ValueError as error:
        raise ModelError(
            f"{path} was not exported on this machine, and opening a {path.suffix} file can run what is in it. "
            "Where you trust it: protege --trust-code ..."
        ) from error


def about_run(run: Run, which: str = "final") -> About:
    """What a run's record says, and the temperature that an evaluation fitted."""
    name, record = run.record()["id"], run.record()["data"]
    return About(
        tuple(record["classes"]), record["image_size"], tuple(record["mean"]), tuple(record["std"]),
        temperature=fitted_temperature(run, which), run=run.id if run.id == name else "",  # fetched: nobody evaluates it here
    )  # fmt: skip


def fitted_temperature(run: Run, which: str) -> float | None:
    """Of the held-out images, where `protege evaluate` has fitted it."""
    file = run.evaluations / "heldout.json"
    if not file.exists():
        return None
    return run.evaluation("heldout").get(which, {}).get("scaled", {}).get("temperature")


def contents(path: Path) -> bytes:
    """Of a file of bounded size."""
    try:
        return content_of(path, LARGEST_FILE)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error


def first_words(error: Exception) -> str:
    """The first words of a library's message."""
    return " ".join(str(error).split())[:200]
