"""What a dataset is to the rest of protege: uint8 images with labels in three parts that share no image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor

    from protege.data.mapped import Mapped

    Pixels = Tensor | Mapped  # uint8 [N, 3, H, W]; index it rather than change it

Three = tuple[float, float, float]


def at_a_time(images: int, side: int) -> int:
    """How many images of this side to look at together, where `images` of up to 64 px are: larger ones fill the memory.

    It depends on nothing else, as sums in a network depend on the size of a batch.
    """
    return max(1, images * 64**2 // max(side, 64) ** 2)


@dataclass(frozen=True, eq=False)
class Images:
    """Some images of a dataset, in the order of the official set."""

    pixels: Pixels  # mapped from a file where it is large
    labels: Tensor  # int64 [N]
    indices: (
        Tensor  # int64 [N], position in the full training (or test) set; where parts were pooled, training comes first
    )

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Images:
        return Images(self.pixels.to(device), self.labels.to(device), self.indices.to(device))

    def at(self, positions: Tensor | slice) -> Images:
        """The images at these positions of this part, which are not their `indices`."""
        return Images(self.pixels[positions], self.labels[positions], self.indices[positions])


@dataclass(frozen=True, eq=False)
class Splits:
    """Training, held-out and test images that share none, and what is known of them."""

    name: str
    classes: tuple[str, ...]
    train: Images
    heldout: Images | None
    test: Images
    mean: Three  # of pixels from 0 to 1
    std: Three
    images: int  # size of the full training set, into which the indices of `train` and `heldout` point
    fingerprint: str  # of the content and of the split: equal fingerprints mean equal `Splits`
    content: str  # of the pixels alone, however split or labelled: equal contents mean equal images at equal indices
    marks: Callable[[], Marks]  # may read every image at its first call


@dataclass(frozen=True, eq=False)
class Marks:
    """Images by 64 bits of what they were before they were resized; sorted, each once."""

    train: npt.NDArray[np.uint64]
    heldout: npt.NDArray[np.uint64]
    test: npt.NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Published:
    """All images as their authors published them: training images, then held-out ones if any, then test ones."""

    pixels: Pixels
    labels: Tensor  # int64 [N]
    strata: Tensor  # int64 [N], the finest classes known; splits keep their proportions whatever `labels` are


@dataclass(frozen=True)
class Source:
    """A dataset that is known but not read: enough to plan a study. This is what a function in `DATASETS` returns."""

    classes: tuple[str, ...]
    mean: Three
    std: Three
    size: int  # side of the images in pixels
    parts: tuple[
        int, int, int
    ]  # images published for training, for holding out, for testing; no test part: one is split off
    content: str  # sha256 of whatever fixes the pixels; no path and no date goes into it
    place: Callable[[], str]  # where the files lie, for people
    read: Callable[[], Published]
    names: tuple[str, ...] | None = None  # of the published images: a share is then split off by name, not by position
    marks: Callable[[], npt.NDArray[np.uint64]] | None = None  # of the published images; without, the pixels tell
    without: Source | None = None  # whose images are neither trained on nor held out


@dataclass(frozen=True)
class Identity:
    """What can be said of `Splits` before any pixel is read."""

    name: str
    classes: tuple[str, ...]
    images: int
    size: int
    mean: Three
    std: Three
    fingerprint: str
    content: str


@dataclass(frozen=True)
class Description:
    """What `protege data` prints."""

    identity: Identity
    place: str
    counts: Mapping[str, tuple[int, ...]]  # "train", "heldout", "test": images of each class
    repeats: Mapping[
        str, int
    ]  # images of a part that are equal, pixel by pixel, to an earlier one of it; and "test in train"
