"""What was seen, as a file: a page is made again without networks and data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from protege import runs
from protege.data.base import Images
from protege.errors import RunError
from protege.report.look.seen import Looked, Seen


def keep(looked: Looked, of: Sequence[str], file: Path) -> None:
    """`of`: all that it hangs on, for `kept` to compare."""
    tensors = {"pixels": looked.images.pixels[:], "labels": looked.labels, "indices": looked.images.indices}
    for number, one in enumerate(looked.everybody):
        tensors |= {f"{number}.pooled": one.pooled, f"{number}.logits": one.logits}
        tensors |= {} if one.where is None else {f"{number}.where": one.where}
    names = [[one.name, one.short] for one in looked.everybody]
    about = {"of": list(of), "classes": list(looked.classes), "taught": looked.teacher is not None, "names": names}
    runs.write_weights(file, tensors, about)


def kept(file: Path, of: Sequence[str]) -> Looked | None:
    """None where it is not there, speaks of something else, or is not whole."""
    try:
        tensors, about = runs.read_weights(file)
        if about.get("of") != list(of):
            return None
        images = Images(tensors["pixels"], tensors["labels"], tensors["indices"])
        everybody = [
            Seen(str(name), str(short), tensors[f"{number}.pooled"], tensors[f"{number}.logits"], tensors.get(f"{number}.where"))
            for number, (name, short) in enumerate(about["names"])
        ]  # fmt: skip
        taught = about["taught"] is True
        looked = Looked(
            images, [str(name) for name in about["classes"]], everybody[0] if taught else None, everybody[taught:]
        )
    except (RunError, LookupError, TypeError, ValueError):
        return None
    return looked if _fits(looked) else None


def _fits(looked: Looked) -> bool:
    """Whether it can be drawn: the file may be anybody's."""
    images, count, classes = looked.images, len(looked.images), len(looked.classes)
    square = images.pixels.dtype == torch.uint8 and images.pixels.shape == (count, 3, *2 * [images.pixels.shape[-1]])
    return (
        square
        and count > 0
        and bool(looked.students)
        and 0 <= int(images.labels.min()) <= int(images.labels.max()) < classes
        and all(_whole(one, count, classes) for one in looked.everybody)
    )


def _whole(one: Seen, count: int, classes: int) -> bool:
    where = one.where is None or (one.where.ndim == 3 and len(one.where) == count)
    return where and one.pooled.shape[:1] == (count,) and one.pooled.ndim == 2 and one.logits.shape == (count, classes)
