"""Which channels of the student stay: chosen once, before the first step, and kept in the run's folder."""

from __future__ import annotations

from collections.abc import Iterator

from protege import runs
from protege.data.base import Splits, at_a_time
from protege.errors import ConfigError
from protege.models import build
from protege.models.cutting import Kept
from protege.models.importance import Examples
from protege.models.pruning import Pruned, prune
from protege.runs.config import RunConfig
from protege.runs.records import PrunedRecord
from protege.views import normalise, order

AT_ONCE = 64  # images of which the loss is one number


def chosen(config: RunConfig, splits: Splits) -> PrunedRecord | None:
    """What goes of the network that the run starts from; nothing where nothing is to be pruned."""
    compress = config.compress
    if compress is None or compress.prune is None:
        return None
    network, size = build(config.model, len(splits.classes)), splits.train.pixels.shape[-1]
    batches = None if compress.importance == "magnitude" else lambda: examples(splits, compress.images, config.seed)
    found = prune(network, compress.prune, size, batches=batches, uniform=compress.spread == "uniform")
    if found.multiply_adds == found.before:
        raise ConfigError(
            f"compress.prune is {compress.prune:g}, but no channel can go for so little: the nearest to it is the whole network. "
            "Keep a smaller share."
        )
    return record_of(compress.prune, found)


def record_of(asked: float, pruned: Pruned) -> PrunedRecord:
    return {
        "asked": asked,
        "share": pruned.share,
        "multiply_adds": pruned.multiply_adds,
        "multiply_adds_before": pruned.before,
        "kept": pruned.kept,
    }


def examples(splits: Splits, count: int, seed: int) -> Iterator[Examples]:
    """Training images, drawn by the seed, as they are: no view of them."""
    images = splits.train
    for part in order(seed, 0, len(images))[:count].split(at_a_time(AT_ONCE, images.pixels.shape[-1])):
        drawn = images.at(part)
        yield normalise(drawn.pixels[:], splits.mean, splits.std), drawn.labels


def kept_in(run: runs.Run, config: RunConfig, splits: Splits, rehearsed: PrunedRecord | None) -> Kept | None:
    """As the run was begun; else as it was just found, which is then its record."""
    if config.compress is None or config.compress.prune is None:
        return None
    if not run.pruned_file.exists():
        runs.write_json(run.pruned_file, rehearsed or chosen(config, splits))
    return run.pruned()["kept"]


def sentence(record: PrunedRecord) -> str:
    return (
        f"pruned to {record['share']:.3f} of the multiply-adds ({record['multiply_adds']:,} of {record['multiply_adds_before']:,}; "
        f"asked for {record['asked']:g})"
    )
