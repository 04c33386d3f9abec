"""The demo: a teacher that comes along and has seen nothing that judges, a claim only where it is shown, and nothing done twice."""

from __future__ import annotations

import importlib.util
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from protege import data, runs
from protege.cli import demo
from protege.data.marks import Marked
from protege.errors import MissingExtra
from protege.runs.config import Place, check_run
from protege.teacher import bundled
from protege.teacher.seen import seen_by

ROOT = Path(__file__).parents[1]


# ---- the teacher ----


def test_the_teacher_has_seen_no_image_of_the_set_that_judges_its_students(tmp_path: Path) -> None:
    teacher = bundled.bundled_teacher(tmp_path)
    seen, marks = seen_by(teacher, None), data.load("cifar10-mini").marks()
    assert not seen.unknown and sum(map(len, seen.sets.values())) == teacher.record()["data"]["train"] == 44_000
    every: Marked = np.concatenate([marks.train, marks.heldout, marks.test])
    assert len(every) == 7000 and seen.among(every) == 0


def test_the_teacher_is_small_and_was_made_by_the_committed_script(tmp_path: Path) -> None:
    teacher = bundled.bundled_teacher(tmp_path)
    assert teacher.weights_file().stat().st_size <= 1_500_000
    spec = importlib.util.spec_from_file_location("make_demo_teacher", ROOT / "scripts" / "make_demo_teacher.py")
    assert spec and spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert check_run(script.TEACHER) == teacher.config()
    origin = (bundled.bundled_folder() / "ORIGIN.md").read_text()
    assert f"{100 * teacher.result()['heldout_accuracy']:.2f}" in origin and script.COMMAND in origin


def test_a_teacher_that_was_laid_out_by_half_is_laid_out_again_and_a_whole_one_is_left(tmp_path: Path) -> None:
    teacher = bundled.bundled_teacher(tmp_path)
    teacher.result_file.unlink()
    teacher.weights_file().write_bytes(b"half")
    again = bundled.bundled_teacher(tmp_path)
    assert again.finished and len(runs.read_weights(again.weights_file())[0]) > 10
    laid = again.result_file.stat().st_mtime_ns
    assert bundled.bundled_teacher(tmp_path).result_file.stat().st_mtime_ns == laid


# ---- what is said ----


@dataclass(frozen=True)
class Scored(demo.Arm):
    """An arm of which only accuracies are known."""

    accuracies: tuple[float, ...] = field(default=())

    def values(self, *keys: str) -> list[float]:
        return list(self.accuracies)


def scored(*accuracies: float) -> Scored:
    return Scored("", [runs.Run(Path())] * len(accuracies), accuracies)


def test_the_taught_student_is_called_better_only_where_that_is_shown() -> None:
    """Differences 5, 6, 7: mean 6, standard error 1 / sqrt(3), times 4.303 (t of 2 degrees) is 2.48."""
    said = demo._meaning(scored(55, 57, 59), scored(50, 51, 52))
    assert said.startswith("The taught student is better: +6.00 points [+3.52, +8.48]") and "p = 0.009" in said
    assert "not shown to differ" in demo._meaning(scored(55, 50, 52), scored(50, 51, 52))
    assert "is lower than" in demo._meaning(scored(50, 51, 52), scored(55, 57, 59))


# ---- from the first word to the last ----


@dataclass
class Shown:
    runs: Path
    said: list[str]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """The demo twice, with few images, one epoch and two seeds."""
    root = tmp_path_factory.mktemp("demo")
    few: dict[str, Any] = {"data": {"name": "cifar10-mini", "limit": 100}, "optim": {"epochs": 1, "batch_size": 50}}
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "SEEDS", (0, 1))
        patch.setattr(demo, "STUDENT", demo.STUDENT | few)
        patch.setattr(demo, "TAUGHT", demo.TAUGHT | few)
        patch.setattr(demo, "LATENCY_ROUND", 0.001)
        for _ in range(2):
            out = Console(file=io.StringIO(), width=200)
            demo.demonstrate(Place(runs=root, quiet=True), out)
            assert isinstance(out.file, io.StringIO)
            said.append(out.file.getvalue())
    yield Shown(root, said)


def test_it_ends_with_a_table_a_sentence_a_file_and_a_word_on_one_photo(shown: Shown) -> None:
    said = " ".join(shown.said[0].split())
    assert "2,000 test images" in said and "student taught" in said and "2 pairs of seeds" in said
    assert "in whole numbers" in said and "ms an image" in said and "photo.png, a cat" in said
    (file,) = shown.runs.glob("*/export/onnx-int8/model.onnx")
    assert f"{file.stat().st_size:,} bytes" in said


def test_typed_again_it_trains_nothing_and_reads_no_test_image_twice(shown: Shown) -> None:
    ledger = (shown.runs / "ledger.jsonl").read_text().splitlines()
    assert len(ledger) == 4 and len({json.loads(line)["run"] for line in ledger}) == 4
    first, again = (said.partition("test images")[2].partition("whole numbers")[0] for said in shown.said)
    assert first == again


def test_without_the_libraries_of_export_it_says_what_to_install(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise MissingExtra("pip install 'protege[export]'")

    monkeypatch.setattr(demo, "export", missing)
    out = Console(file=io.StringIO(), width=200)
    demo._ship(next(run for run in runs.every(shown.runs) if "-kd-" in run.id), Place(runs=shown.runs), out)
    assert isinstance(out.file, io.StringIO) and "protege[export]" in out.file.getvalue()
