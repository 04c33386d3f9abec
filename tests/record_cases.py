"""Whole records of a run, for tests that make up runs: what is read is checked, so half of one would be damage."""

from __future__ import annotations

from typing import Any


def run_record(run_id: str, data: dict[str, Any] | None = None, **others: Any) -> dict[str, Any]:
    """run.json"""
    about = {
        "name": "cifar10-mini", "fingerprint": "f" * 16, "content": "c" * 16, "classes": ["a", "b"], "mean": [0.5, 0.5, 0.5],
        "std": [0.2, 0.2, 0.2], "train": 40, "heldout": 20, "test": 60, "image_size": 32, "images": 60,
    }  # fmt: skip
    described = {"data": {"name": "cifar10-mini"}, "model": {"name": "resnet8"}, "method": {"name": "supervised"}}
    return {
        "id": run_id, "config": {**described, "optim": {"epochs": 1}, "seed": 0}, "data": about | (data or {}), "teachers": [],
        "device": "cpu", "threads": 1, "command": "protege train", "environment": {"gpu": None, "processor": "Some CPU"},
    } | others  # fmt: skip


def result_record(heldout: float, **others: Any) -> dict[str, Any]:
    """result.json"""
    best = {"epoch": 0, "heldout_accuracy": heldout}
    return {"epochs": 1, "parameters": 10, "seconds": 1.0, "heldout_accuracy": heldout, "best": best} | others
