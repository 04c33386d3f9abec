"""What was measured before: beside a run, and beside a file that was exported. It counts where machine, library and file are the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from protege.errors import RunError
from protege.runs import find, read_json, records, write_json
from protege.runs.config import digest
from protege.ship.figures.measure import Measured
from protege.ship.shipped import FILES

JUDGED = (
    "split",
    "images",
    "accuracy",
    "interval",
    "agreement_run",
    "agreement_teacher",
)  # which `protege evaluate` keeps
TIMES = ("latency_ms", "latency_low_ms", "latency_high_ms", "latency_p95_ms", "rounds", "runtime")
SAME = ("bytes", "threads", "batch", "machine")
LIBRARIES = {".onnx": "onnxruntime", ".xml": "openvino", ".pte": "executorch"}  # else torch


def price_of(one: Measured) -> dict[str, Any]:
    """What it costs, without whose it is and how good it is."""
    return {name: value for name, value in asdict(one).items() if name not in ("source", *JUDGED)}


def keep(one: Measured, runs: Path, which: str) -> None:
    """Beside the run, so that studies and reports know it; of a file of ours beside that file, for its price is not its run's."""
    path = Path(one.source)
    if path.suffix not in FILES:
        find(runs, one.source).keep_measured(which, price_of(one))
    elif path.with_name("card.json").exists():
        kept = {**beside(path), path.name: {**price_of(one), "sha256": contents(path)}}
        write_json(path.with_name("measured.json"), kept)


def recall(one: Measured, runs: Path, which: str) -> bool:
    """Take over the times that were measured here before; False where there are none, or not of this."""
    path = Path(one.source)
    if path.suffix in FILES:
        kept = beside(path).get(path.name, {})
        same = kept.get("sha256") == contents(path)
    else:
        kept, same = find(runs, one.source).measured().get(which, {}), True
    if not (same and kept.get("runtime") == library(path) and is_like(one, kept)):
        return False
    for name in TIMES:
        setattr(one, name, kept[name])
    return True


def is_like(one: Measured, kept: Mapping[str, Any]) -> bool:
    """Whether it is of the same size, and was timed in the same way on the same machine."""
    known = all(name in kept for name in TIMES)
    return known and all(getattr(one, name) == kept.get(name) for name in SAME)


def library(path: Path) -> str | None:
    """What would compute it here now, and in which version: as a runtime calls itself."""
    name = "torch.export" if path.suffix == ".pt2" else LIBRARIES.get(path.suffix, "torch")
    try:
        return f"{name} {version(name.partition('.')[0])}"
    except PackageNotFoundError:
        return None


def beside(path: Path) -> dict[str, Any]:
    """Of the files in that folder, by name; nothing where what is there is no record."""
    try:
        return read_json(path.with_name("measured.json"), dict[str, records.Prices])
    except RunError:
        return {}


def contents(path: Path) -> str:
    """Digest of the file, and of the weights beside it where a format has two."""
    weights = path.with_suffix(".bin")
    return digest(path) + (digest(weights) if path.suffix == ".xml" and weights.exists() else "")
