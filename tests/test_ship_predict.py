"""What is said of photos: of any size and kind, of one or of folders, from a run or from a file."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from ship_cases import photo, trained
from typer.testing import CliRunner

from protege.cli import app
from protege.data.sources.picture import decoded
from protege.errors import DataError
from protege.evaluate import evaluate
from protege.runs import Run
from protege.runs.config import Place
from protege.ship import load
from protege.ship.export import export
from protege.ship.formats.build import Wanted
from protege.ship.photos import pixels_of

VERBS = CliRunner()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = trained(tmp_path_factory.mktemp("runs"))
    evaluate(made, Place(runs=made.path.parent, device="cpu"))
    return made


def said(*arguments: object) -> dict[str, object]:
    found = VERBS.invoke(app, ["predict", *map(str, arguments), "--json"])
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


def test_photos_of_any_size_are_read_as_training_reads_them(run: Run, tmp_path: Path) -> None:
    picture = photo(tmp_path / "wide.png")
    shipped = load(run.path)
    by_path, by_image = shipped.predict(picture), shipped.predict(Image.open(picture))
    by_array = shipped.predict(np.asarray(Image.open(picture)))
    pixels = decoded(picture, 32)[None]
    np.testing.assert_allclose(by_path.probabilities, shipped.probabilities(pixels)[0])
    np.testing.assert_allclose(by_image.probabilities, by_path.probabilities)
    np.testing.assert_allclose(by_array.probabilities, by_path.probabilities)


def odd(folder: Path, kind: str) -> Path:
    """A picture of a kind that is not plain red, green and blue."""
    wide = Image.open(photo(folder / "plain.png"))
    path = folder / f"odd.{kind}"
    if kind == "png":
        wide.quantize(8).save(path, transparency=0)
    elif kind == "webp":
        wide.convert("RGBA").resize((50, 40)).save(path)
    elif kind == "tiff":
        Image.fromarray(np.asarray(wide.convert("L")).astype(np.uint16) * 257).save(path)
    else:
        turned = Image.Exif()
        turned[0x0112] = 6
        wide.convert("CMYK" if kind == "jpeg" else "RGB").save(path, exif=turned)
    return path


@pytest.mark.parametrize("kind", ["png", "webp", "tiff", "jpeg", "jpg", "gif"])
def test_photos_of_any_kind_are_the_same_from_a_path_and_from_memory(kind: str, tmp_path: Path) -> None:
    """Palettes, transparency, 16 bits, CMYK, and pictures that lie on their side."""
    from test_ship_files import classifier, ours, saved

    shipped = load(saved(tmp_path / "small.onnx", classifier(), **ours()))
    picture = photo(tmp_path / "odd.gif") if kind == "gif" else odd(tmp_path, kind)
    seen = decoded(picture, 8)
    np.testing.assert_array_equal(pixels_of(picture, 8), seen)
    with Image.open(picture) as image:
        from_memory = pixels_of(image, 8)
    if kind not in ("jpeg", "jpg"):  # a JPEG file is decoded at a scale that is enough
        np.testing.assert_array_equal(from_memory, seen)
    assert np.abs(from_memory.astype(int) - seen).mean() < 12
    assert sum(shipped.predict(picture).probabilities) == pytest.approx(1)


def test_many_are_answered_as_one_by_one(run: Run, tmp_path: Path) -> None:
    pictures = [photo(tmp_path / f"{number}.jpg", 40 + number, 60) for number in range(3)]
    shipped = load(run.path)
    together = shipped.predict(pictures)
    for one, alone in zip(together, map(shipped.predict, pictures), strict=True):
        np.testing.assert_allclose(one.probabilities, alone.probabilities, atol=1e-6)
    assert shipped.predict([]) == []


def test_probabilities_are_of_the_fitted_temperature_unless_switched_off(run: Run, tmp_path: Path) -> None:
    picture = photo(tmp_path / "photo.png")
    shipped, plain = load(run.path), load(run.path, calibrated=False)
    logits = torch.from_numpy(shipped.runtime.logits(decoded(picture, 32)[None])).double()
    temperature = shipped.about.temperature
    assert temperature is not None and temperature != 1
    np.testing.assert_allclose(plain.predict(picture).probabilities, logits.softmax(1)[0], atol=1e-6)
    np.testing.assert_allclose(shipped.predict(picture).probabilities, (logits / temperature).softmax(1)[0], atol=1e-6)


def test_a_prediction_keeps_no_gradient_and_leaves_the_weights_alone(run: Run, tmp_path: Path) -> None:
    shipped = load(run.path)
    weights = list(shipped.runtime.predictor.network.parameters())  # type: ignore[attr-defined]
    assert not any(weight.requires_grad for weight in weights)
    assert isinstance(shipped.predict(photo(tmp_path / "photo.png")).probabilities, np.ndarray)


def test_folders_and_several_files_in_their_order(run: Run, tmp_path: Path) -> None:
    (tmp_path / "below" / "deeper").mkdir(parents=True)
    inside = [photo(tmp_path / "below" / "b.png"), photo(tmp_path / "below" / "deeper" / "a.jpg")]
    (tmp_path / "below" / "notes.txt").write_text("no picture")
    beside = photo(tmp_path / "c.gif")
    found = said(run.path, tmp_path / "below", beside, "--top", 2)
    assert [one["photo"] for one in found["photos"]] == [*map(str, inside), str(beside)]  # type: ignore[union-attr]
    assert all(len(one["predictions"]) == 2 for one in found["photos"])  # type: ignore[union-attr]


def test_standard_input_is_a_picture_or_names_of_pictures(run: Run, tmp_path: Path) -> None:
    picture = photo(tmp_path / "photo.png")
    for given in (picture.read_bytes(), f"{picture}\n".encode()):
        found = VERBS.invoke(app, ["predict", str(run.path), "-", "--json"], input=given)
        assert found.exit_code == 0, found.output
        assert len(json.loads(found.stdout)["photos"]) == 1
    assert isinstance(VERBS.invoke(app, ["predict", str(run.path), "-"], input=b"").exception, DataError)


def test_a_table_has_a_line_a_photo_and_a_column_a_class(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "said.csv"
    said(run.path, photo(tmp_path / "photo.png"), "--csv", table)
    head, row = list(csv.reader(table.read_text().splitlines()))
    assert head[:2] == ["photo", "class"]
    assert sum(map(float, row[2:])) == pytest.approx(1, abs=1e-4)
    assert head[2:] == run.record()["data"]["classes"]


def test_a_damaged_photo_in_a_folder_is_said_and_the_others_count(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    photo(folder / "good.png")
    (folder / "bad.png").write_bytes(b"nothing")
    bad, good = said(run.path, folder)["photos"]  # type: ignore[misc]
    assert "cannot be read" in bad["error"]
    assert good["predictions"]


def test_a_damaged_photo_that_was_named_is_an_error(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"nothing")
    found = VERBS.invoke(app, ["predict", str(run.path), str(bad), str(photo(tmp_path / "good.png"))])
    assert isinstance(found.exception, DataError)
    assert "good.png" in found.stdout
    with pytest.raises(DataError, match="no file or folder"):
        VERBS.invoke(app, ["predict", str(run.path), "nowhere.png"], catch_exceptions=False)


def test_the_verb_opens_a_file_of_torch_export_in_a_process_of_its_own(run: Run, tmp_path: Path) -> None:
    made = export(run, Place(runs=run.path.parent, device="cpu"), Wanted("pt2"), out=tmp_path)
    picture = photo(tmp_path / "photo.png")
    typed = [sys.executable, "-m", "protege", "predict", made.path, picture, "--json"]
    done = subprocess.run(typed, capture_output=True, text=True, check=True)
    first = json.loads(done.stdout)["photos"][0]["predictions"][0]["class"]
    assert first == load(made.path).predict(picture).name


def test_a_place_for_probabilities_that_cannot_be_is_said_before_the_first_photo(run: Run, tmp_path: Path) -> None:
    found = VERBS.invoke(
        app, ["predict", str(run.path), str(photo(tmp_path / "a.png")), "--csv", str(tmp_path / "no" / "x.csv")]
    )
    assert "there is no folder" in str(found.exception) and not found.stdout


def imported_by(*arguments: object) -> set[str]:
    """Modules that a process of its own has loaded when it has said what it says."""
    program = (
        "import sys\nfrom protege.cli import main\n"
        f"sys.argv = ['protege', 'predict', *{list(map(str, arguments))!r}]\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


NEVER = {
    "scipy",
    "matplotlib",
    "jinja2",
    "onnx",
    "torch._dynamo",
    "protege.train.loop",
    "protege.study.run",
    "protege.report.make",
}


def test_an_onnx_file_is_asked_without_torch(tmp_path: Path) -> None:
    from test_ship_files import classifier, ours, saved

    file, picture = saved(tmp_path / "small.onnx", classifier(), **ours()), photo(tmp_path / "photo.png")
    found = imported_by(file, picture)
    assert "onnxruntime" in found
    assert set() == found & (
        NEVER | {"torch", "protege.methods", "protege.models", "protege.runs.config", "safetensors"}
    )


def test_a_run_is_asked_with_little_but_torch(run: Run, tmp_path: Path) -> None:
    found = imported_by(run.path, photo(tmp_path / "photo.png"))
    assert "torch" in found
    assert set() == found & (NEVER | {"onnxruntime"})
    assert "torch._refs" not in found, "what operations do to shapes alone is a third of what loading torch takes"


def test_a_network_that_needs_all_of_torch_gets_it() -> None:
    """One that asks on its way what a convolution does to a tensor without values."""
    program = """
import sys
import numpy as np
from types import SimpleNamespace
from protege.cli.ship.predict import soon

def loaded():
    import torch
    convolution = torch.nn.Conv2d(3, 4, 3, device="meta")
    def said(pixels):
        return convolution(torch.empty(pixels.shape, device="meta")).shape
    return SimpleNamespace(about=SimpleNamespace(size=8), said=said)

assert soon(loaded).said(np.zeros((2, 3, 8, 8))) == (2, 4, 6, 6)
import torch
assert "torch._refs" in sys.modules and torch._meta_registrations is sys.modules["torch._meta_registrations"]
exported = torch.export.export(torch.nn.Conv2d(3, 4, 3), (torch.zeros(1, 3, 8, 8),))
assert exported.module()(torch.zeros(1, 3, 8, 8)).shape == (1, 4, 6, 6)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_name_of_what_was_put_off_loads_it() -> None:
    program = """
from protege.lazy import load_shapes, shapes_later
with shapes_later():
    from torch import _meta_registrations as later
assert later.register_meta
assert not load_shapes(), "it is there"
"""
    subprocess.run([sys.executable, "-c", program], check=True)
