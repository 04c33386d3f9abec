"""The small CIFAR-10 that comes with protege."""

import os
import shutil
from importlib.resources import as_file
from pathlib import Path

import pytest
import torch

from protege import data
from protege.data import DataConfig
from protege.data.progress import silent
from protege.data.sources.bundled import bundled_folder, cifar10_mini, read_index
from protege.errors import DataError


@pytest.fixture(scope="module")
def mini() -> data.Splits:
    return data.load(DataConfig(name="cifar10-mini", heldout=0), progress=silent)


def test_it_is_balanced_and_has_the_promised_counts(mini: data.Splits) -> None:
    assert mini.train.labels.bincount().tolist() == [500] * 10
    assert mini.test.labels.bincount().tolist() == [200] * 10
    assert mini.train.pixels.shape == (5000, 3, 32, 32)
    assert mini.images == 5000 and mini.train.indices.tolist() == list(range(5000))


def test_no_image_repeats_another() -> None:
    told = data.describe("cifar10-mini", progress=silent)
    assert set(told.repeats.values()) == {0}
    assert told.counts["heldout"] == (50,) * 10


def test_the_package_stays_below_13_megabytes() -> None:
    with as_file(bundled_folder()) as folder:
        assert sum(path.stat().st_size for path in folder.iterdir()) < 13_000_000
        assert (folder / "ORIGIN.md").exists()


def test_damaged_or_missing_files_are_told(tmp_path: Path) -> None:
    with as_file(bundled_folder()) as folder:
        shutil.copytree(folder, tmp_path / "mini")
    source = cifar10_mini(DataConfig(name="cifar10-mini"), None, silent, tmp_path / "mini")
    strip = tmp_path / "mini" / "train-03.webp"
    strip.write_bytes(strip.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"train-03\.webp is damaged\. Install protege again"):
        source.read()
    strip.unlink()
    with pytest.raises(DataError, match=r"train-03\.webp is missing"):
        source.read()


def test_every_image_is_the_official_one_at_its_position(mini: data.Splits) -> None:
    named = os.environ.get("PROTEGE_DATA")
    if not named or not (Path(named) / "cifar-10-batches-py").is_dir():
        pytest.skip("PROTEGE_DATA names no folder with cifar-10-batches-py in it")
    official = data.load(DataConfig(name="cifar10", heldout=0), Path(named), silent)
    index = read_index(bundled_folder())
    for name, ours, theirs in (("train", mini.train, official.train), ("test", mini.test, official.test)):
        positions = torch.tensor(index[name]["official"])
        assert torch.equal(ours.pixels[:], theirs.pixels[positions])
        assert torch.equal(ours.labels, theirs.labels[positions])
