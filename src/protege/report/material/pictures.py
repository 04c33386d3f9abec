"""A few of the images that are taken for another class. They come from evaluations that opened these images before."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from protege.data import DataConfig, Images, load, source_of
from protege.data.progress import silent
from protege.errors import ProtegeError
from protege.evaluate import logits_of
from protege.report.material.evaluations import Confused, Detail
from protege.report.page.blocks import Picture

SIDE = 64  # pixels at most: a report is to stay small


def pictures(
    detail: Detail, confused: Sequence[Confused], data_dir: Path | None, moved: str | None = None, each: int = 3
) -> list[list[Picture]] | str:
    """For each confusion those images that most runs fell for; or why there are none. Nothing is downloaded for it."""
    try:
        images = _images(detail, data_dir, moved)
        said = [logits_of(run, detail.split, detail.which) for run in detail.runs]
    except (ProtegeError, OSError) as error:
        return f"Pictures are left out: {error}"
    if images is None:
        return "Pictures are left out: the data set is not on this machine."
    if any(len(labels) != len(images) for _, labels in said):
        return "Pictures are left out: the data set on this machine is not the one that was evaluated."
    choices = np.stack([logits.argmax(1).numpy() for logits, _ in said])
    labels = said[0][1].numpy()
    return [list(_of(one, detail, images, choices, labels, each)) for one in confused]


def _images(detail: Detail, data_dir: Path | None, moved: str | None) -> Images | None:
    record = detail.runs[0].record()
    config = DataConfig.model_validate({"split": "position"} | record["config"]["data"]).under(moved)
    source = source_of(config, data_dir, silent)
    if source.place().endswith("(not downloaded yet)"):
        return None
    splits = load(config, data_dir, silent)
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


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """[3, H, W] as a small PNG inside the page."""
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    image.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
