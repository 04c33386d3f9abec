"""Files that mean harm, or are not what their names say: one line each, no waiting, and nothing that a terminal obeys."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from protege import data
from protege.data import DataConfig
from protege.data.places import read_record
from protege.data.progress import silent
from protege.errors import DataError, ProtegeError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "protege"


def photos(root: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 12) -> Path:
    random = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number:02}.png")
    return root


def load(root: Path) -> data.Splits:
    return data.load(DataConfig(name=f"folder:{root}", image_size=8), progress=silent)


def refused(root: Path) -> str:
    with pytest.raises(ProtegeError) as caught:
        load(root)
    said = str(caught.value)
    assert len(said) <= 500 and "\n" not in said and "\x1b" not in said
    said.encode()
    return said


def test_a_pipe_among_the_photos_is_left_out_and_listed(tmp_path: Path, cache: Path) -> None:
    root = photos(tmp_path / "photos")
    os.mkfifo(root / "cat" / "pipe.jpg")
    assert load(root).images == 24
    (told,) = (cache / "images").glob("*.unreadable.txt")
    assert told.read_text() == "cat/pipe.jpg\tnot a regular file\n"


@pytest.mark.parametrize("name", ["data_batch_1", ".protege-checked.json"])
def test_a_pipe_among_cifar_s_files_is_not_waited_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROTEGE_CIFAR10_URL", "nowhere")
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for file in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        (folder / file).write_bytes(b"x")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(DataError, match=r"is damaged|cannot be fetched"):
        data.load("cifar10", tmp_path, silent)


def test_a_pipe_in_place_of_a_lock_or_a_record_is_not_waited_for(tmp_path: Path, cache: Path) -> None:
    root = photos(tmp_path / "photos")
    load(root)
    (store,) = (path for path in (cache / "images").iterdir() if path.is_dir())
    for place in (store / "store.json", store.with_name(f".{store.name}.lock")):
        place.unlink()
        os.mkfifo(place)
    assert load(root).images == 24


@pytest.mark.parametrize("name", ["two\nlines", "red\x1b[31m", "latin\udce9", "[bold]", "x" * 200])
def test_names_that_a_terminal_would_obey_are_shown(name: str, tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", ("cat", name))
    for label in load(root).classes:
        assert label.isprintable()
        label.encode()
    (root / "cat" / f"{name}.png").write_bytes(b"no image")
    assert load(root).images == 24
    assert len(load(root).marks().train) == len(load(root).train)
    (root / name / "notes.txt").touch()
    for file in (root / name).glob("*.png"):
        file.unlink()
    assert "has no images" in refused(root)


def test_a_class_is_one_however_its_accents_are_written(tmp_path: Path) -> None:
    """One sign, or a letter and its accent: systems differ, and both look alike."""
    photos(tmp_path / "photos" / "train", ("caf\u00e9", "tea"))
    photos(tmp_path / "photos" / "val", ("cafe\u0301", "tea"), 2)
    photos(tmp_path / "photos" / "test", ("caf\u00e9", "tea"), 3)
    splits = load(tmp_path / "photos")
    assert splits.heldout is not None
    assert splits.heldout.labels.bincount().tolist() == [2, 2]


@pytest.mark.parametrize("spoil", [Path.touch, lambda path: path.symlink_to("nowhere")], ids=["file", "dangling link"])
@pytest.mark.parametrize("part", ["", "protege", "protege/images"])
def test_a_cache_that_is_no_folder_is_told(
    spoil: Callable[[Path], None], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, place = photos(tmp_path / "photos"), tmp_path / "spoilt" / part
    place.parent.mkdir(parents=True, exist_ok=True)
    spoil(place)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "spoilt"))
    assert "cannot be a folder" in refused(root)


DEEP = "[" * 100_000


@pytest.mark.parametrize("content", ["", "[]", "null", DEEP, '{"a": 1e999', "\x00", '"text"'])
def test_a_record_that_is_none_is_empty(content: str, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(content)
    assert read_record(tmp_path / "record.json") == {}
    assert read_record(tmp_path) == {}


@pytest.mark.parametrize(
    "forged",
    [
        {"labels": [2**70] * 24},
        {"labels": [True] * 24},
        {"labels": None},
        {"labels": [0.5] * 24},
        {"classes": [1, 2]},
        {"classes": []},
        {"parts": [30, -6, 0]},
        {"parts": [24]},
        {"mean": [1e30] * 3},
        {"std": "abc"},
        {"unreadable": "many"},
        {"sha256": None},
    ],
)
def test_a_forged_store_is_told(forged: dict[str, object], tmp_path: Path, cache: Path) -> None:
    root = photos(tmp_path / "photos")
    load(root)
    (file,) = (cache / "images").glob("*/store.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | forged))
    assert "is damaged. Remove it" in refused(root)


@pytest.mark.parametrize("forged", [{"count": "24"}, {"count": -1}, {"size": True}, {"size": None}, {"format": []}])
def test_a_store_of_another_shape_is_made_anew(forged: dict[str, object], tmp_path: Path, cache: Path) -> None:
    root = photos(tmp_path / "photos")
    load(root)
    (file,) = (cache / "images").glob("*/store.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | forged))
    assert load(root).images == 24
