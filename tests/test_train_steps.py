"""A step and what looks at it: every image weighs alike, what is no number goes no further, and operators do not grow."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from protege import data
from protege import runs as folders
from protege.errors import ConfigError, Diverged
from protege.runs.config import Place, check_run
from protege.teacher import recall
from protege.train import loop
from protege.train.arithmetic import Chosen, record
from protege.train.hints import hints
from protege.train.lessons import Rhythm
from protege.train.optim import follow, learning_rate
from protege.train.state import State
from protege.train.together import Together

TINY: dict[str, Any] = {
    "data": {"name": "cifar10-mini", "limit": 100, "heldout": 50},
    "model": "resnet8",
    "optim": {"epochs": 2, "batch_size": 32},
}


def opened(root: Path, description: dict[str, Any], **chosen: Any) -> loop.Training:
    """A run before its first step."""
    config, place = check_run(TINY | description), Place(runs=root, threads=1, quiet=True)
    planned, splits = loop.plan(config, place), data.load(config.data)
    run = folders.start(root, planned.id, loop.record_of(planned, splits, place))
    record(run, Chosen.model_validate({"teachers": ("fp32",) if config.teacher else (), **chosen}))
    training = loop.Training(planned, run, splits, place, threading.Event())
    training.state.learner.train()
    if training.teacher:
        training.lessons.memory = recall.remembered(training.teacher, config, splits, training.images, place, print)
    return training


def trained(root: Path, description: dict[str, Any], **fields: Any) -> folders.Run:
    return loop.train(check_run(TINY | description), Place(runs=root, threads=1, quiet=True, **fields))


# ---- the state ----


def differing(one: State, other: State) -> list[str]:
    (tensors, numbers), (others, other_numbers) = one.packed(), other.packed()
    assert tensors.keys() == others.keys()
    wrong = [name for name, value in tensors.items() if not torch.equal(value, others[name])]
    return wrong + [name for name, value in numbers.items() if value != other_numbers[name]]


def test_a_state_comes_back_whole_and_goes_on_alike(tmp_path: Path) -> None:
    """Through a file, in the middle of an epoch: momentum, running mean and history too."""
    described = {"optim": TINY["optim"] | {"ema": 0.9, "clip_norm": 1.0}}
    one, other = (opened(tmp_path / name, described) for name in "ab")
    lessons = list(one.lessons.of_epoch(0, 0))
    for shown, said in lessons[:2]:
        one.step(one.state, shown, said)
    folders.save_checkpoint(one.run, *one.state.packed())
    found = folders.load_checkpoint(one.run)
    assert found is not None
    other.state.unpack(*found[:2])
    assert differing(one.state, other.state) == []
    for training in (one, other):
        training.step(training.state, *lessons[2])
    assert differing(one.state, other.state) == []


def test_what_is_not_deployed_is_kept_once(tmp_path: Path) -> None:
    """Memory banks and peers are neither averaged nor copied for the best epoch, so a checkpoint holds them once."""
    for method in ("dml", "supervised"):
        state = opened(tmp_path, {"method": method, "optim": TINY["optim"] | {"ema": 0.9}}).state
        assert all(name.startswith("student.") for name in state.mean | state.weights())


# ---- every image weighs alike ----


class Mean(nn.Module):
    """No norms, so that gradients of parts add up exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images.mean((2, 3)))


@pytest.mark.parametrize(("batch_size", "accumulate"), [(32, 4), (48, 2), (40, 3), (100, 2)])
def test_accumulated_batches_have_the_gradient_of_all_their_images(batch_size: int, accumulate: int) -> None:
    """The last group is short, and its last batch shorter."""
    rhythm = Rhythm(100, batch_size, accumulate)
    torch.manual_seed(0)
    images, labels, network = torch.randn(100, 3, 4, 4), torch.arange(100) % 2, Mean()

    def gradient(part: slice, parts: float) -> torch.Tensor:
        loss = nn.functional.cross_entropy(network(images[part]), labels[part])
        return torch.autograd.grad(loss / parts, network.layer.weight)[0]

    for first in range(0, rhythm.batches, accumulate):
        group = range(first, min(first + accumulate, rhythm.batches))
        summed = sum(gradient(rhythm.part(batch, batch + 1), rhythm.parts(batch)) for batch in group)
        torch.testing.assert_close(summed, gradient(rhythm.part(group.start, group.stop), 1.0))


def test_the_record_of_an_epoch_is_the_mean_over_images(tmp_path: Path) -> None:
    training = opened(tmp_path, {})
    for shown, said in training.lessons.of_epoch(0, 0):
        training.step(training.state, shown, said)
    losses = [seen["labels"].item() for seen in training.state.history]
    metrics = training.record.epoch(training.state, 0.1, 2.0, {})
    assert metrics["terms"]["labels"] == pytest.approx((32 * sum(losses[:3]) + 4 * losses[3]) / 100)
    assert training.run.times()[0]["images_per_second"] == 50


def test_seconds_before_a_stop_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that a batch moves by a second; the epoch is stopped in its middle."""
    clock = [0.0]
    batch = loop.Training.train_batch

    def tick(self: loop.Training, *args: Any) -> None:
        batch(self, *args)
        clock[0] += 1
        if len(stops) == 0 and clock[0] == 2:
            stops.append(self.stop.set())

    stops: list[None] = []
    monkeypatch.setattr(loop.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(loop.Training, "train_batch", tick)
    with pytest.raises(loop.Stopped):
        trained(tmp_path, {})
    clock[0] += 1000
    run = trained(tmp_path, {})
    assert run.result()["seconds"] == 8  # two epochs of four batches
    assert [line["seconds"] for line in run.times()] == [4, 4]


# ---- what is no number ----


@pytest.mark.parametrize("heldout", [0, 50])
def test_weights_that_are_no_numbers_reach_neither_checkpoint_nor_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heldout: int
) -> None:
    """The loss of the last batch is finite, its gradient is not."""
    step = loop.Training.train_batch

    def spoil(self: loop.Training, *args: Any) -> None:
        step(self, *args)
        if self.state.epoch == 1 and self.state.batch == self.rhythm.batches:
            next(self.state.learner.student.parameters()).data[0] = torch.nan

    monkeypatch.setattr(loop.Training, "train_batch", spoil)
    with pytest.raises(Diverged, match=r"weights of .* epoch 2: student\.module\.conv1\.weight.*optim\.lr"):
        trained(tmp_path, {"data": TINY["data"] | {"heldout": heldout}}, checkpoint_seconds=0)
    (run,) = folders.every(tmp_path)
    assert not run.finished and len(run.metrics()) == 1
    tensors, numbers = folders.read_weights(run.checkpoint_file)
    assert all(value.isfinite().all() for name, value in tensors.items() if name.startswith("learner"))
    assert (numbers["epoch"], numbers["batch"]) == (1, 3) or numbers["epoch"] == 1


def test_scores_that_are_no_numbers_are_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "predict", lambda *_: torch.full((50, 10), torch.inf))
    with pytest.raises(Diverged, match="held-out images is no longer a number"):
        trained(tmp_path, {})
    assert not folders.every(tmp_path)[0].metrics()


def test_a_batch_of_one_without_statistics_is_named(tmp_path: Path) -> None:
    small = {
        "data": {"name": "cifar10-mini", "limit": 10, "heldout": 0, "image_size": 16},
        "model": "mobilenet_v2_half",
    }
    with pytest.raises(ConfigError, match="batch_size 2 or more"):
        trained(tmp_path, small | {"optim": {"epochs": 1, "batch_size": 1}})


# ---- rates and means ----


@pytest.mark.parametrize("steps", [1, 3, 5, 79])
@pytest.mark.parametrize("warmup", [0.1, 0.5, 1.3])
@pytest.mark.parametrize("every", ["step", "epoch"])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "multistep", "constant"])
def test_no_rate_is_above_the_peak(steps: int, warmup: float, every: str, schedule: str) -> None:
    optim = check_run(
        {"optim": {"epochs": 2, "warmup_epochs": warmup, "schedule": schedule, "schedule_every": every}}
    ).optim
    assert all(0 <= learning_rate(optim, step, steps) <= optim.lr for step in range(2 * steps))


def test_the_running_mean_is_the_textbooks() -> None:
    mean = {"weight": torch.zeros(2), "count": torch.tensor(0)}
    follow(mean, {"weight": torch.ones(2), "count": torch.tensor(7), "bank": torch.ones(1)}, 0.9, step=1000)
    torch.testing.assert_close(mean["weight"], torch.full((2,), 0.1))
    assert mean["count"] == 7 and mean.keys() == {"weight", "count"}


# ---- hints ----


@pytest.mark.parametrize(
    ("description", "size", "said"),
    [
        ({"model": "resnet18"}, 224, ["--model.stem imagenet", "--views.padding 28"]),
        ({"model": {"name": "resnet18", "stem": "imagenet"}, "views": {"crop": "resized"}}, 224, []),
        ({"model": "resnet18"}, 32, []),
        (
            {"optim": {"epochs": 30, "schedule": "multistep", "milestones": [15, 30]}},
            32,
            ["never falls at milestones 30"],
        ),
        ({"optim": {"epochs": 30, "schedule": "multistep"}}, 32, []),
    ],
    ids=str,
)
def test_what_somebody_would_ask_about_is_said(description: dict[str, Any], size: int, said: list[str]) -> None:
    found = list(hints(check_run(description), size))
    assert len(found) == len(said) and all(part in hint for part, hint in zip(said, found, strict=True))


# ---- operators ----


VIEWS = {
    "view",
    "detach",
    "alias",
    "t",
    "transpose",
    "expand",
    "select",
    "slice",
    "unsqueeze",
    "squeeze",
    "as_strided",
    "empty",
    "unbind",
}


class Operators(TorchDispatchMode):
    """What is launched, and how often the host looks at a value."""

    def __init__(self) -> None:
        super().__init__()
        self.launched: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if not (func.is_view or name in VIEWS or name.startswith(("empty", "new_empty", "_unsafe_view"))):
            self.launched[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., loop.Training]:
    root = tmp_path_factory.mktemp("warm")
    teacher = trained(root, {"optim": {"epochs": 1, "batch_size": 50}})

    def warmed(model: str, **chosen: Any) -> loop.Training:
        return opened(root, {"model": model, "teacher": str(teacher.path)}, **chosen)

    return warmed


def operators_of_a_step(training: loop.Training) -> Counter[str]:
    """The first step of all makes the optimiser's memory and the lists; the second is like all that follow."""
    lessons = training.lessons.of_epoch(0, 0)
    training.step(training.state, *next(lessons))
    with Operators() as seen:
        training.step(training.state, *next(lessons))
    return seen.launched


# In bf16 a CPU casts what enters and leaves 17 depthwise convolutions, which it computes in fp32; a GPU does not.
@pytest.mark.parametrize(("precision", "most"), [("fp32", 430), ("bf16", 505)])
def test_the_operators_of_a_step_do_not_grow(warm: Callable[..., loop.Training], precision: str, most: int) -> None:
    """A remembered teacher and MobileNetV2, of which every operator costs a GPU's host some 5 us. No value is looked at."""
    launched = operators_of_a_step(warm("mobilenet_v2", student=precision))
    assert launched.total() <= most, launched
    assert not launched["_local_scalar_dense"]


def test_a_look_at_many_losses_waits_once(warm: Callable[..., loop.Training]) -> None:
    training = warm("resnet8")
    for shown, said in training.lessons.of_epoch(0, 0):
        training.step(training.state, shown, said)
    for look in (training.watch.losses, training.watch.whole):
        with Operators() as seen:
            look(training.state)
        assert seen.launched["_local_scalar_dense"] == 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_done_for_all_layers_at_once_gives_the_same_bits(
    warm: Callable[..., loop.Training], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = (warm("mobilenet_v2_half", student=precision).state for _ in "ab")
    training = warm("mobilenet_v2_half", student=precision)
    lessons = list(training.lessons.of_epoch(0, 0))[:2]
    for lesson in lessons:
        training.step(one, *lesson)
    monkeypatch.setattr(Together, "__init__", layer_by_layer)
    for lesson in lessons:
        training.step(other, *lesson)
    assert differing(one, other) == []


def layer_by_layer(self: Together, network: nn.Module, device: torch.device) -> None:
    self.device, self.layers, self.norms = device, [], []


def test_weights_and_images_have_one_layout_in_every_precision(warm: Callable[..., loop.Training]) -> None:
    for precision in ("fp32", "bf16"):
        training = warm("resnet8", student=precision)
        layer = training.state.learner.student.get_submodule("module.layer1.0.conv1")
        assert isinstance(layer, nn.Conv2d)
        assert layer.weight.is_contiguous(memory_format=torch.channels_last)
