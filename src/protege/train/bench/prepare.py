"""What must be known of a pair before it is measured: a teacher, the quicker arithmetic, and what an image costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from protege import data
from protege.data.base import Splits
from protege.models import build
from protege.models.config import ModelConfig
from protege.models.folding import fold_batchnorm
from protege.models.network import wrap
from protege.models.spared import spare
from protege.runs.config import check_run
from protege.runs.process import keep_freed_memory
from protege.runs.tuning import quickest
from protege.train.arithmetic import Examples, quickest_execution, quickest_precision
from protege.train.bench.limits import cost
from protege.train.bench.messages import Facts
from protege.train.bench.variants import Arithmetic, Pair, Precision, Setting
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
    config = check_run({"data": setting.data, "model": pair.student, "optim": {"batch_size": pair.batch_size}})
    student = spare(wrap(fresh(pair.student, classes), config.model)).to(device)
    student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    teacher = fresh(pair.teacher, classes).to(device)
    few = examples(splits, TRIED_WITH, device)
    weights = stand_in(teacher, few[0], setting.folder / f"{pair.teacher.replace(':', '-')}.pth")
    arithmetic = Arithmetic.model_validate(
        {
            "student": quickest_precision(config, student, few).name,
            "teacher": quicker_teacher(pair.teacher, teacher, few[0]),
        }
    )
    if setting.compile is None:
        batch, batches = examples(splits, pair.batch_size, device), USUAL_IMAGES // pair.batch_size
        execution = quickest_execution(config, student, batch, arithmetic.student, batches, print)
    else:
        execution = "compiled" if setting.compile else "eager"
    return Facts(
        arithmetic=arithmetic,
        execution=execution,
        weights=weights,
        student=cost(student.module, size, pair.batch_size),
        teacher=cost(teacher, size, pair.batch_size),
    )


def examples(splits: Splits, number: int, device: torch.device) -> Examples:
    chosen = torch.arange(number) % len(splits.train)
    images = normalise(splits.train.pixels[chosen].to(device), splits.mean, splits.std)
    return images, splits.train.labels[chosen].to(device)


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


def quicker_teacher(name: str, teacher: nn.Module, images: torch.Tensor) -> str:
    """By trial. A real teacher must say the same in bf16, which one without knowledge cannot show."""
    asked = spare(fold_batchnorm(teacher)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    asks: dict[str, Callable[[], object]] = {one: lambda one=one: _ask(asked, images, one) for one in PRECISIONS}
    return quickest(f"teacher {name} {tuple(images.shape)} for the benchmark", asks, images.device).name


@torch.inference_mode()
def _ask(network: nn.Module, images: torch.Tensor, precision: Precision) -> None:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        network(images)
