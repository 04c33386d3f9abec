"""Who trains, who is held out, who tests: pure functions of labels, description and seed.

Every choice follows one fixed shuffle of the images, made from (seed, index) by integer arithmetic alone; of files, from
(seed, name). So it is the
same on every machine and with every library version; a larger held-out part contains a smaller one; and the images held
out of a hundred equal classes are those held out of ten of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from unicodedata import normalize

import numpy as np
import numpy.typing as npt

from protege.data.base import Source
from protege.data.config import DataConfig
from protege.errors import DataError, suggest

Positions = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

TEST_SHARE = 0.2  # of a folder that comes without a test part
TEST_SEED = 20_000
IMBALANCE_SEED = 30_000
LIMIT_SEED = 40_000


@dataclass(frozen=True)
class Parts:
    """Positions of each part in the published images, ascending; and where the test part's indices start counting."""

    train: Positions
    heldout: Positions
    test: Positions
    labels: Positions  # of all published images, -1 where the class was left out
    test_starts: int


@dataclass(frozen=True)
class Lot:
    """What is drawn for an image: by its position among all, or by its name, which other images leave alone."""

    names: Keys | None = None

    def draw(self, positions: Positions, seed: int) -> Keys:
        return shuffled(positions if self.names is None else self.names[positions], seed)


def lot(names: Sequence[str] | None) -> Lot:
    if names is None:
        return Lot()
    digests = (blake2b(normalize("NFC", name).encode(errors="surrogateescape"), digest_size=8) for name in names)
    return Lot(np.array([int.from_bytes(digest.digest(), "little") for digest in digests], np.uint64))


def splits_by_name(source: Source, config: DataConfig) -> bool:
    """Whether the names of the images decide anything: a part that came with the folder is what it is."""
    if source.names is None or config.split == "position":
        return False
    cut = source.parts[2] == 0 or (source.parts[1] == 0 and config.heldout != 0)
    return cut or config.resplit is not None or config.imbalance is not None or config.limit is not None


def divide(
    labels: Positions,
    strata: Positions,
    published: tuple[int, int, int],
    classes: Sequence[str],
    config: DataConfig,
    file_names: Sequence[str] | None = None,
    left_out: Positions | None = None,
) -> Parts:
    """The three parts. Held-out and test images are chosen before `imbalance` and `limit`, which leave them alone.

    What is `left_out` may still test, where the test part is the published one.
    """
    chosen = class_indices(config, classes)
    names = [classes[index] for index in chosen]
    lots = lot(file_names if config.split == "name" else None)
    *official, test_starts = official_parts(strata, published, lots)
    if left_out is not None:
        official = [
            part if number == 2 and config.resplit is None else np.setdiff1d(part, left_out, assume_unique=True)
            for number, part in enumerate(official)
        ]
    labels = _relabelled(labels, chosen, len(classes))
    parts = [part[labels[part] >= 0] for part in official]
    _refuse_empty(parts[0], labels, names, f"{config.name} as published")
    if config.resplit is None:
        train, heldout, test = _with_heldout(parts, labels, strata, names, config, lots)
    else:
        train, heldout, test = _pooled(np.sort(np.concatenate(parts)), labels, strata, names, config, lots)
        test_starts = 0
    if len(test) == 0:
        raise DataError(f"{config.name} has no test images of the classes asked for ({', '.join(names[:5])}).")
    train = _long_tail(train, labels, strata, len(names), config.imbalance, lots)
    train = _limited(train, labels, strata, names, config.limit, lots)
    return Parts(train, heldout, test, labels, test_starts)


def official_parts(
    strata: Positions, published: tuple[int, int, int], lots: Lot
) -> tuple[Positions, Positions, Positions, int]:
    """Training, held-out and test positions before any wish of the user's, and where the test part's indices start.

    Data without a test part get one here, from all classes, so that it is the same for whoever trains on some of them.
    """
    counted = published[0] + published[1]
    train, heldout, test = np.split(np.arange(len(strata)), [published[0], counted])
    if len(test):
        return train, heldout, test, counted
    train, test = _set_apart(train, strata, strata, (TEST_SHARE, "the test part's share"), TEST_SEED, lots)
    return train, heldout, test, 0


def class_indices(config: DataConfig, classes: Sequence[str]) -> tuple[int, ...]:
    """The classes asked for, as positions in `classes`; all where none are named. A name goes before an index."""
    if config.classes is None:
        return tuple(range(len(classes)))
    found = tuple(_class_index(one, classes, config.name) for one in config.classes)
    for position, index in enumerate(found):
        if index in found[:position]:
            raise DataError(f"data.classes names '{classes[index]}' twice (index {index}). Name it once.")
    return found


def _class_index(wanted: int | str, classes: Sequence[str], name: str) -> int:
    if isinstance(wanted, str) and wanted in classes:
        return classes.index(wanted)
    if isinstance(wanted, int) or wanted.isdecimal():
        if int(wanted) in range(len(classes)):
            return int(wanted)
        raise DataError(f"data.classes asks for class {wanted}, but {name} has classes 0 to {len(classes) - 1}.")
    raise DataError(f"data.classes asks for '{wanted}', which {name} does not have.{suggest(wanted, list(classes))}")


def _relabelled(labels: Positions, chosen: Sequence[int], classes: int) -> Positions:
    table = np.full(classes, -1)
    table[list(chosen)] = np.arange(len(chosen))
    return table[labels]


def shuffled(indices: Positions | Keys, seed: int) -> Keys:
    """A random number for each index (splitmix64, Steele et al. 2014), to sort by."""
    return _mixed(indices.astype(np.uint64) + _mixed(np.array([seed], np.uint64)))


def _mixed(values: Keys) -> Keys:
    values = (values + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def apportion(total: int, counts: Sequence[int]) -> list[int]:
    """`total` shared out in proportion to `counts`, by largest remainders: of equal counts, within 1 of each other."""
    everything = max(sum(counts), 1)
    shares = [total * count // everything for count in counts]
    remainders = [total * count % everything for count in counts]
    neediest = sorted(range(len(counts)), key=lambda one: (-remainders[one], one))
    for one in neediest[: total - sum(shares)]:
        shares[one] += 1
    return shares


def _in_order(pool: Positions, labels: Positions, strata: Positions, seed: int, lots: Lot) -> list[Positions]:
    """The pool's images of each class, shuffled, the strata of a class taking turns."""
    keys = lots.draw(pool, seed)
    by_stratum = np.lexsort((keys, strata[pool]))
    turn = np.empty(len(pool), np.int64)
    _, starts, sizes = np.unique(strata[pool][by_stratum], return_index=True, return_counts=True)
    turn[by_stratum] = np.arange(len(pool)) - np.repeat(starts, sizes)
    ordered = pool[np.lexsort((strata[pool], turn, labels[pool]))]
    return [ordered[labels[ordered] == label] for label in range(int(labels.max(initial=-1)) + 1)]


def _taken(classes: list[Positions], quotas: Sequence[int]) -> Positions:
    return np.sort(np.concatenate([members[:quota] for members, quota in zip(classes, quotas, strict=True)]))


def _set_apart(
    pool: Positions, labels: Positions, strata: Positions, share: tuple[float, str], seed: int, lots: Lot
) -> tuple[Positions, Positions]:
    """What stays of the pool, and what is set apart: a count or a fraction below 1, with its name for errors."""
    amount, name = share
    if lots.names is not None and isinstance(amount, float):
        return _by_lot(pool, (0.0, amount), name, seed, lots)
    total = amount if isinstance(amount, int) else round(amount * len(pool))
    if not 0 < total < len(pool):
        raise DataError(
            f"{name} {amount:g} of {len(pool):,} images would be {total:,}. It must be between 1 and {len(pool) - 1:,}."
        )
    classes = _in_order(pool, labels, strata, seed, lots)
    apart = _taken(classes, apportion(total, [len(members) for members in classes]))
    return np.setdiff1d(pool, apart, assume_unique=True), apart


def _by_lot(pool: Positions, span: tuple[float, float], name: str, seed: int, lots: Lot) -> tuple[Positions, Positions]:
    """Each image on its own, whatever the others are: so none changes sides when some are added or removed."""
    drawn = lots.draw(pool, seed).astype(np.float64) / 2.0**64
    apart = (span[0] <= drawn) & (drawn < span[1])
    if not 0 < apart.sum() < len(pool):
        raise DataError(
            f"{name} {span[1] - span[0]:g} of {len(pool):,} images would be {apart.sum():,}, as their names fall. "
            "Add images, give another share, or a count."
        )
    return pool[~apart], pool[apart]


def _with_heldout(
    parts: list[Positions], labels: Positions, strata: Positions, names: Sequence[str], config: DataConfig, lots: Lot
) -> tuple[Positions, Positions, Positions]:
    train, heldout, test = parts
    if config.heldout == 0 or len(heldout):
        return train, heldout if config.heldout else heldout[:0], test
    train, heldout = _set_apart(train, labels, strata, (config.heldout, "data.heldout"), config.heldout_seed, lots)
    _refuse_empty(train, labels, names, f"data.heldout {config.heldout:g}")
    return train, heldout, test


def _pooled(
    pool: Positions, labels: Positions, strata: Positions, names: Sequence[str], config: DataConfig, lots: Lot
) -> tuple[Positions, Positions, Positions]:
    assert config.resplit is not None
    _, heldout_share, test_share = config.resplit
    seed, words = config.heldout_seed, "data.resplit's held-out share of"
    train, test = _set_apart(pool, labels, strata, (test_share, "data.resplit's test share"), seed, lots)
    heldout = train[:0]
    if heldout_share > 0 and lots.names is not None:
        train, heldout = _by_lot(train, (test_share, test_share + heldout_share), words, seed, lots)
    elif heldout_share > 0:
        # A count, so that what was already taken does not change it.
        count = round(heldout_share * len(pool))
        train, heldout = _set_apart(train, labels, strata, (count, words), seed, lots)
    _refuse_empty(train, labels, names, f"data.resplit {list(config.resplit)}")
    return train, heldout, test


def _long_tail(
    train: Positions, labels: Positions, strata: Positions, count: int, imbalance: float | None, lots: Lot
) -> Positions:
    """n_c = n_max * (1 / imbalance) ** (c / (k - 1)), rounded down as the long-tailed CIFAR sets of the literature are.

    n_max is the size of the first class, or less where a later class has too few images to follow the curve.
    """
    if imbalance is None:
        return train
    classes = _in_order(train, labels, strata, IMBALANCE_SEED, lots)
    curve = [imbalance ** (-label / (count - 1)) for label in range(count)]
    largest = min(len(members) / share for members, share in zip(classes, curve, strict=True))
    # The small term undoes the rounding of powers: 5000 * 0.01 must be 50, not 49.
    return _taken(classes, [max(int(largest * share + 1e-6), 1) for share in curve])


def _limited(
    train: Positions, labels: Positions, strata: Positions, names: Sequence[str], limit: int | None, lots: Lot
) -> Positions:
    if limit is None or limit >= len(train):
        return train
    classes = _in_order(train, labels, strata, LIMIT_SEED, lots)
    limited = _taken(classes, apportion(limit, [len(members) for members in classes]))
    _refuse_empty(limited, labels, names, f"data.limit {limit}")
    return limited


def _refuse_empty(train: Positions, labels: Positions, names: Sequence[str], cause: str) -> None:
    """Every class must keep something to train on."""
    counts = np.bincount(labels[train], minlength=len(names))
    if empty := [name for name, count in zip(names, counts, strict=True) if count == 0]:
        more = f" and {len(empty) - 3} more" if len(empty) > 3 else ""
        raise DataError(
            f"{cause} leaves no training images of {', '.join(repr(name) for name in empty[:3])}{more}. "
            "Keep more images for training, or choose other classes with data.classes."
        )
