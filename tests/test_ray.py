"""Ray: what a run takes of it, and, where it is installed, two nodes of which one goes.

The real ones are slow (`pip install 'protege[ray]'`, then `pytest -n 0 -m slow tests/test_ray.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_cases import job_of

from protege.errors import MissingExtra
from protege.launch.ray import Ray, RayLauncher


def test_a_teacher_may_take_more_than_a_student(runs: Path) -> None:
    options = Ray(cpus_per_run=2, gpus_per_run=0.25, gpus_per_teacher=1, cpus_per_teacher=8)
    assert options.takes(job_of(runs, "run"), gpus=1) == {"num_cpus": 2, "num_gpus": 0.25}
    assert options.takes(job_of(runs, "run", "teachers"), gpus=1) == {"num_cpus": 8, "num_gpus": 1}


def test_gpus_are_taken_where_there_are_any_unless_none_are_asked_for(runs: Path) -> None:
    job = job_of(runs, "run", "teachers")
    assert Ray().takes(job, gpus=1)["num_gpus"] == 1 and Ray().takes(job, gpus=0)["num_gpus"] == 0
    assert Ray(gpus_per_run=0).takes(job, gpus=1)["num_gpus"] == 0


def test_a_missing_ray_is_told_before_anything_is_written(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'protege\[ray\]'"):
        RayLauncher(runs / "ray", Ray()).take([job_of(runs, "run")])
    assert not runs.exists()


ON_TWO_NODES = """
import json, os, signal, sys, time
from pathlib import Path
from ray.cluster_utils import Cluster
import slurm_cases
from protege.launch.launcher import run_jobs
from protege.launch.ray import Ray, RayLauncher
from protege.runs import Run
from protege.train import plan

runs = Path(sys.argv[1])
cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1, include_dashboard=False))
second = [cluster.add_node(num_cpus=1)]
jobs = []
for seed in range(2):
    job = slurm_cases.job_of(runs, "unknown", seed=seed, optim=slurm_cases.TINY["optim"] | {"epochs": 20})
    place = job.place.model_copy(update={"checkpoint_seconds": 0.0})
    jobs.append(job.model_copy(update={"run": plan(job.config, place).id, "place": place}))

class Ending:
    deaths = 0
    def started(self, slot, job): pass
    def skipped(self, job, because): pass
    def ended(self, slot, job, reply): Ending.deaths += reply.outcome == "died"
    def look(self, running):
        if second and all(Run(runs / job.run).metrics() for job in jobs):
            cluster.remove_node(second.pop(), allow_graceful=False)

launcher = RayLauncher(runs / "ray", Ray(address=cluster.address), lambda line: None)
outcome = run_jobs(lambda: [job for job in jobs if not Run(runs / job.run).finished], Ending(), launcher)
print(json.dumps({"deaths": Ending.deaths, "failed": outcome.failed, "runs": [job.run for job in jobs]}))
cluster.shutdown()
"""


@pytest.mark.slow
def test_runs_of_a_node_that_dies_are_finished_on_another(runs: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", ON_TWO_NODES, str(runs.absolute())],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["deaths"] >= 1 and not found["failed"]
    for run in found["runs"]:
        assert [
            line["epoch"] for line in map(json.loads, (runs / run / "metrics.jsonl").read_text().splitlines())
        ] == list(range(20))


BLIND = """
import os, signal, subprocess, sys, time
import ray
from ray.cluster_utils import Cluster

runs = sys.argv[1]
os.makedirs(runs)
cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1, include_dashboard=False))
hidden = f"mount -t tmpfs none '{runs}' && exec ray start --address={cluster.address} --num-cpus=1 --block"
node = subprocess.Popen(["unshare", "-m", "sh", "-c", hidden], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
try:
    cluster.wait_for_nodes()
    ray.init(address=cluster.address)
    while len([one for one in ray.nodes() if one["Alive"]]) < 2:
        assert node.poll() is None
        time.sleep(0.2)
    ray.shutdown()
    words = "train --data cifar10-mini --model resnet8 --data.limit 128 --optim.epochs 1 --on ray".split()
    command = [sys.executable, "-m", "protege", *words, "--ray.address", cluster.address, "--runs", runs]
    done = subprocess.run(command, capture_output=True, text=True)
    print("said", done.returncode, done.stderr.strip())
finally:
    os.killpg(node.pid, signal.SIGTERM)
    node.wait()
    cluster.shutdown()
"""


@pytest.mark.slow
def test_a_node_that_does_not_see_the_folder_is_named_before_the_first_run(runs: Path) -> None:
    pytest.importorskip("ray")
    if os.getuid() != 0:
        pytest.skip("hiding a folder from a node takes root")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "disabled",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", BLIND, str(runs)], env=environment, capture_output=True, text=True, check=False
    )
    (said,) = [line for line in done.stdout.splitlines() if line.startswith("said")]
    assert said.startswith("said 2 protege: Node ") and f"does not see {runs}" in said
    assert not list(runs.glob("*/run.json"))
