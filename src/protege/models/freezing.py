"""Parts of a network that stay as they are: weights that get no gradients, norms that keep what they learned, no dropout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from protege.errors import ModelError, suggest
from protege.models.capture import ENTERS
from protege.models.network import Network
from protege.models.probing import probe


def freeze(network: Network, names: Sequence[str], image_size: int) -> None:
    """Stages by name, each with all that runs before it; other parts by their paths, alone."""
    kept = {path: part for name in names for path, part in _meant(network, name, image_size)}
    for part in kept.values():
        part.requires_grad_(False)
    network.keep_still(list(kept.values()))
    if not any(weight.requires_grad for weight in network.parameters()):
        raise ModelError(f"model.frozen {', '.join(names)} leaves nothing of the network to train. Freeze less.")


def _meant(network: Network, name: str, image_size: int) -> Iterator[tuple[str, nn.Module]]:
    parts = dict(network.module.named_modules())
    if name in network.stages and name != "pooled":
        yield from _until(network, network.stages[name], image_size)
    elif name and name in parts:
        yield name, parts[name]
    else:
        known = [*(stage for stage in network.stages if stage != "pooled"), *(path for path in parts if path)]
        raise ModelError(f"model.frozen {name}: the network has no such stage or part.{suggest(name, known)}")


def _until(network: Network, path: str, image_size: int) -> list[tuple[str, nn.Module]]:
    """Every module without parts of its own that ran before the stage was complete."""
    ran: list[tuple[str, nn.Module]] = []
    end = path.removesuffix(ENTERS)
    over = [False]

    def note(name: str, part: nn.Module) -> None:
        if not over[0] and next(part.children(), None) is None and not (path.endswith(ENTERS) and name == end):
            ran.append((name, part))
        over[0] = over[0] or name == end

    hooks = [
        part.register_forward_hook(lambda part, _, __, name=name: note(name, part))
        for name, part in network.module.named_modules()
        if name
    ]
    try:
        probe(network.module, image_size)
    finally:
        for hook in hooks:
            hook.remove()
    return ran
