"""Where runs are made: slots of this machine, jobs of a SLURM cluster, or nodes of a Ray cluster. Never part of what a run is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from protege.launch.launcher import Launcher
from protege.launch.ray import Ray, RayLauncher
from protege.launch.slurm.options import Slurm
from protege.runs.config import Described

if TYPE_CHECKING:
    from protege.launch.slurm.folder import Folder


class Where(Described):
    """As options say it: `--on slurm --slurm.time 04:00:00`."""

    on: Literal["local", "slurm", "ray"] = Field(default="local", description="this machine, or a cluster")
    slurm: Slurm = Field(default=Slurm(), description="what is asked of SLURM for a job")
    ray: Ray = Field(default=Ray(), description="which Ray cluster, and what a run takes of it")


@dataclass(frozen=True)
class Slotted:
    """Of this machine alone."""

    slots: int = 1
    threads: int | None = None
    devices: Sequence[str] = ("auto",)


def launcher(where: Where, folder: Path, title: str, here: Slotted, say: Callable[[str], None] = print) -> Launcher:
    """`folder` is that of the study, or any other which all nodes share, and `title` a name for people."""
    if where.on == "slurm":
        from protege.launch.slurm.launcher import SlurmLauncher

        return SlurmLauncher(slurm_folder(folder, title), where.slurm, say)
    if where.on == "ray":
        return RayLauncher(folder / "ray", where.ray, say)
    from protege.launch.local import Slots

    return Slots(folder / "logs", here.slots, here.threads, here.devices)


def slurm_folder(folder: Path, title: str) -> Folder:
    from protege.launch.slurm.folder import Folder

    return Folder(folder / "slurm", title)
