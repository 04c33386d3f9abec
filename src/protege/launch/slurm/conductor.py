"""What is done with all jobs of a folder: written and not submitted, left to a job of their own, and cancelled."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from protege.errors import RunError
from protege.launch.jobs import Job
from protege.launch.slurm.folder import Batch, Folder
from protege.launch.slurm.launcher import SlurmLauncher
from protege.launch.slurm.options import Slurm
from protege.launch.slurm.queue import Queue, cancel, submit
from protege.launch.slurm.script import conductor_of, submission
from protege.runs.files import whole

CONDUCTOR = "conductor"


def written(folder: Folder, options: Slurm, jobs: Sequence[Job]) -> list[Path]:
    """Scripts for all jobs that are known so far, and what submits them in order; nothing is submitted."""
    launcher = SlurmLauncher(folder, options)
    batches: list[Batch] = []
    after: dict[str, str] = {}
    for batch, wave, those in launcher.batches_of(jobs):
        if waits := launcher.after(those, lambda name: f"{{{name}}}"):
            after[batch.name] = waits
        launcher.write(batch, wave, those)
        batches.append(batch)
    order = folder.path / "submit.sh"
    with whole(order) as partial:
        partial.write_text(submission(folder, batches, after))
    return [*(folder.file(batch.name, "sbatch") for batch in batches), order]


def detach(folder: Folder, options: Slurm, command: Sequence[str]) -> str:
    """The number of a small job that gives `command`, and so looks after all others."""
    folder.make()
    queue = Queue(folder.prefix, options.look_every)
    queue.look()
    there = [one for one in queue.jobs if one.name == folder.prefix + CONDUCTOR and not one.over]
    if there:
        raise RunError(
            f"Job {there[0].job} looks after {folder.title} already. `protege study watch` shows how far it is."
        )
    script = folder.file(CONDUCTOR, "sbatch")
    with whole(script) as partial:
        partial.write_text(conductor_of(folder, command, options))
    return submit(script, folder.file(CONDUCTOR, "id"), "", folder.prefix + CONDUCTOR)


def cancel_all(folder: Folder) -> int:
    """End the jobs of this folder, and no others; who submits them stops too. How many there were."""
    if not folder.path.exists():
        return 0
    folder.cancelled.write_text(time.strftime("%Y-%m-%dT%H:%M:%S%z\n"))
    queue = Queue(folder.prefix, 0)
    queue.look()
    going = [one for one in queue.jobs if not one.over]
    cancel(sorted({one.array for one in going}, key=int))
    return len(going)
