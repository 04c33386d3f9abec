"""What the teacher says: one network or several, asked live, never trained, its running statistics never moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from protege import runs
from protege.data.base import Splits, at_a_time
from protege.data.outside.consent import recorded
from protege.errors import ModelError, RunError
from protege.methods.base import Classifier, Outputs, Shapes, at_least_float32
from protege.models import build
from protege.models.compression import compress
from protege.models.cutting import shape_like
from protege.models.folding import fold_batchnorm
from protege.models.network import Network, load_weights, wrap
from protege.models.probing import probe
from protege.models.spared import spare
from protege.runs.config import digest
from protege.runs.process.ranks import present
from protege.runs.tuning import Choice, agreed, quickest
from protege.teacher.sources import Source
from protege.views import normalise

Three = tuple[float, float, float]
Precision = Literal["fp32", "bf16"]
WORTH_TUNING = 20_000  # images that a teacher is to be asked about
SELF_TEST = 1000  # images that a quicker arithmetic must say the same of
TEMPERATURES = (1.0, 2.0, 4.0, 8.0)  # at which students listen
UNHEARD = 0.01  # of what another view of the same images does to the words, at every temperature


@dataclass
class Voice:
    """One teacher's network with the normalisation that it was trained with, in the arithmetic that is safe and quick here."""

    network: Network
    mean: Three
    std: Three
    name: str
    weights: str  # digest of the file
    shapes: Shapes
    precision: Precision = "fp32"


class Teacher:
    """One or several voices on one device."""

    def __init__(self, voices: Sequence[Voice]) -> None:
        self.voices = list(voices)

    def shapes(self) -> Shapes:
        """Of the first voice; methods that read features take one teacher."""
        return self.voices[0].shapes

    @torch.no_grad()
    def ask(self, pixels: Tensor, read: tuple[str, ...]) -> Outputs:
        """What all voices say of these pixels (uint8, or float on the same scale)."""
        return together([ask(voice, pixels, read) for voice in self.voices])


def ask(voice: Voice, pixels: Tensor, read: tuple[str, ...] = ("logits",)) -> Outputs:
    images = normalise(pixels, voice.mean, voice.std)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=voice.precision == "bf16"):
        if "logits" in read:
            logits, features = voice.network(images, read)
        else:  # no further than the deepest feature
            logits, features = torch.empty(0, device=images.device), voice.network.features(images, read)
    kept = {name: at_least_float32(feature) for name, feature in features.items()}
    return Outputs(at_least_float32(logits), kept, classifier_of(voice.network) if "classifier" in read else None)


def together(said: list[Outputs]) -> Outputs:
    """Of several, the mean of the probabilities; features are the first's."""
    if len(said) == 1:
        return said[0]
    log_probabilities = torch.stack([one.logits.log_softmax(1) for one in said])
    mean = log_probabilities.logsumexp(0) - torch.log(torch.tensor(float(len(said)))).item()  # no copy to the device
    return Outputs(mean, said[0].features, said[0].classifier, tuple(said))


def classifier_of(network: Network) -> Classifier:
    """The network's last linear layer, live: gradients reach it where the network is the student."""
    return Classifier(*network.classifier_parameters())


def shapes_of(network: Network, image_size: int, images: int = 0) -> Shapes:
    """What the network's outputs look like, without the batch."""
    live = classifier_of(network)
    bias = None if live.bias is None else live.bias.detach().clone()
    norms = {name: (weight.detach().clone(), bias.detach().clone()) for name, (weight, bias) in network.norms().items()}
    return Shapes(
        len(live.weight), network.shapes(image_size), images, Classifier(live.weight.detach().clone(), bias), norms
    )


def load(
    sources: Sequence[Source],
    splits: Splits,
    device: torch.device,
    images_ahead: int = 0,
    precisions: Sequence[Precision] | None = None,
    folder: Path | None = None,
) -> Teacher:
    """The teachers, ready to be asked about these data.

    With many images ahead, each speaks in the quickest arithmetic that says the same, the same for all runs of `folder`;
    `precisions` are those of a run that began so.
    """
    voices = [_voice(source, splits, device) for source in sources]
    if precisions is not None:
        for voice, precision in zip(voices, precisions, strict=True):
            voice.precision = precision
    elif images_ahead >= WORTH_TUNING:
        for voice in voices:
            voice.precision = present().from_first(partial(_agreed, voice, splits, device, folder))
    return Teacher(voices)


def _agreed(voice: Voice, splits: Splits, device: torch.device, folder: Path | None) -> Precision:
    def trial() -> Choice:
        return _quickest_safe(voice, splits, device)

    choice = agreed(folder, f"teacher {voice.weights} {device.type}", trial) if folder else trial()
    return "bf16" if choice.name == "bf16" else "fp32"


@torch.inference_mode()
def _quickest_safe(voice: Voice, splits: Splits, device: torch.device) -> Choice:
    """bf16 where it is clearly quicker here and a student would hear no difference."""
    side = splits.train.pixels.shape[-1]
    shown = splits.train.pixels[: at_a_time(SELF_TEST, side)].to(device)
    lower = replace(voice, precision="bf16")
    batch = shown[: at_a_time(250, side)]
    what = f"teacher {voice.weights} {tuple(batch.shape)}"
    choice = quickest(what, {"fp32": lambda: ask(voice, batch), "bf16": lambda: ask(lower, batch)}, device)
    if choice.name == "fp32":
        return choice
    full, mirrored = (logits_of(voice, pixels, len(batch)) for pixels in (shown, shown.flip(-1)))
    same = says_the_same(full, logits_of(lower, shown, len(batch)), mirrored)
    return choice if same else replace(choice, name="fp32")


def logits_of(voice: Voice, pixels: Tensor, at_once: int) -> Tensor:
    return torch.cat([ask(voice, part).logits for part in pixels.split(at_once)])


def says_the_same(reference: Tensor, logits: Tensor, other_view: Tensor) -> bool:
    """Whether what reaches a student differs by less than a hundredth of what the teacher says otherwise of another view of the
    same images, at all temperatures. (First choices are no measure: near ties alone turn one in a hundred.)"""
    return all(
        divergence(reference, logits, temperature)
        <= max(1e-9, UNHEARD * divergence(reference, other_view, temperature))
        for temperature in TEMPERATURES
    )


def divergence(reference: Tensor, logits: Tensor, temperature: float) -> float:
    """KL(reference || logits) of softened probabilities, mean over images."""
    said, heard = (F.log_softmax(one.double() / temperature, 1) for one in (reference, logits))
    return F.kl_div(heard, said, reduction="batchmean", log_target=True).item()


def _voice(source: Source, splits: Splits, device: torch.device) -> Voice:
    network, normalisation = speaker(source, len(splits.classes))
    mean, std = normalisation or (source.config.mean or splits.mean, source.config.std or splits.std)
    name = source.name
    if (classes := len(network.classifier_parameters()[0])) != len(splits.classes):
        raise ModelError(
            f"The teacher {name} knows {classes} classes, but {splits.name} here has {len(splits.classes)}. Use the same data for both."
        )
    shapes = shapes_of(network, splits.train.pixels.shape[-1])  # before its norms are folded away
    folded = spare(fold_batchnorm(network)).to(device).eval().requires_grad_(False)
    never_round_the_last_layer(folded)
    return Voice(folded.to(memory_format=torch.channels_last), mean, std, name, digest(source.file), shapes)  # type: ignore[call-overload]


def never_round_the_last_layer(network: Network) -> None:
    """Its few products in fp32 in every precision: logits of bf16 have but eight bits."""
    layer = network.module.get_submodule(network.classifier)
    if not isinstance(layer, nn.Linear):
        return
    plain = layer.forward

    def whole(input: Tensor) -> Tensor:  # noqa: A002 (as torch names it)
        with torch.autocast(input.device.type, enabled=False):
            return plain(at_least_float32(input))

    layer.forward = whole


def speaker(source: Source, classes: int) -> tuple[Network, tuple[Three, Three] | None]:
    """The teacher's network as it was trained, and the normalisation that its run recorded."""
    if source.run is not None:
        return network_of(source.run, source.config.weights)
    assert source.config.model is not None
    model = source.config.model.model_copy(update={"weights": None})
    module = build(model, classes, "teacher.model")
    load_weights(module, source.file, "teacher.model")
    return wrap(module, model), None


def network_of(run: runs.Run, which: str = "final") -> tuple[Network, tuple[Three, Three]]:
    """A finished run's network with its weights, and the mean and standard deviation that it expects."""
    config, record = run.config(), run.record()
    tensors, about = runs.read_weights(run.weights_file(which))
    model = run.network()
    with recorded(str(run.record_file), record.get("code")):
        module = build(model, len(record["data"]["classes"]))
    if about.get("pruned") is True:
        shape_like(module, tensors)
        probe(module, record["data"]["image_size"])  # shapes of a damaged file may not fit each other
    compress(module, config.compress)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise RunError(
            f"{run.weights_file(which)} does not fit {model.name}: {str(error).splitlines()[1].strip()}"
        ) from error
    mean, std = record["data"]["mean"], record["data"]["std"]
    return wrap(module, model), (tuple(mean), tuple(std))
