"""Fewer channels: which to take away so that a share of the multiply-adds stays.

One order in which channels go, one at a time; as many go as it takes. `uniform` takes them from all blocks alike,
`global` those that are missed least anywhere. Each block keeps an eighth of its width.
"""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from protege.errors import ModelError
from protege.models.channels import Channels, Layer, channels_of
from protege.models.cutting import Cutting, Kept, cut
from protege.models.importance import Examples, by_first_order, by_magnitude
from protege.models.measure import multiply_adds

LEAST = 1 / 8  # of a block's width
NEAR = 0.05  # of the share that was asked for: what is further from it does not meet it
Batches = Callable[[], Iterable[Examples]]


@dataclass(frozen=True)
class Pruned:
    """What was taken away, and what it comes to."""

    kept: Kept
    multiply_adds: int
    before: int

    @property
    def share(self) -> float:
        return self.multiply_adds / self.before


def prune(network: nn.Module, share: float, image_size: int, *, batches: Batches | None, uniform: bool) -> Pruned:
    """Take channels away from this plain network, in place, until this share of its multiply-adds is left.

    By the size of the weights, or with `batches` by what its loss on these would rise.
    """
    before, channels = multiply_adds(network, image_size), channels_of(network, image_size)
    if not channels.blocks():
        raise ModelError(f"No channel of this {type(network).__name__} can be told to be its own: it cannot be pruned.")
    missed = (
        per_cost(by_first_order(network, channels, batches()), channels) if batches else by_magnitude(network, channels)
    )
    if not bool(missed.isfinite().all()):
        raise ModelError("The network to prune computes what is no number: start from another run.")
    search = Search(network, channels, missed, image_size, uniform)
    kept = search.kept_for(before, share)
    cut(network, kept, image_size)
    left = multiply_adds(network, image_size)
    if abs(left / before - share) > NEAR * share:
        raise ModelError(
            f"compress.prune {share:g} cannot be met: the nearest that can be cut keeps {left / before:.3f} of the multiply-adds."
        )
    return Pruned(kept, left, before)


Lump = list[int]  # roots of channels that go at once
Cell = tuple[tuple[str, str, int], ...]  # in which groups of which layers a channel lies


def per_cost(missed: Tensor, channels: Channels) -> Tensor:
    """By multiply-add that goes with a channel: else all that goes is cheap, and too much of it."""
    roots, cost = channels.roots(), torch.zeros(len(missed))
    for layer in channels.layers.values():
        made, read = len(layer.makes), 1 if layer.passes else len(layer.reads) / layer.groups
        cost.index_add_(0, roots[layer.makes], torch.full((made,), float(layer.cost * read)))
        if not layer.passes:
            cost.index_add_(0, roots[layer.reads], torch.full((len(layer.reads),), layer.cost * made / layer.groups))
    return missed / cost.clamp(min=1)


@dataclass(frozen=True, eq=False)
class Search:
    """All that decides which channels go."""

    network: nn.Module
    channels: Channels
    missed: Tensor
    image_size: int
    uniform: bool

    @cached_property
    def roots(self) -> Tensor:
        return self.channels.roots()

    @cached_property
    def blocks(self) -> list[list[int]]:
        return self.channels.blocks()

    def kept_for(self, before: int, share: float) -> Kept:
        """Of the first so many in the order, the number that comes nearest to the share."""
        order = self.order()
        wanted = self.cost([]) - (1 - share) * before
        low, high = 0, len(order)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.cost(order[:middle]) > wanted else (low, middle)
        gone = min((max(low - 1, 0), low), key=lambda count: abs(self.cost(order[:count]) - wanted))
        return self.as_rows(self.fitting(order, gone))

    def order(self) -> list[Lump]:
        """What goes first. Of each block the least missed go first, and some never."""
        found: list[tuple[float, int, Lump]] = []
        for number, block in enumerate(self.blocks):
            lumps = self.lumps(block)
            for index, lump in enumerate(lumps[: len(lumps) - math.ceil(LEAST * len(lumps))]):
                when = (index + 0.5) / len(lumps) if self.uniform else self.missed[lump].mean().item()
                found.append((when, number, lump))
        return [lump for _, _, lump in sorted(found, key=lambda one: one[:2])]

    def lumps(self, block: Sequence[int]) -> list[Lump]:
        """One channel each; of a block that is grouped, as many as there are groups."""
        members = set(block)
        tied = (layer for layer in self.channels.layers.values() if layer.regrouped())
        size = math.lcm(*(one.groups for one in tied if members & {*self.rooted(one.reads), *self.rooted(one.makes)}))
        row = sorted(block, key=lambda root: (self.missed[root].item(), root))
        return [row[at : at + size] for at in range(0, len(row) - size + 1, size)]

    def rooted(self, labels: Tensor) -> list[int]:
        return self.roots[labels].tolist()

    def staying(self, gone: Sequence[Lump]) -> Tensor:
        """Of each label, whether it stays when these have gone."""
        stays = torch.ones(len(self.roots), dtype=torch.bool)
        stays[[root for lump in gone for root in lump]] = False
        return stays[self.roots]

    def cost(self, gone: Sequence[Lump]) -> float:
        """Multiply-adds of all layers without these."""
        stays, total = self.staying(gone), 0.0
        for layer in self.channels.layers.values():
            made = int(stays[layer.makes].sum())
            read = 1 if layer.passes else int(stays[layer.reads].sum()) / layer.groups
            total += layer.cost * made * read
        return total

    def as_rows(self, stays: Tensor) -> Kept:
        made = {path: stays[layer.makes] for path, layer in self.channels.layers.items() if not layer.passes}
        return {path: rows.nonzero().flatten().tolist() for path, rows in made.items() if not bool(rows.all())}

    # ---- grouped blocks: how many must stay in each group ----

    def fitting(self, order: list[Lump], gone: int) -> Tensor:
        """What stays when so many have gone. Where channels would come to lie in other groups than theirs, more of their block go."""
        taken, waiting = order[:gone], order[gone:]
        while True:
            needs, has = self.cells(self.trial(taken)), self.cells(self.channels.layers.values())
            short = next((key for key, roots in needs.items() if len(roots) > len(has.get(key, ()))), None)
            if short is None:
                return self.chosen(taken, needs, has)
            more = next((lump for lump in waiting if lump[0] in self.blocks[short[0]]), None)
            if more is None:
                raise ModelError(
                    "compress.prune cannot be met: groups of channels cannot be cut so. Keep another share."
                )
            taken, waiting = [*taken, more], [lump for lump in waiting if lump is not more]

    def trial(self, gone: Sequence[Lump]) -> Iterable[Layer]:
        """The layers of a network of that shape."""
        cutting = Cutting(copy.deepcopy(self.network), self.channels, self.staying(gone), trial=True)
        cutting.follow(self.image_size)
        return cutting.cut.values()

    def cells(self, layers: Iterable[Layer]) -> dict[tuple[int, Cell], list[int]]:
        """Channels by block and by the groups that they lie in; none where nothing is grouped."""
        inside: dict[int, set[tuple[str, str, int]]] = defaultdict(set)
        for layer in layers:
            for side, number, labels in layer.regrouped():
                for root in self.rooted(labels):
                    inside[root].add((layer.path, side, number))
        numbers = {root: number for number, block in enumerate(self.blocks) for root in block}
        found: dict[tuple[int, Cell], list[int]] = defaultdict(list)
        for root, groups in inside.items():
            if root in numbers:
                found[numbers[root], tuple(sorted(groups))].append(root)
        return found

    def chosen(
        self, gone: Sequence[Lump], needs: dict[tuple[int, Cell], list[int]], has: dict[tuple[int, Cell], list[int]]
    ) -> Tensor:
        """As many as each cell needs, those that are missed most."""
        stays = self.staying(gone)
        for key, roots in has.items():
            row = sorted(roots, key=lambda root: (-self.missed[root].item(), root))
            stays[row] = torch.arange(len(row)) < len(needs.get(key, ()))
        return stays[self.roots]
