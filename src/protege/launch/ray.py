"""Runs as tasks of a Ray cluster: one that is there, or one that is started on this machine for as long as it takes.

Ray shares out CPUs and GPUs, fractions too. A job and its reply are files in a folder that all nodes share, as anywhere else.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, final

from pydantic import Field

from protege.errors import RunError
from protege.launch.jobs import Job, Reply, job_in, reply_in, write
from protege.launch.launcher import News
from protege.lazy import need
from protege.runs import write_json
from protege.runs.config import Described

WAITS = 0.25  # seconds for news
GLANCES_EVERY = 1.0  # seconds between listings of what began
PATIENCE = 120  # seconds for an answer of each node, and for checkpoints at a stop
MOST = 2000  # tasks that Ray is given at a time


class Ray(Described):
    """Which cluster, and what a run takes of it."""

    address: str | None = Field(
        default=None, description="auto or HOST:PORT of a cluster that is there (else one is started on this machine)"
    )
    cpus_per_run: int = Field(default=1, ge=1, description="CPUs, and so threads, of a run")
    gpus_per_run: float | None = Field(
        default=None, ge=0, description="GPUs of a run, e.g. 0.25 (else 1 where there are any)"
    )
    cpus_per_teacher: int | None = Field(default=None, ge=1, description="CPUs of a teacher (else those of a run)")
    gpus_per_teacher: float | None = Field(default=None, ge=0, description="GPUs of a teacher (else those of a run)")
    retries: int = Field(default=3, ge=0, description="deaths of a run without a new checkpoint that are forgiven")

    def takes(self, job: Job, gpus: float) -> dict[str, float]:
        """`gpus` where none were asked for."""
        teacher = job.wave == "teachers"
        wanted = self.gpus_per_teacher if teacher and self.gpus_per_teacher is not None else self.gpus_per_run
        cpus = (teacher and self.cpus_per_teacher) or self.cpus_per_run
        return {"num_cpus": cpus, "num_gpus": gpus if wanted is None else wanted}


@final
class RayLauncher:
    """A launcher. The cluster is looked for, or started, with the first job."""

    chains = False
    look_every = 2.0
    after_a_stop = "The same command goes on from here."

    def __init__(self, folder: Path, options: Ray, say: Callable[[str], None] = print) -> None:
        self.forgives = options.retries
        self._folder, self._options, self._say = folder, options, say
        self._ray: Any = None
        self._gpus = 0.0
        self._tasks: dict[Any, tuple[int, Job]] = {}  # by Ray's reference
        self._waiting: dict[str, tuple[int, Job]] = {}  # not begun, by the stem of their files
        self._slots, self._glanced_at = 0, 0.0

    def room(self) -> int:
        return MOST - len(self._tasks)

    def take(self, jobs: Sequence[Job]) -> None:
        ray = self._ray or self._join()
        for job in jobs:
            takes = self._options.takes(job, self._gpus)
            threads = job.place.threads or int(takes["num_cpus"])
            job_file, begun, reply = self._files(job)
            for old in (begun, reply):
                old.unlink(missing_ok=True)
            write(job_file, job.model_copy(update={"place": job.place.model_copy(update={"threads": threads})}))
            remote = ray.remote(_do).options(name=job.label or job.run, max_retries=0, **takes)
            self._tasks[remote.remote(str(job_file), str(begun), str(reply))] = (self._slots, job)
            self._waiting[begun.stem] = (self._slots, job)
            self._slots += 1

    def busy(self) -> bool:
        return bool(self._tasks)

    def news(self) -> Sequence[News]:
        done, _ = self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=WAITS, fetch_local=False)
        began = list(self._begun()) if done or time.monotonic() - self._glanced_at > GLANCES_EVERY else []
        return [*began, *(self._ended(task) for task in done)]

    def end(self, asked: Sequence[int]) -> None:
        """A stop asks every run for a checkpoint."""
        if self._ray is None:
            return
        for task in self._tasks:
            self._ray.cancel(task, force=False)
        if self._tasks:
            self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=PATIENCE, fetch_local=False)
        self._ray.shutdown()

    # ---- the cluster ----

    def _join(self) -> Any:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # its daemons would speak in the middle of our answers
        ray = need("ray", "ray", "a cluster of Ray")
        address = self._options.address
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level="ERROR",
                configure_logging=False,
                include_dashboard=None if address else False,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            found = f"There is no Ray cluster at --ray.address {address}" if address else "Ray cannot be started here"
            raise RunError(
                f"{found}: {error} Start one with `ray start --head`, and say --ray.address auto."
            ) from error
        self._ray = ray
        self._gpus = 1.0 if ray.cluster_resources().get("GPU", 0) else 0.0
        self._folder.mkdir(parents=True, exist_ok=True)
        nodes = [node for node in ray.nodes() if node["Alive"]]
        self._refuse_what_is_not_shared(nodes)
        has = ray.cluster_resources()
        what = f"{has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs"
        self._say(f"Ray: {len(nodes)} node{'' if len(nodes) == 1 else 's'} with {what}")
        return ray

    def _refuse_what_is_not_shared(self, nodes: Sequence[dict[str, Any]]) -> None:
        """Now, with one line, and not as a failure of every run on that node."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # pyright: ignore[reportMissingImports]

        token = self._folder / f"shared-{os.getpid()}"
        token.write_text(str(self._folder))
        try:
            looking = {}
            for node in nodes:
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                task = self._ray.remote(_sees).options(num_cpus=0, max_retries=0, scheduling_strategy=there)
                looking[node["NodeManagerAddress"], node["NodeID"][:8]] = task.remote(str(token))
            for (address, name), answer in looking.items():
                self._refuse_blind(f"{address} ({name})", answer)
        finally:
            token.unlink(missing_ok=True)

    def _refuse_blind(self, node: str, answer: Any) -> None:
        try:
            sees = self._ray.get(answer, timeout=PATIENCE)
        except self._ray.exceptions.RayError as error:
            said = str(error).strip().splitlines()[-1]
            raise RunError(f"Node {node} cannot run protege: {said} Install the same protege on every node.") from error
        if not sees:
            raise RunError(
                f"Node {node} does not see {self._folder}. The nodes must share the folder of the runs: choose one with --runs."
            )

    # ---- tasks ----

    def _files(self, job: Job) -> tuple[Path, Path, Path]:
        """Its job, that it began, and its reply."""
        stem = job.key.replace(" ", "-", 1)
        found = tuple(self._folder / kind / f"{stem}.json" for kind in ("jobs", "begun", "replies"))
        return found[0], found[1], found[2]

    def _begun(self) -> Iterator[News]:
        self._glanced_at = time.monotonic()
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self._folder / "begun"):
                if (told := self._waiting.pop(entry.name.removesuffix(".json"), None)) is not None:
                    yield News(*told)

    def _ended(self, task: Any) -> News:
        slot, job = self._tasks.pop(task)
        _, begun, reply = self._files(job)
        self._waiting.pop(begun.stem, None)
        try:
            self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            return News(slot, job, reply_in(reply) or self._reply_for(job, error))
        return News(slot, job, self._reply_in(reply, job))

    def _reply_in(self, file: Path, job: Job) -> Reply:
        """One that cannot be read is none: what is done lies in the folder of its run."""
        with contextlib.suppress(RunError):
            if (said := reply_in(file)) is not None:
                return said
        return Reply(key=job.key, outcome="died", message=f"It left no reply in {file}.")

    def _reply_for(self, job: Job, error: Exception) -> Reply:
        """Of a task that Ray could not bring to its end."""
        kinds, said = self._ray.exceptions, (str(error).strip().splitlines() or [""])[-1]
        if isinstance(error, kinds.TaskCancelledError):
            return Reply(key=job.key, outcome="stopped")
        if isinstance(error, kinds.OutOfMemoryError):
            advice = "Make fewer runs at a time with --ray.cpus-per-run, or choose a smaller optim.batch_size."
            return Reply(key=job.key, outcome="died", message=f"Out of memory on its node. {advice}")
        if isinstance(error, kinds.RayTaskError):
            return Reply(key=job.key, outcome="failed", message=said)
        return Reply(key=job.key, outcome="died", message=f"Its worker or its node died ({type(error).__name__}).")


def _do(job_file: str, begun: str, reply: str) -> None:
    """On the node, in a process of Ray's."""
    from protege.launch.worker import work

    job = job_in(Path(job_file))
    write_json(Path(begun), {"job": f"process {os.getpid()}", "node": os.uname().nodename, "time": time.time()})
    write(Path(reply), work(job))


def _sees(token: str) -> bool:
    from protege.launch import worker  # noqa: F401 (whether protege and torch are here)

    return Path(token).exists()
