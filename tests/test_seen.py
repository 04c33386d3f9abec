"""No network teaches, or begins as, what it is judged by: images are known again in every copy of a dataset."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from protege import data, runs
from protege.data import DataConfig, Source
from protege.data.base import Published
from protege.errors import DataError, RunError
from protege.report.loose.findings import findings_of
from protege.runs.config import Place, check_run
from protege.train.loop import train

TINY: dict[str, Any] = {"model": "resnet8", "optim": {"epochs": 1, "batch_size": 64}}
EVERYTHING = {"name": "pool", "heldout": 0}
JUDGED = {"name": "pool", "heldout": 40}


def noise(count: int, side: int = 8) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def source(name: str, pixels: torch.Tensor, test: int) -> Source:
    labels = torch.arange(len(pixels)) % 2
    half = (0.5, 0.5, 0.5)
    parts = (len(pixels) - test, 0, test)
    return Source(
        ("no", "yes"), half, half, 8, parts, name, lambda: "memory", lambda: Published(pixels, labels, labels)
    )


@pytest.fixture(autouse=True, scope="module")
def _datasets() -> Iterator[None]:
    """A pool of 200 training and 40 test images; a small set with fifty of the former; and one that repeats itself."""
    pool = noise(240)
    repeated = torch.cat([pool[:100], pool[:60]])
    made = {"pool": (pool, 40), "small": (torch.cat([pool[150:200], pool[230:]]), 10), "repeated": (repeated, 60)}
    with pytest.MonkeyPatch.context() as patch:
        for name, (pixels, test) in made.items():
            found = source(name, pixels, test)
            patch.setitem(data.DATASETS, name, lambda config, folder, progress, found=found: found)
        yield


def trained(root: Path, described: dict[str, Any]) -> runs.Run:
    return train(check_run(TINY | described), Place(runs=root, threads=1, quiet=True))


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    """A run that was trained on all 200 training images of the pool."""
    return trained(tmp_path_factory.mktemp("runs"), {"data": EVERYTHING})


def refused(teacher: runs.Run, described: dict[str, Any]) -> str:
    with pytest.raises(DataError) as caught:
        trained(teacher.path.parent, {"teacher": str(teacher.path), **described})
    assert len(str(caught.value)) <= 500
    return str(caught.value)


def test_a_teacher_of_a_larger_set_that_holds_the_same_images_is_refused(knowing: runs.Run) -> None:
    said = refused(knowing, {"data": {"name": "small", "heldout": 10}})
    assert "was trained on 10 of the 10 held-out images" in said


def test_a_teacher_that_saw_what_a_pooled_run_tests_on_is_refused(knowing: runs.Run) -> None:
    said = refused(knowing, {"data": {"name": "pool", "resplit": (0.5, 0, 0.5)}})
    assert "test images that judge this run" in said


def test_a_pooled_teacher_that_saw_test_images_is_refused(tmp_path: Path) -> None:
    pooled = trained(tmp_path, {"data": {"name": "pool", "resplit": (0.8, 0, 0.2)}})
    assert "of the 40 test images" in refused(pooled, {"data": EVERYTHING})


def test_images_that_a_set_repeats_are_no_secret_of_the_teacher(tmp_path: Path) -> None:
    own = trained(tmp_path, {"data": {"name": "repeated", "heldout": 0}})
    assert trained(
        tmp_path, {"data": {"name": "repeated", "heldout": 0, "limit": 50}, "teacher": str(own.path)}
    ).finished


def test_weights_to_begin_with_are_held_to_the_same(knowing: runs.Run, tmp_path: Path) -> None:
    """Even where the file was copied: its header names the run that wrote it."""
    elsewhere = tmp_path / "copied.safetensors"
    shutil.copy(knowing.weights_file(), elsewhere)
    for file in (knowing.weights_file(), elsewhere):
        begun = {"model": {"name": "resnet8", "weights": str(file)}, "data": JUDGED}
        with pytest.raises(DataError, match=r"initial weights, resnet8.*was trained on 40 of the 40 held-out"):
            trained(knowing.path.parent, begun)


def test_a_run_s_weights_file_as_a_teacher_is_that_run(knowing: runs.Run, tmp_path: Path) -> None:
    elsewhere = tmp_path / "copied.safetensors"
    shutil.copy(knowing.weights_file(), elsewhere)
    teacher = {"source": str(elsewhere), "model": "resnet8"}
    with pytest.raises(DataError, match="was trained on 40 of the 40 held-out"):
        trained(knowing.path.parent, {"teacher": teacher, "data": JUDGED})


def test_what_a_teacher_s_teacher_saw_counts_however_many_generations_back(knowing: runs.Run) -> None:
    root, few = knowing.path.parent, {"name": "small", "heldout": 0, "classes": ["yes", "no"], "limit": 4}
    alone = trained(root, {"data": few})
    judged = {"data": {"name": "pool", "heldout": 20, "heldout_seed": 1}}
    assert trained(root, {"teacher": str(alone.path), **judged}).finished  # its four images judge nobody
    taught = trained(root, {"data": few, "teacher": str(knowing.path)})
    third = trained(root, {"data": few, "teacher": str(taught.path)})
    begun = trained(root, {"data": few, "model": {"name": "resnet8", "weights": str(third.weights_file())}})
    for run in (taught, third, begun):
        assert "of the 20 held-out images" in refused(run, judged)


def test_a_file_of_unknown_origin_is_said_on_the_terminal_and_in_the_record(
    knowing: runs.Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(load_file(knowing.weights_file()), tmp_path / "foreign.pth")
    described = {"teacher": {"source": str(tmp_path / "foreign.pth"), "model": "resnet8"}, "data": JUDGED}
    with caplog.at_level(logging.WARNING):
        taught = trained(tmp_path, described)
    assert "Nobody knows what" in caplog.text and "foreign.pth was trained on" in caplog.text
    assert "foreign.pth" in taught.record()["seen"]["unknown"][0]
    next_one = trained(tmp_path, {"teacher": str(taught.path), "data": JUDGED, "seed": 1})
    assert next_one.record()["seen"]["unknown"] == taught.record()["seen"]["unknown"]
    said = [warning for warning in findings_of([taught, next_one], tmp_path).warnings if "Nobody knows" in warning]
    assert len(said) == 1 and "foreign.pth was trained on, and 2 run(s) learned from it" in said[0]


def test_a_teacher_of_cifar10_has_seen_what_judges_in_cifar10_mini(real_data: Path, tmp_path: Path) -> None:
    """The real sets: the small one is cut from the large one, and its images are the same to the pixel."""
    large, small = (data.load(DataConfig(name=name), real_data) for name in ("cifar10", "cifar10-mini"))
    whole = np.concatenate([large.marks().train, large.marks().heldout, large.marks().test])
    for judges in (small.marks().heldout, small.marks().test):
        assert len(judges) and np.isin(judges, whole).all()
    place = Place(runs=tmp_path, data_dir=real_data, threads=1, quiet=True)
    big = {"name": "cifar10", "heldout": 0, "limit": 5000}
    teacher = train(check_run(TINY | {"data": big}), place)
    with pytest.raises(DataError, match=r"was trained on \d+ of the 500 held-out images that judge this run"):
        train(check_run(TINY | {"data": {"name": "cifar10-mini"}, "teacher": str(teacher.path)}), place)


def test_sets_that_were_trained_on_are_written_once_for_all_runs(tmp_path: Path) -> None:
    first, second = (trained(tmp_path, {"data": JUDGED, "seed": seed}) for seed in (0, 1))
    (file,) = (tmp_path / "seen").iterdir()
    assert file.stat().st_size == 160 * 8
    assert first.record()["seen"]["sets"] == second.record()["seen"]["sets"] == [file.stem]


def as_before_lists(run: runs.Run) -> None:
    kept = run.record()
    del kept["seen"]
    run.record_file.write_text(json.dumps(kept))


def test_an_older_run_is_known_by_its_description_and_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    older = trained(tmp_path, {"data": EVERYTHING})
    as_before_lists(older)
    assert "40 of the 40 held-out" in refused(older, {"data": JUDGED})
    changed = source("pool, changed", noise(240), 40)
    monkeypatch.setitem(data.DATASETS, "pool", lambda config, folder, progress: changed)
    with caplog.at_level(logging.WARNING):
        trained(tmp_path, {"teacher": str(older.path), "data": JUDGED})
    assert "has no list and its data have changed" in caplog.text


def test_a_run_that_answers_with_more_than_its_network_is_no_teacher(knowing: runs.Run) -> None:
    root = knowing.path.parent
    simkd = trained(root, {"data": EVERYTHING, "method": "simkd", "teacher": str(knowing.path)})
    with pytest.raises(RunError, match="learned by simkd and answers with what that adds"):
        trained(root, {"data": EVERYTHING, "teacher": str(simkd.path)})


# Folders of one's own


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(60):
            pixels = random.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number:03}.png")
    return tmp_path / "photos"


def files(root: Path, part: str, **fields: Any) -> set[bytes]:
    config = DataConfig.model_validate({"name": f"folder:{root}", "image_size": 20, **fields})
    images = getattr(data.load(config), part)
    return {images.pixels[one].numpy().tobytes() for one in range(len(images))}


def add(photos: Path, count: int = 1) -> None:
    for number in range(count):
        pixels = np.random.default_rng(1000 + number).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / "cat" / f"0{number:02}-new.png")


@pytest.mark.parametrize("fields", [{}, {"heldout": 0.3, "heldout_seed": 7}, {"resplit": (0.5, 0.2, 0.3)}])
def test_a_photo_stays_in_its_part_when_others_are_added(photos: Path, fields: dict[str, Any]) -> None:
    before = {part: files(photos, part, **fields) for part in ("train", "heldout", "test")}
    assert all(len(part) > 5 for part in before.values())
    add(photos, 17)
    for part, kept in before.items():
        assert kept <= files(photos, part, **fields)


def test_a_folder_s_parts_are_about_as_large_as_was_asked_for(photos: Path) -> None:
    sizes = [len(files(photos, part)) for part in ("train", "heldout", "test")]
    assert sum(sizes) == 120
    assert 12 <= sizes[2] <= 36  # 24 expected, sd 4.4
    assert 2 <= sizes[1] <= 18  # a tenth of the rest, sd 2.9


def test_runs_from_before_names_decided_keep_the_split_they_had(photos: Path, tmp_path: Path) -> None:
    """Their records have no `split`: their fingerprint is found again, and their scores can be made."""
    described = {"name": f"folder:{photos}", "image_size": 16, "split": "position"}
    older = trained(tmp_path, {"data": described})
    record = older.record()
    del record["config"]["data"]["split"]
    older.record_file.write_text(json.dumps(record))
    assert older.config().data.split == "position"
    assert data.fingerprint(older.config().data) == record["data"]["fingerprint"]
    assert data.fingerprint(DataConfig(name=f"folder:{photos}", image_size=16)) != record["data"]["fingerprint"]


def test_a_teacher_of_the_same_photos_at_another_size_or_in_another_split_is_refused(
    photos: Path, tmp_path: Path
) -> None:
    teacher = trained(tmp_path, {"data": {"name": f"folder:{photos}", "image_size": 16}})
    smaller = {"name": f"folder:{photos}", "image_size": 24, "heldout_seed": 5}
    assert "held-out images that judge this run" in refused(teacher, {"data": smaller})
    add(photos)
    assert "that judge this run" in refused(teacher, {"data": smaller | {"image_size": 16}})
    assert trained(tmp_path, {"data": smaller | {"heldout_seed": 1234}, "teacher": str(teacher.path)}).finished


def test_images_of_another_set_are_left_out_by_what_they_are() -> None:
    """Fifty of the pool's training images are in the small set, and ten of its test images, which may go on testing."""
    without = data.load(DataConfig.model_validate(JUDGED | {"without": "small"}))
    small = data.load(DataConfig.model_validate({"name": "small", "heldout": 0})).marks()
    found = without.marks()
    assert (len(without.train), len(without.heldout or ()), len(without.test)) == (110, 40, 40)
    for part in (found.train, found.heldout):
        assert not np.isin(part, np.concatenate([small.train, small.test])).any()
    pooled = data.load(DataConfig(name="pool", resplit=(0.5, 0.25, 0.25), without="small"))
    assert len(pooled.train) + len(pooled.heldout or ()) + len(pooled.test) == 240 - 60


def test_leaving_images_out_is_another_split_and_not_leaving_any_out_a_mistake() -> None:
    plain, without = (data.fingerprint(DataConfig(name="pool", without=name)) for name in (None, "small"))
    assert plain != without
    with pytest.raises(DataError, match=r"data\.without"):
        data.load(DataConfig(name="pool", without="cifar10-mini"))
