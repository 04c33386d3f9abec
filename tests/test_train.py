"""The one loop: it goes on after a kill bit for bit, stops on a loss that is no number, and never moves the teacher."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from protege import data
from protege import runs as folders
from protege.errors import DataError, Diverged, NotEnoughSpace, RunError, Stopped
from protege.runs.config import Place, check_run
from protege.train import loop as training
from protege.train.optim import learning_rate

TINY: dict[str, Any] = {
    "data": {"name": "cifar10-mini", "limit": 300, "heldout": 100},
    "model": "resnet8",
    "optim": {"epochs": 3, "batch_size": 64},
}
COMMAND = [sys.executable, "-m", "protege.cli"]
ARGUMENTS = [
    "train", "--data", "cifar10-mini", "--data.limit", "300", "--data.heldout", "100", "--model", "resnet8",
    "--optim.epochs", "3", "--optim.batch-size", "64", "--threads", "1",
]  # fmt: skip


def place(root: Path, **fields: Any) -> Place:
    return Place(runs=root, threads=1, quiet=True, **fields)


def trained(root: Path, description: dict[str, Any], **fields: Any) -> folders.Run:
    return training.train(check_run(TINY | description), place(root, **fields))


def begun(root: Path, **fields: Any) -> folders.Run:
    """The folder of a run that has not come to its first step."""
    planned, here = training.plan(check_run(TINY), place(root)), place(root)
    record = training.record_of(planned, data.load(planned.config.data), here)
    return folders.start(root, planned.id, record | fields)


def outcome(run: folders.Run) -> tuple[bytes, bytes, bytes]:
    return run.metrics_file.read_bytes(), run.weights_file("final").read_bytes(), run.weights_file("best").read_bytes()


def test_the_same_description_gives_the_same_bits(tmp_path: Path) -> None:
    assert outcome(trained(tmp_path / "a", {})) == outcome(trained(tmp_path / "b", {}))


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    assert outcome(trained(tmp_path, {}))[1] != outcome(trained(tmp_path, {"seed": 1}))[1]


def test_the_loss_falls_and_the_curve_is_kept(runs: Path) -> None:
    run = trained(runs, {"data": {"name": "cifar10-mini", "limit": 1000}, "optim": {"epochs": 4, "batch_size": 64}})
    losses = [line["terms"]["labels"] for line in run.metrics()]
    assert len(losses) == 4
    assert losses[-1] < losses[0] - 0.1
    assert run.result()["best"]["heldout_accuracy"] == max(line["heldout_accuracy"] for line in run.metrics())


def test_a_finished_run_is_never_trained_twice(runs: Path) -> None:
    run = trained(runs, {})
    before = run.result_file.stat().st_mtime_ns
    assert trained(runs, {}).path == run.path
    assert run.result_file.stat().st_mtime_ns == before
    assert not run.checkpoint_file.exists()


FULL: dict[str, Any] = {
    "method": {"name": "feature"},
    "model": "mobilenet_v2_half",  # has dropout
    "optim": {
        "epochs": 2,
        "batch_size": 50,
        "accumulate": 2,
        "ema": 0.9,
        "clip_norm": 1.0,
        "warmup_epochs": 0.5,
        "optimizer": "adamw",
    },
    "views": "cutmix",
}
FEW_BITS = {"compress": {"weights": 4, "activations": 8}}


@pytest.mark.parametrize("description", [{}, FULL, FEW_BITS], ids=["plain", "everything", "few bits"])
@pytest.mark.parametrize("how", ["crash", "stop"])
def test_broken_off_after_any_step_it_ends_bit_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, description: dict[str, Any], how: str
) -> None:
    """Every step is a checkpoint; the loop is broken off at several in turn, the last of an epoch among them."""
    if "method" in description:
        teacher = trained(
            tmp_path / "teacher", {"model": "mobilenet_v2_half", "optim": {"epochs": 1, "batch_size": 64}}
        )
        description = description | {"teacher": str(teacher.path)}
    whole = trained(tmp_path / "whole", description)
    step = training.Training.train_batch
    ending = KeyboardInterrupt if how == "crash" else Stopped
    for broken_at in (1, 4, 2):
        left = broken_at

        def break_off(self: Any, *args: Any, **kwargs: Any) -> None:
            nonlocal left
            step(self, *args, **kwargs)
            left -= 1
            if left == 0 and how == "crash":
                raise KeyboardInterrupt
            if left == 0:
                self.stop.set()

        monkeypatch.setattr(training.Training, "train_batch", break_off)
        with pytest.raises(ending):
            trained(tmp_path / "broken", description, checkpoint_seconds=0)
    monkeypatch.setattr(training.Training, "train_batch", step)
    assert outcome(trained(tmp_path / "broken", description, checkpoint_seconds=0)) == outcome(whole)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_killed_at_random_moments_it_ends_bit_equal(tmp_path: Path, number: signal.Signals) -> None:
    whole = trained(tmp_path / "whole", {})
    chance = random.Random(number)
    command = [*COMMAND, *ARGUMENTS, "--runs", str(tmp_path / "killed"), "--checkpoint-seconds", "0"]
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        folder = tmp_path / "killed"
        while not list(folder.glob("*/checkpoint.safetensors")) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.3)
        process.send_signal(number)
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert outcome(folders.every(tmp_path / "killed")[0]) == outcome(whole)


def test_a_run_that_rests_on_its_way_ends_bit_equal_and_rests_once(tmp_path: Path) -> None:
    """Trials of a search are trained in parts: nothing but the last part makes a result."""
    whole = trained(tmp_path / "whole", {})
    rested = trained(tmp_path / "parts", {}, until=1)
    assert not rested.finished and len(rested.metrics()) == 1 and rested.checkpoint_file.exists()
    assert len(trained(tmp_path / "parts", {}, until=1).metrics()) == 1
    assert outcome(trained(tmp_path / "parts", {})) == outcome(whole)


def test_a_stop_says_where_it_stopped_and_how_to_go_on(tmp_path: Path) -> None:
    command = [*COMMAND, *ARGUMENTS, "--optim.epochs", "500", "--runs", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("*/metrics.jsonl")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130
    assert "The same command goes on from here" in said
    assert "Traceback" not in said


def test_two_processes_on_one_run_the_second_is_refused_in_one_line(tmp_path: Path) -> None:
    run = begun(tmp_path)
    with folders.locked(run, wait=False):
        done = subprocess.run(
            [*COMMAND, *ARGUMENTS, "--runs", str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert done.returncode == 2
    assert f"process {os.getpid()}" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(runs: Path) -> None:
    description = {"optim": {"epochs": 20, "batch_size": 64, "lr": 1e6}, "model": "vgg8"}
    with pytest.raises(Diverged, match=r"no longer (a number|numbers) at epoch \d+.*optim.lr \(1e\+06 now\)"):
        trained(runs, description, checkpoint_seconds=0)
    run = folders.every(runs)[0]
    if run.checkpoint_file.exists():
        tensors, _ = folders.read_weights(run.checkpoint_file)
        history = [value for name, value in tensors.items() if name.startswith("history.labels")]
        assert all(value.isfinite().all() for value in history)
    assert not run.finished


def test_the_teacher_is_never_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taught_by = trained(tmp_path, {"optim": {"epochs": 1, "batch_size": 64}})
    seen = []
    to_the_end = training.Training.to_the_end

    def look(self: Any) -> None:
        network = self.teacher.voices[0].network
        before = {name: value.clone() for name, value in network.state_dict().items()}
        to_the_end(self)
        seen.append((network, before))

    monkeypatch.setattr(training.Training, "to_the_end", look)
    trained(tmp_path, {"teacher": str(taught_by.path), "method": "feature"})
    network, before = seen[0]
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_student_keeps_learning_its_statistics_after_every_look_at_held_out_images(runs: Path) -> None:
    """Evaluation switches to eval mode; a loop that forgets to switch back freezes batch norm from the second epoch on."""
    first = trained(runs / "a", {"optim": {"epochs": 1, "batch_size": 64, "schedule": "constant"}})
    third = trained(runs / "b", {"optim": {"epochs": 3, "batch_size": 64, "schedule": "constant"}})
    counted = [folders.read_weights(run.weights_file())[0]["bn1.num_batches_tracked"].item() for run in (first, third)]
    assert counted == [5, 15]


def test_arms_that_share_a_seed_start_from_the_same_weights(runs: Path) -> None:
    """One step at a rate of almost nothing leaves both where they began."""
    still = {"optim": {"epochs": 1, "batch_size": 400, "lr": 1e-12, "weight_decay": 0}}
    teacher = trained(runs, {"optim": {"epochs": 1, "batch_size": 64}})
    alone = trained(runs, still)
    taught = trained(runs, still | {"teacher": str(teacher.path), "method": "feature"})
    one, other = (folders.read_weights(run.weights_file())[0]["conv1.weight"] for run in (alone, taught))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_accumulated_batches_make_the_step_of_one_large_batch(runs: Path) -> None:
    """Exact but for batch norm, so: two batches of the same 100 images in a network in eval mode would be; here the count of steps is."""
    run = trained(runs, {"optim": {"epochs": 1, "batch_size": 50, "accumulate": 3, "schedule": "linear", "lr": 0.1}})
    assert run.metrics()[0]["lr"] == pytest.approx(0.05)  # 6 batches, 2 steps: the second at half way


def test_a_teacher_that_saw_the_held_out_images_is_refused(runs: Path) -> None:
    other = {
        "data": {"name": "cifar10-mini", "limit": 300, "heldout": 100, "heldout_seed": 9},
        "optim": {"epochs": 1, "batch_size": 64},
    }
    teacher = trained(runs, other)
    with pytest.raises(
        DataError, match=r"was trained on .* of the 100 held-out images that judge this run.*heldout_seed 9"
    ):
        trained(runs, {"teacher": str(teacher.path)})


def test_a_teacher_of_other_classes_is_refused(runs: Path) -> None:
    two = {
        "data": {"name": "cifar10-mini", "limit": 100, "heldout": 100, "classes": [0, 1]},
        "optim": {"epochs": 1, "batch_size": 64},
    }
    teacher = trained(runs, two)
    with pytest.raises(Exception, match="knows 2 classes"):
        trained(runs, {"teacher": str(teacher.path), "data": {"name": "cifar10-mini", "limit": 100, "heldout": 100}})


def test_an_unfinished_teacher_is_refused(runs: Path) -> None:
    folders.start(runs, "resnet8-supervised-0", {"id": "resnet8-supervised-0"})
    with pytest.raises(RunError, match="has not finished training"):
        trained(runs, {"teacher": "resnet8-supervised-0"})


def test_a_weights_file_teaches_like_the_run_it_came_from(runs: Path) -> None:
    teacher = trained(runs, {"optim": {"epochs": 1, "batch_size": 64}})
    short = {"optim": {"epochs": 1, "batch_size": 64}}
    by_run = trained(runs, short | {"teacher": str(teacher.path)})
    by_file = trained(runs, short | {"teacher": {"source": str(teacher.weights_file()), "model": "resnet8"}})
    assert by_run.id != by_file.id
    one, other = (folders.read_weights(run.weights_file())[0] for run in (by_run, by_file))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_several_teachers_are_heard_together(runs: Path) -> None:
    short = {"optim": {"epochs": 1, "batch_size": 64}}
    teachers = [str(trained(runs, short | {"seed": seed}).path) for seed in (1, 2)]
    both = trained(runs, short | {"teacher": teachers})
    one = trained(runs, short | {"teacher": teachers[0]})
    assert both.metrics()[0]["terms"]["teacher"] != one.metrics()[0]["terms"]["teacher"]


def test_a_folder_of_another_place_is_taken_in(tmp_path: Path) -> None:
    run = trained(tmp_path / "here", {})
    (tmp_path / "there").mkdir()
    run.path.rename(tmp_path / "there" / run.id)
    assert trained(tmp_path / "there", {}).result()["id"] == run.id


def test_the_thread_count_of_a_begun_run_is_kept(tmp_path: Path) -> None:
    begun(tmp_path, threads=2)
    with pytest.raises(RunError, match="began with 2 threads"):
        trained(tmp_path, {})


def test_a_disk_that_fills_up_is_said_with_the_figures_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetensors.torch

    save, writes = safetensors.torch.save_file, 0

    def fills_up(*args: Any, **kwargs: Any) -> None:
        nonlocal writes
        writes += 1
        if writes == 3:
            raise safetensors.SafetensorError(
                "Error while serializing: I/O error: No space left on device (os error 28)"
            )
        save(*args, **kwargs)

    monkeypatch.setattr(safetensors.torch, "save_file", fills_up)
    with pytest.raises(NotEnoughSpace, match=r"disk is full .* MB free"):
        trained(tmp_path / "full", {}, checkpoint_seconds=0)
    monkeypatch.setattr(safetensors.torch, "save_file", save)
    assert not list((tmp_path / "full").rglob("*.partial"))
    assert outcome(trained(tmp_path / "full", {})) == outcome(trained(tmp_path / "whole", {}))


def test_evaluation_epochs_are_what_was_asked(runs: Path) -> None:
    run = trained(runs, {"evaluate_every": 2})
    assert ["heldout_accuracy" in line for line in run.metrics()] == [False, True, True]


def test_a_run_without_held_out_images_reports_its_last_epoch(runs: Path) -> None:
    run = trained(runs, {"data": {"name": "cifar10-mini", "limit": 300, "heldout": 0}})
    assert run.result()["best"] is None
    assert not run.weights_file("best").exists()


def test_the_record_says_with_what_the_numbers_were_made(runs: Path) -> None:
    record = trained(runs, {}).record()
    assert record["threads"] == 1 and record["device"] == "cpu"
    assert {"torch", "python", "processor", "git", "host"} <= record["environment"].keys()
    assert json.loads(json.dumps(record))["config"]["model"]["name"] == "resnet8"


# ---- learning rates, by hand ----


@pytest.mark.parametrize(
    ("optim", "step", "expected"),
    [
        ({"schedule": "cosine", "epochs": 10}, 0, 0.1),
        ({"schedule": "cosine", "epochs": 10}, 50, 0.05),
        ({"schedule": "cosine", "epochs": 10, "floor_lr": 0.02}, 50, 0.06),
        ({"schedule": "cosine", "epochs": 10, "schedule_every": "epoch"}, 59, 0.05),
        ({"schedule": "linear", "epochs": 10}, 25, 0.075),
        ({"schedule": "multistep", "epochs": 10, "milestones": [3, 6]}, 29, 0.1),
        ({"schedule": "multistep", "epochs": 10, "milestones": [3, 6]}, 30, 0.01),
        ({"schedule": "multistep", "epochs": 10, "milestones": [3, 6]}, 99, 0.001),
        ({"schedule": "step", "epochs": 10, "step_epochs": 4, "decay_factor": 0.5}, 85, 0.025),
        ({"schedule": "constant", "epochs": 10}, 99, 0.1),
        ({"schedule": "cosine", "epochs": 10, "warmup_epochs": 2}, 0, 0.005),
        ({"schedule": "cosine", "epochs": 10, "warmup_epochs": 2}, 19, 0.1),
        ({"schedule": "cosine", "epochs": 10, "warmup_epochs": 2}, 60, 0.05),
    ],
)
def test_learning_rates_are_those_of_the_textbook(optim: dict[str, Any], step: int, expected: float) -> None:
    """Ten steps an epoch, peak 0.1."""
    assert learning_rate(check_run({"optim": optim}).optim, step, 10) == pytest.approx(expected)
