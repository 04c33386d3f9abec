"""Who teaches: found, named by an identity that enters the students' ids, and refused where it has seen what judges them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protege import runs
from protege.data.files import is_file, is_folder
from protege.errors import ConfigError, RunError
from protege.runs.config import TeacherConfig, canonical, digest
from protege.runs.identity import by_its_code
from protege.runs.keeping import hub

WEIGHTS = (".safetensors", ".pth", ".pt", ".th", ".bin", ".ckpt")  # how a path of weights ends, and no id of a run


@dataclass(frozen=True)
class Source:
    """Where a teacher comes from, and the identity that enters its students' ids."""

    config: TeacherConfig  # a repository of a hub by its commit, whatever the name was that it was given by
    identity: str
    file: Path  # of its weights
    run: runs.Run | None = None

    @property
    def name(self) -> str:
        """What to call it."""
        if hub.is_hub(self.config.source):
            return self.config.source
        return self.run.id if self.run else self.file.name


def identify(teachers: Sequence[TeacherConfig], root: Path) -> list[Source]:
    """Find the teachers; a run that has not finished, or a file whose network is not named, is an error."""
    return [_identify(teacher, root) for teacher in teachers]


def is_weights(name: str) -> bool:
    """Whether somebody who types this means a file of weights, and no run."""
    return is_file(Path(name)) or (Path(name).suffix in WEIGHTS and not is_folder(Path(name)))


def _identify(teacher: TeacherConfig, root: Path) -> Source:
    if hub.is_hub(name := on_a_hub(teacher.source)):
        return _fetched(teacher, hub.repository(name))
    path = Path(teacher.source)
    if is_file(path):
        if teacher.model is None:
            raise ConfigError(f"{path} is a weights file: name its network: teacher.model.")
        return _of_file(teacher, path)
    if (teacher.model is not None and not is_folder(path)) or is_weights(teacher.source):
        raise ConfigError(f"There is no file {path}. Give the path of the teacher's weights.")
    run = runs.find(root, teacher.source)
    if not run.finished:
        raise RunError(
            f"The teacher {run.id} has not finished training. Train it to the end first: its command is in {run.record_file}."
        )
    if teacher.weights == "best" and not run.weights_file("best").exists():
        raise RunError(
            f"The teacher {run.id} kept no best epoch, for it had no held-out images: use teacher.weights final."
        )
    if run.adapters_file(teacher.weights).exists():
        raise RunError(
            f"{run.id} learned by {run.config().method.name} and answers with what that adds to its network, which a teacher has not. "
            "Choose a teacher that was trained by another method."
        )
    return Source(teacher, run_identity(run.id, teacher.weights), run.weights_file(teacher.weights), run)


def _of_file(teacher: TeacherConfig, file: Path) -> Source:
    described = teacher.model_dump(mode="json", exclude={"source", "weights"})
    described["model"] = by_its_code(described["model"])
    return Source(teacher, f"file:{digest(file)[:16]}:{canonical(described)}", file)


def run_identity(run_id: str, weights: str = "final") -> str:
    """The identity of a teacher that is a run; known before it is trained, so that a whole study can be planned."""
    return f"run:{run_id}:{weights}"


# ---- from a hub ----


def on_a_hub(source: str) -> str:
    """`timm:NAME` as the repository with its weights; any other source as it is."""
    if not source.startswith("timm:"):
        return source
    from protege.models.external import repository_of

    return hub.HUB + repository_of(source)


def _fetched(teacher: TeacherConfig, found: hub.Repository) -> Source:
    """A run that was pushed, or weights with their network: each by its contents, so that a branch that moved is another teacher."""
    pinned: dict[str, Any] = {"source": str(found)}
    run = found.run() if found.is_run else None
    if run and teacher.model is None:
        if teacher.weights == "best":
            raise RunError(f"{found} holds the last epoch alone: use teacher.weights final.")
        return Source(teacher.model_copy(update=pinned), _contents(run), run.weights_file(), run)
    if teacher.model is None:
        known = TeacherConfig.model_validate({"source": str(found), **found.timm()})
        pinned |= {"model": known.model, "mean": teacher.mean or known.mean, "std": teacher.std or known.std}
    return _of_file(teacher.model_copy(update=pinned), found.weights)


def _contents(run: runs.Run) -> str:
    """All that decides what it says; its id would be its owner's word."""
    config, record = run.config(), run.record()["data"]
    deciding = {
        "weights": digest(run.weights_file()),
        "network": config.model.model_dump(mode="json", exclude={"weights"}),
        "compress": config.compress and config.compress.model_dump(mode="json"),
        **{key: record[key] for key in ("classes", "mean", "std")},
    }
    return f"hub:{hashlib.sha256(canonical(deciding).encode()).hexdigest()[:16]}:final"


def first_weights(name: str, root: Path) -> Path:
    """The weights to begin from: of a run, or of a repository."""
    if hub.is_hub(name := on_a_hub(name)):
        found = hub.repository(name)
        return found.run().weights_file() if found.is_run else found.weights
    return runs.find(root, name).weights_file()
