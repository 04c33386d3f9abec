"""What is exported computes what was judged, says what it is, and runs without protege."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from ship_cases import merged, photo, trained

from protege import data
from protege.errors import ConfigError, ModelError
from protege.evaluate import predict, predictor_of
from protege.runs import Run
from protege.runs.config import Place
from protege.ship import load
from protege.ship.export import Exported, export, folder_of
from protege.ship.formats.build import Precision, Wanted

CHECKED = {"onnx": "onnxruntime", "pt2": "torch"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def exported(run: Run) -> Callable[[Wanted], Exported]:
    """Each kind of file once."""
    made: dict[Wanted, Exported] = {}

    def of(wanted: Wanted) -> Exported:
        if wanted not in made:
            made[wanted] = export(run, Place(runs=run.path.parent, device="cpu"), wanted)
        return made[wanted]

    return of


def heldout(run: Run) -> data.Images:
    images = data.load(run.config().data).heldout
    assert images is not None
    return images


def checkpoint_logits(run: Run) -> np.ndarray:
    device = torch.device("cpu")
    return predict(predictor_of(run, "final", device), heldout(run), device).numpy()


@pytest.mark.parametrize("wanted", [Wanted(), Wanted(format="pt2")], ids=["onnx", "pt2"])
def test_a_file_gives_the_logits_of_its_checkpoint(
    run: Run, exported: Callable[[Wanted], Exported], wanted: Wanted
) -> None:
    made = exported(wanted)
    shipped = load(made.path).runtime
    pixels = heldout(run).pixels[:].numpy()
    for images in (1, 3, len(pixels)):  # any number at a time
        np.testing.assert_allclose(shipped.logits(pixels[:images]), checkpoint_logits(run)[:images], atol=1e-4)
    assert made.likeness.agreement == 1


@pytest.mark.parametrize("wanted", [Wanted(raw=True), Wanted(format="pt2", raw=True)], ids=["onnx", "pt2"])
def test_a_raw_file_takes_bytes_and_gives_calibrated_probabilities(
    run: Run, exported: Callable[[Wanted], Exported], wanted: Wanted
) -> None:
    shipped = load(exported(wanted).path)
    temperature = shipped.about.temperature
    assert temperature is not None
    pixels = heldout(run).pixels[:].numpy()
    found = shipped.runtime.output(shipped.runtime.given(pixels))
    wanted_probabilities = torch.from_numpy(checkpoint_logits(run) / temperature).softmax(1).numpy()
    np.testing.assert_allclose(found, wanted_probabilities, atol=1e-5)
    np.testing.assert_allclose(shipped.probabilities(pixels), wanted_probabilities, atol=1e-5)


def test_a_file_says_what_it_is(run: Run, exported: Callable[[Wanted], Exported]) -> None:
    about = load(exported(Wanted()).path).about
    record = run.record()["data"]
    assert about.classes == tuple(record["classes"])
    assert about.size == 32
    assert list(about.mean) == record["mean"]
    assert list(about.std) == record["std"]
    assert about.run == run.id


def test_half_precision_is_half_the_size_and_says_the_same(exported: Callable[[Wanted], Exported]) -> None:
    whole, half = exported(Wanted()), exported(Wanted(precision="fp16"))
    assert half.bytes < 0.55 * whole.bytes
    assert half.likeness.agreement > 0.98


def test_a_resnet8_in_whole_numbers_is_below_the_reference_size(exported: Callable[[Wanted], Exported]) -> None:
    """98,496 bytes are what MLPerf Tiny's network of this kind takes."""
    made = exported(Wanted(precision="int8"))
    assert made.bytes <= 98_496
    assert made.layers == 10
    assert made.likeness.agreement > 0.9


def test_every_convolution_in_whole_numbers_is_one_that_onnxruntime_merges(
    tmp_path: Path, exported: Callable[[Wanted], Exported]
) -> None:
    kinds = merged(exported(Wanted(precision="int8")).path, tmp_path)
    assert kinds.count("QLinearConv") == 9
    assert kinds.count("QLinearAdd") == 3
    assert "Conv" not in kinds


def test_what_a_method_adds_is_exported_too(run: Run, tmp_path: Path) -> None:
    student = trained(run.path.parent, model="resnet8", teacher=run.path, method="simkd", seed=3)
    place = Place(runs=run.path.parent, device="cpu")
    made = export(student, place, Wanted(), out=tmp_path)
    pixels = heldout(run).pixels[:].numpy()
    np.testing.assert_allclose(load(made.path).runtime.logits(pixels), checkpoint_logits(student), atol=1e-4)
    small = export(student, place, Wanted(precision="int8"), out=tmp_path / "int8")
    assert small.layers > 10
    assert small.likeness.agreement > 0.85


@pytest.mark.parametrize("format", ["onnx", "pt2"])
def test_the_check_beside_a_file_runs_it_without_protege(
    tmp_path: Path,
    exported: Callable[[Wanted], Exported],
    format: str,  # noqa: A002
) -> None:
    made = exported(Wanted(format=format))  # type: ignore[arg-type]
    picture = photo(tmp_path / "photo.png")
    alone = (
        "import runpy, sys\nsys.modules['protege'] = None\nsys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", alone, made.path.parent / "check.py", picture],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    name, _, probability = done.stdout.splitlines()[0].partition(": ")
    expected = load(made.path).predict(picture)
    assert name == expected.name
    assert float(probability) == pytest.approx(expected.probability, abs=2e-3)
    assert len((made.path.parent / "check.py").read_text().splitlines()) < 40


def test_the_check_sees_odd_pictures_as_predict_does_or_says_why_not(
    tmp_path: Path, exported: Callable[[Wanted], Exported]
) -> None:
    made = exported(Wanted())
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 4), np.uint8)
    for name, picture in {
        "clear.png": Image.fromarray(noise),
        "palette.gif": Image.fromarray(noise[:, :, :3]).quantize(7),
        "grey.png": Image.fromarray(noise[:, :, 0]),
    }.items():
        picture.save(tmp_path / name)
        expected = load(made.path).predict(tmp_path / name)
        said, _, probability = checked(made, tmp_path / name).stdout.splitlines()[0].partition(": ")
        assert (said, float(probability)) == (expected.name, pytest.approx(expected.probability, abs=2e-3)), name
    Image.fromarray(noise[:, :, 0].astype(np.uint16) << 8).save(tmp_path / "deep.png")
    (tmp_path / "text.jpg").write_text("no picture")
    for given in (["deep.png"], ["text.jpg"], ["missing.png"], [], ["grey.png", "grey.png"]):
        done = checked(made, *(tmp_path / name for name in given))
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr


def checked(made: Exported, *pictures: Path) -> subprocess.CompletedProcess[str]:
    typed = [sys.executable, made.path.parent / "check.py", *pictures]
    return subprocess.run(typed, capture_output=True, text=True, check=False)


def test_a_card_holds_accuracy_with_its_interval_and_the_input(exported: Callable[[Wanted], Exported]) -> None:
    made = exported(Wanted(precision="int8"))
    found = json.loads((made.path.parent / "card.json").read_text())
    low, high = found["accuracy"]["interval"]
    assert low < found["accuracy"]["heldout"] < high
    assert found["bytes"] == made.path.stat().st_size
    text = (made.path.parent / "card.md").read_text()
    assert "minus mean" in text
    assert found["latency"] is None  # only where it was asked for


def test_a_card_counts_the_images_that_ranges_came_from(run: Run, exported: Callable[[Wanted], Exported]) -> None:
    """No more than there were."""
    wanted, there = Wanted(precision="int8"), run.record()["data"]["train"]
    assert there < wanted.calibration_images
    found = json.loads((exported(wanted).path.parent / "card.json").read_text())
    assert found["bits"]["calibration_images"] == there


def test_no_kind_of_file_takes_the_place_of_another(run: Run) -> None:
    kinds = [(Wanted(), "final"), (Wanted(), "best"), (Wanted(raw=True), "final"), (Wanted(precision="int8"), "final")]
    assert [folder_of(run, wanted, which).name for wanted, which in kinds] == [
        "onnx-fp32", "onnx-fp32-best", "onnx-fp32-raw", "onnx-int8",
    ]  # fmt: skip


def test_a_pt2_in_whole_numbers_is_refused_with_what_to_do(run: Run) -> None:
    with pytest.raises(ConfigError, match="--format onnx"):
        export(run, Place(runs=run.path.parent), Wanted(format="pt2", precision="int8"))


def test_a_card_has_the_latency_of_its_file_and_where_it_was_taken(run: Run, tmp_path: Path) -> None:
    export(run, Place(runs=run.path.parent, device="cpu"), Wanted(), out=tmp_path, timed=True)
    found = json.loads((tmp_path / "card.json").read_text())
    latency = found["latency"]
    assert 0 < latency["latency_low_ms"] <= latency["latency_ms"] <= latency["latency_high_ms"]
    text = (tmp_path / "card.md").read_text()
    assert f"{latency['latency_ms']:.3f} ms an image" in text
    assert text.count(found["environment"]["processor"]) == 2


def test_a_card_says_what_was_taken_away(run: Run, tmp_path: Path) -> None:
    """Channels, beside the network as it is built, also where the pruned one was trained on; and bits."""
    start = {"model": {"name": "resnet8", "weights": str(run.weights_file())}, "optim": {"epochs": 1, "batch_size": 64}}
    half = trained(run.path.parent, compress={"prune": 0.5, "importance": "magnitude"}, **start)
    start["model"] = {"name": "resnet8", "weights": str(half.weights_file())}
    few = trained(run.path.parent, compress={"weights": 4, "activations": 8}, **start)
    place = Place(runs=run.path.parent, device="cpu")
    texts = []
    for number, one in enumerate((run, half, few)):
        precision: Precision = "int8" if one is not half else "fp32"
        export(one, place, Wanted(precision=precision, calibration_images=64), out=tmp_path / str(number))
        texts.append((tmp_path / str(number) / "card.md").read_text())
    whole, pruned, both = texts
    assert "| channels | as the network is built |" in whole
    assert "| bits | weights of 8, activations of 8, after training, ranges from 64 training images |" in whole
    share = 100 * half.pruned()["share"]
    assert f"which leaves {share:.1f} % of 12.5 M multiply-adds" in pruned and "| bits | 32 bits |" in pruned
    assert f"which leaves {share:.1f} % of 12.5 M multiply-adds" in both
    assert "| bits | weights of 4 and 8, activations of 8, trained so |" in both
    found = json.loads((tmp_path / "1" / "card.json").read_text())["pruned"]
    assert found["channels"] == found["channels_before"] - sum(width - left for left, width in found["layers"].values())


@pytest.mark.filterwarnings("ignore")  # the library's own
@pytest.mark.parametrize("raw", [False, True])
def test_an_executorch_file_says_what_its_checkpoint_says(run: Run, tmp_path: Path, raw: bool) -> None:
    """Where ExecuTorch is installed: pip install '.[executorch]'"""
    pytest.importorskip("executorch")
    made = export(run, Place(runs=run.path.parent, device="cpu"), Wanted("executorch", raw=raw), out=tmp_path)
    shipped = load(made.path)
    assert shipped.about.run == run.id
    assert made.likeness.agreement > 0.98
    assert made.likeness.largest_difference < 1e-4
    name = shipped.predict(photo(tmp_path / "photo.png", 32, 32)).name  # of its size: nothing is scaled
    done = subprocess.run(
        [sys.executable, tmp_path / "check.py", tmp_path / "photo.png"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{name}: ")
    made.path.write_bytes(made.path.read_bytes()[:-9])
    with pytest.raises(ModelError, match="was not exported on this machine"):
        load(made.path)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_an_openvino_file_says_what_its_checkpoint_says(run: Run, tmp_path: Path, precision: Precision) -> None:
    """Where OpenVINO is installed: pip install '.[openvino]'"""
    pytest.importorskip("openvino")
    made = export(
        run,
        Place(runs=run.path.parent, device="cpu"),
        Wanted(format="openvino", precision=precision),
        out=tmp_path,
    )
    shipped = load(made.path)
    assert shipped.about.run == run.id
    assert made.likeness.agreement > (0.9 if precision == "int8" else 0.98)
    assert made.bytes == sum((tmp_path / name).stat().st_size for name in ("model.xml", "model.bin"))
    name = shipped.predict(photo(tmp_path / "photo.png", 32, 32)).name  # of its size: nothing is scaled
    done = subprocess.run(
        [sys.executable, tmp_path / "check.py", tmp_path / "photo.png"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{name}: ")
