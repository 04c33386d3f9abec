"""What a finite set of images can tell: of one accuracy, of two compared, and of the best among many.

Accuracies here are fractions of 1, as counts of images give them. Several seeds never remove the noise of the images,
which all of them share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import integrate, special

from protege.errors import ConfigError
from protege.stats.seeds import Interval, upper_quantile


@dataclass(frozen=True)
class McNemar:
    """Two networks on the same images, compared where one alone is right. Speaks of these two, not of their methods."""

    difference: float  # accuracy of a minus that of b, a fraction of 1
    only_a: int  # images that a alone got right
    only_b: int
    images: int
    p: float  # exact binomial: never over-confident, often cautious
    mid_p: float  # nearer its nominal level, and at times slightly above it


@dataclass(frozen=True)
class PairedBootstrap:
    """Accuracy of arm a minus that of arm b, a fraction of 1, over images drawn again and again.

    `over_images` asks what other images would say of these very networks; `over_seeds_and_images` what other networks
    of the same two methods would get on other images.
    """

    difference: float
    over_images: Interval
    over_seeds_and_images: Interval | None  # None with a single seed in an arm
    images: int
    seeds: tuple[int, int]
    draws: int
    confidence: float


@dataclass(frozen=True)
class SelectionNoise:
    """Whether held-out images could tell the configurations apart among which they chose."""

    configurations: int
    spread: float  # sd over configurations, a fraction of 1
    standard_error: float  # binomial, of one configuration's accuracy on so many images
    luck: float  # how far the best would lead the mean if all were equally good
    is_noise: bool
    sentence: str


def binomial_se(accuracy: float, n: int) -> float:
    """Standard error of an accuracy measured on n images. It is 0 at 0 and 1, where `proportion_interval` is wiser."""
    if not 0 <= accuracy <= 1:
        raise ConfigError(f"An accuracy here is a fraction of 1, but {accuracy} was given; divide percentages by 100.")
    _at_least_one(n)
    return math.sqrt(accuracy * (1 - accuracy) / n)


def proportion_interval(correct: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's interval of an accuracy: stays within [0, 1] and has a width even when all or none are right."""
    _at_least_one(n)
    if not 0 <= correct <= n:
        raise ConfigError(f"{correct} right answers among {n} images is impossible.")
    z = float(special.ndtri(upper_quantile(confidence)))
    share, weight = correct / n, 1 + z * z / n
    centre = (share + z * z / (2 * n)) / weight
    reach = z / weight * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return Interval(max(0.0, centre - reach), min(1.0, centre + reach))


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> McNemar:
    """Exact test of two networks on the same images, from whether each image was right, in the same order."""
    a, b = _right(correct_a, "correct_a"), _right(correct_b, "correct_b")
    if a.shape != b.shape or a.shape[0] != 1:
        raise ConfigError(
            f"McNemar's test compares two networks on the same images; got shapes {a.shape} and {b.shape}."
        )
    only_a, only_b = int((a > b).sum()), int((a < b).sum())
    fewer, discordant = min(only_a, only_b), only_a + only_b
    tail = float(special.bdtr(fewer, discordant, 0.5)) if discordant else 1.0
    below = float(special.bdtr(fewer - 1, discordant, 0.5)) if fewer else 0.0
    difference = (only_a - only_b) / a.shape[1]
    return McNemar(difference, only_a, only_b, a.shape[1], p=min(1.0, 2 * tail), mid_p=min(1.0, tail + below))


def paired_bootstrap(
    correct_a: ArrayLike, correct_b: ArrayLike, draws: int = 2000, seed: int = 0, confidence: float = 0.95
) -> PairedBootstrap:
    """Percentile intervals of the difference in accuracy, from which answers were right: [images] or [seeds, images].

    Images are drawn together for all networks, since all answer the same ones; seeds are drawn apart in each arm.
    With 2 or 3 seeds no bootstrap is to be trusted: the wider interval then holds some 85 times in 100, not 95.
    """
    a, b = _right(correct_a, "correct_a"), _right(correct_b, "correct_b")
    if a.shape[1] != b.shape[1]:
        raise ConfigError(f"Both arms must answer the same images, but they have {a.shape[1]} and {b.shape[1]}.")
    _at_least_one(draws, "draw")
    generator = np.random.default_rng(seed)
    accuracies = _resampled_accuracies(np.concatenate([a, b]), draws, generator)  # [draws, seeds of a + seeds of b]
    of_a, of_b = accuracies[:, : len(a)], accuracies[:, len(a) :]
    both = None
    if len(a) > 1 and len(b) > 1:
        mean_a = (of_a * _seed_weights(a, draws, generator)).sum(1)
        mean_b = (of_b * _seed_weights(b, draws, generator)).sum(1)
        both = _percentiles(mean_a - mean_b, confidence)
    return PairedBootstrap(
        difference=float(a.mean() - b.mean()),
        over_images=_percentiles(of_a.mean(1) - of_b.mean(1), confidence),
        over_seeds_and_images=both,
        images=a.shape[1],
        seeds=(len(a), len(b)),
        draws=draws,
        confidence=confidence,
    )


def image_variance(correct: Mapping[str, ArrayLike], contrast: Mapping[str, float]) -> float:
    """Variance of a contrast of accuracies that the choice of the test images adds to that of the seeds.

    Of each arm which answers were right, [seeds, images]. Slips of single networks on single images are part of the
    seeds' spread already, and are taken out here.
    """
    right = {name: _right(correct[name], name) for name in contrast}
    (images,) = {answers.shape[1] for answers in right.values()}
    by_image = sum(weight * right[name].mean(0) for name, weight in contrast.items())
    slips = 0.0
    for name, weight in contrast.items():
        share = right[name].mean(0)
        if (seeds := len(right[name])) > 1:
            slips += weight**2 * float((share * (1 - share)).mean()) / (seeds - 1)
    return max(0.0, (float(np.var(by_image, ddof=1)) - slips) / images)


def gain_by_chance(configurations: int, sd: float) -> float:
    """How far the best of equally good configurations leads their mean: the expected maximum of normals of this sd.

    Reporting the score that a configuration was chosen by contains this gain; only fresh data are free of it.
    """
    _at_least_one(configurations, "configuration")

    def beyond(x: float) -> float:
        """P(max > x) - P(max < -x), whose integral over x > 0 is the mean of the maximum."""
        return -math.expm1(configurations * float(special.log_ndtr(x))) - float(special.ndtr(-x)) ** configurations

    # The maximum of n normals is practically never more than 10 beyond its usual place.
    return sd * float(integrate.quad(beyond, 0, math.sqrt(2 * math.log(configurations)) + 10, limit=200)[0])


def selection_is_noise(scores: Sequence[float], heldout_images: int) -> SelectionNoise:
    """Did the held-out images choose, or did chance? Scores are accuracies as fractions of 1, one per configuration.

    All configurations answer the same images, so part of the binomial noise is common to them: "noise" means that the
    spread gives no sign of a difference, and `mcnemar` on the two best is the sharper question.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ConfigError(f"Selection needs at least 2 configurations to choose from; got {values.size}.")
    if not ((values >= 0) & (values <= 1)).all():
        raise ConfigError(f"Scores are fractions of 1, but they reach {values.max():g}; divide percentages by 100.")
    spread, noise = float(values.std(ddof=1)), binomial_se(float(values.mean()), heldout_images)
    luck, is_noise = gain_by_chance(len(values), spread), spread <= noise
    facts = (
        f"{len(values)} configurations spread by {100 * spread:.2f} points (sd) on {heldout_images} held-out images, "
        f"whose own standard error is {100 * noise:.2f} points"
    )
    if is_noise:
        sentence = (
            f"{facts}: the choice is mostly noise, and luck alone puts the best {100 * luck:.2f} points above the mean."
        )
    else:
        sentence = f"{facts}: they differ by more than the images' noise, so the choice means something."
    return SelectionNoise(len(values), spread, noise, luck, is_noise, sentence)


def _resampled_accuracies(right: NDArray[np.bool_], draws: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Accuracy of every network on images drawn with replacement: [draws, networks].

    Images that all networks answered alike are interchangeable, so patterns of answers are drawn instead of images.
    """
    patterns, counts = np.unique(right, axis=1, return_counts=True)
    images = right.shape[1]
    at_once = max(1, 4_000_000 // len(counts))  # 32 MB
    parts = []
    for start in range(0, draws, at_once):
        drawn = generator.multinomial(images, counts / images, size=min(at_once, draws - start))
        parts.append(drawn.astype(np.float64) @ patterns.T / images)
    return np.concatenate(parts)


def _seed_weights(right: NDArray[np.bool_], draws: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """How much each seed of an arm counts in each draw: [draws, seeds].

    One seed fewer is drawn than there are, as drawing all would understate their spread (Rao and Wu 1988). And part of
    that spread is slips on single images, counted already when images are drawn: drawing both in full would count them
    about three times (Owen 2007), so the weights are drawn towards equality by that part.
    """
    seeds, images = right.shape
    slips = float(right.var(0, ddof=1).mean()) / images  # variance of accuracy, were all seeds equally good
    spread = float(right.mean(1).var(ddof=1))
    beyond_slips = math.sqrt(max(0.0, 1 - slips / spread)) if spread > 0 else 0.0
    drawn = generator.multinomial(seeds - 1, np.full(seeds, 1 / seeds), size=draws) / (seeds - 1)
    return 1 / seeds + beyond_slips * (drawn - 1 / seeds)


def _percentiles(differences: NDArray[np.float64], confidence: float) -> Interval:
    upper = upper_quantile(confidence)
    low, high = np.quantile(differences, [1 - upper, upper])
    return Interval(float(low), float(high))


def _right(correct: ArrayLike, name: str) -> NDArray[np.bool_]:
    """As [seeds, images]."""
    values = np.atleast_2d(np.asarray(correct))
    if values.ndim != 2 or not values.size:
        raise ConfigError(f"{name} must be [images] or [seeds, images], and not empty; got shape {values.shape}.")
    if not np.isin(values, (0, 1)).all():
        raise ConfigError(f"{name} says of every image whether it was right, 0 or 1; it holds other values.")
    return values.astype(np.bool_)


def _at_least_one(n: int, what: str = "image") -> None:
    if n < 1:
        raise ConfigError(f"At least one {what} is needed; {n} was given.")
