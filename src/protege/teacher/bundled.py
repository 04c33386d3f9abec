"""The teacher that comes with protege, for students of `cifar10-mini`: a run like any other, laid among the others.

`scripts/make_demo_teacher.py` made it. It has seen no image of `cifar10-mini`, which its list of images shows as any run's does.
"""

from __future__ import annotations

import json
import shutil
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from protege import runs

FILES = ("run.json", "metrics.jsonl", "times.jsonl", "model.safetensors", "result.json")  # the last one says: finished


def bundled_folder() -> Traversable:
    return resources.files("protege.teacher") / "of_cifar10_mini"


def bundled_teacher(root: Path) -> runs.Run:
    """The run in the folder `root`; copied there the first time."""
    packed = bundled_folder()
    run = runs.Run(root / json.loads((packed / "run.json").read_text())["id"])
    if not run.finished:
        for marks in (packed / "seen").iterdir():
            _copy(marks, root / "seen" / marks.name)
        for name in FILES:
            _copy(packed / name, run.path / name)
    return run


def _copy(source: Traversable, target: Path) -> None:
    with runs.whole(target) as partial, source.open("rb") as content, partial.open("wb") as file:
        shutil.copyfileobj(content, file)
