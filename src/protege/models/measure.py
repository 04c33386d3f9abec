"""How big a network is and what one image costs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypedDict

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from protege.models import MODELS, ModelConfig, build
from protege.models.network import wrap
from protege.models.probing import probe


class Description(TypedDict):
    """A row of `protege models`."""

    name: str
    parameters: int
    multiply_adds: int  # one image through convolutions and matrix products; norms and activations are not counted
    stages: dict[str, tuple[int, ...]]  # shape by name, without the batch
    paths: dict[str, str]  # of modules, by the stage's name
    classifier: str
    summary: str


def parameter_count(module: nn.Module) -> int:
    """Trainable or not; a parameter used twice counts once. Batch-norm statistics are no parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def multiply_adds(module: nn.Module, image_size: int) -> int:
    """Of one image. Half of what is called FLOPs where a multiplication and an addition are two."""
    with plain_attention(), FlopCounterMode(display=False) as counter:
        probe(module, image_size)
    return counter.get_total_flops() // 2


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention as matrix products: the counter does not see into its fused forms."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def describe(given: str | ModelConfig, classes: int = 10, image_size: int = 32) -> Description:
    """Those of the package are measured without making their weights, in milliseconds."""
    config = ModelConfig(name=given) if isinstance(given, str) else given
    name = config.name
    own = name in MODELS
    with torch.device("meta" if own else "cpu"):
        network = wrap(build(config, classes), config, image_size)
    shapes = network.shapes(image_size)
    stages = [stage for stage in network.names(["stages"]) if stage != "last"] if len(shapes) > 1 else []
    return Description(
        name=name,
        parameters=parameter_count(network),
        multiply_adds=multiply_adds(network.module, image_size),
        stages={stage: shapes[stage] for stage in stages},
        paths={stage: network.stages[stage] for stage in stages},
        classifier=network.classifier,
        summary=MODELS[name].summary if own else f"{type(network.module).__name__} of {name.partition(':')[0]}",
    )
