"""What a network was trained on, image by image: so that none teaches, or begins as, what it is then judged by.

Beside the runs lies seen/, a file of marks for every set of images that was trained on. The record of a run names its own
first, then those of all that it learned from, however many generations back.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from protege import data, runs
from protege.data.base import Splits
from protege.data.files import is_folder
from protege.data.marks import Marked, read_marks, write_marks
from protege.errors import DataError, ProtegeError, RunError
from protege.runs.config import Place, RunConfig
from protege.teacher.sources import Source

log = logging.getLogger(__name__)

ID = re.compile(r"[\w.+-]{1,200}")  # what a file says of itself may be anything: no path, no address


@dataclass(frozen=True)
class Seen:
    """Sets of marks by their names, and in words what nobody can know."""

    sets: dict[str, Marked] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    def __or__(self, other: Seen) -> Seen:
        return Seen(self.sets | other.sets, tuple(dict.fromkeys((*self.unknown, *other.unknown))))

    def among(self, judges: Marked) -> int:
        """How many of these images were seen."""
        return len(
            np.unique(np.concatenate([judges[:0], *(np.intersect1d(judges, one) for one in self.sets.values())]))
        )


def refuse_any_leak(sources: Sequence[Source], config: RunConfig, splits: Splits, place: Place) -> Seen:
    """What all that this run learns from has seen. Where that judges this run it is refused, where nobody knows it is said."""
    inherited = Seen()
    for who, run, file in _origins(sources, config.model.weights, place.runs):
        seen = seen_by(run, place.data_dir) if run else Seen(unknown=(f"what {file} was trained on",))
        if run:
            _refuse(who, run, seen, splits)
        inherited |= seen
    for thing in inherited.unknown:
        log.warning("Nobody knows %s: if images that judge this run were among it, the scores are too good.", thing)
    return inherited


def _origins(
    sources: Sequence[Source], weights: str | None, root: Path
) -> Iterator[tuple[str, runs.Run | None, Path | None]]:
    """What to call each, and the run that made it, if it is known."""
    for source in sources:
        run = source.run or run_of_file(source.file, root)
        name = run.id if run and not source.run else source.name
        yield f"The teacher {name}", run, Path(source.config.source)
    if weights:
        run = run_of_file(Path(weights).expanduser(), root)
        yield f"The run of the initial weights, {run.id if run else weights},", run, Path(weights)


def run_of_file(file: Path, root: Path) -> runs.Run | None:
    """The run that wrote these weights, wherever they were copied to; none for somebody else's."""
    if (file.parent / "run.json").is_file():
        return runs.Run(file.parent)
    name = _written_by(file)
    if name is None or not ID.fullmatch(name):
        return None
    try:
        return runs.find(root, name)
    except RunError:
        return None


def _written_by(file: Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            name = json.loads((opened.metadata() or {})["protege"])["about"]["run"]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) else None


def _refuse(who: str, run: runs.Run, seen: Seen, splits: Splits) -> None:
    marks = splits.marks()
    for part, judges in (("held-out", marks.heldout), ("test", marks.test)):
        if leaked := seen.among(judges):
            theirs = run.config().data
            raise DataError(
                f"{who} was trained on {leaked:,} of the {len(judges):,} {part} images that judge this run, itself or by what "
                f"it learned from. Give this run its split (data.heldout {theirs.heldout:g}, data.heldout_seed "
                f"{theirs.heldout_seed}, data.resplit {theirs.resplit}), or train it again with this run's."
            )


def seen_by(run: runs.Run, data_dir: Path | None) -> Seen:
    """As its record lists it; of a run from before there were lists, as its description and its data tell."""
    if entry := run.record().get("seen"):
        with_it = run.path / "seen"  # of a run that was fetched, which lies among no others
        folder = with_it if is_folder(with_it) else run.path.parent / "seen"
        sets = {name: read_marks(folder / f"{name}.u64") for name in entry["sets"]}
        whole = {name: marks for name, marks in sets.items() if marks is not None and name == name_of(marks)}
        if len(whole) == len(sets):
            return Seen(whole, tuple(entry["unknown"]))
    return _own(run, data_dir) | _ancestors(run, data_dir)


def _own(run: runs.Run, data_dir: Path | None) -> Seen:
    try:
        splits = data.load(run.config().data, data_dir)
    except ProtegeError:
        splits = None
    if splits is None or splits.fingerprint != run.record()["data"]["fingerprint"]:
        return Seen(unknown=(f"which images {run.id} was trained on, for it has no list and its data have changed",))
    marks = splits.marks().train
    return Seen({name_of(marks): marks})


def _ancestors(run: runs.Run, data_dir: Path | None) -> Seen:
    found, weights = Seen(), run.config().model.weights
    named = [identity.split(":") for identity in run.record().get("teachers", [])]
    parents = [_run_or_none(run.path.parent, parts[1]) if parts[0] == "run" else None for parts in named]
    if weights:
        parents.append(run_of_file(Path(weights).expanduser(), run.path.parent))
    for parent in parents:
        known = Seen(unknown=(f"what {run.id} learned from",)) if parent is None else seen_by(parent, data_dir)
        found |= known
    return found


def _run_or_none(root: Path, name: str) -> runs.Run | None:
    try:
        return runs.find(root, name)
    except RunError:
        return None


def name_of(marks: Marked) -> str:
    return hashlib.sha256(marks.astype("<u8").tobytes()).hexdigest()[:16]


def listed(root: Path, splits: Splits, inherited: Seen) -> dict[str, Any]:
    """What a run's record says; the sets are written where they are not there yet."""
    own = splits.marks().train
    sets = {name_of(own): own} | inherited.sets
    for name, marks in sets.items():
        if not (file := root / "seen" / f"{name}.u64").exists():
            write_marks(file, marks)
    return {"sets": list(sets), "unknown": list(inherited.unknown)}
