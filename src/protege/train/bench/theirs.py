"""The reference loop on the same data and networks, held open between passes: a pass is one of its steps."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from protege import data
from protege.data.base import Splits
from protege.methods import Method, parse_method
from protege.methods.base import Batch, Outputs, Progress
from protege.methods.stages import matched_stages
from protege.models import build
from protege.models.config import ModelConfig
from protege.models.network import Network, load_weights, wrap
from protege.runs.process import keep_freed_memory
from protege.runs.tuning import now
from protege.teacher.speaking import shapes_of
from protege.train.bench import reference
from protege.train.bench.messages import Took
from protege.train.bench.variants import Pair, Setting, Variant

LR = 1e-3  # as low as ours: no loss can diverge, and it costs the same time


class Theirs:
    """The reference between two steps."""

    def __init__(self, pair: Pair, setting: Setting, variant: Variant, weights: Path) -> None:
        if variant.allocator:
            keep_freed_memory()
        torch.set_num_threads(setting.threads)
        torch.manual_seed(0)
        self.device = torch.device(setting.device)
        splits = data.load(setting.data.model_copy(update={"heldout": 0, "resplit": None}), setting.data_dir)
        classes, size = len(splits.classes), splits.train.pixels.shape[-1]
        student = build(ModelConfig(name=pair.student), classes).to(self.device)
        loss, extra = _loss(pair, variant, student, classes, size, weights, self.device)
        if variant.channels_last:
            student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if variant.arithmetic.student == "bf16":
            loss = reference.in_bf16(loss)
        optimizer = reference.sgd([*student.parameters(), *extra], LR)
        loader = reference.loader_of(pictures_of(splits), pair.batch_size, setting.loader_workers, self.device)
        self.steps = reference.steps(student, loss, loader, optimizer, self.device)
        self.images = min(pair.batch_size, len(splits.train))

    def passed(self, passes: int) -> Took:
        started = now(self.device)
        images = sum(next(self.steps)[0] for _ in range(passes))
        return Took(images=images, seconds=now(self.device) - started)


def pictures_of(splits: Splits) -> reference.Pictures:
    pixels = splits.train.pixels[:].permute(0, 2, 3, 1).contiguous().numpy()
    transform = reference.TrainingTransform(pixels.shape[1], splits.mean, splits.std)
    return reference.Pictures(pixels, splits.train.labels.tolist(), transform)


def _loss(
    pair: Pair, variant: Variant, student: nn.Module, classes: int, size: int, weights: Path, device: torch.device
) -> tuple[reference.Loss, list[nn.Parameter]]:
    """And what is trained besides the student."""
    if variant.method == "supervised":
        return reference.supervised_loss(student), []
    teacher = build(ModelConfig(name=pair.teacher), classes)
    load_weights(teacher, weights)
    teacher = teacher.to(device).eval().requires_grad_(False)
    if variant.channels_last:
        teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if variant.method == "kd":
        return reference.logit_kd_loss(student, teacher), []
    mine, theirs = (
        wrap(module, ModelConfig(name=name), size)
        for module, name in ((student, pair.student), (teacher, pair.teacher))
    )
    if variant.method != "feature":
        taught = Taught(parse_method(variant.method), mine, theirs, size).to(device)
        return taught, list(taught.adapters.parameters())
    loss = reference.FeatureKD(student, teacher, *compared(mine, theirs, size)).to(device)
    return loss, list(loss.parameters())


class Taught(nn.Module):
    """Any other method's own terms, in the plain loop: both networks are called at every step, and nothing is folded."""

    def __init__(self, method: Method, student: Network, teacher: Network, size: int) -> None:
        super().__init__()
        self.method, self.student, self.teacher = method, [student], [teacher]  # in lists: no parts of this module
        self.adapters = method.adapters(shapes_of(student, size), shapes_of(teacher, size))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        read = self.method.wants()
        with torch.no_grad():
            said = Outputs(*self.teacher[0](images, read))
        outputs = Outputs(*self.student[0](images, read))
        terms = self.method.terms(outputs, said, Batch(labels, labels), self.adapters, Progress(0, 1))
        return torch.stack(list(terms.values())).sum()


def compared(student: Network, teacher: Network, size: int) -> tuple[list[tuple[str, str]], list[tuple[int, int]]]:
    """Modules of both whose maps Feature-KD compares, and their channels; as ours pairs them."""
    mine, theirs = shapes_of(student, size), shapes_of(teacher, size)
    names = matched_stages(mine, theirs)
    modules = [(student.stages[one], teacher.stages[other]) for one, other in names]
    return modules, [(mine.features[one][0], theirs.features[other][0]) for one, other in names]
