"""What learns: the student, its peers and the method's adapters, with weights that are pure functions of the seed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from protege.data.base import Splits
from protege.errors import ModelError
from protege.methods.base import Outputs, Shapes
from protege.methods.lookup import as_its_authors
from protege.models import ModelConfig, build
from protege.models.compression import compress
from protege.models.cutting import Kept, cut
from protege.models.freezing import freeze
from protege.models.initialisation import first_convolution, whiten
from protege.models.network import Network, Reader, refuse_other_classes, wrap
from protege.models.spared import spare
from protege.runs.config import RunConfig
from protege.runs.process.ranks import ALONE
from protege.teacher import speaking
from protege.train.arithmetic import Chosen, Reading, compiled
from protege.train.together import Together
from protege.views import normalise

LOOKED_AT = 5000  # training images that tell what to whiten
NEAR = {"fp32": 1e-3, "bf16": 0.05}  # of the logits' norm: how far compiled ones may be from plain ones


def mixed(*parts: object) -> int:
    """A seed that depends on all parts and is alike for no two."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:7], "big")


def _begun(model: ModelConfig, splits: Splits) -> nn.Module:
    """With first weights. A layer that is whitened by the images stays as it is where the weights come from a file."""
    network = build(model, len(splits.classes))
    if model.whiten and model.weights is None:
        shown = torch.linspace(0, len(splits.train) - 1, min(LOOKED_AT, len(splits.train))).long()
        whiten(network, normalise(splits.train.pixels[shown], splits.mean, splits.std))
    elif model.whiten:
        first_convolution(network).weight.requires_grad_(False)
    return network


class Learner(nn.Module):
    """The student, its peers where a method has them, and the method's adapters: all that is optimised, clipped, saved and resumed."""

    def __init__(self, student: Network, peers: list[Network], adapters: nn.Module) -> None:
        super().__init__()
        self.student = student
        self.peers = nn.ModuleList(peers)
        self.adapters = adapters
        self.ranks = ALONE
        self._together: dict[nn.Module, Together] = {}
        self.compiled: Reading | None = None  # the student's forward pass
        self.compiled_for: torch.Size | None = None  # a smaller last batch is not worth a graph of its own

    @classmethod
    def fresh(cls, config: RunConfig, splits: Splits, taught_by: Shapes, kept: Kept | None = None) -> Self:
        """Weights are pure in the seed, and the student's do not depend on the method, so that arms start alike.

        `kept` are the channels that stay where some were pruned away.
        """
        size = splits.train.pixels.shape[-1]
        cohort = []
        for member in range(config.method.cohort):
            torch.manual_seed(mixed(config.seed, "weights", member))
            module = _begun(config.model, splits)
            if kept is not None:
                cut(module, kept, size)
            network = spare(wrap(module, config.model))
            refuse_other_classes(network, config.model.name, len(splits.classes))
            compress(network.module, config.compress)
            if config.model.frozen:
                freeze(network, config.model.frozen, size)
            cohort.append(network)
        torch.manual_seed(mixed(config.seed, "adapters"))
        shapes = speaking.shapes_of(cohort[0], size, splits.images)
        with as_its_authors(config.method):
            adapters = config.method.adapters(shapes, taught_by)
        return cls(cohort[0], cohort[1:], adapters)

    def outputs(self, images: Tensor, read: tuple[str, ...], batch: int) -> Outputs:
        """What the student and its peers say of a batch of so many images."""
        if self.compiled is not None and images.shape == self.compiled_for and not self.peers:
            logits, features = self.compiled(images)
            return Outputs(logits, features, speaking.classifier_of(self.student) if "classifier" in read else None)
        members = [self._one(network, images, read, batch) for network in (self.student, *self.peers)]
        if len(members) > 1:
            members[0].members = tuple(members)
        return members[0]

    def complete_gradients(self) -> None:
        """Before the weights move: by what other processes found, where there are others."""

    def _one(self, network: nn.Module, images: Tensor, read: tuple[str, ...], batch: int) -> Outputs:
        assert isinstance(network, Network)
        if network not in self._together or self._together[network].device != images.device:
            self._together[network] = Together(network, images.device)
        with self._together[network].forward():
            logits, features = network(images, read)
        return Outputs(logits, features, speaking.classifier_of(network) if "classifier" in read else None)

    def compile_student(
        self, read: tuple[str, ...], images: Tensor, chosen: Chosen, say: Callable[[str], None]
    ) -> None:
        """One graph for the student and batches of this shape; where compiling fails, it is said, and the run goes on without."""
        started = time.perf_counter()
        reader = Reader(self.student, read)
        kept = {name: value.clone() for name, value in self.state_dict().items()}
        try:
            forward = compiled(reader, chosen.execution)
            with torch.autocast(images.device.type, torch.bfloat16, enabled=chosen.student == "bf16"):
                logits = reader(images)[0].detach().float()
                self.load_state_dict(kept)
                same = forward(images)[0].float()
            same.sum().backward()
            if (distance := ((same - logits).norm() / logits.norm()).item()) > NEAR[chosen.student]:
                raise ModelError(f"it computes something else: logits are {distance:.1%} away")
        except Exception as error:
            reader.close()
            say(f"torch.compile failed ({str(error).splitlines()[0]}); going on without it")
        else:
            self.compiled, self.compiled_for = forward, images.shape
            say(f"compiled in {time.perf_counter() - started:.0f} s")
        self.zero_grad(set_to_none=True)
        self.load_state_dict(kept)  # the trial has moved running statistics
