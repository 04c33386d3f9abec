"""Students trained in few bits: part of a run's identity, resumed bit for bit, exported with the ranges they learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from ship_cases import merged, trained

from protege import data, runs
from protege.errors import ConfigError
from protege.evaluate import predict, predictor_of
from protege.runs import Run
from protege.runs.config import Place, check_run
from protege.runs.identity import known_as, run_id
from protege.ship import load
from protege.ship.export import export
from protege.ship.formats.build import Wanted


def bits(weights: int | None, activations: int | None = 8, **other: object) -> dict[str, object]:
    return {"weights": weights, "activations": activations, **other}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def full(folder: Path) -> Run:
    """Trained far enough that its pupils in few bits tell images apart."""
    data = {"name": "cifar10-mini", "limit": 768, "heldout": 128}
    return trained(folder, data=data, optim={"epochs": 4, "batch_size": 32, "lr": 0.02})


def simulated(run: Run) -> np.ndarray:
    images = data.load(run.config().data).heldout
    assert images is not None
    return predict(predictor_of(run, "final", torch.device("cpu")), images, torch.device("cpu")).numpy()


def test_bits_are_part_of_a_runs_identity_and_nothing_is_where_none_are_asked_for() -> None:
    plain = check_run({"model": "resnet8"})
    few = check_run({"model": "resnet8", "compress": bits(8)})
    fewer = check_run({"model": "resnet8", "compress": bits(4)})
    assert len({run_id(one, "data", [], Path("nowhere")) for one in (plain, few, fewer)}) == 3
    before = check_run({"model": "resnet8", "optim": {"precision": "fp32"}})
    assert (
        run_id(before, "data", [], Path("nowhere")) == "resnet8-supervised-019cff96cce3"
    )  # as before there were any bits


@pytest.mark.parametrize(
    ("few", "ranges"),
    [((8, 8), "minmax"), ((8, None), "minmax"), ((4, 8), "learned"), ((8, 4), "learned"), ((2, None), "learned")],
)
def test_steps_are_learned_where_there_are_few_of_them(few: tuple[int, int | None], ranges: str) -> None:
    compress = check_run({"model": "resnet8", "compress": bits(*few)}).compress
    assert compress is not None and compress.ranges == ranges


@pytest.mark.parametrize(
    ("few", "known"),
    [
        (bits(8, ranges="learned"), "resnet8-supervised-62db4d259e01"),
        (bits(8, ranges="minmax"), "resnet8-supervised-bc78384dc29b"),
        (bits(4), "resnet8-supervised-a80d3c3946a0"),
        (bits(8, 4), "resnet8-supervised-ae0023c1efac"),
    ],
)
def test_what_was_described_keeps_its_id(few: dict[str, object], known: str) -> None:
    """Made by the version whose default was to learn steps at 8 bits, too."""
    assert run_id(check_run({"model": "resnet8", "compress": few}), "data", [], Path("nowhere")) == known


def test_a_run_of_the_default_of_before_is_found_as_it_was_begun_but_not_where_ranges_are_typed(tmp_path: Path) -> None:
    plain = check_run({"model": "resnet8", "compress": bits(8)})
    typed = check_run({"model": "resnet8", "compress": bits(8, ranges="minmax")})
    now = "resnet8-supervised-bc78384dc29b"
    assert known_as(plain, "data", [], tmp_path) == (plain, now)
    runs.start(tmp_path, "resnet8-supervised-62db4d259e01", {"id": "resnet8-supervised-62db4d259e01"})
    begun, known = known_as(plain, "data", [], tmp_path)
    assert known == "resnet8-supervised-62db4d259e01"
    assert begun.compress is not None and begun.compress.ranges == "learned"
    assert known_as(typed, "data", [], tmp_path)[1] == now
    runs.start(tmp_path, now, {"id": now})
    assert known_as(plain, "data", [], tmp_path) == (plain, now)


def test_only_what_is_wrong_is_said_of_bits() -> None:
    with pytest.raises(ConfigError) as raised:
        check_run({"model": "resnet8", "compress": bits(7)})
    assert str(raised.value).count("compress") == 1


def test_saying_nothing_to_take_away_is_refused() -> None:
    with pytest.raises(ConfigError, match="give prune, weights or activations"):
        check_run({"model": "resnet8", "compress": {"ends": "full"}})


@pytest.mark.parametrize(("weights", "activations"), [(8, 8), (4, 8), (2, 8), (4, 4)])
def test_the_file_is_the_network_that_was_trained_and_judged(
    folder: Path, full: Run, tmp_path: Path, weights: int, activations: int
) -> None:
    """A last bit of a sum may turn a rounding here and there; anything else on the way would show in many images."""
    begun = {"name": "resnet8", "weights": str(full.weights_file())}
    optim = {"epochs": 2, "batch_size": 32, "lr": 0.01}
    run = trained(folder, model=begun, compress=bits(weights, activations), optim=optim)
    made = export(run, Place(runs=folder, device="cpu"), Wanted(precision="int8"))
    images = data.load(run.config().data).heldout
    assert images is not None
    shipped, before = load(made.path).runtime.logits(images.pixels[:].numpy()), simulated(run)
    assert np.abs(shipped - before).mean() < 0.001 * before.std(0).mean()
    assert (shipped.argmax(1) == before.argmax(1)).sum() >= len(images) - 1
    assert made.bits == sorted({weights, 8})
    stored = sum(numpy_helper.to_array(one).nbytes for one in onnx.load(made.path).graph.initializer)
    assert stored < 78_000 * weights / 8 + 12_000
    assert merged(made.path, tmp_path).count("QLinearConv") == 9


def test_a_student_in_few_bits_can_be_taught_and_can_teach(folder: Path) -> None:
    teacher = trained(folder, seed=5)
    taught = trained(folder, compress=bits(8), teacher=teacher.path, method="kd")
    again = trained(folder, teacher=taught.path, method={"name": "at"}, compress=bits(4))
    assert again.finished


def test_a_full_precision_file_of_a_rounded_student_is_refused(folder: Path) -> None:
    run = trained(folder, compress=bits(8))
    with pytest.raises(ConfigError, match="--precision int8"):
        export(run, Place(runs=folder), Wanted(precision="fp16"))


def test_training_starts_from_weights_that_were_trained_in_full(folder: Path) -> None:
    full = trained(folder)
    run = trained(folder, model={"name": "resnet8", "weights": str(full.weights_file())}, compress=bits(8))
    assert run.finished
    assert run.id != full.id
