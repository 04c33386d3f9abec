"""Weights from files: safetensors, or PyTorch's own with its restricted reader, so that no file can run code."""

from __future__ import annotations

import json
import os
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.serialization import safe_globals

from protege.data.files import is_file, opened
from protege.errors import ModelError, quoted

Weights = dict[str, Tensor]

# Under which key checkpoints of other projects keep the weights, and what they put before each name.
WRAPPERS = (
    "state_dict", "model_state_dict", "model", "net", "network", "student", "weights", "module",
    "model_ema", "state_dict_ema", "ema_state_dict", "ema",
)  # fmt: skip
DEEPEST = 10
PICKLED = (".pth", ".pt", ".th", ".bin", ".ckpt", ".tar", ".pkl")
# What they keep beside, by the names that pickles give it.
BESIDE = (
    "argparse.Namespace", "types.SimpleNamespace", "collections.defaultdict", "easydict.EasyDict", "yacs.config.CfgNode",
    "pathlib.Path", "pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib.WindowsPath", "pathlib.PureWindowsPath",
    "pathlib._local.PosixPath", "pathlib._local.WindowsPath", "datetime.datetime", "datetime.date", "datetime.timedelta",
    "numpy.dtype", "numpy.ndarray", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
    *(f"numpy.dtypes.{kind}DType" for kind in ("Float64", "Float32", "Float16", "Int64", "Int32", "Bool")),
    "omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig", "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata", "omegaconf.nodes.AnyNode", "typing.Any",
)  # fmt: skip
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "student.", "encoder.")
# CIFAR code bases that call torchvision's layers otherwise.
OTHER_NAMES = ((".shortcut.", ".downsample."), ("linear.", "fc."))


def load_weights(
    module: nn.Module, path: str | os.PathLike[str], where: str = "model", fresh: str | None = None
) -> None:
    """Every weight of the file, strictly, into `module` or what it wraps as `.module`. Precision and device stay.

    `where` the network is described, for messages. The part at `fresh` keeps its own weights.
    """
    while isinstance(inner := getattr(module, "module", None), nn.Module):
        module = inner
    found = read_weights(path)
    if says_it_is_cut(Path(path)):
        from protege.models.cutting import shape_like

        shape_like(module, found, fresh)
    own = module.state_dict()
    found = renamed(unprefixed(found, own), own)
    if fresh is not None:
        own, found = (
            {name: tensor for name, tensor in some.items() if not name.startswith(f"{fresh}.")} for some in (own, found)
        )
    refuse_misfits(own, found, path, where)
    module.load_state_dict(found, strict=False)


def read_weights(path: str | os.PathLike[str]) -> Weights:
    """The tensors of a file by name, on the CPU, out of whatever wrapper they were saved in."""
    file = Path(path)
    if not is_file(file):
        raise ModelError(f"There is no weights file {file}.")
    if file.suffix == ".safetensors":
        return plain_ones(read_safetensors(file), file)
    if file.suffix in PICKLED:
        return plain_ones(unwrapped(read_pickle(file), file), file)
    raise ModelError(f"{file} is not a weights file: its name must end in .safetensors, {', '.join(PICKLED)}.")


def read_safetensors(file: Path) -> Weights:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        raise ModelError(f"{file} is damaged or not a safetensors file: {quoted(error, 200)}") from error


def says_it_is_cut(file: Path) -> bool:
    """Whether these are the weights of a run whose network has fewer channels than its name says."""
    from safetensors import safe_open

    if file.suffix != ".safetensors":
        return False
    with safe_open(file, framework="pt") as opened_file:
        written = (opened_file.metadata() or {}).get("protege", "{}")
    try:
        return json.loads(written)["about"]["pruned"] is True
    except (ValueError, KeyError, TypeError, RecursionError):  # not written by protege
        return False


class Inert(dict[object, object]):
    """Stands for what checkpoints hold beside weights (options, paths, numbers of numpy): made of anything, does nothing."""

    def __new__(cls, *_: object, **__: object) -> Self:
        return dict.__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass


def read_pickle(file: Path) -> object:
    """By the restricted reader. Of names of others only those in `BESIDE` are met, and nothing is called for them."""
    _refuse_packed(file)
    try:
        with warnings.catch_warnings(), safe_globals([(Inert, name) for name in BESIDE]):
            # of pickle dialects that the restricted reader may not know: it then refuses
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if _holds_a_model(file):
            raise ModelError(
                f"{file} is a whole pickled model, and reading it would run its code, so it was refused. Where you trust it, "
                "load it where it was made and save its weights alone: torch.save(model.state_dict(), ...)."
            ) from error
        raise ModelError(
            f"{file} is damaged, or holds more than tensors and plain values{_which(error)}: reading that could run code, "
            "so it was refused. Where you trust it, save its weights alone: torch.save(model.state_dict(), ...)."
        ) from error
    except Exception as error:  # damage shows in many ways
        if "TorchScript" in str(error):
            raise ModelError(
                f"{file} is a whole TorchScript model. Save its weights alone: torch.save(model.state_dict(), ...)."
            ) from error
        raise ModelError(f"{file} is damaged or not a PyTorch file: {quoted(error, 200)}") from error


def _refuse_packed(file: Path) -> None:
    """PyTorch packs nothing: a file that would unpack to a thousand times its size is no checkpoint."""
    try:
        with zipfile.ZipFile(file) as archive:
            packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
    except (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, struct.error):
        return  # an older form, or damaged: which the reader says
    if packed:
        raise ModelError(f"{file} is a compressed archive, which PyTorch does not write. Unpack it first.")


def _holds_a_model(file: Path) -> bool:
    """Whether modules and not only tensors are named in it; the names come early in either form."""
    with opened(file) as content:
        begins = content.read(1 << 20)
    return b"_modules" in begins or b"torch.nn.modules" in begins


def _which(error: Exception) -> str:
    found = re.search(r"GLOBAL ([\w.]{1,80})", str(error))
    return f" ({found[1]})" if found else ""


def unwrapped(content: object, file: Path) -> Weights:
    """The first mapping of names to tensors on the usual path of wrappers."""
    for _ in range(DEEPEST):
        if not isinstance(content, Mapping):
            raise ModelError(f"{file} holds a {type(content).__name__}, not weights by name.")
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    else:
        raise ModelError(f"{file} holds itself: its weights have no end.")
    tensors = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(quoted(key, 40) for key in list(content)[:8])
        raise ModelError(
            f"{file} holds no weights; it holds: {keys}. Weights are looked for under {', '.join(WRAPPERS)}."
        )
    return tensors


def plain_ones(found: Weights, file: Path) -> Weights:
    """Numbers that are there, one beside the other."""
    for name, tensor in found.items():
        odd = tensor.is_nested or tensor.layout != torch.strided or tensor.device.type != "cpu"
        if odd or tensor.is_quantized or tensor.is_complex():
            kind = (
                "nested" if tensor.is_nested else tensor.device.type if tensor.device.type != "cpu" else tensor.layout
            )
            raise ModelError(
                f"{file}: {name[:80]} is not a plain tensor ({kind}, {tensor.dtype}). Save the weights as plain ones."
            )
    return {name: tensor for name, tensor in found.items() if name != "n_averaged"}  # of torch's own running mean


def unprefixed(found: Weights, own: Mapping[str, Tensor]) -> Weights:
    """Without what data-parallel, compiled or wrapped modules put before every name, where that makes names fit."""
    while found and not own.keys() & found.keys():
        prefix = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in found)), None)
        if prefix is None:
            break
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    return found


def renamed(found: Weights, own: Mapping[str, Tensor]) -> Weights:
    """Known other names of ResNet layers, only where the file's own name fits nothing."""

    def fitting(name: str) -> str:
        if name in own:
            return name
        other = name
        for theirs, ours in OTHER_NAMES:
            other = other.replace(theirs, ours)
        return other if other in own else name

    return {fitting(name): tensor for name, tensor in found.items()}


def refuse_misfits(
    own: Mapping[str, Tensor], found: Weights, path: str | os.PathLike[str], where: str = "model"
) -> None:
    misshapen = [name for name in own if name in found and own[name].shape != found[name].shape]
    missing = [name for name in own if name not in found and not name.endswith("num_batches_tracked")]
    foreign = [name for name in found if name not in own]
    if missing or foreign:
        raise ModelError(
            f"{path} holds the weights of another network: "
            + "; ".join(
                f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
                for names, what in ((missing, "missing"), (foreign, "unknown to this one"))
                if names
            )
            + "."
        )
    if misshapen:
        reasons = list(dict.fromkeys(misfit(name, own, found, where) for name in misshapen))
        raise ModelError(f"{path} does not fit: {'; '.join(reasons[:3])}.")


def misfit(name: str, own: Mapping[str, Tensor], found: Weights, where: str) -> str:
    """What the shapes of one weight say: another number of classes, another stem, or just other numbers."""
    ours, theirs = list(own[name].shape), list(found[name].shape)
    layer, last = (key.rpartition(".")[0] for key in (name, list(own)[-1]))
    if layer == last and ours[1:] == theirs[1:]:
        anew = f": give {where}.head new to begin it afresh" if where == "model" else ""
        return f"its classifier '{layer}' is for {theirs[0]} classes, the network's for {ours[0]}{anew}"
    if name == "conv1.weight" and {ours[-1], theirs[-1]} == {3, 7}:
        stem = "imagenet" if theirs[-1] == 7 else "cifar"
        return f"its first convolution is {theirs[-1]} wide, the network's {ours[-1]}: give {where}.stem {stem}"
    return f"{name} is {theirs} in the file and {ours} in the network"
