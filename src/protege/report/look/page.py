"""The page: whom it is about, what it answers, and its sections."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from protege import data, runs
from protege.data.base import Images, Splits
from protege.errors import ConfigError, DataError, RunError
from protege.methods.supervised import Supervised
from protege.report.look.drawn import Looked, sections
from protege.report.look.plane import Way
from protege.report.look.seen import Seen, see
from protege.report.page.blocks import Page
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


def look(wanted: Wanted, place: Place) -> Page:
    """Only held-out images are looked at, so it may be done as often as one likes."""
    if not wanted.run.finished:
        raise RunError(
            f"{wanted.run.id} is not finished: its training goes on with the command in {wanted.run.record_file}."
        )
    config = wanted.run.config()
    splits = data.load(config.data.under(wanted.moved), place.data_dir)
    images = _heldout(wanted, splits)
    compute_alike(place.threads or runs.cores())
    looked = _looked(wanted, config, splits, images, place)
    return _page(wanted, looked, place)


def _heldout(wanted: Wanted, splits: Splits) -> Images:
    run = wanted.run
    if splits.fingerprint != run.record()["data"]["fingerprint"]:
        raise DataError(f"{splits.name} has changed since {run.id} was trained on it: it would be shown other images.")
    if splits.heldout is None:
        raise DataError(f"{run.id} held no images out (data.heldout 0), and test images are not looked at.")
    return splits.heldout.at(slice(0, wanted.images))


def _looked(wanted: Wanted, config: RunConfig, splits: Splits, images: Images, place: Place) -> Looked:
    sources = identify(config.teacher if wanted.teachers is None else wanted.teachers, place.runs)
    alone = wanted.beside or _alone(wanted.run, config, place)
    device = device_of(place)

    def seen(source: Source, name: str, short: str, style: str, first: Seen | None) -> Seen:
        voice = speaking.load([source], splits, device).voices[0]
        return see(voice, images, name, short, style, None if first is None else first.choices)

    teacher = seen(sources[0], f"teacher {_name(sources[0])}", "teacher", "teacher", None) if sources else None
    students: list[Seen] = []
    for number, run in enumerate((*alone, wanted.run)):
        _refuse_other_data(run, splits)
        (source,) = identify([TeacherConfig(source=str(run.path))], place.runs)
        students.append(
            seen(
                source,
                f"{run.record()['config']['model']['name']}, {_way(run)}",
                _way(run),
                f"hue{number}",
                teacher or next(iter(students), None),
            )
        )
    return Looked(images, splits.classes, teacher, students)


def _alone(run: runs.Run, config: RunConfig, place: Place) -> tuple[runs.Run, ...]:
    """The same description without a teacher, where that was trained."""
    if not config.teacher:
        return ()
    described = config.model_copy(update={"teacher": (), "method": Supervised()})
    found = runs.Run(run.path.parent / plan(described, place).id)
    return (found,) if found.finished else ()


def _refuse_other_data(run: runs.Run, splits: Splits) -> None:
    if run.record()["data"]["fingerprint"] != splits.fingerprint:
        raise ConfigError(
            f"--beside {run.id}: it was trained on other data or another split, so its held-out images are others."
        )


def _name(source: Source) -> str:
    return source.run.record()["config"]["model"]["name"] if source.run else Path(source.config.source).name


def _way(run: runs.Run) -> str:
    method = run.record()["config"]["method"]["name"]
    return "alone" if method == "supervised" else method


def _page(wanted: Wanted, looked: Looked, place: Place) -> Page:
    run = wanted.run
    facts = [
        ("run", run.id),
        ("images", f"the first {len(looked.images)} held-out ones of {run.record()['data']['name']}"),
    ]
    facts += [("networks", ", ".join(one.name for one in looked.everybody))]
    one_each = "Each network is one training: what is seen here need not be so with another seed."
    return Page(
        title=f"look {run.id}",
        first_line="",
        question="What do they see in the same images?",
        answer=_answer(looked),
        picture=None,
        facts=facts,
        warnings=[one_each],
        sections=list(sections(looked, wanted.way)),
        made=time.strftime("%Y-%m-%d %H:%M"),
    )


def _answer(looked: Looked) -> str:
    """In figures, of the student that was asked about."""
    student = looked.students[-1]
    count = len(looked.images)
    if looked.teacher is None:
        right = int((student.choices == looked.labels).sum())
        return (
            f"{student.name} is right of {right} of {count} held-out images; no teacher was named to compare it with."
        )
    found = looked.followed(student)
    wrong = sum(found.count(kind) for kind in ("follows", "mends", "own mistake"))
    return (
        f"Of {count} held-out images the teacher mistakes {wrong}: {student.name} follows it into {found.count('follows')} of these "
        f"mistakes, mends {found.count('mends')} and is wrong in its own way in {found.count('own mistake')}. "
        f"It loses {found.count('loses')} that the teacher has right."
    )
