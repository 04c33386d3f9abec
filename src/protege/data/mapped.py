"""Images that stay where they are: what is indexed is fetched, and a file larger than memory can be trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, final

import numpy as np
import numpy.typing as npt
import torch

if TYPE_CHECKING:
    from torch import Tensor

AT_ONCE = 1 << 27  # bytes copied to a device in one go


@final
class Mapped:
    """Some of the images of an array, mostly one that is mapped from a file. Indexing copies, so nothing can change it."""

    device = torch.device("cpu")
    dtype = torch.uint8

    def __init__(self, everything: npt.NDArray[np.uint8], positions: npt.NDArray[np.int64] | None = None) -> None:
        self._everything = everything  # [N, 3, S, S]
        self._positions = np.arange(len(everything)) if positions is None else positions

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self), *self._everything.shape[1:]))

    @property
    def nbytes(self) -> int:
        return self.shape.numel()

    def at(self, positions: npt.NDArray[np.int64]) -> Mapped:
        """Those at these positions, still where they are."""
        return Mapped(self._everything, self._positions[positions])

    def __getitem__(self, chosen: int | slice | Tensor) -> Tensor:
        which = chosen.cpu().numpy() if isinstance(chosen, torch.Tensor) else chosen
        copied = torch.from_numpy(np.asarray(self._everything[np.atleast_1d(self._positions[which])]))
        return copied[0] if isinstance(which, int) else copied

    def index_select(self, dim: Literal[0], positions: Tensor) -> Tensor:
        """As a tensor has it, since that is quicker there than indexing."""
        return self[positions]

    def to(self, device: torch.device | str) -> Tensor | Mapped:
        """All of them in the memory of the device; on the CPU they stay where they are."""
        if torch.device(device).type == "cpu":
            return self
        copied = torch.empty(self.shape, dtype=self.dtype, device=device)
        step = max(1, AT_ONCE * len(self) // self.nbytes)
        for start in range(0, len(self), step):
            copied[start : start + step] = self[start : start + step]
        return copied
