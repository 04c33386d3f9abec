"""One arm over its seeds, and the difference between two arms.

Values may be in any unit, and results come back in it; accuracies in percent give differences in percentage points.
Everything here speaks of other seeds on the same test images. What other images would say is in `images`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from protege.errors import ConfigError

TestName = Literal["welch", "paired"]


class Interval(NamedTuple):
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """Mean and spread of one arm over its seeds. Of one seed, `sd` and `interval` are None: unknown, not zero."""

    n: int
    mean: float
    sd: float | None  # of the sample: n - 1 below the line
    interval: Interval | None  # of the mean, by Student's t; None too when every seed gave the same value
    low: float
    high: float
    confidence: float  # of the interval


@dataclass(frozen=True)
class Comparison:
    """One t-test of a difference of means. `p` is two-sided: how often chance alone gives as large a difference."""

    difference: float
    standard_error: float
    degrees: float  # of freedom
    interval: Interval
    p: float


@dataclass(frozen=True)
class Effect:
    """Treatment minus control, tested in both ways that the seeds allow.

    Quote `test`, the one named before looking: taking whichever has the smaller p makes false alarms likelier.
    """

    difference: float
    treatment: Summary
    control: Summary
    named: TestName
    welch: Comparison | None  # None: an arm of fewer than 2 seeds, or no spread to measure chance by
    paired: Comparison | None  # None: as above, or arms of unequal length
    correlation: float | None  # of same-seed results; pairing pays only where it is high. None below 3 pairs
    confidence: float

    @property
    def test(self) -> Comparison | None:
        return self.paired if self.named == "paired" else self.welch

    @property
    def p(self) -> float | None:
        return self.test.p if self.test else None

    @property
    def interval(self) -> Interval | None:
        return self.test.interval if self.test else None


@dataclass(frozen=True)
class Equivalence:
    """Whether a difference is shown to be smaller than a margin that was named in advance (two one-sided t-tests).

    "undecided" is not "equivalent": a large p of an ordinary test never shows that two arms are alike.
    """

    margin: float
    p: float  # the larger of the two one-sided p
    interval: Interval  # inside the margin exactly when p is below the level
    outcome: Literal["equivalent", "larger than the margin", "undecided"]


def summary(values: Sequence[float], confidence: float = 0.95) -> Summary:
    """n, mean, sample sd, extremes, and the t-interval of the mean.

    The interval is where the mean over all seeds plausibly lies; single runs spread by `sd`, far wider with many seeds.
    """
    arm = _finite(values)
    n, mean, sd = len(arm), float(arm.mean()), _sd(arm)
    interval = _interval(mean, sd / math.sqrt(n), n - 1, confidence) if sd else None
    return Summary(n, mean, sd, interval, float(arm.min()), float(arm.max()), confidence)


def effect(treatment: Sequence[float], control: Sequence[float], paired: bool, confidence: float = 0.95) -> Effect:
    """Difference of means by Welch's test and by pairs; `paired` names in advance which of the two counts.

    Pairs are by position: list both arms in the same order of seeds.
    """
    treated, controlled = _finite(treatment), _finite(control)
    if paired and len(treated) != len(controlled):
        raise ConfigError(
            f"A paired comparison needs the same seeds in both arms; they have {len(treated)} and {len(controlled)}. "
            "Finish the missing runs, keep the common seeds, or compare unpaired."
        )
    return Effect(
        difference=float(treated.mean() - controlled.mean()),
        treatment=summary(treatment, confidence),
        control=summary(control, confidence),
        named="paired" if paired else "welch",
        welch=_welch(treated, controlled, confidence),
        paired=_paired(treated, controlled, confidence),
        correlation=_correlation(treated, controlled),
        confidence=confidence,
    )


def _welch(treated: NDArray[np.float64], controlled: NDArray[np.float64], confidence: float) -> Comparison | None:
    """Does not assume equal spreads, which distillation may change."""
    sds = _sd(treated), _sd(controlled)
    if sds[0] is None or sds[1] is None or not any(sds):
        return None
    shares = sds[0] ** 2 / len(treated), sds[1] ** 2 / len(controlled)
    spent = shares[0] ** 2 / (len(treated) - 1) + shares[1] ** 2 / (len(controlled) - 1)
    difference = float(treated.mean() - controlled.mean())
    return _comparison(difference, math.sqrt(sum(shares)), sum(shares) ** 2 / spent, confidence)


def _paired(treated: NDArray[np.float64], controlled: NDArray[np.float64], confidence: float) -> Comparison | None:
    if len(treated) != len(controlled):
        return None
    differences = treated - controlled
    sd = _sd(differences, scale=float(np.abs([treated, controlled]).max()))
    if not sd:
        return None
    n = len(differences)
    return _comparison(float(differences.mean()), sd / math.sqrt(n), n - 1, confidence)


def _comparison(difference: float, standard_error: float, degrees: float, confidence: float) -> Comparison:
    p = 2 * float(special.stdtr(degrees, -abs(difference) / standard_error))
    interval = _interval(difference, standard_error, degrees, confidence)
    return Comparison(difference, standard_error, degrees, interval, p)


def _interval(centre: float, standard_error: float, degrees: float, confidence: float) -> Interval:
    reach = standard_error * float(special.stdtrit(degrees, upper_quantile(confidence)))
    return Interval(centre - reach, centre + reach)


def upper_quantile(confidence: float) -> float:
    """Where a two-sided interval ends: 0.975 for 0.95."""
    if not 0 < confidence < 1:
        raise ConfigError(f"Confidence lies between 0 and 1, such as 0.95; {confidence} was given.")
    return (1 + confidence) / 2


def _correlation(treated: NDArray[np.float64], controlled: NDArray[np.float64]) -> float | None:
    if len(treated) != len(controlled) or len(treated) < 3 or not (_sd(treated) and _sd(controlled)):
        return None
    return float(np.corrcoef(treated, controlled)[0, 1])


def _sd(values: NDArray[np.float64], scale: float | None = None) -> float | None:
    """Sample sd; None for one value, and exactly 0 where values of size `scale` differ by rounding alone."""
    if len(values) < 2:
        return None
    size = float(np.abs(values).max()) if scale is None else scale
    return 0.0 if float(np.ptp(values)) <= 1e-12 * size else float(values.std(ddof=1))


def _finite(values: Sequence[float]) -> NDArray[np.float64]:
    arm = np.asarray(values, dtype=np.float64)
    if arm.ndim != 1 or not arm.size:
        raise ConfigError(f"An arm is a list of one value per seed, at least one; got shape {arm.shape}.")
    if not np.isfinite(arm).all():
        raise ConfigError(f"An arm holds a value that is not a number ({values}); leave diverged runs out, and say so.")
    return arm
