"""What a tracker is told of a run: it is read from the run's folder, so that a tracker can neither change a run nor end it.

A tracker is told each epoch once. How many it knows is kept in `tracked.json`; after a stop it goes on in the same log.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, final

from protege.errors import in_a_line
from protege.lazy import need
from protege.runs.config import TrackerName
from protege.runs.files import read_json, write_json
from protege.runs.folder import Run
from protege.runs.records import Tracked

if TYPE_CHECKING:
    from numpy import ndarray

MOST_NAMES = 20  # of classes, beside a picture
PROJECT = "protege"


class Tracker(Protocol):
    """One log of one run. Whatever it raises is its own affair."""

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        """Kept when this returns."""
        ...

    def end(self, epochs: int, values: Mapping[str, float], images: Mapping[str, ndarray]) -> None:
        """The final figures, and pictures as [height, width, 3] bytes."""
        ...

    def close(self) -> None: ...


@final
class TensorBoard:
    """Files in `tensorboard` of the run's folder, which `tensorboard --logdir RUNS` shows."""

    def __init__(self, run: Run, about: Mapping[str, Any], known: int) -> None:
        need("tensorboard", "tensorboard", "--log tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run.path / "tensorboard"), purge_step=known)
        if known == 0:
            self._writer.add_text("description", f"```\n{json.dumps(about, indent=2)}\n```")

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, number)
        self._writer.flush()

    def end(self, epochs: int, values: Mapping[str, float], images: Mapping[str, ndarray]) -> None:
        self.epoch(epochs, values)
        for name, image in images.items():
            self._writer.add_image(name, image, epochs, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


@final
class WandB:
    """Offline in `wandb` of the run's folder, to be sent by `wandb sync`; at once where WANDB_MODE=online says so."""

    def __init__(self, run: Run, about: Mapping[str, Any], known: int) -> None:
        self._wandb = need("wandb", "wandb", "--log wandb")
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run.id,
            name=run.id,
            dir=str(run.path),
            config=dict(about),
            resume="allow",
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=self._wandb.Settings(console="off", silent=True),
        )

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=number)

    def end(self, epochs: int, values: Mapping[str, float], images: Mapping[str, ndarray]) -> None:
        self._run.log({name: self._wandb.Image(image) for name, image in images.items()}, step=epochs)
        self._run.summary.update(dict(values))

    def close(self) -> None:
        self._run.finish()


KINDS: dict[TrackerName, Callable[[Run, Mapping[str, Any], int], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
}


def refuse_missing(names: Sequence[TrackerName]) -> None:
    """A tracker that is not installed is told before anything is trained."""
    for name in names:
        for library in (name, "matplotlib"):  # which draws their pictures
            need(library, name, f"--log {name}")


@final
class Trackers:
    """Those that were asked for. One that breaks is left out from then on, with one warning."""

    def __init__(self, run: Run, names: Sequence[TrackerName], say: Callable[[str], None]) -> None:
        self._run, self._say = run, say
        self._open: dict[str, Tracker] = {}
        self._known = dict(read_json(self._file, Tracked)) if names and self._file.exists() else {}
        for name in dict.fromkeys(names):
            self._safely(name, self._begin, name)

    @property
    def _file(self) -> Any:
        return self._run.path / "tracked.json"

    def _begin(self, name: TrackerName) -> None:
        record = self._run.record()
        about = {"id": record["id"], **record["config"], "seen": record["data"]}
        self._open[name] = KINDS[name](self._run, about, self._known.get(name, 0))

    def follow(self) -> None:
        """All epochs that are on the disk."""
        for name in list(self._open):
            self._safely(name, self._tell, name)

    def _tell(self, name: str) -> None:
        for line in self._run.metrics()[self._known.get(name, 0) :]:
            self._open[name].epoch(line["epoch"], scalars(line))
            self._keep(name, line["epoch"] + 1)

    def end(self, pictures: Callable[[], Mapping[str, ndarray]]) -> None:
        """The result, and what is drawn of it; once."""
        result = self._run.result()
        for name in [name for name in self._open if self._known.get(name, 0) <= result["epochs"]]:
            self._safely(name, self._tell_the_end, name, result, pictures)

    def _tell_the_end(
        self, name: str, result: Mapping[str, Any], pictures: Callable[[], Mapping[str, ndarray]]
    ) -> None:
        best = result.get("best") or {}
        values = {**result, "best_epoch": best.get("epoch"), "best_heldout_accuracy": best.get("heldout_accuracy")}
        figures = {f"final/{key}": float(value) for key, value in values.items() if isinstance(value, int | float)}
        self._open[name].end(result["epochs"], figures, pictures())
        self._keep(name, result["epochs"] + 1)

    def _keep(self, name: str, known: int) -> None:
        self._known[name] = known
        write_json(self._file, self._known)

    def close(self) -> None:
        for name in list(self._open):
            self._safely(name, self._open[name].close)

    def _safely(self, name: str, do: Callable[..., None], *given: Any) -> None:
        try:
            do(*given)
        except Exception as error:  # whatever a library of others does, the run goes on
            self._open.pop(name, None)
            self._say(
                f"warning: {name} is told no more: {in_a_line(' '.join(str(error).split()) or type(error).__name__)}"
            )


def scalars(line: Mapping[str, Any]) -> dict[str, float]:
    """An epoch's line under the names of a log: `train/accuracy`, `terms/labels`, `heldout/accuracy`, `lr`."""
    found: dict[str, float] = {"lr": line["lr"], "train/accuracy": line["train_accuracy"]}
    found |= {f"terms/{name}": value for name, value in line["terms"].items()}
    found |= {f"gradient_norm/{name}": value for name, value in (line.get("gradient_norm") or {}).items()}
    looked = {"accuracy": line.get("heldout_accuracy"), "nll": line.get("heldout_nll")}
    return found | {f"heldout/{name}": value for name, value in looked.items() if value is not None}


def confusions(labels: Sequence[int], said: Sequence[int], classes: Sequence[str]) -> ndarray:
    """A picture of which class (down) was taken for which (across), in shares of the images of the class."""
    import numpy
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    counts = numpy.zeros((len(classes), len(classes)))
    numpy.add.at(counts, (numpy.asarray(labels), numpy.asarray(said)), 1)
    figure = Figure(figsize=(6, 6), layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    axes.imshow(counts / counts.sum(1, keepdims=True).clip(min=1), vmin=0, vmax=1, cmap="Blues")
    axes.set(xlabel="taken for", ylabel="class")
    if len(classes) <= MOST_NAMES:
        axes.set_xticks(range(len(classes)), classes, rotation=90)
        axes.set_yticks(range(len(classes)), classes)
    canvas.draw()
    return numpy.asarray(canvas.buffer_rgba())[..., :3].copy()
