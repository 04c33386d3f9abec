"""Any dataset at another image size: resized once, remembered in the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from PIL import Image

from protege.data.base import Published, Source
from protege.data.marks import of_pixels
from protege.data.progress import Progress
from protege.data.sources.picture import fitted
from protege.data.store import Pixels, each, obtain_store, store_folder

RECIPE = "bicubic 1"  # a change here makes every resized set another one


def resized(source: Source, side: int | None, title: str, progress: Progress) -> Source:
    """The same images at `side` x `side`; the source itself where that is their size already."""
    if side is None or side == source.size:
        return source
    content = hashlib.sha256(f"{source.content} {side} {RECIPE}".encode()).hexdigest()
    folder = store_folder(title, side, content)

    def read() -> Published:
        published = source.read()
        store = obtain_store(
            folder, side, len(published.labels), lambda: _resized(published, side, title, progress), lambda pixels: {}
        )
        return replace(published, pixels=store.pixels())

    return replace(
        source,
        size=side,
        content=content,
        read=read,
        place=lambda: f"{source.place()}, resized in {folder}",
        marks=source.marks or partial(of_pixels, source),
    )


def _resized(published: Published, side: int, title: str, progress: Progress) -> Iterator[Pixels]:
    def one(position: int) -> Pixels:
        return fitted(Image.fromarray(published.pixels[position].permute(1, 2, 0).numpy()), side)

    count = len(published.labels)
    with progress(f"resizing {title}", count, "images") as reached:
        for done, image in enumerate(each(one, range(count)), 1):
            yield image
            reached(done)
