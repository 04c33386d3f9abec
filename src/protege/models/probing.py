"""One forward pass that leaves no trace, to learn shapes and costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from protege.errors import ModelError, ProtegeError


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for the block; every part gets back the mode that it had, also where parts differ."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def probe(module: nn.Module, image_size: int) -> Any:
    """What the network says of one black image, on its own device and in its own precision."""
    like = next((weight for weight in module.parameters() if weight.is_floating_point()), torch.zeros(()))
    images = torch.zeros(1, 3, image_size, image_size, device=like.device, dtype=like.dtype)
    with evaluating(module), torch.no_grad():
        try:
            return module(images)
        except ProtegeError:
            raise
        except Exception as error:  # a network of anybody's
            raise ModelError(
                f"{type(module).__name__} does not take {image_size}x{image_size} colour images: {error!s:.300}"
            ) from error
