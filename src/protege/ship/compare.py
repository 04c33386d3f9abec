"""The file that ships against the checkpoint that was judged, image by image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protege.ship.runtimes import Logits, Pixels, Runtime

BATCH = 250


@dataclass(frozen=True)
class Likeness:
    """How near a file is to its checkpoint on the same images."""

    images: int
    which: str  # held-out or training: the latter judge no accuracy
    largest_difference: float  # of probabilities: logits of a file that gives probabilities have no fixed zero
    largest_logit_difference: float | None
    agreement: float  # share of equal first choices
    accuracy_before: float | None
    accuracy_after: float | None

    @property
    def loss(self) -> float:
        """Points of accuracy; where nothing was held out, points of first choices that changed."""
        if self.accuracy_before is None or self.accuracy_after is None:
            return 100 * (1 - self.agreement)
        return 100 * (self.accuracy_before - self.accuracy_after)


def logits_of(runtime: Runtime, pixels: Pixels) -> Logits:
    starts = range(0, len(pixels), BATCH)
    return np.concatenate([runtime.logits(pixels[start : start + BATCH]) for start in starts])


def likeness(before: Logits, after: Logits, labels: npt.NDArray[np.int64] | None, raw: bool) -> Likeness:
    """`labels` of held-out images; none of training images."""
    choices = [before.argmax(1), after.argmax(1)]
    accuracy = [None if labels is None else float((choice == labels).mean()) for choice in choices]
    return Likeness(
        images=len(before),
        which="training" if labels is None else "held-out",
        largest_difference=float(np.abs(softmax(before) - softmax(after)).max()),
        largest_logit_difference=None if raw else float(np.abs(before - after).max()),
        agreement=float((choices[0] == choices[1]).mean()),
        accuracy_before=accuracy[0],
        accuracy_after=accuracy[1],
    )


def softmax(logits: Logits) -> npt.NDArray[np.float64]:
    raised = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)
