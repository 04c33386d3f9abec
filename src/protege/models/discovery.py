"""The stages of a network that we know nothing about: one probe image, and a look at where it shrinks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from protege.errors import ModelError
from protege.models.probing import probe

USUAL_SIZES = (32, 224)
BLOCKS_READ = 4  # of a transformer, as convolutional networks mostly have four stages


@dataclass(frozen=True)
class Discovered:
    stages: Mapping[str, str]
    classifier: str


@dataclass(frozen=True, eq=False)
class Seen:
    """A module that gave a tensor."""

    path: str
    module: nn.Module
    output: Tensor
    version: int  # of the tensor when it left the module

    @property
    def depth(self) -> int:
        return self.path.count(".")

    @property
    def is_whole(self) -> bool:
        """Made of parts, some of them convolutions or linear layers: a stage or a block, not a lone layer."""
        return any(weight.dim() > 1 and "." in name for name, weight in self.module.named_parameters())

    @property
    def is_pool(self) -> bool:
        """Pools shrink what a stage made; they make nothing themselves."""
        return "pool" in type(self.module).__name__.lower() and next(self.module.parameters(), None) is None

    @property
    def is_overwritten(self) -> bool:
        return self.output._version != self.version


def discover(module: nn.Module, image_size: int | None = None, classifier: str | None = None) -> Discovered:
    """Stages where the resolution falls (of transformers: evenly spaced blocks), and the layer that makes logits."""
    seen, logits = watch(module, image_size or accepted_size(module))
    classifier = classifier or classifier_path(seen, logits)
    runs = Counter(one.path for one in seen)  # what runs twice has no one output that could be read
    inner = [
        one
        for one in seen
        if not f"{classifier}.".startswith(f"{one.path}.") and not one.is_overwritten and runs[one.path] == 1
    ]
    maps = last_of_each_resolution([one for one in inner if one.output.dim() == 4 and not one.is_pool])
    whole = [one.path for one in maps if one.is_whole]
    lone = [one.path for one in maps]
    # Beside real stages a lone layer is the stem; a transformer has at most one real map, its patches.
    paths = whole if len(whole) >= 2 else even_blocks(module, inner) or lone
    return Discovered({f"stage{number}": path for number, path in enumerate(paths, 1)}, classifier)


def accepted_size(module: nn.Module) -> int:
    """A size of image that the network takes: the one it was made for where it tells, else the first that works."""
    timm_says = getattr(module, "default_cfg", None)
    told = (
        timm_says.get("input_size", [None])[-1] if isinstance(timm_says, dict) else getattr(module, "image_size", None)
    )
    if isinstance(told, int):
        return told
    refused: ModelError | None = None
    for size in USUAL_SIZES:
        try:
            probe(module, size)
        except ModelError as error:
            refused = refused or error
        else:
            return size
    assert refused is not None
    raise refused


def watch(module: nn.Module, image_size: int) -> tuple[list[Seen], tuple[int, ...]]:
    """Every module that gave a tensor, in the order of finishing, and the shape of the logits."""
    seen: list[Seen] = []

    def note(path: str, part: nn.Module, output: object) -> None:
        if isinstance(output, Tensor):
            seen.append(Seen(path, part, output, output._version))

    hooks = [
        part.register_forward_hook(lambda part, _, output, path=path: note(path, part, output))
        for path, part in module.named_modules()
        if path
    ]
    try:
        output = probe(module, image_size)
    finally:
        for hook in hooks:
            hook.remove()
    output = getattr(output, "logits", output)
    return seen, tuple(output.shape) if isinstance(output, Tensor) else ()


def last_of_each_resolution(maps: list[Seen]) -> list[Seen]:
    """For each resolution the last whole module of the outermost level that has any: no inner layers of blocks."""
    chosen: dict[tuple[int, ...], tuple[tuple[int, bool], int]] = {}
    for order, one in enumerate(maps):
        resolution, rank = tuple(one.output.shape[2:]), (one.depth, not one.is_whole)
        if resolution not in chosen or rank <= chosen[resolution][0]:
            chosen[resolution] = rank, order
    return [maps[order] for order in sorted(order for _, order in chosen.values())]


def even_blocks(module: nn.Module, seen: list[Seen]) -> list[str]:
    """Four blocks, evenly spaced, of the longest row of modules giving tokens [B, T, D]; none where no row has two."""
    ran = {one.path for one in seen if one.output.dim() == 3}
    rows = [
        [path for name, _ in part.named_children() if (path := f"{parent}.{name}".lstrip(".")) in ran]
        for parent, part in module.named_modules()
        if isinstance(part, nn.ModuleList | nn.Sequential)
    ]
    row = max(rows, key=len, default=[])
    read = min(BLOCKS_READ, len(row)) if len(row) > 1 else 0
    return [row[len(row) * number // read - 1] for number in range(1, read + 1)]


def classifier_path(seen: list[Seen], logits: tuple[int, ...]) -> str:
    """The last linear layer, or 1x1 convolution, with one output for each class."""
    for one in reversed(seen):
        linear = isinstance(one.module, nn.Linear)
        pointwise = isinstance(one.module, nn.Conv2d) and one.module.kernel_size == (1, 1)
        if (linear or pointwise) and logits[1:] == one.output.shape[1:2]:
            return one.path
    raise ModelError(
        "No linear layer of this network gives its logits"
        + (f" {list(logits)}" if logits else "")
        + ". Name it in the model's configuration, e.g. `classifier: fc`."
    )
