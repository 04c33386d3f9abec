"""Does one run gain by a second process? Images a second of one process of one thread, two of one, and one of two.

    python benchmarks/processes.py [--out benchmarks/results] [--seconds 280]     # on two quiet cores; it ends by then, whatever it has

Whole trainings, as they are typed (torchrun where there are two), in turns, network by network, round by round: the first epoch of each
is left out, and no image is held out. Ratios are of one round, so that a machine that is busy for a while is so to all. What was
measured is written after each training.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from protege.runs.hardware import environment

WAYS = {"1 process, 1 thread": (1, 1), "2 processes, 1 thread each": (2, 1), "1 process, 2 threads": (1, 2)}
ONE, TWO, THREADS = WAYS
RATIOS = {"2 processes : 1": (TWO, ONE), "2 threads : 1": (THREADS, ONE), "2 processes : 2 threads": (TWO, THREADS)}
NETWORKS = {"resnet20": (512, 4, 128), "resnet18": (128, 4, 64)}  # images, epochs, batch
ALONE = ("--data", "cifar10-mini", "--data.heldout", "0", "--optim.precision", "fp32", "--device", "cpu")


@dataclass
class Found:
    """Images a second of each network and way: a figure for each round, the last of which may be broken off."""

    speeds: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: {network: {way: [] for way in WAYS} for network in NETWORKS}
    )
    loads: list[float] = field(default_factory=list)  # before each training

    def rounds(self, network: str) -> int:
        return min(map(len, self.speeds[network].values()))

    def ratios(self, network: str, above: str, below: str) -> list[float]:
        ways = self.speeds[network]
        return [one / other for one, other in zip(ways[above], ways[below], strict=False)]


# ---- one training ----


def speed(network: str, way: str, root: Path, seconds: float) -> float | None:
    """Median over the epochs after the first; nothing where the time was over before."""
    (processes, threads), (images, epochs, batch) = WAYS[way], NETWORKS[network]
    size = ("--data.limit", str(images), "--optim.epochs", str(epochs), "--optim.batch-size", str(batch))
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    train = ["-m", "protege", "train", "--model", network, *ALONE, *size, "--threads", str(threads), "--no-compile"]
    command = [sys.executable, *start, *train, "--quiet", "--runs", str(root)]
    if not _ended_well(command, threads, seconds):
        return None
    (times,) = root.glob("*/times.jsonl")
    return statistics.median(json.loads(line)["images_per_second"] for line in times.read_text().splitlines()[1:])


def _ended_well(command: list[str], threads: int, seconds: float) -> bool:
    """One that takes too long is asked to stop, which torchrun passes on to its processes."""
    known = os.environ | {"OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(command, env=known, stdout=subprocess.DEVNULL)
    try:
        code = process.wait(timeout=max(seconds, 0.1))
    except subprocess.TimeoutExpired:
        return False
    finally:
        process.terminate()
        process.wait()
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}.")
    return True


# ---- all of them, in turns ----


def measured(seconds: float) -> Iterator[Found]:
    """After each training what is known so far. None is begun that would take longer than there is time, as far as one can tell."""
    until, found, took = time.monotonic() + seconds, Found(), dict[tuple[str, str], float]()
    for _ in itertools.count():
        for turn in itertools.product(NETWORKS, WAYS):
            began = time.monotonic()
            if began + took.get(turn, 0) > until:
                return
            found.loads.append(round(os.getloadavg()[0], 1))
            with tempfile.TemporaryDirectory() as root:
                one = speed(*turn, Path(root), until - began)
            if one is None:
                return
            took[turn] = time.monotonic() - began
            found.speeds[turn[0]][turn[1]].append(round(one, 1))
            yield found


# ---- what is written ----


def table(found: Found) -> str:
    lines = [
        f"| images/s, fp32 | rounds | {' | '.join([*WAYS, *RATIOS])} |",
        f"|---|{'---:|' * (1 + len(WAYS) + len(RATIOS))}",
    ]
    for network, ways in found.speeds.items():
        ratios = (found.ratios(network, *pair) for pair in RATIOS.values())
        cells = [*(_said(one, ".1f") for one in ways.values()), *(_said(one, ".2f") for one in ratios)]
        named = f"{network}, batch {NETWORKS[network][2]}"
        lines.append(f"| {named} | {found.rounds(network)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _said(figures: list[float], form: str) -> str:
    if not figures:
        return "-"
    return f"{statistics.median(figures):{form}} ({min(figures):{form}} to {max(figures):{form}})"


def write(found: Found, command: str, out: Path) -> None:
    about = environment()
    hardware = str(about["processor"]).lower().replace(" ", "-")
    name = f"processes_{hardware}_{time.strftime('%Y-%m-%d')}"
    out.mkdir(parents=True, exist_ok=True)
    figures = {"command": command, "images_per_second": found.speeds, "loads": found.loads, "environment": about}
    (out / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    machine = f"{about['processor']}, {about['cores']} cores, torch {about['torch']}"
    text = f"""# One run on several processes, or on several threads

`{command}`; {time.strftime("%Y-%m-%d")}, {machine}; medians and extremes over the rounds, ratios within a round.
Load average before each training: {min(found.loads)} to {max(found.loads)}, what was measured just before included.

{table(found)}
"""
    (out / f"{name}.md").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=280, help="after which it ends, with what it has")
    parser.add_argument("--out", type=Path, help="folder of the files processes_HARDWARE_DATE.json and .md")
    options = parser.parse_args()
    found = Found()
    for found in measured(options.seconds):
        if options.out:
            write(found, f"python benchmarks/processes.py --seconds {options.seconds:g}", options.out)
    print(table(found))
    print(f"load average before each: {', '.join(map(str, found.loads))}")


if __name__ == "__main__":
    main()
