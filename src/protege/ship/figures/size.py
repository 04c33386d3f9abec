"""What a run or a file weighs, and what one image costs it."""

from __future__ import annotations

from pathlib import Path

from protege.runs import Run, find
from protege.ship.shipped import FILES


def bytes_of(source: str, runs: Path, which: str) -> int:
    """On disk: the file, with the weights beside it where a format has two; of a run, what is deployed."""
    path = Path(source)
    if path.suffix in FILES:
        return file_bytes(path)
    run = find(runs, source)
    adapters = run.adapters_file(which)
    return run.weights_file(which).stat().st_size + (adapters.stat().st_size if adapters.exists() else 0)


def file_bytes(path: Path) -> int:
    beside = path.with_suffix(".bin")
    return path.stat().st_size + (beside.stat().st_size if path.suffix == ".xml" and beside.exists() else 0)


def costs_of(run: Run, which: str) -> tuple[int, int]:
    """Parameters and multiply-adds of all that is deployed."""
    from protege.models.measure import multiply_adds, parameter_count
    from protege.ship.formats.deployed import Student
    from protege.ship.runtimes import InTorch

    runtime = InTorch(run, which)
    student = Student(runtime.predictor).eval()
    return parameter_count(student), multiply_adds(student, runtime.about.size)
