"""Several processes on one run, as a launcher starts them; run as a script, one of them, which makes a list of runs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TINY: dict[str, Any] = {
    "data": {"name": "cifar10-mini", "limit": 71, "heldout": 11, "image_size": 16},
    "model": "resnet8",
    "optim": {"epochs": 4, "batch_size": 16, "precision": "fp32"},  # 20 steps; each last batch has 7 images
}
# As published but for what lasts longer than four epochs, and what cannot be left out.
SETTINGS: dict[str, dict[str, Any]] = {
    "crd": {"negatives": 32},
    "ctkd": {"ramp_epochs": 1},
    "ft": {"paraphraser_epochs": 1},
    "ab": {"pretraining_epochs": 1},
    "semckd": {"semantic_weight": 50},
    "sum": {"parts": [{"method": "kd"}, {"method": "at", "weight": 0.5}]},
}


def started(
    count: int, arguments: list[str], environment: Mapping[str, str] | None = None
) -> list[subprocess.Popen[str]]:
    """`count` processes of this Python that know of each other as torchrun tells it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = []
    for rank in range(count):
        told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        known = os.environ | {name: str(value) for name, value in told.items()} | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, *arguments],
            env=known | dict(environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        found.append(process)
    return found


def ended(processes: list[subprocess.Popen[str]], seconds: float = 900) -> list[tuple[int, str]]:
    """Exit codes and what was said, in order; none may outlive this."""
    try:
        said = [process.communicate(timeout=seconds)[0] for process in processes]
        return list(zip([process.returncode for process in processes], said, strict=True))
    finally:
        for process in processes:
            process.kill()
            process.communicate()


# ---- the script ----


@contextmanager
def double(wanted: bool) -> Iterator[None]:
    """Networks and images in float64, where rounding is far below any mistake."""
    import torch

    from protege import evaluate
    from protege.teacher import speaking
    from protege.train import loop, step

    if not wanted:
        yield
        return
    plain = step.normalise
    modules: list[Any] = [evaluate, speaking, loop, step]
    torch.set_default_dtype(torch.float64)
    for module in modules:
        module.normalise = lambda *args: plain(*args).double()
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        for module in modules:
            module.normalise = plain


def make(cases: Mapping[str, dict[str, Any]], root: Path) -> None:
    """Each run in a folder of its own name, with all that has learnt beside it."""
    import torch

    from protege.runs.config import Place, check_run
    from protege.runs.process.ranks import joined
    from protege.train import loop
    from protege.train.record import Record

    finish = Record.finish
    with joined(Place(runs=root, threads=1, quiet=True)) as place:
        for name, described in cases.items():

            def kept(self: Record, state: Any, asked: int | None, name: str = name) -> None:
                torch.save(state.learner.state_dict(), root / f"{name}.pt")
                finish(self, state, asked)

            Record.finish = kept  # pyright: ignore[reportAttributeAccessIssue]
            with double("float32" not in name):
                loop.train(check_run(TINY | described), place.model_copy(update={"runs": root / name}))


if __name__ == "__main__":
    make(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
