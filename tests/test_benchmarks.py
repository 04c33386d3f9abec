"""What our own benchmarks add to `protege bench`: how a study grows, and the picture. How quick anything is, is not tested."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch

from protege import data
from protege import runs as folders
from protege.train.bench.limits import Rates
from protege.train.bench.outcome import Load, Outcome, Row
from protege.train.bench.prepare import fresh, stand_in
from protege.train.bench.variants import Arithmetic, Pair, Setting, variants
from protege.views import normalise

growth = pytest.importorskip("growth", reason="needs the project's checkout, for its benchmarks/")
picture = pytest.importorskip("picture")
small_study = pytest.importorskip("small_study")

PAIR = Pair(teacher="resnet14", student="resnet8", batch_size=32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    few = data.load(data.DataConfig(name="cifar10-mini", limit=16, heldout=0))
    images = normalise(few.train.pixels[:16], few.mean, few.std)
    return stand_in(fresh("resnet14", 10), images, tmp_path_factory.mktemp("bench") / "teacher.pth")


def test_the_runs_of_a_small_study_ask_their_teacher_nothing(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first pass told them all there is to know, in the arithmetic that they listen for."""
    monkeypatch.setattr(small_study, "EPOCHS", 2)
    setting = Setting(folder=tmp_path, threads=1)
    made = small_study.grown(PAIR, setting, Arithmetic(student="fp32", teacher="bf16"), weights, number=2)
    assert (len(made.alone), len(made.runs), made.images, made.views) == (3, 2, 250, 9)
    results = [run.result() for run in folders.every(tmp_path / "study") if run.finished]
    assert [result["teacher_asked"] for result in results if result["teacher_asked"] is not None] == [0, 0]


def test_a_study_that_was_made_grows_by_its_runs() -> None:
    """In units of the median of the runs of the student alone."""
    runs = growth.Grown(
        epochs=11, images=250, views=9, alone=(9.0, 10.0, 30.0), first_pass=25.0, runs=(10.0, 11.0, 9.0)
    )
    grown = growth.measured(PAIR, runs)
    assert grown.times_alone() == pytest.approx([3.5, 4.6, 5.5])
    assert grown.times_alone(warm=True) == pytest.approx([1.0, 2.1, 3.0])


def test_a_computed_study_asks_about_each_view_once() -> None:
    """Asking takes 1/100 - 1/200 s an image; 200 epochs show 115 of 162 views, 1600 all of them."""
    grown = growth.computed(PAIR, alone=200.0, cold=100.0, warm=200.0, reference=50.0, runs=(1, 8))
    assert grown.asking == pytest.approx((0.005 * 115.1, 0.005 * 162), rel=1e-3)
    assert grown.times_alone(warm=True) == pytest.approx([1.0, 8.0])
    assert grown.reference_times_alone() == pytest.approx([4.0, 32.0])


def test_that_there_is_nothing_to_draw_with_is_said_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit, match=r"The picture needs matplotlib, .*: pip install 'protege\[bench\]'"):
        picture.refuse_without_matplotlib()


def test_the_picture_labels_what_it_shows(tmp_path: Path) -> None:
    ways = variants("kd", Arithmetic())
    outcome = Outcome(
        command="", date="2026-01-02", environment={"processor": "Some CPU", "cores": 2}, setting=Setting(threads=2),
        rounds=2, minutes=1.0, load=Load(before=0.1),
        rates=Rates(fp32=1e9, bf16=4e9, fp32_3x3=2e9, bf16_3x3=3e9, copy_bytes=1e9),
        rows=tuple(Row(pair=PAIR, what="kd", variant=way, images_per_second=(100.0, 90.0)) for way in ways),
    )  # fmt: skip
    growths = [growth.of(outcome, PAIR)]
    picture.draw(outcome, growths, tmp_path / "speed.svg")
    ET.parse(tmp_path / "speed.svg")
    drawn = (tmp_path / "speed.svg").read_text()
    for label in (
        "images/s (median of the rounds",
        "times one student alone",
        "taught runs of one teacher",
        "reference loop",
    ):
        assert label in drawn
    for row in outcome.rows:
        assert f"logit-KD: {row.variant.name}" in drawn
