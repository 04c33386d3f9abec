"""Networks of timm and torchvision, by name. Nothing is downloaded here: weights come from a file."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import nn

from protege.errors import MissingExtra, ModelError, suggest


def build_external(name: str, classes: int) -> nn.Module:
    """`timm:NAME` or `torchvision:NAME`, with fresh weights."""
    library, _, wanted = name.partition(":")
    return without_inplace({"timm": from_timm, "torchvision": from_torchvision}[library](wanted, classes))


def from_timm(name: str, classes: int) -> nn.Module:
    timm = imported("timm")
    refuse_unknown("timm", name, timm.list_models())
    return made("timm", name, lambda: timm.create_model(name, pretrained=False, num_classes=classes))


def repository_of(name: str) -> str:
    """`timm:NAME` -> USER/NAME of the weights that timm has for it; those of its usual tag where none is named."""
    timm, wanted = imported("timm"), name.partition(":")[2]
    refuse_unknown("timm", wanted, timm.list_models())
    try:
        found = timm.get_pretrained_cfg(wanted)
    except RuntimeError as error:
        raise ModelError(f"timm has no such weights of '{wanted}': {error}") from error
    if found is None or not found.hf_hub_id:
        raise ModelError(f"timm has no weights of '{wanted}' on a hub. Name a file of them instead.")
    return found.hf_hub_id


def from_torchvision(name: str, classes: int) -> nn.Module:
    models = imported("torchvision").models
    refuse_unknown("torchvision", name, models.list_models(module=models))
    return made("torchvision", name, lambda: models.get_model(name, weights=None, num_classes=classes))


def imported(library: str) -> Any:
    """The library, or what to install. A torchvision made for another torch raises RuntimeError, in timm as well."""
    install = '`pip install "protege[timm]"` brings timm and torchvision'
    try:
        return import_module(library)
    except ImportError as error:
        raise MissingExtra(
            f"{library}: networks need the timm extra: {install}. (Importing {library}: {error})"
        ) from error
    except RuntimeError as error:
        raise MissingExtra(
            f"{library} is installed but does not start: {error}. torchvision must be made for the torch beside it "
            f"(same release, both for CPU or both for CUDA); {install}."
        ) from error


def refuse_unknown(library: str, name: str, known: list[str]) -> None:
    if name.partition(".")[0] not in known:  # timm's names may carry a tag of pretrained weights after a dot
        raise ModelError(f"{library} has no image classifier '{name}'.{suggest(name, known)}")


def made(library: str, name: str, make: Callable[[], nn.Module]) -> nn.Module:
    try:
        return make()
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelError(f"{library} cannot make '{name}' as an image classifier: {error}") from error


def without_inplace(network: nn.Module) -> nn.Module:
    """Activations that overwrite their input would overwrite the features read before them; the logits are the same."""
    for module in network.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # pyright: ignore[reportArgumentType]
    return network
