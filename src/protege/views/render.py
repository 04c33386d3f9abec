"""From stored images to what a network sees in one epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from protege.errors import ConfigError, DataError
from protege.views.box import cutout
from protege.views.config import ViewsConfig
from protege.views.crop import boxes, flip, pad_crop_flip
from protege.views.draw import integers
from protege.views.mix import cutmix, mixup, partners, shares
from protege.views.policy import randaugment, trivialaugment
from protege.views.resize import resize_boxes

if TYPE_CHECKING:
    from protege.data.base import Pixels

RESIZING = 2  # in the identity of resized crops: as STREAM
STREAM = 1  # in the identity of streams: raise it when other pixels come of the same description


class ImageSet(Protocol):
    """Images with their labels; `indices` are their positions in the full training set, whatever part of it this is."""

    @property
    def pixels(self) -> Pixels: ...  # uint8 [N, 3, H, W]
    @property
    def labels(self) -> Tensor: ...  # [N]
    @property
    def indices(self) -> Tensor: ...  # [N]


@dataclass(frozen=True)
class _Fetched:
    """Some images of a set as they are stored, on the device that draws them."""

    pixels: Tensor
    labels: Tensor
    indices: Tensor


def _fetched(images: ImageSet, positions: Tensor, device: torch.device | str) -> _Fetched:
    parts = [kept.index_select(0, positions) for kept in (images.pixels, images.labels, images.indices)]
    return _Fetched(*(part.to(device, non_blocking=True) for part in parts))


@dataclass(frozen=True)
class Rendered:
    """A batch as the network shall see it, not yet normalised."""

    pixels: Tensor  # [B, 3, S, S], 0 to 255: uint8, float32 after mixup
    numbers: Tensor  # [B], of the views; of a stream, the epoch
    partners: Tensor | None = None  # [B], labels of the images mixed in
    share: Tensor | None = None  # [B], float32, how much of each image is its own

    def to(self, device: torch.device | str) -> Rendered:
        moved = (None if part is None else part.to(device) for part in (self.partners, self.share))
        return Rendered(self.pixels.to(device), self.numbers.to(device), *moved)


@dataclass(frozen=True)
class Views:
    """What `config` makes of images of `image_size`, without any state: the same arguments give the same pixels."""

    config: ViewsConfig
    image_size: int

    def __post_init__(self) -> None:
        if (self.config.cutout or 0) >= self.image_size:
            raise ConfigError(
                f"views.cutout is {self.config.cutout}, but images have {self.image_size} pixels a side: "
                "nothing would be left to see. Give a smaller square."
            )

    @property
    def count(self) -> int | None:
        """How many views an image has, so that a teacher's word on each can be kept; none for a stream of new ones."""
        config = self.config
        if config.crop == "resized" or config.policy != "none" or config.cutout or config.mix != "none":
            return None
        return self._corners() * self._flips()

    def identity(self, seed: int | None = None) -> str:
        """All that changes the pixels of a numbered view; of a stream also the seed: the config's, else `seed`."""
        parts = [
            self._crop_identity(),
            "flip" if self.config.flip else "",
            self._policy_identity(),
            f"cutout{self.config.cutout}" if self.config.cutout else "",
            self._mix_identity(),
        ]
        if self.count is None:
            used = self._seed(seed) if seed is not None else self.config.seed
            parts += ["alternate"] if self.config.alternate else []
            parts += [f"stream{STREAM}"] + ([] if used is None else [f"seed{used}"])
        return "-".join([part for part in parts if part] or ["plain"]) + f"@{self.image_size}"

    def numbers(self, seed: int, epoch: int, indices: Tensor) -> Tensor:
        """int64 [n], each image's view: (dy * (2 * padding + 1) + dx) * 2 + flip, or half of that without flips."""
        if self.count is None:
            return torch.full_like(indices, epoch)
        return self._drawn(self._seed(seed), epoch, indices)

    def render(
        self,
        images: ImageSet,
        positions: Tensor,
        seed: int,
        epoch: int,
        device: torch.device | str | None = None,
    ) -> Rendered:
        """The images at `positions` as `epoch` shows them. Partners to mix in come from all `images`, not the batch.

        They are drawn on `device`, to which stored bytes travel, or where they lie if none is named: the pixels are the same.
        """
        seed, device = self._seed(seed), device or images.labels.device
        own = _fetched(images, positions, device)
        numbers, pixels = self.numbers(seed, epoch, own.indices), self._alone(own, seed, epoch)
        if self.config.mix == "none":
            return Rendered(pixels, numbers)
        chosen = partners(seed, epoch, images.indices[positions], positions, len(images.indices))
        other = _fetched(images, chosen, device)
        theirs = self._alone(other, seed, epoch)
        share = shares(seed, epoch, own.indices, self.config.mix_concentration, self.config.mix_probability)
        if self.config.mix == "mixup":
            return Rendered(mixup(pixels, theirs, share), numbers, other.labels, share)
        pixels, share = cutmix(pixels, theirs, share, seed=seed, epoch=epoch, indices=own.indices)
        return Rendered(pixels, numbers, other.labels, share)

    def render_numbered(self, pixels: Tensor, numbers: Tensor) -> Tensor:
        """Views of the given numbers, which must be below `count`: looking would mean to wait for the device."""
        if self.count is None:
            raise ConfigError(
                f"The views {self.identity()} are a stream without numbers: render them by seed and epoch."
            )
        return self._framed(pixels, numbers)

    def _alone(self, fetched: _Fetched, seed: int, epoch: int) -> Tensor:
        """Cropped, flipped, through the policy and partly covered, before anything is mixed in."""
        config, pixels, indices = self.config, fetched.pixels, fetched.indices
        if config.crop == "resized":
            box = boxes(
                seed, epoch, indices, (pixels.shape[2], pixels.shape[3]), scale=config.scale, ratio=config.ratio
            )
            pixels = resize_boxes(pixels, box, self.image_size, self._mirrored(seed, epoch, indices))
        else:
            pixels = self._framed(pixels, self._drawn(seed, epoch, indices))
        if config.policy == "randaugment":
            pixels = randaugment(
                pixels, seed, epoch, indices, operations=config.policy_ops, magnitude=config.policy_magnitude
            )
        elif config.policy == "trivialaugment":
            pixels = trivialaugment(pixels, seed, epoch, indices)
        return cutout(pixels, config.cutout, seed=seed, epoch=epoch, indices=indices) if config.cutout else pixels

    def _framed(self, pixels: Tensor, numbers: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        if (height, width) != (self.image_size, self.image_size):
            raise DataError(
                f"The images are {height} x {width}, but these views are for {self.image_size} x {self.image_size}. "
                "Load the data at that size, or choose crop: resized."
            )
        flips = self._flips()
        if self.config.crop == "pad":
            return pad_crop_flip(pixels, numbers // flips, numbers % flips, self.config.padding)
        return flip(pixels, numbers) if self.config.flip else pixels

    def _drawn(self, seed: int, epoch: int, indices: Tensor) -> Tensor:
        if not self.config.alternate:
            return integers(seed, "view", epoch, indices, self._corners() * self._flips())
        return integers(seed, "view", epoch, indices, self._corners()) * 2 + self._mirrored(seed, epoch, indices)

    def _mirrored(self, seed: int, epoch: int, indices: Tensor) -> Tensor:
        """0 or 1 for each image, drawn on its own; which the first epoch decides for all where they alternate."""
        if not self.config.flip:
            return torch.zeros_like(indices)
        if self.config.alternate:
            return (integers(seed, "flip", 0, indices, 2) + epoch) % 2
        return integers(seed, "flip", epoch, indices, 2)

    def _seed(self, seed: int) -> int:
        return seed if self.config.seed is None else self.config.seed

    def _corners(self) -> int:
        return (2 * self.config.padding + 1) ** 2 if self.config.crop == "pad" else 1

    def _flips(self) -> int:
        return 2 if self.config.flip else 1

    def _crop_identity(self) -> str:
        config = self.config
        if config.crop == "resized":
            return f"resized{RESIZING}-{config.scale[0]}:{config.scale[1]},{config.ratio[0]}:{config.ratio[1]}"
        return f"pad{config.padding}" if config.crop == "pad" and config.padding else ""

    def _policy_identity(self) -> str:
        config = self.config
        if config.policy == "randaugment":
            return f"randaugment{config.policy_ops}x{config.policy_magnitude}"
        return config.policy if config.policy != "none" else ""

    def _mix_identity(self) -> str:
        config = self.config
        return "" if config.mix == "none" else f"{config.mix}{config.mix_concentration}x{config.mix_probability}"


def normalise(
    pixels: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: torch.dtype = torch.float32,
    channels_last: bool = True,
) -> Tensor:
    """(pixels / 255 - mean) / std per channel. Padding is black before this, so it is not the mean afterwards."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    normalised = torch.empty(pixels.shape, dtype=dtype, device=pixels.device, memory_format=layout)
    for channel, (centre, spread) in enumerate(zip(mean, std, strict=True)):  # as scalars: no copy to the device
        scaled = pixels[:, channel].to(torch.float32) * (1 / (255 * spread))
        normalised[:, channel] = scaled.sub_(centre / spread)
    return normalised
