"""Six short runs, made through the command line: their ids and a digest of every weight, as JSON.

A change of the training loop that is to change nothing prints the same as the commit before it:

    python scripts/same_runs.py /tmp/now > now.json
    PYTHONPATH=<the other checkout>/src python scripts/same_runs.py /tmp/before > before.json
    diff before.json now.json

Digests hold on one machine, with one thread and one version of torch. `--interrupt` leaves a seventh run stopped in its middle,
with the checkpoint it stopped at.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import safetensors.torch

COMMON = [
    "--data", "cifar10-mini", "--data.limit", "300", "--data.heldout", "100", "--model", "resnet8",
    "--optim.epochs", "2", "--optim.batch-size", "50", "--optim.precision", "fp32", "--threads", "1", "--quiet",
]  # fmt: skip
RUNS = {  # the first teaches those that name it
    "supervised": [],
    "kd": ["--method", "kd", "--teacher", "TEACHER"],
    "feature": ["--method", "feature", "--teacher", "TEACHER"],
    "crd": ["--method", "crd", "--teacher", "TEACHER"],
    "ema": ["--optim.ema", "0.9", "--optim.accumulate", "2", "--optim.clip-norm", "1", "--views", "cutmix"],
    "dml": ["--method", "dml"],
}
LONG = ["--seed", "5", "--optim.epochs", "12", "--checkpoint-seconds", "0", "--optim.ema", "0.9"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the runs; a new one")
    parser.add_argument("--interrupt", action="store_true", help="leave one more run stopped in its middle")
    given = parser.parse_args()
    print(json.dumps(made(given.folder), indent=1))
    if given.interrupt:
        stopped(given.folder)


def made(folder: Path) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name, given in RUNS.items():
        options = [found["supervised"]["id"] if option == "TEACHER" else option for option in given]
        if name == "kd":  # so that the run reads what was said before it
            protege("remember", "warm", *COMMON, *options, "--runs", str(folder))
        before = {path.parent for path in folder.glob("*/result.json")}
        protege("train", *COMMON, *options, "--runs", str(folder))
        (run,) = {path.parent for path in folder.glob("*/result.json")} - before
        metrics = (run / "metrics.jsonl").read_bytes()
        found[name] = {
            "id": run.name, "metrics": hashlib.sha256(metrics).hexdigest()[:16],
            **{which: digest(run / f"{which}.safetensors") for which in ("model", "best")},
        }  # fmt: skip
    return found


def digest(weights: Path) -> str:
    """Of names, shapes and bits; not of the header, which may say more than it did."""
    whole = hashlib.sha256()
    for name, tensor in sorted(safetensors.torch.load_file(weights).items()):
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return whole.hexdigest()[:16]


def stopped(folder: Path) -> None:
    """Ctrl-C after the second epoch, as a user would press it."""
    before = set(folder.glob("*/metrics.jsonl"))
    process = subprocess.Popen([*COMMAND, "train", *COMMON, *LONG, "--runs", str(folder)], env=ENVIRONMENT)
    while process.poll() is None and not any(
        len(path.read_text().splitlines()) > 1 for path in set(folder.glob("*/metrics.jsonl")) - before
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.wait()


def protege(*arguments: str) -> None:
    subprocess.run([*COMMAND, *arguments], env=ENVIRONMENT, check=True, stdout=sys.stderr)


COMMAND = [sys.executable, "-m", "protege.cli"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}

if __name__ == "__main__":
    main()
