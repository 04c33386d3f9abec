"""Students with fewer channels: part of a run's identity, resumed bit for bit, shipped, taught and teaching like any other."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ship_cases import trained
from typer.testing import CliRunner

from protege import data
from protege.cli import app
from protege.errors import ConfigError, ModelError, RunError
from protege.evaluate import predict, predictor_of
from protege.models.measure import multiply_adds
from protege.runs import Run, read_weights
from protege.runs.config import Place, check_run
from protege.runs.identity import run_id
from protege.runs.keeping.rows import row_of
from protege.ship import load
from protege.ship.export import export
from protege.ship.formats.build import Wanted
from protege.teacher.speaking import network_of
from protege.train import loop


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def start(folder: Path, name: str = "resnet8") -> Run:
    return trained(folder, model=name)


def pruned(folder: Path, of: Run, share: float = 0.5, **fields: Any) -> Run:
    """Of a run of resnet8, unless `model` says another."""
    compress = {"prune": share, "images": 64, **fields.pop("compress", {})}
    model = {"name": of.config().model.name, "weights": str(of.weights_file())}
    return trained(folder, model=model, compress=compress, **fields)


def said(run: Run) -> torch.Tensor:
    images = data.load(run.config().data).heldout
    assert images is not None
    return predict(predictor_of(run, "final", torch.device("cpu")), images, torch.device("cpu"))


def cost(run: Run) -> int:
    return multiply_adds(network_of(run)[0].module, 32)


def test_a_share_for_which_no_channel_goes_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"compress\.prune is 0\.999, but no channel can go for so little"):
        pruned(folder, start(folder), 0.999)


def test_a_list_tells_a_run_that_was_made_smaller(folder: Path) -> None:
    whole = start(folder)
    half, both = pruned(folder, whole), pruned(folder, whole, compress={"weights": 8, "activations": 8})
    told = {row["id"]: row["smaller"] for row in map(row_of, (whole, half, both))}
    assert told == {whole.id: None, half.id: "pruned to 0.5", both.id: "pruned to 0.5, 8/8 bits"}
    verbs = CliRunner()
    for columns, head in (([], "made smaller"), (["--columns", "id,held-out,init"], "weights")):
        assert head in verbs.invoke(app, ["list", "--runs", str(folder), *columns], catch_exceptions=False).stdout


# ---- identity ----


def test_only_what_decides_which_channels_go_is_part_of_the_identity(tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    torch.save({}, weights)

    def identity(**compress: Any) -> str:
        described = {"model": {"name": "resnet8", "weights": str(weights)}, "compress": compress}
        return run_id(check_run(described), "data", [], Path("nowhere"))

    by_size = identity(prune=0.5, importance="magnitude")
    assert identity(prune=0.5, importance="magnitude", images=7) == by_size  # which looks at none
    ids = {
        by_size,
        identity(prune=0.5),
        identity(prune=0.5, images=7),
        identity(prune=0.25),
        identity(prune=0.5, weights=8),
    }
    assert len(ids) == 5


def test_a_run_that_starts_from_another_is_known_before_that_is_trained(tmp_path: Path) -> None:
    """And one that was begun when the contents of the file counted is found."""
    first = tmp_path / "resnet8-supervised-0123456789ab"
    described = {"model": {"name": "resnet8", "weights": str(first / "model.safetensors")}}
    planned = run_id(check_run(described), "data", [], tmp_path)
    first.mkdir()
    (first / "run.json").write_text("{}")
    (first / "model.safetensors").write_bytes(b"weights")
    assert run_id(check_run(described), "data", [], tmp_path) == planned
    best = {"model": {"name": "resnet8", "weights": str(first / "best.safetensors")}}
    assert run_id(check_run(best), "data", [], tmp_path) != planned
    copied = tmp_path / "copied.safetensors"
    copied.write_bytes(b"weights")
    by_contents = run_id(check_run({"model": {"name": "resnet8", "weights": str(copied)}}), "data", [], tmp_path)
    (tmp_path / by_contents).mkdir()
    (tmp_path / by_contents / "run.json").write_text("{}")
    assert run_id(check_run(described), "data", [], tmp_path) == by_contents != planned


@pytest.mark.parametrize(
    ("compress", "message"),
    [
        ({"prune": 0.5}, "name its run with --init RUN"),
        ({"prune": 0}, "greater than 0"),
        ({"prune": 1}, "less than 1"),
        ({"prune": 0.5, "importance": "luck"}, "'first_order' or 'magnitude'"),
        ({"prune": 0.5, "images": 0}, "greater than or equal to 1"),
        ({"spread": "uniform"}, "give prune, weights or activations"),
    ],
)
def test_bad_values_are_one_line(compress: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_run({"model": "resnet8", "compress": compress})


def test_a_share_that_cannot_be_met_leaves_no_folder(folder: Path) -> None:
    first, before = start(folder), set(folder.iterdir())
    with pytest.raises(ModelError, match="cannot be met"):
        pruned(folder, first, 0.001)
    assert set(folder.iterdir()) == before


# ---- a run like any other ----


def test_a_pruned_run_says_what_it_keeps_and_needs_nothing_of_its_start(tmp_path: Path) -> None:
    first = start(tmp_path)
    run = pruned(tmp_path, first)
    record = run.pruned()
    assert record["share"] == pytest.approx(0.5, abs=0.03)
    assert record["multiply_adds"] == cost(run) < record["multiply_adds_before"] == cost(first)
    before = said(run)
    shutil.rmtree(first.path)
    torch.testing.assert_close(said(run), before, rtol=0, atol=0)


def test_broken_off_it_ends_bit_equal_with_the_channels_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importance is not measured again: another machine might choose others."""
    whole = pruned(tmp_path / "a", start(tmp_path / "a"))
    step, left = loop.Training.train_batch, 3

    def break_off(self: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal left
        step(self, *args, **kwargs)
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    first = start(tmp_path / "b")
    monkeypatch.setattr(loop.Training, "train_batch", break_off)
    with pytest.raises(KeyboardInterrupt):
        pruned(tmp_path / "b", first)
    monkeypatch.setattr(loop.Training, "train_batch", step)
    monkeypatch.setattr("protege.train.pruned.chosen", lambda *_: pytest.fail("chosen a second time"))
    again = pruned(tmp_path / "b", first)
    assert again.id == whole.id
    (first_weights, _), (second_weights, _) = (read_weights(one.weights_file()) for one in (whole, again))
    assert all(torch.equal(value, second_weights[name]) for name, value in first_weights.items())
    assert again.metrics_file.read_bytes() == whole.metrics_file.read_bytes()


def test_a_damaged_list_of_channels_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = start(tmp_path)
    monkeypatch.setattr(loop.Training, "to_the_end", lambda _: None)
    run = pruned(tmp_path, first)
    run.pruned_file.write_text('{"kept": "all"}')
    with pytest.raises(RunError, match=r"pruned\.json is damaged"):
        pruned(tmp_path, first)


@pytest.mark.parametrize("name", ["resnet8", pytest.param("shufflenet_v1", marks=pytest.mark.slow)])
def test_its_file_is_it(folder: Path, name: str) -> None:
    """`pytest -m slow tests/test_train_pruned.py` for the one with groups and shuffles: half a minute."""
    run = pruned(folder, start(folder, name), optim={"epochs": 1, "batch_size": 32})
    made = export(run, Place(runs=folder, device="cpu"), Wanted())
    images = data.load(run.config().data).heldout
    assert images is not None
    shipped = load(made.path).runtime.logits(images.pixels[:].numpy())
    assert np.abs(shipped - said(run).numpy()).max() < 1e-3 * np.abs(said(run).numpy()).max()


def test_it_is_taught_teaches_and_is_pruned_and_rounded_further(folder: Path) -> None:
    first = start(folder)
    half = pruned(folder, first, teacher=str(first.path), method="kd", compress={"importance": "magnitude"})
    quarter = pruned(folder, half, compress={"spread": "uniform"})
    assert cost(quarter) / cost(first) == pytest.approx(0.25, abs=0.03)
    few = trained(
        folder,
        model={"name": "resnet8", "weights": str(half.weights_file())},
        compress={"weights": 8, "activations": 8},
    )
    both = pruned(folder, first, compress={"weights": 4, "activations": 8})
    assert max(cost(few), cost(both)) < 0.6 * cost(first)
    small = export(both, Place(runs=folder, device="cpu"), Wanted(precision="int8"))
    assert load(small.path).runtime.logits(np.zeros((1, 3, 32, 32), np.uint8)).shape == (1, 10)
    by_features = trained(folder, teacher=str(half.path), method="at")
    assert by_features.finished


def test_peers_that_start_from_one_network_keep_the_same_channels(folder: Path) -> None:
    assert pruned(folder, start(folder), method="dml").finished
