"""Where the time of a training step goes once the teacher is remembered: the share of each kind of work.

    python benchmarks/shares.py                      # three pairs, about two minutes on two quiet cores
    python benchmarks/shares.py --threads 1

The loop is `protege.train` itself, as `protege bench` opens it. torch.profiler counts the time of each operation by itself, on
CPUs; a GPU's own tools say more.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer
from speed import PAIRS
from torch.profiler import ProfilerActivity, profile

from protege import runs
from protege.runs import cores
from protege.train.bench.ours import Ours
from protege.train.bench.prepare import prepare
from protege.train.bench.tables import table
from protege.train.bench.variants import Setting, variants

KINDS = {
    "convolutions, backward": ("convolution_backward",),
    "convolutions, forward": ("mkldnn_convolution", "convolution_overrideable"),
    "norms": ("batch_norm", "native_batch_norm"),
    "activations": ("threshold", "clamp", "relu", "hardtanh"),
    "the last layer": ("addmm", "aten::mm"),
    "optimiser": ("sgd", "SGD", "zero_grad"),
    "casts and copies": ("copy_", "_to_copy", "fill_", "zero_", "contiguous"),
    "sums of branches": ("aten::add",),
}


def shares(pair: str, threads: int, passes: int) -> tuple[float, dict[str, float]]:
    """Images a second without the profiler, and the share of each kind of work with it."""
    with tempfile.TemporaryDirectory(prefix="protege-shares-") as folder:
        setting = Setting(folder=Path(folder), threads=threads, compile=False)
        facts = prepare(PAIRS[pair], setting)
        (way,) = [one for one in variants("kd", facts.arithmetic) if one.name == "ours, remembered"]
        loop = Ours(PAIRS[pair], setting, way, facts.weights)
        loop.passed(1)
        took = loop.passed(passes)
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            loop.passed(passes)
    found = dict.fromkeys([*KINDS, "all else"], 0.0)
    for event in seen.key_averages():
        kind = next((name for name, parts in KINDS.items() if any(part in event.key for part in parts)), "all else")
        found[kind] += event.self_cpu_time_total
    total = sum(found.values())
    return took.images / took.seconds, {name: time / total for name, time in found.items()}


def main(
    pair: Annotated[list[str] | None, typer.Option("--pair", help=f"of {', '.join(PAIRS)}; may be repeated")] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads (else all)")] = None,
    passes: Annotated[int, typer.Option("--passes", min=1, help="of 250 images")] = 4,
) -> None:
    chosen, used = pair or list(PAIRS), threads or cores()
    found = {one: shares(one, used, passes) for one in chosen}
    about = runs.environment()
    print(f"{about['processor']}, {used} thread(s), torch {torch.__version__}, load {os.getloadavg()[0]:.2f}\n")
    lines = [[kind, *(f"{100 * shares[kind]:.1f} %" for _, shares in found.values())] for kind in [*KINDS, "all else"]]
    lines.append(["images/s, unprofiled", *(f"{speed:.0f}" for speed, _ in found.values())])
    print(table(("logit-KD, remembered", *chosen), lines))


if __name__ == "__main__":
    typer.run(main)
