"""Who teaches: found, named by an identity that enters the students' ids, and refused where it has seen what judges them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from protege import data, runs
from protege.data.base import Splits
from protege.data.config import DataConfig
from protege.data.files import is_file, is_folder
from protege.errors import ConfigError, DataError, RunError
from protege.runs.config import TeacherConfig, canonical, digest

WEIGHTS = (".safetensors", ".pth", ".pt", ".th", ".bin", ".ckpt")  # how a path of weights ends, and no id of a run


@dataclass(frozen=True)
class Source:
    """Where a teacher comes from, and the identity that enters its students' ids."""

    config: TeacherConfig
    identity: str
    run: runs.Run | None = None


def identify(teachers: Sequence[TeacherConfig], root: Path) -> list[Source]:
    """Find the teachers; a run that has not finished, or a file whose network is not named, is an error."""
    return [_identify(teacher, root) for teacher in teachers]


def _identify(teacher: TeacherConfig, root: Path) -> Source:
    path = Path(teacher.source)
    if is_file(path):
        if teacher.model is None:
            raise ConfigError(f"{path} is a weights file: name its network with --teacher.model NAME.")
        described = teacher.model_dump(mode="json", exclude={"source", "weights"})
        return Source(teacher, f"file:{digest(path)[:16]}:{canonical(described)}")
    if (teacher.model is not None or path.suffix in WEIGHTS) and not is_folder(path):
        raise ConfigError(f"There is no file {path}. Give the path of the teacher's weights.")
    run = runs.find(root, teacher.source)
    if not run.finished:
        raise RunError(
            f"The teacher {run.id} has not finished training. Train it to the end first: its command is in {run.record_file}."
        )
    if teacher.weights == "best" and not run.weights_file("best").exists():
        raise RunError(
            f"The teacher {run.id} kept no best epoch, for it had no held-out images: use --teacher.weights final."
        )
    return Source(teacher, run_identity(run.id, teacher.weights), run)


def run_identity(run_id: str, weights: str = "final") -> str:
    """The identity of a teacher that is a run; known before it is trained, so that a whole study can be planned."""
    return f"run:{run_id}:{weights}"


def refuse_any_leak(sources: Sequence[Source], config: DataConfig, splits: Splits, data_dir: Path | None) -> None:
    """Of teachers from weights files nobody knows what they saw."""
    for source in sources:
        if source.run is not None:
            refuse_leaks(source.run, config, splits, data_dir)


def refuse_leaks(run: runs.Run, config: DataConfig, splits: Splits, data_dir: Path | None) -> None:
    """Held-out and test images judge: a teacher that has seen them would tell their labels."""
    if run.record()["data"]["content"] != splits.content:
        return
    theirs = run.config().data.under(config.name)  # the same images, wherever they were then
    if theirs == config:
        return
    if theirs.resplit != config.resplit:
        raise DataError(
            f"The teacher {run.id} was trained with data.resplit {theirs.resplit}, this run has {config.resplit}: "
            "it may have seen the test images. Give both the same."
        )
    seen = data.load(theirs, data_dir).train.indices
    judges = [splits.heldout] if config.resplit is None else [splits.heldout, splits.test]
    for images in judges:
        leaked = 0 if images is None else int(torch.isin(images.indices.cpu(), seen.cpu()).sum())
        if images is not None and leaked:
            raise DataError(
                f"The teacher {run.id} was trained on {leaked:,} of the {len(images):,} images that judge this run. "
                f"Give this run the teacher's split (data.heldout {theirs.heldout:g}, data.heldout_seed {theirs.heldout_seed}), "
                "or train the teacher again with this run's."
            )
