"""The curves of a network over its seeds, from the lines that training left."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protege.report.material.subjects import Subject
from protege.runs import Run

TRAIN_ACCURACY, HELDOUT_ACCURACY = "training accuracy", "held-out accuracy"  # percent
TRAIN_LOSS, HELDOUT_LOSS = "training loss", "held-out loss"  # sum of all terms; cross-entropy
TERM, RATE, NORM = "term ", "learning rate", "gradient norm"


@dataclass(frozen=True)
class Curve:
    """One quantity at the epochs where all seeds have it."""

    epochs: tuple[int, ...]  # counted from 1
    mean: tuple[float, ...]
    low: tuple[float, ...]  # of the lowest seed
    high: tuple[float, ...]
    n: int


def curves_of(subject: Subject, root: Path) -> dict[str, Curve]:
    """Of its finished runs; of those begun where none is finished."""
    finished = [row for row in subject.rows if row.state == "finished"]
    lines = [Run(root / row.path).metrics() for row in finished or subject.rows]
    by_run = [_quantities(one) for one in lines if one]
    names = list(dict.fromkeys(name for one in by_run for name in one))
    found = {name: _together([one[name] for one in by_run if name in one]) for name in names}
    return {name: curve for name, curve in found.items() if curve.epochs}


def _quantities(lines: Sequence[Mapping[str, Any]]) -> dict[str, dict[int, float]]:
    """Quantity -> epoch -> value, of one run."""
    found: dict[str, dict[int, float]] = {}
    for line in lines:
        for name, value in _of_epoch(line).items():
            found.setdefault(name, {})[line["epoch"] + 1] = value
    return found


def _of_epoch(line: Mapping[str, Any]) -> dict[str, float]:
    terms: Mapping[str, float] = line["terms"]
    found = {
        TRAIN_ACCURACY: 100 * line["train_accuracy"],
        TRAIN_LOSS: sum(terms.values()),
        RATE: line.get("lr"),
        NORM: (line.get("gradient_norm") or {}).get("mean"),
        HELDOUT_LOSS: line.get("heldout_nll"),
        **{f"{TERM}{name}": value for name, value in terms.items()},
    }
    if (heldout := line.get("heldout_accuracy")) is not None:
        found[HELDOUT_ACCURACY] = 100 * heldout
    return {name: value for name, value in found.items() if value is not None}


def _together(by_run: Sequence[Mapping[int, float]]) -> Curve:
    epochs = sorted(set(by_run[0]).intersection(*by_run[1:]))
    values = [[one[epoch] for one in by_run] for epoch in epochs]
    return Curve(
        tuple(epochs),
        tuple(statistics.fmean(one) for one in values),
        tuple(min(one) for one in values),
        tuple(max(one) for one in values),
        len(by_run),
    )
