"""Who is looked at, and the held-out images that all of them see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from protege import runs
from protege.data.base import Images, Splits, at_a_time
from protege.errors import ConfigError, DataError, RunError
from protege.methods.supervised import Supervised
from protege.report.figures.tiles import SIDE
from protege.report.look.plane import Way
from protege.report.look.seen import Looked, Seen, see
from protege.runs.config import Place, RunConfig, TeacherConfig
from protege.runs.hardware import device_of
from protege.runs.process import compute_alike
from protege.teacher import speaking
from protege.teacher.sources import Source, identify
from protege.train import plan


@dataclass(frozen=True)
class Wanted:
    """Who is looked at, and how."""

    run: runs.Run
    teachers: Sequence[TeacherConfig] | None = None  # None: the run's own
    beside: Sequence[runs.Run] = ()  # other students; none: the same one alone, if it was trained
    images: int = 500  # held-out ones, the first of them
    way: Way = "pca"
    moved: str | None = None  # where the data are now


def refuse_unfinished(run: runs.Run) -> None:
    if not run.finished:
        raise RunError(f"{run.id} is not finished: its training goes on with the command in {run.record_file}.")


def looked_at(wanted: Wanted, splits: Splits, place: Place) -> Looked:
    """Only held-out images are looked at, so it may be done as often as one likes."""
    config, images = wanted.run.config(), _heldout(wanted, splits)
    compute_alike(place.threads or runs.cores())
    sources = identify(config.teacher if wanted.teachers is None else wanted.teachers, place.runs)
    device = device_of(place)

    def seen(source: Source, name: str, short: str, first: Seen | None) -> Seen:
        voice = speaking.load([source], splits, device).voices[0]
        return see(voice, images, name, short, None if first is None else first.choices)

    teacher = seen(sources[0], f"teacher {_name(sources[0])}", "teacher", None) if sources else None
    students: list[Seen] = []
    for run in (*(wanted.beside or _alone(wanted.run, config, place)), wanted.run):
        _refuse_other_data(run, wanted.run, splits)
        (source,) = identify([TeacherConfig(source=str(run.path))], place.runs)
        name = f"{run.record()['config']['model']['name']}, {_way(run)}"
        students.append(seen(source, name, _way(run), teacher or next(iter(students), None)))
    return Looked(_small(images), splits.classes, teacher, students)


def _heldout(wanted: Wanted, splits: Splits) -> Images:
    run = wanted.run
    if splits.fingerprint != run.record()["data"]["fingerprint"]:
        raise DataError(f"{splits.name} has changed since {run.id} was trained on it: it would be shown other images.")
    if splits.heldout is None:
        raise DataError(f"{run.id} held no images out (data.heldout 0), and test images are not looked at.")
    return splits.heldout.at(slice(0, wanted.images))


def _small(images: Images) -> Images:
    """As large as they are shown."""
    side = images.pixels.shape[-1]
    if side <= SIDE:
        return images
    parts = images.pixels[:].split(at_a_time(100, side))
    smaller = [F.interpolate(part.float(), (SIDE, SIDE), mode="bilinear", antialias=True) for part in parts]
    return replace(images, pixels=torch.cat(smaller).round().to(torch.uint8))


def _alone(run: runs.Run, config: RunConfig, place: Place) -> tuple[runs.Run, ...]:
    """The same description without a teacher, where that was trained."""
    if not config.teacher:
        return ()
    described = config.model_copy(update={"teacher": (), "method": Supervised()})
    found = runs.Run(run.path.parent / plan(described, place).id)
    return (found,) if found.finished else ()


def _refuse_other_data(run: runs.Run, beside: runs.Run, splits: Splits) -> None:
    if run.record()["data"]["fingerprint"] != splits.fingerprint:
        raise ConfigError(
            f"{run.id} was trained on other data or another split than {beside.id}, so its held-out images are others."
        )


def _name(source: Source) -> str:
    return source.run.record()["config"]["model"]["name"] if source.run else source.name


def _way(run: runs.Run) -> str:
    method = run.record()["config"]["method"]["name"]
    return "alone" if method == "supervised" else method
