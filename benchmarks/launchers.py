"""What it costs to have many runs made: a thousand pretended ones on each launcher.

    python benchmarks/launchers.py local|slurm|ray [--runs 1000] [--out benchmarks/results]

Locally and on Ray the workers are real and find every run finished. On SLURM each run is an array task of its own, which
writes its reply in a shell's `setup` after 0 to 1 s, as a thousand imports of torch would be all that one measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import final

from protege.launch.jobs import Job, Reply
from protege.launch.launcher import run_jobs
from protege.launch.ray import Ray
from protege.launch.slurm.options import Slurm
from protege.launch.where import Slotted, Where, launcher
from protege.runs import cores
from protege.runs.config import Place, check_run

# A task's line of the batch names its run; 0 to 1 s later the reply is there.
PRETENDED = r"""
stem=$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" "{folder}/${{SLURM_JOB_NAME##*.}}.runs")
sleep 0.$((RANDOM % 10))
echo '{{"key": "train '"${{stem#train-}}"'", "outcome": "finished"}}' > "{folder}/replies/$stem.partial"
mv "{folder}/replies/$stem.partial" "{folder}/replies/$stem.json"
exit 0
"""


@final
class Counting:
    """A watch that counts what ended."""

    def __init__(self) -> None:
        self.ended_keys: set[str] = set()

    def started(self, slot: int, job: Job) -> None: ...

    def skipped(self, job: Job, because: str) -> None: ...

    def look(self, running: Mapping[int, Job]) -> None: ...

    def ended(self, slot: int, job: Job, reply: Reply) -> None:
        assert reply.outcome == "finished", reply
        self.ended_keys.add(job.key)


def finished_jobs(runs: Path, count: int) -> list[Job]:
    """Runs with results already, so that a worker has nothing to train."""
    from protege.train import plan

    found = []
    for seed in range(count):
        config = check_run(
            {"data": {"name": "cifar10-mini", "limit": 128, "heldout": 100}, "model": "resnet8", "seed": seed}
        )
        place = Place(runs=runs, quiet=True, device="cpu")
        known = plan(config, place).id
        (runs / known).mkdir(parents=True)
        (runs / known / "result.json").write_text("{}")
        found.append(Job(verb="train", run=known, config=config, place=place, label=str(seed)))
    return found


def messages() -> dict[str, int]:
    """What slurmctld was asked since the last reset, by kind."""
    said = subprocess.run(["sdiag"], capture_output=True, text=True, check=True).stdout
    counts = re.findall(r"^\s*(REQUEST_\w+)\s*\(\s*\d+\)\s*count:(\d+)", said, re.M)
    return {kind: int(count) for kind, count in counts if kind in ("REQUEST_JOB_INFO", "REQUEST_SUBMIT_BATCH_JOB")}


def measured(on: str, count: int, folder: Path) -> dict[str, object]:
    jobs, watch = finished_jobs(folder / "runs", count), Counting()
    pretended = Slurm(cpus=1, mem="50M", time="10", setup=PRETENDED.format(folder=folder / "slurm"))
    where = Where.model_validate({"on": on, "slurm": pretended, "ray": Ray()})
    if on == "slurm":
        subprocess.run(["sdiag", "-r"], check=True)
    load, begun, spent = os.getloadavg()[0], time.perf_counter(), time.process_time()
    launched = launcher(where, folder, "pretended", Slotted(slots=2, threads=1))
    outcome = run_jobs(lambda: left(jobs, watch), watch, launched)
    seconds = time.perf_counter() - begun
    assert len(watch.ended_keys) == count and not outcome.failed
    found = {
        "on": on, "runs": count, "seconds": round(seconds, 1), "per_run_ms": round(1000 * seconds / count, 1),
        "conductor_cpu_seconds": round(time.process_time() - spent, 2),
        "conductor_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "load_before": round(load, 1), "load_after": round(os.getloadavg()[0], 1), "cores": cores(), "machine": platform.machine(),
    }  # fmt: skip
    if on == "slurm":
        asked = messages()
        found |= {"messages": asked, "messages_per_minute": round(60 * sum(asked.values()) / seconds, 2)}
    return found


def left(jobs: Sequence[Job], watch: Counting) -> list[Job]:
    return [job for job in jobs if job.key not in watch.ended_keys]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("on", choices=["local", "slurm", "ray"])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="folder of a file launchers_ON.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="protege-launchers-") as folder:
        found = measured(options.on, options.runs, Path(folder))
    print(json.dumps(found, indent=1))
    if options.out:
        (options.out / f"launchers_{options.on}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
