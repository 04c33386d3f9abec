"""The real SLURM, of two nodes on this machine (`tests/slurm_here.sh`): skipped where it is not installed.

The whole of it is slow: `pytest -n 0 -m slow tests/test_slurm_real.py`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from protege.runs import Run

HERE = Path(__file__).parent / "slurm_here.sh"
ONE = ["--data", "cifar10-mini", "--model", "resnet8", "--data.limit", "128", "--optim.batch-size", "64"]
PATIENCE = 300  # seconds: a SLURM that starts no job must not hang the tests
QUICK = ["--on", "slurm", "--slurm.cpus", "1", "--slurm.time", "10", "--slurm.look-every", "2"]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which its commands work."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [tool for tool in ("slurmctld", "slurmd", "munged", "sbatch") if shutil.which(tool, path=path) is None]
    if missing or os.getuid() != 0:
        pytest.skip("needs root and SLURM's packages: tests/slurm_here.sh install")
    folder = tmp_path_factory.mktemp("slurm")
    port = str(20_000 + os.getpid() % 9_000)
    started = subprocess.run(
        [HERE, "up", folder], env={**os.environ, "SLURM_HERE_PORT": port}, capture_output=True, text=True, check=False
    )
    if started.returncode:
        pytest.skip(f"SLURM does not come up here: {started.stderr.strip()}")
    yield {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([HERE, "down", folder], check=True)


def train(slurm: dict[str, str], runs: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "protege", "train", *ONE, "--runs", str(runs), "--threads", "1", *words]
    return subprocess.Popen(command, env=slurm, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> None:
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 0, said


def only_run(runs: Path) -> Run:
    (found,) = [Run(path.parent) for path in runs.glob("*/run.json")]
    return found


def test_a_run_is_made_by_a_job_and_is_the_one_that_is_made_here(slurm: dict[str, str], tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    job, own = train(slurm, there, "--optim.epochs", "2", *QUICK), train(slurm, here, "--optim.epochs", "2")
    finished(job)
    finished(own)
    assert only_run(there).id == only_run(here).id
    assert only_run(there).metrics() == only_run(here).metrics()
    assert only_run(there).weights_file().read_bytes() == only_run(here).weights_file().read_bytes()


def test_memory_that_is_too_small_is_told_in_a_line(slurm: dict[str, str], runs: Path) -> None:
    said = train(slurm, runs, "--optim.epochs", "2", *QUICK, "--slurm.mem", "100M").communicate(timeout=PATIENCE)[1]
    assert "Out of memory: its job has 100M. Give more with --slurm.mem" in said and "Traceback" not in said


@pytest.mark.slow
def test_a_job_whose_command_is_killed_and_that_is_requeued_ends_bit_equal(
    slurm: dict[str, str], tmp_path: Path
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    words = ["--optim.epochs", "30", "--checkpoint-seconds", "0"]
    first = train(slurm, there, *words, *QUICK)
    while not list(there.glob("*/metrics.jsonl")):
        assert first.poll() is None
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    second = train(slurm, there, *words, *QUICK)
    listed = subprocess.run(["squeue", "-h", "-o", "%i"], env=slurm, capture_output=True, text=True, check=True)
    subprocess.run(["scontrol", "requeue", listed.stdout.split()[0]], env=slurm, check=True)
    finished(second)
    finished(train(slurm, here, *words))
    assert only_run(there).weights_file().read_bytes() == only_run(here).weights_file().read_bytes()
    batches = list((there / "jobs" / only_run(there).id / "slurm").glob("*.id"))
    assert [file.name for file in batches] == ["train.id"]  # submitted once
