"""What evaluations hold beyond the scores of the findings: bins of confidence, confusions, accuracy a class, the logits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from protege.data.files import is_file
from protege.evaluate import BINS
from protege.report.figures.reliability import Bin
from protege.report.material.subjects import Subject
from protege.report.page.table import Estimate, estimate_of
from protege.runs import Run
from protege.study.findings import Which

Split = Literal["test", "heldout"]


@dataclass(frozen=True)
class Detail:
    """Of one network, over its evaluated runs."""

    split: Split
    which: Which  # epoch
    runs: tuple[Run, ...]
    seeds: tuple[int | None, ...]
    images: int  # in one evaluation
    classes: tuple[str, ...]
    per_class: NDArray[np.float64]  # [runs, classes], in percent
    confusion: NDArray[np.float64]  # [runs, label, said], percent of the label's images
    counts: NDArray[np.int64]  # images of each class
    bins: tuple[Bin, ...]
    scaled_bins: tuple[Bin, ...]  # with the temperature fitted on held-out images; empty without
    ece: Estimate  # percent
    scaled_ece: Estimate | None


def detail_of(subject: Subject, root: Path, split: Split, score: Which) -> Detail | None:
    """None where nothing was evaluated on these images."""
    found = [(row.seed, Run(root / row.path)) for row in _once(subject)]
    found = [(seed, run) for seed, run in found if is_file(run.evaluations / f"{split}.json")]
    if not found:
        return None
    records = [run.evaluation(split) for _, run in found]
    which: Which = score if all(score in record for record in records) else "final"
    scores = [record[which] for record in records]
    confusions = np.array([score["confusion"] for score in scores], np.float64)
    counts = confusions[0].sum(1)
    shares = 100 * confusions / np.maximum(confusions.sum(2, keepdims=True), 1)
    scaled = [score["scaled"] for score in scores if score.get("scaled")]
    return Detail(
        split=split,
        which=which,
        runs=tuple(run for _, run in found),
        seeds=tuple(seed for seed, _ in found),
        images=records[0]["images"],
        classes=tuple(found[0][1].record()["data"]["classes"]),
        per_class=100 * np.array([score["per_class"] for score in scores]),
        confusion=shares,
        counts=counts.astype(np.int64),
        bins=pooled([score["bins"] for score in scores]),
        scaled_bins=pooled([one["bins"] for one in scaled]),
        ece=estimate_of([100 * score["ece"] for score in scores]),
        scaled_ece=estimate_of([100 * one["ece"] for one in scaled]) if scaled else None,
    )


def _once(subject: Subject) -> list[Any]:
    """A run that stands in several places is read once."""
    return list({row.id: row for row in subject.rows if row.state == "finished"}.values())


def pooled(several: Sequence[Sequence[Mapping[str, float]]]) -> tuple[Bin, ...]:
    """Bins of several runs as if all their images were one set."""
    together: dict[int, list[Mapping[str, float]]] = {}
    for bins in several:
        for one in bins:
            place = min(BINS, max(1, math.ceil(one["confidence"] * BINS - 1e-9)))
            together.setdefault(place, []).append(one)
    return tuple(_merged(together[place]) for place in sorted(together))


def _merged(bins: Sequence[Mapping[str, float]]) -> Bin:
    images = sum(one["images"] for one in bins)
    confidence, accuracy = (
        sum(one[name] * one["images"] for one in bins) / images for name in ("confidence", "accuracy")
    )
    return Bin(confidence, accuracy, int(images))


def class_accuracy(detail: Detail, number: int) -> Estimate:
    return estimate_of(detail.per_class[:, number].tolist())


# ---- what is taken for what ----


@dataclass(frozen=True)
class Confused:
    """Images of one class that are called another."""

    label: int
    said: int
    share: Estimate  # of the label's images, in percent


def most_confused(detail: Detail, count: int) -> list[Confused]:
    """The likeliest mistakes first, each in its own direction."""
    shares = detail.confusion.mean(0)
    np.fill_diagonal(shares, 0.0)
    order = np.argsort(-shares, axis=None, kind="stable")[:count]
    places = [divmod(int(place), shares.shape[1]) for place in order]
    return [Confused(label, said, share_of(detail, label, said)) for label, said in places if shares[label, said] > 0]


def share_of(detail: Detail, label: int, said: int) -> Estimate:
    return estimate_of(detail.confusion[:, label, said].tolist())
