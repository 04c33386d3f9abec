"""What a run will take, from a few of its steps: made like any run, of few images, in a folder that is thrown away."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from pydantic import Field

from protege import data
from protege.data.base import Images
from protege.evaluate import predict, predictor_of
from protege.launch.jobs import STAND_IN
from protege.models.config import ModelConfig
from protege.runs import Run
from protege.runs.config import Measured, Place, RunConfig, TeacherConfig
from protege.runs.hardware import device_of, peak_memory
from protege.teacher import sources, speaking
from protege.train import train

HELDOUT = 64  # images
MOST_ASKED = 0.95  # of a step; it is timed apart, and on a busy machine may seem to take longer than the whole
CONTEXT = 600_000_000  # bytes that a process takes on a GPU before its first tensor


class Probe(Measured):
    """Of one network, method and batch size on this machine."""

    seconds_per_image: float = Field(description="of training on an image, the teacher's part left out")
    seconds_per_asked: float = Field(description="of the teacher's part; 0 without one")
    seconds_per_look: float = Field(description="of evaluating an image")
    weights: int = Field(description="bytes of the student's weights")
    memory: int = Field(description="bytes at the peak: of the process on a CPU, on the device on a GPU")


def probe(config: RunConfig, stand_ins: Sequence[ModelConfig], place: Place) -> Probe:
    """Trains twice over a few batches; the second time counts. Teachers that do not exist yet are stood in for by untrained ones."""
    device = device_of(place)
    batches = 3 if device.type == "cpu" else 30
    small = _small(config, batches * config.optim.batch_size)
    with tempfile.TemporaryDirectory(prefix="protege-probe-") as folder:
        here = place.model_copy(
            update={"runs": Path(folder), "memory_dir": None, "quiet": True, "checkpoint_seconds": 1e9, "log": ()}
        )
        made = iter([TeacherConfig(source=str(_stand_in(model, small, here).path)) for model in stand_ins])
        tutors = tuple(next(made) if tutor.source == STAND_IN else tutor for tutor in config.teacher)
        small = small.model_copy(update={"teacher": tutors})
        run = train(small, here)
        images = _images(small, here)
        both = _seconds_per_image(run)
        asked = min(_seconds_per_asked(small, here, device), both * MOST_ASKED) if tutors else 0.0
        return Probe(
            seconds_per_image=both - asked,
            seconds_per_asked=asked,
            seconds_per_look=_per_image(
                lambda: predict(predictor_of(run, "final", device), images, device), images, device
            ),
            weights=run.weights_file().stat().st_size,
            memory=_peak(device),
        )


def _small(config: RunConfig, images: int) -> RunConfig:
    described = config.data.model_copy(update={"limit": images, "heldout": HELDOUT, "resplit": None})
    optim = config.optim.model_copy(update={"epochs": 2, "warmup_epochs": 0.0})
    update = {"data": described, "optim": optim, "evaluate_every": 2, "remember": "none"}
    return config.model_copy(update=update)


def _stand_in(model: ModelConfig, small: RunConfig, place: Place) -> Run:
    """One step of training, for its weights' shapes."""
    optim = small.optim.model_copy(update={"epochs": 1})
    described = small.data.model_copy(update={"limit": small.optim.batch_size})
    return train(RunConfig(data=described, model=model, optim=optim, seed=0), place)


def _seconds_per_image(run: Run) -> float:
    last = run.times()[-1]
    return 1 / last["images_per_second"]


def _images(small: RunConfig, place: Place) -> Images:
    splits = data.load(small.data, place.data_dir)
    return splits.train.at(slice(0, HELDOUT))


def _seconds_per_asked(small: RunConfig, place: Place, device: torch.device) -> float:
    splits = data.load(small.data, place.data_dir)
    taught_by = speaking.load(sources.identify(small.teacher, place.runs), splits, device)
    pixels = splits.train.pixels[:HELDOUT].to(device)
    shown = splits.train.at(slice(0, HELDOUT))
    return _per_image(lambda: taught_by.ask(pixels, small.method.wants()), shown, device)


def _per_image(work: Callable[[], object], images: Images, device: torch.device) -> float:
    """The first time warms up."""
    work()
    _wait(device)
    started = time.perf_counter()
    work()
    _wait(device)
    return (time.perf_counter() - started) / len(images)


def _wait(device: torch.device) -> None:
    """A GPU has not done yet what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) + CONTEXT
    return peak_memory()
