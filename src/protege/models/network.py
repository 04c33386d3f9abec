"""A network whose inner features can be read by name, whatever network it is.

Stages are paths of modules in it. They are read with hooks that live for one forward pass; where logits alone are read
there are none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn

from protege.errors import ModelError
from protege.models import MODELS, ModelConfig
from protege.models.capture import ENTERS, Capture, first_tensor, submodule
from protege.models.probing import probe
from protege.models.weights import load_weights

__all__ = ["Network", "Reader", "load_weights", "wrap"]


class Network(nn.Module):
    """`module`, unchanged, with names for what can be read from inside it. Save and load `network.module`."""

    def __init__(self, module: nn.Module, stages: Mapping[str, str], classifier: str) -> None:
        """`stages` are paths by name, shallowest first: {"stage1": "layer1", "stage1_pre": "layer1.1.relu2:input"}."""
        super().__init__()
        self.module = module
        self.stages = {"pooled": classifier + ENTERS, **stages}
        self.stages["pooled"] = self.stages.pop("pooled")  # last, being deepest
        self.classifier = classifier
        self._still: list[nn.Module] = []
        for path in (*self.stages.values(), classifier):
            submodule(module, path.removesuffix(ENTERS))

    def forward(self, images: Tensor, read: Sequence[str] = ("logits",)) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and what `read` asks for besides: "pooled", "stages", "preactivations", or a name such as "stage3"."""
        paths = self.paths(read)
        if not paths:
            return logits_of(self.module(images)), {}
        capture = Capture(paths)
        with capture.attached(self.module):
            logits = logits_of(self.module(images))
        return logits, capture.features()

    def features(self, images: Tensor, read: Sequence[str]) -> dict[str, Tensor]:
        """The same features at less cost: the forward pass ends as soon as all are known, so there are no logits."""
        paths = self.paths(read)
        capture = Capture(paths, stop=True)
        if paths:
            with capture.attached(self.module):
                self.module(images)
        return capture.features()

    def keep_still(self, parts: Sequence[nn.Module]) -> None:
        """These are in evaluation mode from now on, whatever mode the network is in."""
        self._still = list(parts)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for part in self._still:
            part.eval()
        return self

    def names(self, read: Sequence[str]) -> list[str]:
        """Which features `read` means, shallowest first. "logits" and "classifier" mean none."""
        before = [name for name in self.stages if name.endswith("_pre")]
        stages = [name for name in self.stages if name not in before and name != "pooled"]
        kinds = {"logits": [], "classifier": [], "stages": stages, "preactivations": before}
        wanted: set[str] = set()
        for asked in read:
            meant = kinds.get(asked, [asked] if asked in self.stages else [])
            if not meant and asked not in {"logits", "classifier"}:
                raise ModelError(
                    f"'{asked}' cannot be read from this {type(self.module).__name__}, which offers: "
                    f"{', '.join(self.stages)}. Name its modules under `stages:` in the model's configuration, "
                    "e.g. {stage1: layer1}."
                )
            wanted.update(meant)
        return [name for name in self.stages if name in wanted]

    def paths(self, read: Sequence[str]) -> dict[str, str]:
        """Module path of every feature that `read` means."""
        return {name: self.stages[name] for name in self.names(read)}

    def shapes(self, image_size: int) -> dict[str, tuple[int, ...]]:
        """Shape of every feature of one image, without the batch. Leaves batch norms and training mode alone."""
        capture = Capture(self.stages)
        with capture.attached(self.module):
            probe(self.module, image_size)
        return {name: tuple(feature.shape[1:]) for name, feature in capture.features().items()}

    def norms(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Weight and bias of the batch norm behind each pre-activation, where it bears the number of the ReLU that it feeds."""
        found = {}
        for name, path in self.stages.items():
            inside, _, last = path.removesuffix(ENTERS).rpartition(".")
            number = last.removeprefix("relu") or "1"
            if not (name.endswith("_pre") and last.startswith("relu")):
                continue
            norm = dict(self.module.named_modules()).get(f"{inside}.bn{number}".lstrip("."))
            if isinstance(norm, nn.BatchNorm2d) and norm.affine:
                found[name] = (norm.weight, norm.bias)
        return found

    def classifier_parameters(self) -> tuple[Tensor, Tensor | None]:
        """Weight [C, D] and bias [C] of the last linear layer: the parameters themselves, not copies."""
        layer = submodule(self.module, self.classifier)
        weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
        if not isinstance(weight, Tensor):
            raise ModelError(f"The classifier '{self.classifier}' is a {type(layer).__name__} without a weight.")
        return weight.flatten(1), bias if isinstance(bias, Tensor) else None


class Reader(nn.Module):
    """A network read always in the same way: one graph for `torch.compile`. `Network` attaches hooks anew each time.

    The hooks stay in the network, idle outside of this reader's own forward pass, until `close()`.
    """

    def __init__(self, network: Network, read: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self.capture = Capture(network.paths(read))
        self.hooks = self.capture.attach(network.module)

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        self.capture.start()
        try:
            logits = logits_of(self.network.module(images))
            return logits, self.capture.features()
        finally:
            self.capture.end()

    def close(self) -> None:
        for hook in self.hooks:
            hook.remove()


def refuse_other_classes(network: Network, name: str, classes: int) -> None:
    """Only a network that is not ours may be made for another number of classes than it was asked for."""
    made = len(network.classifier_parameters()[0])
    if made != classes:
        raise ModelError(
            f"{name} tells {made} classes apart, and the data have {classes}. Give it the number (an argument num_classes, "
            "or model.args), or model.head new for another last layer."
        )


def logits_of(output: Any) -> Tensor:
    """The logits themselves, or the first of several outputs (auxiliary classifiers), or the field of that name."""
    return first_tensor(getattr(output, "logits", output), "the network's output")


def wrap(module: nn.Module, config: ModelConfig | None = None, image_size: int | None = None) -> Network:
    """Name the stages of any network: as `config` says, else our table, else where a probe image is seen to shrink."""
    stages, classifier = (config.stages, config.classifier) if config else (None, None)
    known = MODELS.get(config.name) if config else None
    if known is not None:
        return Network(module, known.paths if stages is None else stages, classifier or known.classifier)
    if stages is None or classifier is None:
        from protege.models.discovery import discover

        found = discover(module, image_size, classifier)
        stages, classifier = found.stages if stages is None else stages, found.classifier
    return Network(module, stages, classifier)
