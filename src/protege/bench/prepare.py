"""What must be known of a pair before it is measured: a teacher, the quicker arithmetic, and what an image costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from protege import data
from protege.arithmetic import Execution, quickest_execution
from protege.bench.machine import cost
from protege.bench.messages import Facts
from protege.bench.variants import Arithmetic, Pair, Precision, Setting
from protege.config import check_run
from protege.data.base import Splits
from protege.models import build
from protege.models.config import ModelConfig
from protege.models.depthwise import spare_depthwise
from protege.models.folding import fold_batchnorm
from protege.models.network import wrap
from protege.process import keep_freed_memory
from protege.tuning import quickest
from protege.views import normalise

USUAL_IMAGES = 200 * 50_000  # that a run trains on
TRIED_WITH = 32  # images: enough to tell a quick arithmetic from a slow one
PRECISIONS: tuple[Precision, Precision] = ("fp32", "bf16")


def prepare(pair: Pair, setting: Setting) -> Facts:
    torch.set_num_threads(setting.threads)
    keep_freed_memory()
    device = torch.device(setting.device)
    splits = data.load(setting.data.model_copy(update={"heldout": 0, "resplit": None}), setting.data_dir)
    classes, size = len(splits.classes), splits.train.pixels.shape[-1]
    pixels = splits.train.pixels[:TRIED_WITH].to(device)
    images = normalise(pixels, splits.mean, splits.std)
    student, teacher = (fresh(name, classes).to(device) for name in (pair.student, pair.teacher))
    weights = stand_in(teacher, images, setting.folder / f"{pair.teacher.replace(':', '-')}.pth")
    arithmetic = quicker(pair, student, teacher, images, device)
    return Facts(
        arithmetic=arithmetic,
        execution=execution(pair, setting, arithmetic, splits, device),
        weights=weights,
        student=cost(student, size, pair.batch_size),
        teacher=cost(teacher, size, pair.batch_size),
    )


def fresh(name: str, classes: int) -> nn.Module:
    """The same weights each time, so that what was measured of them is found again."""
    torch.manual_seed(0)
    return build(ModelConfig(name=name), classes)


@torch.no_grad()
def stand_in(teacher: nn.Module, images: torch.Tensor, file: Path) -> Path:
    """Weights of a teacher that has learned nothing, whose norms know the images: its logits are of an ordinary size."""
    norms = [part for part in teacher.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    teacher.train()(images)
    torch.save({name: value.cpu().contiguous() for name, value in teacher.state_dict().items()}, file)
    return file


def quicker(
    pair: Pair, student: nn.Module, teacher: nn.Module, images: torch.Tensor, device: torch.device
) -> Arithmetic:
    """By trial, as `--optim.precision auto` has it. A real teacher must say the same in bf16, which one without knowledge cannot show."""
    shown = f"{tuple(images.shape)} for the benchmark"
    learning = spare_depthwise(student).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    asked = spare_depthwise(fold_batchnorm(teacher)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps: dict[str, Callable[[], object]] = {one: lambda one=one: _step(learning, images, one) for one in PRECISIONS}
    asks: dict[str, Callable[[], object]] = {one: lambda one=one: _ask(asked, images, one) for one in PRECISIONS}
    return Arithmetic.model_validate(
        {
            "student": quickest(f"student {pair.student} {shown}", steps, device).name,
            "teacher": quickest(f"teacher {pair.teacher} {shown}", asks, device).name,
        }
    )


def execution(pair: Pair, setting: Setting, arithmetic: Arithmetic, splits: Splits, device: torch.device) -> Execution:
    """As asked for, or as a run of the usual length would choose."""
    if setting.compile is not None:
        return "compiled" if setting.compile else "eager"
    config = check_run({"data": setting.data, "model": pair.student, "optim": {"batch_size": pair.batch_size}})
    student = spare_depthwise(wrap(fresh(pair.student, len(splits.classes)), config.model)).to(device)
    student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    chosen = torch.arange(pair.batch_size) % len(splits.train)
    images = normalise(splits.train.pixels[chosen].to(device), splits.mean, splits.std)
    labels = splits.train.labels[chosen].to(device)
    batches = USUAL_IMAGES // pair.batch_size
    return quickest_execution(config, student, (images, labels), arithmetic.student, batches, print)


def _step(network: nn.Module, images: torch.Tensor, precision: Precision) -> None:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits = network(images)
    F.cross_entropy(logits.float(), torch.zeros(len(images), dtype=torch.long, device=images.device)).backward()


@torch.inference_mode()
def _ask(network: nn.Module, images: torch.Tensor, precision: Precision) -> None:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        network(images)
