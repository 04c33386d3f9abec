"""Images from a file of one's own: every form that it may have, honest parts, and what is wrong said in a line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_world import command

from protege import data
from protege.data import DataConfig
from protege.errors import ConfigError, DataError
from protege.runs.config import check_run

READ = """
import numpy as np

def made(count=40, seed=0):
    labels = np.arange(count) % 2
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8), labels

def read():
    return *made(), ["cat", "dog"]

def more():
    images, labels = made(80, 1)
    first = made()
    return np.concatenate([images, first[0]]), np.concatenate([labels, first[1]])

def grey():
    images, labels = made()
    return images[..., 0], [["dog", "cat"][label] for label in labels]

def first():
    images, labels = made()
    return images.transpose(0, 3, 1, 2), labels

def wide():
    images, labels = made()
    return images[:, :, :6], labels

def parts():
    images, labels = made()
    return {"train": (images[:30], labels[:30]), "test": (images[30:], labels[30:]), "classes": ["cat", "dog"]}

def twins():
    images, labels = made()
    return np.concatenate([images, images]), np.concatenate([labels, labels])

def floats():
    images, labels = made()
    return images / 255, labels

def short():
    images, labels = made()
    return images, labels[:-1]

def negative():
    images, labels = made()
    return images, labels - 1

def halves():
    images, labels = made()
    return images, labels + 0.5

def few():
    return *made(), ["cat"]

def nothing():
    return None

def mistyped():
    return {"train": made(), "tests": made()}

def failing():
    raise RuntimeError("no luck")

def drawn():
    import os
    return made(seed=int.from_bytes(os.urandom(4), "big"))

arrays = made()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(READ)
    return tmp_path


def load(name: str, **fields: object) -> data.Splits:
    return data.load(DataConfig.model_validate({"name": f"own.py:{name}", **fields}))


def test_a_function_gives_images_labels_and_classes() -> None:
    splits = load("read", heldout=0.2)
    assert splits.classes == ("cat", "dog")
    parts = [splits.train, splits.heldout, splits.test]
    assert sum(len(part) for part in parts if part is not None) == 40
    assert all(part is not None and len(part) for part in parts)


@pytest.mark.parametrize("name", ["grey", "first", "arrays"])
def test_arrays_may_be_grey_channels_first_or_no_function_at_all(name: str) -> None:
    splits, plain = load(name), load("read")
    images, own = splits.train.pixels[:], plain.train.pixels[:]
    if name == "grey":
        assert splits.classes == ("cat", "dog")
        assert torch.equal(images[:, 0], images[:, 2])
    else:
        assert torch.equal(images, own)


def test_oblong_images_want_a_size_and_keep_their_middle() -> None:
    with pytest.raises(DataError, match=r"8 x 6 pixels\. Choose data\.image_size"):
        load("wide")
    assert load("wide", image_size=8).train.pixels.shape[1:] == (3, 8, 8)


def test_parts_that_are_given_stay_what_they_are() -> None:
    splits = load("parts", heldout=0)
    assert (len(splits.train), len(splits.test)) == (30, 10)


def _bytes(images: data.Images | None) -> set[bytes]:
    assert images is not None
    return {images.pixels[one].numpy().tobytes() for one in range(len(images))}


def test_an_image_stays_in_its_part_when_others_are_added() -> None:
    before, after = load("read", heldout=0.2), load("more", heldout=0.2)
    for part in ("train", "heldout", "test"):
        assert _bytes(getattr(before, part)) <= _bytes(getattr(after, part))


def test_equal_images_are_never_on_both_sides() -> None:
    splits = load("twins", heldout=0.2)
    parts = [_bytes(part) for part in (splits.train, splits.heldout, splits.test)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 40


def test_the_fingerprint_is_of_the_images_and_not_of_the_code(folder: Path) -> None:
    before = load("read").fingerprint
    (folder / "own.py").write_text(READ + "\n# the same images\n")
    assert load("read").fingerprint == before
    assert data.fingerprint("own.py:read") == before
    (folder / "own.py").write_text(READ.replace("seed=0", "seed=2"))
    assert load("read").fingerprint != before
    assert load("parts").fingerprint != load("read").fingerprint


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("floats", "are float64. Give uint8"),
        ("short", r"40 train images have labels \[39\]"),
        ("negative", "a label is -1"),
        ("halves", "a label is 0.5"),
        ("few", "Two or more names are needed"),
        ("nothing", "gives a NoneType. It gives"),
        ("mistyped", "gives 'tests'. Did you mean 'test'"),
        ("failing", r"failing\(\) fails: RuntimeError: no luck"),
        ("reed", "has no 'reed'. Did you mean 'read'"),
    ],
)
def test_what_is_wrong_is_said(name: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        load(name)


def test_a_mistyped_file_is_said_to_be_none() -> None:
    with pytest.raises(ConfigError, match=r"there is no file typo\.py"):
        check_run({"data": "typo.py:read"})


def test_a_network_is_trained_on_it_found_again_and_never_on_images_that_change(folder: Path) -> None:
    tiny = ["--model", "resnet8", "--optim.epochs", "1", "--data.heldout", "0.2", "--quiet", "--json"]
    one, again = (command(["train", "--data", "own.py:read", *tiny]) for _ in range(2))
    assert one.code == 0, one.err
    assert one.out == again.out
    assert command(["data", "own.py:read"]).code == 0
    said = command(["train", "--data", "own.py:drawn", *tiny])
    assert said.code == 2 and "same ones every time" in said.err


def test_data_of_a_stranger_are_not_asked_for_without_consent(folder: Path) -> None:
    (folder / "theirs.py").write_text(READ + "\nfrom pathlib import Path\nPath('RAN').touch()\n")
    (folder / "theirs.yaml").write_text("{data: theirs.py:read, model: resnet8}")
    said = command(["train", "theirs.yaml", "--quiet"])
    assert said.code == 2 and "theirs.yaml names it" in said.err
    made = json.loads(
        command(
            ["train", "--data", "own.py:read", "--model", "resnet8", "--optim.epochs", "1", "--quiet", "--json"]
        ).out
    )
    record = Path("runs") / made["id"] / "run.json"
    record.write_text(record.read_text().replace("own.py:read", "theirs.py:read"))
    assert np.all([command([verb, made["id"]]).code == 0 for verb in ("show", "report")])
    said = command(["evaluate", made["id"]])
    assert said.code == 2 and "--trust-code" in said.err
    assert not Path("RAN").exists()
