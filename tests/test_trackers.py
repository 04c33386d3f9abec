"""What trackers are told: read back from the files of their own libraries, and nothing of a run hangs on them."""

from __future__ import annotations

import importlib
import json
import struct
import subprocess
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from protege.errors import MissingExtra, Stopped
from protege.runs import Run, every
from protege.runs.config import Place, TrackerName, check_run
from protege.runs.display import trackers as tracking
from protege.runs.display.trackers import Trackers, scalars
from protege.train import loop as training
from protege.train import plan

TINY: dict[str, Any] = {
    "data": {"name": "cifar10-mini", "limit": 128, "heldout": 100},
    "model": "resnet8",
    "optim": {"epochs": 3, "batch_size": 64},
}


def trained(root: Path, *log: TrackerName, **fields: Any) -> Run:
    return training.train(check_run(TINY), Place(runs=root, threads=1, quiet=True, log=log, **fields))


class Told:
    """A tracker that remembers, and breaks when it is asked to."""

    log: ClassVar[list[tuple[str, int, dict[str, float]]]] = []
    breaks_at: ClassVar[int | None] = None

    def __init__(self, run: Run, about: Mapping[str, Any], known: int) -> None:
        assert about["id"] == run.id and about["model"]["name"] == "resnet8"

    def epoch(self, number: int, values: Mapping[str, float]) -> None:
        if number == self.breaks_at:
            raise OSError("the line is cut")
        self.log.append(("epoch", number, dict(values)))

    def end(self, epochs: int, values: Mapping[str, float], images: Mapping[str, Any]) -> None:
        (picture,) = images.values()
        assert picture.shape == (600, 600, 3) and picture.std() > 0
        self.log.append(("end", epochs, dict(values)))

    def close(self) -> None: ...


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> type[Told]:
    monkeypatch.setitem(tracking.KINDS, "tensorboard", Told)
    monkeypatch.setattr(Told, "log", [])
    monkeypatch.setattr(Told, "breaks_at", None)
    return Told


def test_a_tracker_is_told_every_epoch_and_the_result(told: type[Told], runs: Path) -> None:
    run = trained(runs, "tensorboard")
    assert [(what, number) for what, number, _ in told.log] == [("epoch", 0), ("epoch", 1), ("epoch", 2), ("end", 3)]
    assert [values for _, _, values in told.log[:3]] == [scalars(line) for line in run.metrics()]
    assert set(told.log[0][2]) == {"lr", "train/accuracy", "terms/labels", "heldout/accuracy", "heldout/nll"}
    assert told.log[3][2]["final/heldout_accuracy"] == run.result()["heldout_accuracy"]


def test_a_run_that_goes_on_tells_no_epoch_twice(told: type[Told], runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken off in its second epoch, with a checkpoint of the first, and once more without one."""
    after = training.Training.train_batch
    seen: list[int] = []

    def cut(self: training.Training, *given: Any) -> None:
        after(self, *given)
        seen.append(0)
        if len(seen) in (3, 6):
            raise Stopped("cut")

    monkeypatch.setattr(training.Training, "train_batch", cut)
    for _ in range(2):
        with pytest.raises(Stopped):
            trained(runs, "tensorboard", checkpoint_seconds=1e9)
    trained(runs, "tensorboard", checkpoint_seconds=1e9)
    assert [number for what, number, _ in told.log if what == "epoch"] == [0, 1, 2]


def test_what_breaks_in_a_tracker_is_one_warning_and_never_the_run(
    told: type[Told], runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Told, "breaks_at", 1)
    said: list[str] = []
    monkeypatch.setattr(training.TrainingDisplay, "say", lambda self, line: said.append(line))
    run = trained(runs, "tensorboard")
    assert [line for line in said if "tensorboard" in line] == ["warning: tensorboard is told no more: the line is cut"]
    alone = trained(tmp_path / "alone")
    assert run.finished and run.metrics_file.read_bytes() == alone.metrics_file.read_bytes()
    assert run.weights_file().read_bytes() == alone.weights_file().read_bytes()


def test_who_is_told_is_no_part_of_a_run(runs: Path) -> None:
    silent, told = Place(runs=runs), Place(runs=runs, log=("wandb", "tensorboard"))
    assert plan(check_run(TINY), silent).id == plan(check_run(TINY), told).id


def test_a_tracker_that_is_not_installed_is_said_before_anything_is_trained(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("wandb", "matplotlib"):
        monkeypatch.setitem(sys.modules, "wandb", types.ModuleType("wandb"))
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(MissingExtra, match=rf"--log wandb needs {library}, .*: pip install 'protege\[wandb\]'"):
            trained(runs, "wandb")
    assert not runs.exists()


def test_tensorboard_reads_what_it_was_told(runs: Path) -> None:
    """Broken off after an epoch that it knows: its own reader finds each epoch once, the description and the picture."""
    pytest.importorskip("tensorboard")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    trained(runs, "tensorboard", until=2)
    run = trained(runs, "tensorboard")
    found = EventAccumulator(str(run.path / "tensorboard"))
    found.Reload()
    for tag, key in (("train/accuracy", "train_accuracy"), ("heldout/accuracy", "heldout_accuracy"), ("lr", "lr")):
        read = [(event.step, event.value) for event in found.Scalars(tag)]
        assert read == [(line["epoch"], pytest.approx(line[key])) for line in run.metrics()]
    assert found.Scalars("final/heldout_accuracy")[0].value == pytest.approx(run.result()["heldout_accuracy"])
    assert found.Tags()["images"] == ["heldout/confusions"]
    (text,) = found.Tensors("description/text_summary")
    assert run.id in text.tensor_proto.string_val[0].decode()


def test_wandb_reads_what_it_was_told_offline(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    options = (
        "--data cifar10-mini --data.limit 64 --data.heldout 50 --model resnet8 --optim.epochs 2 --log wandb --quiet"
    )
    command = [sys.executable, "-m", "protege.cli", "train", *options.split(), "--runs", str(runs)]
    subprocess.run(command, check=True, capture_output=True)  # its file is whole when the process has ended
    (run,) = every(runs)
    steps = wandb_history(run.path)
    assert [(one["_step"], one["train/accuracy"]) for one in steps if "train/accuracy" in one] == [
        (line["epoch"], pytest.approx(line["train_accuracy"])) for line in run.metrics()
    ]
    assert list((run.path / "wandb").glob("offline-run-*/files/media/images/heldout/confusions*.png"))


def wandb_history(folder: Path) -> list[dict[str, Any]]:
    """The steps in the files that `wandb sync` would send, by wandb's own messages."""
    messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
    found = []
    for file in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        for content in logged(file.read_bytes()):
            record = messages.Record()
            record.ParseFromString(content)
            if record.HasField("history"):
                items = record.history.item
                found.append({item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items})
    return found


def logged(content: bytes) -> Iterator[bytes]:
    """Records of a log in LevelDB's form: blocks of 32 kB, in them (checksum, length, kind), whole records or parts of them."""
    at, parts = 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # too little is left of the block for another
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        parts += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def test_a_picture_of_confusions_is_dark_where_classes_are_told_apart() -> None:
    sure = tracking.confusions([0, 0, 1, 1], [0, 0, 1, 1], ["cat", "dog"])
    unsure = tracking.confusions([0, 0, 1, 1], [0, 1, 0, 1], ["cat", "dog"])
    assert sure.dtype == unsure.dtype == "uint8" and sure.mean() != unsure.mean()


def test_trackers_of_an_unread_record_end_nothing(runs: Path) -> None:
    said: list[str] = []
    (runs / "made").mkdir(parents=True)
    Trackers(Run(runs / "made"), ("tensorboard",), said.append).follow()
    assert len(said) == 1 and said[0].startswith("warning: tensorboard is told no more")
