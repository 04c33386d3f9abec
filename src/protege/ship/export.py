"""A finished run -> a file for a device, read back and compared with the checkpoint, with its card beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from protege import data
from protege.data.base import Images, Splits
from protege.errors import ConfigError
from protege.evaluate import fit_temperature
from protege.runs import Run
from protege.runs.config import Place
from protege.ship import card
from protege.ship.compare import Likeness, likeness, logits_of
from protege.ship.figures.measure import Measured, time_in_turns
from protege.ship.figures.size import file_bytes
from protege.ship.figures.turns import Asked
from protege.ship.formats.build import Wanted, about_precision, is_rounded, refuse_mismatch, write
from protege.ship.formats.deployed import Student
from protege.ship.runtimes import InTorch, Runtime
from protege.ship.shipped import file_runtime
from protege.views import normalise

ENDINGS = {"onnx": ".onnx", "pt2": ".pt2", "openvino": ".xml", "executorch": ".pte"}
COMPARED = 10_000  # images at most
LOOK = 0.1  # seconds of a round in which the file is timed for its card


@dataclass(frozen=True)
class Exported:
    """The file, what it weighs, and how near it is to the checkpoint."""

    path: Path
    bytes: int
    likeness: Likeness
    layers: int  # in whole numbers
    bits: list[int]  # that the weights of those have


def export(
    run: Run,
    place: Place,
    wanted: Wanted,
    *,
    which: str = "final",
    out: Path | None = None,
    timed: bool = False,
    say: Callable[[str], None] = lambda sentence: None,
) -> Exported:
    """Write the file, read it back, compare it, and lay its card and its check beside it; `timed`: with its latency here."""
    if not run.finished:
        raise ConfigError(f"{run.id} is not finished: only what was judged is shipped.")
    runtime = InTorch(run, which)
    student = Student(runtime.predictor).eval()
    if is_rounded(student) and wanted.precision == "fp32" and wanted.format in ("onnx", "openvino"):
        wanted = replace(wanted, precision="int8")
    refuse_mismatch(student, wanted)
    splits = data.load(run.config().data, place.data_dir)
    judges = splits.heldout if splits.heldout is not None else splits.train
    judges = judges.at(slice(0, COMPARED))
    before = logits_of(runtime, judges.pixels[:].numpy())
    about = about_precision(runtime.about, wanted)
    if splits.heldout is not None:
        about = replace(about, temperature=fit_temperature(torch.from_numpy(before), judges.labels))
    folder = out or folder_of(run, wanted, which)
    path = folder / f"model{ENDINGS[wanted.format]}"
    say(f"writing {path}")
    stored = write(student, about, wanted, lambda: calibration_batches(splits, wanted.calibration_images), path)
    shipped = file_runtime(path, None)
    found = compared(shipped, before, judges, splits, wanted)
    made = Exported(path, file_bytes(path), found, len(stored), sorted({one.bits for one in stored.values()}))
    latency = latency_of(path, run, which) if timed else None
    card.write(card.facts(run, which, about, wanted, made, student, shipped.name, latency), folder, path)
    return made


def folder_of(run: Run, wanted: Wanted, which: str) -> Path:
    """In the run's own, one for each kind of file, so that none takes the place of another."""
    kind = [wanted.format, wanted.precision, "raw" if wanted.raw else "", "best" if which == "best" else ""]
    return run.path / "export" / "-".join(filter(None, kind))


def latency_of(path: Path, run: Run, which: str) -> Measured:
    """Of one image on one thread, in a process of its own, in a few seconds."""
    found = Measured(str(path))
    time_in_turns([found], run.path.parent, which, Asked(seconds=LOOK))
    return found


def compared(shipped: Runtime, before: np.ndarray, judges: Images, splits: Splits, wanted: Wanted) -> Likeness:
    after = logits_of(shipped, judges.pixels[:].numpy())
    labels = judges.labels.numpy() if splits.heldout is not None else None
    return likeness(before, after, labels, wanted.raw)


def calibration_batches(splits: Splits, images: int, batch: int = 64) -> list[Tensor]:
    """Training images, spread over the whole set so that every class is among them."""
    count = min(images, len(splits.train))
    chosen = torch.linspace(0, len(splits.train) - 1, count).long()
    pixels = splits.train.at(chosen).pixels[:]
    return [normalise(part, splits.mean, splits.std) for part in pixels.split(batch)]
