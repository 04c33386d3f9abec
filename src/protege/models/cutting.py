"""A network with fewer channels: it computes what the whole one computes with the others silenced where they are read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from protege.errors import ModelError
from protege.models.channels import Channels, Layer, Walk, channels_of, is_depthwise

Kept = dict[str, list[int]]  # by layer, which of the channels that it makes stay; layers that keep all are not named
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def cut(network: nn.Module, kept: Mapping[str, Sequence[int]], image_size: int) -> None:
    """Take all other channels away from this plain network, in place."""
    whole = channels_of(network, image_size)
    refuse_strangers(whole, kept)
    Cutting(network, whole, rows_as_labels(whole, kept)).follow(image_size)
    network.is_cut = True  # pyright: ignore[reportArgumentType]


def is_cut(network: nn.Module) -> bool:
    """Whether this plain network has fewer channels than its name says."""
    return bool(getattr(network, "is_cut", False))


def refuse_strangers(whole: Channels, kept: Mapping[str, Sequence[int]]) -> None:
    for path, rows in kept.items():
        layer = whole.layers.get(path)
        if layer is None or layer.passes or not rows or not 0 <= min(rows) <= max(rows) < len(layer.makes):
            raise ModelError(f"The channels that should stay in '{path[:80]}' are not this network's.")


def rows_as_labels(whole: Channels, kept: Mapping[str, Sequence[int]]) -> Tensor:
    """Whether each label stays."""
    stays = torch.ones(len(whole.parents), dtype=torch.bool)
    for path, rows in kept.items():
        stays[whole.layers[path].makes] = False
        stays[whole.layers[path].makes[list(rows)]] = True
    return stays


class Cutting(Walk):
    """The second walk: each layer is cut to the channels that reach it, in the order in which they come."""

    def __init__(self, network: nn.Module, whole: Channels, stays: Tensor, trial: bool = False) -> None:
        """`stays` says of each label whether it does. A trial minds no weights: it tells in which groups channels come to lie."""
        super().__init__(network)
        self.whole, self.stays, self.trial = whole, stays, trial
        self.cut: dict[str, Layer] = {}

    @torch.no_grad()
    def layer(self, path: str, layer: nn.Module, labels: Tensor) -> Tensor | None:
        if path in self.whole.unfollowed:
            return None
        if path in self.cut:  # called again, and so whole
            return self.cut[path].makes if torch.equal(labels, self.cut[path].reads) else None
        before = self.whole.layers[path]
        columns = self._columns(before, labels)
        if before.passes:
            keep_passing(layer, columns)
            made = labels
        else:
            rows = self.stays[before.makes].nonzero().flatten()
            keep(layer, rows, columns, () if self.trial else self._groups(before, rows, columns))
            made = before.makes[rows]
        self.cut[path] = Layer(path, labels, made, before.groups, 1)
        return made

    def _columns(self, before: Layer, labels: Tensor) -> Tensor:
        """Where the layer read what reaches it now."""
        places: dict[int, list[int]] = defaultdict(list)
        for place, label in enumerate(before.reads.tolist()):
            places[label].append(place)
        found = [places[label].pop(0) if places[label] else -1 for label in labels.tolist()]
        if min(found) < 0 and not self.trial:
            raise ModelError(f"'{before.path}' would read channels that it never read: this network cannot be cut so.")
        return torch.tensor(found).clamp(min=0)

    def _groups(self, before: Layer, rows: Tensor, columns: Tensor) -> tuple[Tensor, ...]:
        """Columns by group, from the first that the group reads; a channel that would change its group is refused."""
        if before.groups == 1:
            return ()
        made, read = len(before.makes) // before.groups, len(before.reads) // before.groups
        for own, each in ((rows, made), (columns, read)):
            parts = (own // each).chunk(before.groups)
            if len(own) % before.groups or any(bool((part != number).any()) for number, part in enumerate(parts)):
                raise ModelError(f"'{before.path}' has groups of channels that cannot be cut so.")
        return columns.remainder(read).chunk(before.groups)

    def all_stay(self, path: str, labels: Tensor) -> bool:
        return path in self.whole.layers

    def agree(self, one: Tensor, other: Tensor) -> Tensor:
        return torch.broadcast_tensors(one, other)[0]

    def stay(self, labels: Tensor) -> None:
        pass

    def regroup(self, labels: Tensor) -> None:
        pass


def keep(layer: nn.Module, rows: Tensor, columns: Tensor, groups: Sequence[Tensor]) -> None:
    """Of a convolution or linear layer, these rows and, of all or of each group, these columns."""
    weight = parameter(layer, "weight")
    if groups:
        parts = zip(weight[rows].chunk(len(groups)), groups, strict=True)
        made = torch.cat([part[:, inside] for part, inside in parts])
    elif isinstance(layer, nn.Conv2d) and layer.groups > 1:  # a trial: only the shape counts
        made = weight[rows][:, : len(columns) // layer.groups]
    else:
        made = weight[rows][:, columns]
    put(layer, weight=made, bias=rows_of(layer, "bias", rows))
    if isinstance(layer, nn.Conv2d):
        layer.out_channels, layer.in_channels = len(rows), len(columns)
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = len(rows), len(columns)


def keep_passing(layer: nn.Module, channels: Tensor) -> None:
    """Of a norm or a depthwise convolution, these channels."""
    names = ("weight", "bias", "running_mean", "running_var")
    put(layer, **{name: rows_of(layer, name, channels) for name in names})
    if isinstance(layer, NORMS):
        layer.num_features = len(channels)
    elif isinstance(layer, nn.Conv2d):
        layer.groups = layer.in_channels = layer.out_channels = len(channels)


def rows_of(layer: nn.Module, name: str, rows: Tensor) -> Tensor | None:
    value = getattr(layer, name, None)
    return value[rows] if isinstance(value, Tensor) else None


def parameter(layer: nn.Module, name: str) -> Tensor:
    value = getattr(layer, name)
    assert isinstance(value, Tensor)
    return value


def put(layer: nn.Module, **values: Tensor | None) -> None:
    """New values in the place of parameters and buffers."""
    for name, value in values.items():
        if value is None:
            continue
        old = getattr(layer, name)
        new = value.detach().clone()
        setattr(
            layer, name, nn.Parameter(new, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else new
        )


def shape_like(network: nn.Module, tensors: Mapping[str, Tensor], fresh: str | None = None) -> None:
    """Give a plain network's layers the shapes of these weights, of the same network with fewer channels. What the layer
    at `fresh` makes stays."""
    network.is_cut = True  # pyright: ignore[reportArgumentType]
    for path, layer in network.named_modules():
        weight = tensors.get(f"{path}.weight")
        if weight is not None and path == fresh:
            weight = weight[:1].expand(len(parameter(layer, "weight")), *weight.shape[1:])
        if weight is None or not isinstance(layer, (nn.Conv2d, nn.Linear, *NORMS)):
            continue
        own = parameter(layer, "weight")
        if weight.ndim != own.ndim or not all(0 < new <= old for new, old in zip(weight.shape, own.shape, strict=True)):
            raise ModelError(f"{path}.weight is {list(weight.shape)}, and can be no part of {list(own.shape)}.")
        rows = torch.arange(len(weight))
        if isinstance(layer, NORMS) or is_depthwise(layer):
            keep_passing(layer, rows)
        else:
            groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
            inside = torch.arange(weight.shape[1])
            keep(layer, rows, inside.repeat(groups), [inside] * groups if groups > 1 else ())
