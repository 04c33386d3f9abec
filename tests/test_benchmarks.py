"""What our own benchmarks add to `protege bench`: how a study grows, and the picture. How quick anything is, is not tested."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from importlib import import_module
from pathlib import Path
from types import ModuleType

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


PART = """
import subprocess, sys, time
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--out") + 1])
(out / "runs.md").write_text("found")
waits = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
(out / "below.pid").write_text(str(waits.pid))
(out / "ready").touch()
time.sleep(600)
"""


class Impatient(subprocess.Popen[bytes]):
    """Its time is up as soon as the part has written something, however busy the machine is."""

    def wait(self, timeout: float | None = None) -> int:
        if timeout and timeout > 1:
            while not (Path(self.args[-1]) / "ready").exists():  # type: ignore[index]
                time.sleep(0.01)
            raise subprocess.TimeoutExpired(self.args, timeout)
        return super().wait(timeout)


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """gpu.py, with a part that writes something and then hangs."""
    gpu = import_module("gpu")
    (tmp_path / "gpu_parts.py").write_text(PART)
    monkeypatch.setattr(gpu, "HERE", tmp_path)
    monkeypatch.setattr(gpu, "SOON", 0.5)  # seconds
    return gpu


def ended(place: Path) -> bool:
    """Nobody runs under this number any more, after a moment; one that is dead and was not waited for counts as ended."""
    status = Path(f"/proc/{place.read_text()}/status")
    for _ in range(1000):
        try:
            if "(zombie)" in status.read_text():
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_a_part_that_hangs_is_ended_with_all_that_it_began_and_what_it_found_stays(
    parts: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", Impatient)
    became = parts.part("runs", ["--out", str(tmp_path)], 300, tmp_path / "log")
    assert "its time was up" in became
    assert (tmp_path / "runs.md").read_text() == "found"
    assert ended(tmp_path / "below.pid")


def test_whoever_ends_the_benchmark_ends_its_part(parts: ModuleType, tmp_path: Path) -> None:
    def interrupt() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        parts.part("runs", ["--out", str(tmp_path)], 300, tmp_path / "log")
    assert ended(tmp_path / "below.pid")


def test_a_part_that_fails_says_so_with_its_last_words(parts: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "gpu_parts.py").write_text("raise SystemExit('no such device')")
    became = parts.part("runs", ["--out", str(tmp_path)], 300, tmp_path / "log")
    assert "failed" in became
    assert "no such device" in became
