"""Which channels of a network go together: labels that pass through its graph as values do.

Every channel that a layer makes has a label. What only moves values (shuffles, concatenations, flattening) is run on
the labels themselves; where maps must agree (sums, gates) their labels become one. What an operation does that is not
known here cannot be told, so all that enters or leaves it stays.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves, tree_map

from protege.errors import ModelError, ProtegeError
from protege.models.joins import Add, Concat
from protege.models.quantised import graph_of

FIXED = 0  # label of what is no channel that could go: images, logits, parameters of their own
MOVES = {
    "cat", "chunk", "concat", "contiguous", "expand", "flatten", "getitem", "movedim", "permute", "reshape", "split",
    "squeeze", "stack", "swapaxes", "transpose", "unbind", "unflatten", "unsqueeze", "view",
}  # fmt: skip
REGROUPS = {"chunk", "getitem", "reshape", "split", "unbind", "unflatten", "view"}  # by counts, not channel by channel
KEEPS = {
    "celu", "clone", "dropout", "elu", "float", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish",
    "relu", "relu6", "sigmoid", "silu", "tanh", "to",
}  # fmt: skip
AGREES = {"add", "iadd", "sub", "isub", "mul", "imul", "truediv", "itruediv"}
POOLS = {"adaptive_avg_pool2d", "adaptive_max_pool2d", "avg_pool2d", "max_pool2d"}
KEEPING = (
    nn.Identity, nn.Dropout, nn.Dropout2d, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Sigmoid, nn.Tanh, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.BatchNorm1d, nn.BatchNorm2d,
)  # fmt: skip
POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


def is_depthwise(layer: nn.Module) -> bool:
    """Each channel for itself: it makes none of its own."""
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels == layer.out_channels > 1


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution, linear layer or norm: labels of what it reads and makes, in order."""

    path: str
    reads: Tensor
    makes: Tensor
    groups: int
    cost: int  # multiply-adds of one channel that is made of one that is read

    @property
    def passes(self) -> bool:
        """Whether channels only pass through it: a norm, or a depthwise convolution."""
        return self.makes is self.reads

    def regrouped(self) -> list[tuple[str, int, Tensor]]:
        """Side, number and labels of each group, where a channel cannot change its group."""
        if self.groups == 1 or self.passes:
            return []
        sides = (("reads", self.reads), ("makes", self.makes))
        return [(side, number, part) for side, all_ in sides for number, part in enumerate(all_.chunk(self.groups))]


@dataclass(eq=False)
class Channels:
    """All layers of a network by path, and which labels go together."""

    layers: dict[str, Layer] = field(default_factory=dict)
    parents: list[int] = field(default_factory=lambda: [FIXED])
    unfollowed: set[str] = field(default_factory=set)  # layers behind which nothing is known
    together: list[Tensor] = field(
        default_factory=list
    )  # labels of maps that were regrouped, and so must be of one kind

    def root(self, label: int) -> int:
        while self.parents[label] != label:
            self.parents[label] = self.parents[self.parents[label]]
            label = self.parents[label]
        return label

    def unite(self, ones: Tensor, others: Tensor) -> None:
        """The smaller label stands for both, so that what meets what is fixed is fixed."""
        count = len(self.parents)
        for pair in plain(ones * count + others).unique().tolist():
            low, high = sorted((self.root(pair // count), self.root(pair % count)))
            self.parents[high] = low

    def fix(self, labels: Tensor) -> None:
        self.unite(labels, torch.zeros_like(labels))

    def fresh(self, count: int) -> Tensor:
        first = len(self.parents)
        self.parents.extend(range(first, first + count))
        return torch.arange(first, first + count)

    def roots(self) -> Tensor:
        return torch.tensor([self.root(label) for label in range(len(self.parents))])

    def blocks(self) -> list[list[int]]:
        """Roots of channels that the same layers make: a block is as wide as any number of them. Fixed ones are none."""
        makers: dict[int, set[str]] = defaultdict(set)
        for layer in self.layers.values():
            for label in [] if layer.passes else layer.makes.tolist():
                makers[self.root(label)].add(layer.path)
        makers.pop(FIXED, None)
        found: dict[frozenset[str], list[int]] = defaultdict(list)
        for root, paths in makers.items():
            found[frozenset(paths)].append(root)
        return list(found.values())

    def fix_what_is_tied_by_counts(self) -> None:
        """Where several blocks lie in one map that is split, shuffled or grouped, the width of one decides where others go."""
        maps = [*self.together, *(labels for layer in self.layers.values() for labels in _grouped(layer))]
        number = {root: index for index, block in enumerate(self.blocks()) for root in block}
        for labels in maps:
            roots = {self.root(label) for label in labels.tolist()}
            if len({number.get(root) for root in roots}) > 1:
                self.fix(torch.tensor(sorted({other for root in roots for other in self._block(root, number)})))

    def _block(self, root: int, number: dict[int, int]) -> list[int]:
        own = number.get(root)
        return [root] if own is None else [other for other, index in number.items() if index == own]


def _grouped(layer: Layer) -> list[Tensor]:
    return [layer.reads, layer.makes] if layer.regrouped() else []


def channels_of(network: nn.Module, image_size: int) -> Channels:
    """Follow a plain network from images of this size to its logits."""
    found = Numbering(network)
    found.follow(image_size)
    found.channels.fix_what_is_tied_by_counts()
    return found.channels


class Walk(fx.Interpreter):
    """Runs the network's graph on labels, each as large as the value that it stands for."""

    def __init__(self, network: nn.Module) -> None:
        order = graph_of(network)
        super().__init__(network, graph=order)
        self.network, self.extra_traceback = network, False
        self.opened = {str(node.target).rpartition(".")[0] for node in order.nodes if node.op == "get_attr"}

    def follow(self, image_size: int) -> None:
        images = torch.full((1, 1, 1, 1), FIXED).expand(1, 3, image_size, image_size)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.run(images)
        except ProtegeError:
            raise
        except Exception as error:  # a foreign forward may do anything with labels
            raise ModelError(
                f"The channels of this {type(self.network).__name__} cannot be followed, so it cannot be pruned: {error!s:.200}"
            ) from error

    def layer(self, path: str, layer: nn.Module, labels: Tensor) -> Tensor | None:
        """Labels of what this convolution, linear layer or norm makes of a row of labels; none where they all stay."""
        raise NotImplementedError

    def all_stay(self, path: str, labels: Tensor) -> bool:
        """Whether of several labels that reach this layer in one channel none can go."""
        raise NotImplementedError

    def agree(self, one: Tensor, other: Tensor) -> Tensor:
        raise NotImplementedError

    def stay(self, labels: Tensor) -> None:
        raise NotImplementedError

    def regroup(self, labels: Tensor) -> None:
        raise NotImplementedError

    # ---- what each kind of node does to labels ----

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().get_attr(target, args, kwargs)
        return torch.full((), FIXED).expand(value.shape) if isinstance(value, Tensor) else value

    def output(self, target: Any, args: Any, kwargs: Any) -> Any:
        for labels in tensors_in(args):
            self.stay(labels)
        return super().output(target, args, kwargs)

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        part = self.network.get_submodule(str(target))

        def run(*given: Any, **named: Any) -> Any:
            state = {name: value.to("meta") for name, value in part.state_dict().items()}
            return functional_call(part, state, given, named)

        if isinstance(part, Add):
            return self.agree(*args)
        if isinstance(part, Concat):
            return part(*args)
        if isinstance(part, nn.Flatten):
            return part(*args)
        if isinstance(part, POOLING):
            return self._pooled(run, args, kwargs)
        if isinstance(part, nn.Conv2d | nn.Linear | nn.BatchNorm2d | nn.BatchNorm1d):
            return self._through(str(target), part, run, args[0])
        return args[0] if isinstance(part, KEEPING) else self._unknown(run, args, kwargs)

    def call_method(self, target: Any, args: Any, kwargs: Any) -> Any:
        def run(this: Any, *given: Any, **named: Any) -> Any:
            by_name = "reshape" if target == "view" else str(target)  # labels are not laid out as values are
            return getattr(this, by_name)(*given, **named)

        return self._operation(str(target), run, args, kwargs)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        return self._operation(getattr(target, "__name__", str(target)).strip("_"), target, args, kwargs)

    def _operation(self, name: str, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        maps = tensors_in(args)
        if not maps or name in ("size", "dim", "getattr") or name in MOVES:
            made = run(*args, **kwargs)
            if isinstance(args[0], Tensor) and name in REGROUPS and not is_flat(made):
                self.regroup(args[0])
            return made
        if name in KEEPS:
            return maps[0]
        if name in AGREES:
            return maps[0] if len(maps) == 1 else self.agree(*maps)
        if name in POOLS:
            return self._pooled(run, args, kwargs)
        if name == "mean":
            return self._averaged(run, args, kwargs)
        return self._unknown(run, args, kwargs)

    def _through(self, path: str, layer: nn.Module, run: Callable[..., Any], labels: Tensor) -> Any:
        dim = labels.ndim - 1 if isinstance(layer, nn.Linear) else 1
        entering = row(labels, dim)
        if entering is None and self.all_stay(path, labels):
            entering = torch.full((labels.shape[dim],), FIXED)
        leaving = None if entering is None else self.layer(path, layer, entering)
        if leaving is None:
            return self._unknown(run, (labels,), {})
        shape = run(like(labels)).shape
        return leaving.reshape([-1 if place == dim else 1 for place in range(len(shape))]).expand(shape)

    def _pooled(self, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        channels = row(args[0], 1)
        if channels is None:
            return self._unknown(run, args, kwargs)
        shape = run(like(args[0]), *args[1:], **kwargs).shape
        return channels.reshape(1, -1, *[1] * (len(shape) - 2)).expand(shape)

    def _averaged(self, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Over places; over channels, nothing is known of what it makes."""
        dims = args[1] if len(args) > 1 else kwargs.get("dim")
        if dims is None or not torch.equal(args[0].amin(dims), args[0].amax(dims)):
            return self._unknown(run, args, kwargs)
        shape = run(*tree_map(like, args), **kwargs).shape
        return args[0].amin(dims).reshape(shape)

    def _unknown(self, run: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        for labels in tensors_in((args, kwargs)):
            self.stay(labels)
        made = run(*tree_map(like, args), **tree_map(like, kwargs))
        return tree_map(lambda one: torch.full((), FIXED).expand(one.shape) if isinstance(one, Tensor) else one, made)


class Numbering(Walk):
    """The first walk: every layer's channels get labels."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__(network)
        self.channels = Channels()

    def _through(self, path: str, layer: nn.Module, run: Callable[..., Any], labels: Tensor) -> Any:
        made = super()._through(path, layer, run, labels)
        known = self.channels.layers.get(path)
        if known is not None and not isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            cost = made.numel() // len(known.makes) * _weight(layer)[0, 0].numel()
            self.channels.layers[path] = Layer(path, known.reads, known.makes, known.groups, cost)
        return made

    def layer(self, path: str, layer: nn.Module, labels: Tensor) -> Tensor | None:
        groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
        if path in self.channels.layers:  # called again: what it reads twice must stay
            self.stay(self.channels.layers[path].reads)
            self.stay(self.channels.layers[path].makes)
        elif is_depthwise(layer) or isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            self.channels.layers[path] = Layer(path, labels, labels, groups, 0)
        else:
            self.channels.layers[path] = Layer(path, labels, self.channels.fresh(len(_weight(layer))), groups, 0)
        made = self.channels.layers[path]
        if path in self.opened or 1 < groups == len(labels) < len(made.makes):
            self.channels.unfollowed.add(path)
        if path in self.channels.unfollowed or not torch.equal(made.reads, labels):
            self.stay(made.makes)
            return None
        return made.makes

    def all_stay(self, path: str, labels: Tensor) -> bool:
        return all(self.channels.root(label) == FIXED for label in plain(labels).unique().tolist())

    def agree(self, one: Tensor, other: Tensor) -> Tensor:
        self.channels.unite(one, other)
        return torch.broadcast_tensors(one, other)[0]

    def stay(self, labels: Tensor) -> None:
        self.channels.fix(labels)

    def regroup(self, labels: Tensor) -> None:
        self.channels.together.append(plain(labels).reshape(-1))


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


# ---- labels as tensors ----


def plain(labels: Tensor) -> Tensor:
    """Without the places over which it was only expanded."""
    for dim, stride in enumerate(labels.stride()):
        if stride == 0 and labels.shape[dim] > 1:
            labels = labels.narrow(dim, 0, 1)
    return labels


def row(labels: Tensor, dim: int) -> Tensor | None:
    """The label of each channel along `dim`, where it has the same at every place."""
    flat = plain(labels.movedim(dim, -1)).reshape(-1, plain(labels.movedim(dim, -1)).shape[-1])
    if not bool((flat == flat[:1]).all()):
        return None
    return flat[0].expand(labels.shape[dim]).clone()


def is_flat(made: Any) -> bool:
    """Whether all of an image became one row, which a view does too."""
    return isinstance(made, Tensor) and made.ndim == 2


def like(value: Any) -> Any:
    """A value of that shape that costs nothing."""
    return torch.empty(value.shape, device="meta") if isinstance(value, Tensor) else value


def tensors_in(values: Any) -> Sequence[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]
