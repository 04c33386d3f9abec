"""Batch norms folded into the convolutions before them: fewer operations, the same logits. For inference alone."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from typing import TypeVar

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from protege.models.capture import ENTERS
from protege.models.network import Network

M = TypeVar("M", bound=nn.Module)


def fold_batchnorm(module: M) -> M:
    """A copy in evaluation mode where each batch norm that directly follows one convolution is gone into it.

    What cannot be proven from the network's graph stays as it is, and so do the names of modules, so that stages can
    still be read. Do not train the copy: its statistics are weights now.
    """
    folded = copy.deepcopy(module).eval()
    network, kept = (folded.module, read_paths(folded)) if isinstance(folded, Network) else (folded, set[str]())
    for convolution, norm in proven_pairs(network):
        if not between(convolution, norm, kept):
            fold(network, convolution, norm)
    return folded


def between(convolution: str, norm: str, kept: set[str]) -> bool:
    """Whether what is read may be what the convolution hands to its norm: at either, or where a part that holds only one of them ends."""

    def apart(path: str) -> bool:
        place = path.removesuffix(ENTERS)
        holds_first, holds_second = (
            inside == place or inside.startswith(f"{place}.") for inside in (convolution, norm)
        )
        return (holds_second if path.endswith(ENTERS) else holds_first) and not (holds_first and holds_second)

    return any(map(apart, kept))


def read_paths(network: Network) -> set[str]:
    """Where features are read, and so must stay what they were."""
    return set(network.stages.values())


def proven_pairs(network: nn.Module) -> list[tuple[str, str]]:
    """Paths of convolutions and the batch norms that alone use what they make; none where there is no graph."""
    graph = traced(network)
    if graph is None:
        return []
    calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    owners = Counter(id(part) for _, part in network.named_modules(remove_duplicate=False))
    opened = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}

    def plain(node: fx.Node, kind: type[nn.Module]) -> bool:
        """Exactly this layer, called once, under one name, without hooks, with weights that nothing else looks at."""
        path = str(node.target)
        if node.op != "call_module" or calls[path] != 1 or path in opened:
            return False
        part = network.get_submodule(path)
        return type(part) is kind and owners[id(part)] == 1 and not (part._forward_hooks or part._forward_pre_hooks)

    return [
        (str(node.target), str(user.target))
        for node in graph.nodes
        if plain(node, nn.Conv2d) and len(node.users) == 1
        for user in node.users
        if plain(user, nn.BatchNorm2d)
    ]


def traced(network: nn.Module) -> fx.Graph | None:
    """The order of operations, or nothing where it depends on the data or cannot be followed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return fx.Tracer().trace(network)
    except Exception:  # a foreign forward may raise anything here; unfolded is right, only slower
        return None


def fold(network: nn.Module, convolution: str, norm: str) -> None:
    layer, statistics = network.get_submodule(convolution), network.get_submodule(norm)
    assert isinstance(layer, nn.Conv2d)
    assert isinstance(statistics, nn.BatchNorm2d)
    if statistics.running_mean is None or statistics.running_var is None:
        return  # normalises by the batch itself: nothing constant to fold
    network.set_submodule(convolution, fuse_conv_bn_eval(layer, statistics))
    network.set_submodule(norm, nn.Identity())
