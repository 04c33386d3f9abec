"""How good runs and files are on held-out images, or, after a line in the ledger, on the test set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from protege import data
from protege.data.base import Images, Splits
from protege.evaluate import opened, teacher_logits
from protege.runs import Run
from protege.runs.config import Place
from protege.ship.compare import logits_of
from protege.ship.figures.measure import Measured, run_of
from protege.ship.runtimes import InTorch, Logits
from protege.ship.shipped import runtime_of
from protege.stats import proportion_interval
from protege.teacher import sources, speaking


@dataclass
class Judge:
    """Looks at each run's images once, however many of its files are measured."""

    place: Place
    which: str = "final"
    test: bool = False
    known: dict[Path, tuple[Images | None, Logits | None, Logits | None]] = field(default_factory=dict)

    def __call__(self, source: str, found: Measured) -> None:
        run = run_of(source, self.place.runs)
        if run is None:
            return
        images, said, taught = self._of(run)
        if images is None:
            return
        logits = logits_of(runtime_of(source, self.place.runs, self.which, None), images.pixels[:].numpy())
        found.split, found.images = ("test" if self.test else "heldout"), len(images)
        correct = int((logits.argmax(1) == images.labels.numpy()).sum())
        found.accuracy = correct / len(images)
        low, high = proportion_interval(correct, len(images))
        found.interval = (low, high)
        found.agreement_run, found.agreement_teacher = agreement(logits, said), agreement(logits, taught)

    def _of(self, run: Run) -> tuple[Images | None, Logits | None, Logits | None]:
        """The images that judge, what the run says of them, and what its teachers say."""
        if run.path not in self.known:
            splits = data.load(run.config().data, self.place.data_dir)
            images = opened(run.id, run.weights_file("final"), splits, self.place) if self.test else splits.heldout
            if images is None:
                self.known[run.path] = (None, None, None)
            else:
                said = logits_of(InTorch(run, self.which), images.pixels[:].numpy())
                self.known[run.path] = (images, said, self._taught(run, splits, images))
        return self.known[run.path]

    def _taught(self, run: Run, splits: Splits, images: Images) -> Logits | None:
        found = sources.identify(run.config().teacher, self.place.runs)
        if not found:
            return None
        device = torch.device("cpu")
        return teacher_logits(speaking.load(found, splits, device), images, device).numpy()


def agreement(logits: Logits, others: Logits | None) -> float | None:
    return None if others is None else float(np.mean(logits.argmax(1) == others.argmax(1)))
