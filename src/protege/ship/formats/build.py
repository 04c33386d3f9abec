"""A finished run -> the file of each format."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from protege.data.outside import consent
from protege.errors import ConfigError
from protege.models.quantised import Bits, quantise
from protege.models.rounding import RoundedOutput, RoundedWeights
from protege.runs import whole
from protege.ship.about import About
from protege.ship.formats.calibrate import Calibration, calibrate
from protege.ship.formats.deployed import Raw, Scale, Student
from protege.ship.formats.freeze import Whole, frozen

Format = Literal["onnx", "pt2", "openvino", "executorch"]
Precision = Literal["fp32", "fp16", "int8"]
EXAMPLES = 2  # images in the example that exporters follow: one alone would be taken for a fixed number


@dataclass(frozen=True)
class Wanted:
    """What kind of file."""

    format: Format = "onnx"
    precision: Precision = "fp32"
    raw: bool = False
    calibration: Calibration = "minmax"
    calibration_images: int = 512


def is_rounded(student: Student) -> bool:
    """Whether it was trained with few bits."""
    return any(isinstance(part, RoundedWeights | RoundedOutput) for part in student.modules())


def refuse_mismatch(student: Student, wanted: Wanted) -> None:
    if wanted.precision != "int8" and is_rounded(student):
        raise ConfigError("This student was trained in few bits: export it with --precision int8, which keeps them.")
    if wanted.format in ("pt2", "executorch") and wanted.precision != "fp32":
        raise ConfigError(f"{wanted.format} files here are fp32; {wanted.precision} is for --format onnx.")


def rounded(student: Student, images: Callable[[], list[Tensor]], how: Calibration) -> tuple[Student, dict[str, Whole]]:
    """The student in whole numbers: with the ranges that it was trained with, or calibrated on these images."""
    twin = copy.deepcopy(student).eval()
    if not is_rounded(twin):
        quantise(twin.network.module, Bits())
        if twin.adapters is not None:
            round_adapters(twin.adapters)
        calibrate(twin, images(), how)
    stored: dict[str, Whole] = {}
    for parent, name in rounded_parts(twin):
        made, found = frozen(parent.get_submodule(name))
        parent.set_submodule(name, made)
        stored |= {f"{name}.{path}": one for path, one in found.items()}
    return twin, stored


def round_adapters(adapters: nn.Module) -> None:
    """What a method adds: each row of layers in it for itself."""
    for part in adapters.children():
        if isinstance(part, nn.Sequential):
            quantise(part, Bits())


def rounded_parts(student: Student) -> list[tuple[nn.Module, str]]:
    """Each network that was rounded for itself: where it hangs, and under which name."""
    parts: list[tuple[nn.Module, str]] = [(student.network, "module")]
    if student.adapters is not None:
        found = [(student.adapters, name) for name, part in student.adapters.named_children() if has_rounding(part)]
        parts += found
    return parts


def has_rounding(part: nn.Module) -> bool:
    return any(isinstance(inner, RoundedWeights) for inner in part.modules())


def write(
    student: Student, about: About, wanted: Wanted, images: Callable[[], list[Tensor]], path: Path
) -> dict[str, Whole]:
    """The file, whole; and the rounded weights in it by layer."""
    stored: dict[str, Whole] = {}
    if wanted.precision == "int8":
        student, stored = rounded(student, images, wanted.calibration)
    else:
        student = student.folded()
    module: nn.Module = student
    if wanted.raw:
        module = Raw(student, Scale(about.mean, about.std), about.temperature or 1.0)
    WRITERS[wanted.format](module, about, stored, path)
    return stored


def example(about: About) -> Tensor:
    shape = (EXAMPLES, 3, about.size, about.size)
    return torch.zeros(shape, dtype=torch.uint8 if about.raw else torch.float32)


def write_onnx(module: nn.Module, about: About, stored: dict[str, Whole], path: Path) -> None:
    from protege.ship.formats import onnx_file

    names = ("pixels", "probabilities") if about.raw else ("images", "logits")
    model = onnx_file.graph_of(module, example(about), names)
    if stored:
        model = onnx_file.with_whole_weights(model, stored)
    if about.precision == "fp16":
        model = onnx_file.in_halves(model)
    with whole(path) as partial:
        partial.write_bytes(onnx_file.described(onnx_file.slim(model), about.written()).SerializeToString())


def write_pt2(module: nn.Module, about: About, stored: dict[str, Whole], path: Path) -> None:
    images = torch.export.Dim("images")
    program = torch.export.export(module.eval(), (example(about),), dynamic_shapes=({0: images},))
    with whole(path) as partial:
        named = partial.with_name(f"{partial.name}.pt2")  # torch insists on the ending
        torch.export.save(program, named, extra_files={"about": json.dumps(about.written())})
        named.replace(partial)
    consent.remember(sha256(path.read_bytes()).hexdigest())


def write_openvino(module: nn.Module, about: About, stored: dict[str, Whole], path: Path) -> None:
    """Through ONNX, whose whole numbers OpenVINO keeps."""
    from protege.ship.formats.openvino_file import converted

    between = path.with_suffix(".onnx")
    write_onnx(module, about, stored, between)
    try:
        converted(between, path)
    finally:
        between.unlink(missing_ok=True)


def write_executorch(module: nn.Module, about: About, stored: dict[str, Whole], path: Path) -> None:
    from protege.ship.formats.executorch_file import lowered

    lowered(module, example(about), about.written(), path)


WRITERS: dict[Format, Callable[[nn.Module, About, dict[str, Whole], Path], None]] = {
    "onnx": write_onnx,
    "pt2": write_pt2,
    "openvino": write_openvino,
    "executorch": write_executorch,
}


def about_precision(about: About, wanted: Wanted) -> About:
    return replace(about, raw=wanted.raw, precision=wanted.precision)
