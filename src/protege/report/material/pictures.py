"""A few of the images that are taken for another class. They come from evaluations that opened these images before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protege.data import DataConfig, Images, Splits, load, source_of
from protege.data.progress import silent
from protege.errors import DataError, ProtegeError
from protege.evaluate import logits_of
from protege.report.figures.tiles import data_uri
from protege.report.material.evaluations import Confused, Detail
from protege.report.page.blocks import Picture


def pictures(
    detail: Detail, confused: Sequence[Confused], data_dir: Path | None, moved: str | None = None, each: int = 3
) -> list[list[Picture]] | str:
    """For each confusion those images that most runs fell for; or why there are none. Nothing is downloaded for it."""
    try:
        images = _images(detail, data_dir, moved)
        said = [logits_of(run, detail.split, detail.which) for run in detail.runs]
    except (ProtegeError, OSError) as error:
        return f"Pictures are left out: {error}"
    if images is None or any(len(labels) != len(images) for _, labels in said):
        return "Pictures are left out: the data set on this machine is not the one that was evaluated."
    choices = np.stack([logits.argmax(1).numpy() for logits, _ in said])
    labels = said[0][1].numpy()
    return [list(_of(one, detail, images, choices, labels, each)) for one in confused]


def there(config: DataConfig, data_dir: Path | None) -> Splits:
    """The data, if they are on this machine: nothing is downloaded for a picture."""
    if source_of(config, data_dir, silent).place().endswith("(not downloaded yet)"):
        raise DataError("the data set is not on this machine.")
    return load(config, data_dir, silent)


def _images(detail: Detail, data_dir: Path | None, moved: str | None) -> Images | None:
    record = detail.runs[0].record()
    config = DataConfig.model_validate({"split": "position"} | record["config"]["data"]).under(moved)
    splits = there(config, data_dir)
    if splits.fingerprint != record["data"]["fingerprint"]:
        return None
    return splits.test if detail.split == "test" else splits.heldout


def _of(
    one: Confused,
    detail: Detail,
    images: Images,
    choices: NDArray[np.int64],
    labels: NDArray[np.int64],
    each: int,
) -> Iterable[Picture]:
    wrong = ((choices == one.said) & (labels == one.label)).sum(0)
    for position in np.argsort(-wrong, kind="stable")[:each]:
        if wrong[position]:
            yield Picture(
                source=data_uri(images.pixels[int(position)].numpy()),
                label=detail.classes[one.label],
                said=detail.classes[one.said],
                wrong=int(wrong[position]),
                runs=len(choices),
            )
