"""Who teaches: found, named by an identity that enters the students' ids, and refused where it has seen what judges them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from protege import runs
from protege.data.files import is_file, is_folder
from protege.errors import ConfigError, RunError
from protege.runs.config import TeacherConfig, canonical, digest
from protege.runs.identity import by_its_code

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
            raise ConfigError(f"{path} is a weights file: name its network: teacher.model.")
        described = teacher.model_dump(mode="json", exclude={"source", "weights"})
        described["model"] = by_its_code(described["model"])
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
            f"The teacher {run.id} kept no best epoch, for it had no held-out images: use teacher.weights final."
        )
    if run.adapters_file(teacher.weights).exists():
        raise RunError(
            f"{run.id} learned by {run.config().method.name} and answers with what that adds to its network, which a teacher has not. "
            "Choose a teacher that was trained by another method."
        )
    return Source(teacher, run_identity(run.id, teacher.weights), run)


def run_identity(run_id: str, weights: str = "final") -> str:
    """The identity of a teacher that is a run; known before it is trained, so that a whole study can be planned."""
    return f"run:{run_id}:{weights}"
