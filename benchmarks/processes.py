"""Does one run gain by a second process? Images a second of one process of one thread, two of one, and one of two.

    python benchmarks/processes.py [--out benchmarks/results] [--rounds 3]     # about ten minutes, on two quiet cores

Whole trainings, as they are typed (torchrun where there are two), in turns: the first epoch of each is left out, and no image is held out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from protege.runs.hardware import environment

WAYS = {"1 process, 1 thread": (1, 1), "2 processes, 1 thread each": (2, 1), "1 process, 2 threads": (1, 2)}
NETWORKS = {"resnet20": (1500, 5), "resnet18": (512, 4)}  # images, epochs
ALONE = ("--data", "cifar10-mini", "--data.heldout", "0", "--optim.batch-size", "128", "--optim.precision", "fp32")


def speed(network: str, processes: int, threads: int, root: Path) -> float:
    """Median over the epochs after the first."""
    images, epochs = NETWORKS[network]
    size = ["--data.limit", str(images), "--optim.epochs", str(epochs), "--threads", str(threads), "--device", "cpu"]
    command = [
        "-m",
        "protege",
        "train",
        "--model",
        network,
        *ALONE,
        *size,
        "--runs",
        str(root),
        "--quiet",
        "--no-compile",
    ]
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    subprocess.run(
        [*start, *command],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    (times,) = root.glob("*/times.jsonl")
    return statistics.median(json.loads(line)["images_per_second"] for line in times.read_text().splitlines()[1:])


def measured(rounds: int) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {network: {way: [] for way in WAYS} for network in NETWORKS}
    for network in NETWORKS:
        for _ in range(rounds):
            for way, (processes, threads) in WAYS.items():
                with tempfile.TemporaryDirectory() as root:
                    found[network][way].append(round(speed(network, processes, threads, Path(root)), 1))
    return found


def table(found: dict[str, dict[str, list[float]]]) -> str:
    lines = [f"| images/s | {' | '.join(WAYS)} |", f"|---|{'---:|' * len(WAYS)}"]
    for network, ways in found.items():
        cells = (f"{statistics.median(all_)} ({min(all_)} to {max(all_)})" for all_ in ways.values())
        lines.append(f"| {network}, batch 128, fp32 | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder of the files processes.json and processes.md")
    options = parser.parse_args()
    load, found = os.getloadavg()[0], measured(options.rounds)
    print(table(found))
    print(f"load before {load:.1f}, after {os.getloadavg()[0]:.1f}")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        about = {"images_per_second": found, "load_before": round(load, 1), "environment": environment()}
        (options.out / "processes.json").write_text(json.dumps(about, indent=1) + "\n")
        (options.out / "processes.md").write_text(table(found) + "\n")


if __name__ == "__main__":
    main()
