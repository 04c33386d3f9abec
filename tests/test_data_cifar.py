"""The official archives, small and made up, or real where PROTEGE_DATA has them."""

import gzip
import hashlib
import io
import os
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from protege import data
from protege.data import DataConfig
from protege.data.progress import silent
from protege.data.sources import cifar
from protege.data.sources.cifar import ARCHIVES, Archive
from protege.data.sources.classes import CIFAR10, CIFAR100, CIFAR100_COARSE
from protege.data.sources.pickles import read_pickle
from protege.errors import DataError, UnsafePickle

Files = dict[str, bytes]


def batch(seed: int, images: int, classes: int = 10, **more: object) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (images, 3072), dtype=np.uint8)
    return pickle.dumps({"data": pixels, "labels": [i % classes for i in range(images)], **more}, protocol=2)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def small(files: Files) -> Archive:
    """CIFAR-10 as if these were its published files."""
    real = ARCHIVES["cifar10"]
    sums = {name: md5(content) for name, content in files.items()}
    train = {name: sums[name] for name in real.train}
    counts = (5 * 20, 10)
    packed = tarred(files)
    return replace(
        real, train=train, test={"test_batch": sums["test_batch"]}, counts=counts, md5=md5(packed), bytes=len(packed)
    )


def tarred(files: Files, folder: str = "cifar-10-batches-py") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in {"readme.html": b"hello", **files}.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    # The time inside a gzip header would make two equal archives differ.
    return stream.getvalue()[:4] + bytes(4) + stream.getvalue()[8:]


@pytest.fixture
def files() -> Files:
    named = {f"data_batch_{number}": batch(number, 20) for number in (1, 2, 3, 4, 5)}
    return {**named, "test_batch": batch(6, 10)}


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Callable[[Files], Archive]:
    """Makes these files the official ones, sums included."""

    def published(files: Files) -> Archive:
        archive = small(files)
        monkeypatch.setitem(cifar.ARCHIVES, "cifar10", archive)
        return archive

    return published


def unpack(files: Files, root: Path) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


Publish = Callable[[Files], Archive]


def load(root: Path, **fields: object) -> data.Splits:
    return data.load(DataConfig.model_validate({"name": "cifar10", **fields}), root, silent)


def test_images_come_in_the_official_order(files: Files, publish: Publish, tmp_path: Path) -> None:
    publish(files)
    unpack(files, tmp_path)
    splits = load(tmp_path, heldout=0)
    third = read_pickle(files["data_batch_3"], "batch")
    assert isinstance(third, dict)
    assert splits.train.pixels[40:60].reshape(20, -1).tolist() == third["data"].tolist()
    assert splits.train.labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert (len(splits.train), len(splits.test), splits.images) == (100, 10, 100)
    assert splits.train.pixels.dtype == torch.uint8 and splits.train.labels.dtype == torch.int64


def test_an_archive_is_read_as_the_unpacked_folder_is(files: Files, publish: Publish, tmp_path: Path) -> None:
    publish(files)
    unpack(files, tmp_path / "unpacked")
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "cifar-10-python.tar.gz").write_bytes(tarred(files))
    unpacked, packed = load(tmp_path / "unpacked"), load(tmp_path / "packed")
    assert torch.equal(unpacked.train.pixels[:], packed.train.pixels[:])
    assert unpacked.fingerprint == packed.fingerprint
    assert [path.name for path in (tmp_path / "packed").iterdir()] == ["cifar-10-python.tar.gz"]


def test_an_incomplete_folder_gives_way_to_the_archive(files: Files, publish: Publish, tmp_path: Path) -> None:
    publish(files)
    (unpack(files, tmp_path) / "data_batch_2").unlink()
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(tarred(files))
    assert len(load(tmp_path, heldout=0).train) == 100


def test_missing_data_are_downloaded_from_the_address_named(
    files: Files, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(files)
    mirror = tmp_path / "mirror.tar.gz"
    mirror.write_bytes(tarred(files))
    monkeypatch.setenv("PROTEGE_CIFAR10_URL", mirror.as_uri())
    assert "not downloaded yet" in cifar.cifar10(DataConfig(name="cifar10"), tmp_path / "data", silent).place()
    assert len(load(tmp_path / "data", heldout=0).train) == 100
    assert (tmp_path / "data" / "cifar-10-python.tar.gz").read_bytes() == mirror.read_bytes()


def test_data_are_looked_for_where_the_environment_says(
    files: Files, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(files)
    unpack(files, tmp_path / "named")
    unpack(files, tmp_path / "cache" / "protege" / "data")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PROTEGE_DATA", raising=False)
    assert data.describe("cifar10", progress=silent).place.startswith(str(tmp_path / "cache"))
    monkeypatch.setenv("PROTEGE_DATA", str(tmp_path / "named"))
    assert data.describe("cifar10", progress=silent).place.startswith(str(tmp_path / "named"))


def test_a_damaged_file_is_named_with_both_sums(files: Files, publish: Publish, tmp_path: Path) -> None:
    archive = publish(files)
    path = unpack(files, tmp_path) / "data_batch_4"
    path.write_bytes(files["data_batch_4"][:-1] + b"?")
    with pytest.raises(
        DataError, match=rf"data_batch_4 is damaged: .* and {archive.train['data_batch_4']} is the published"
    ):
        load(tmp_path)


def test_files_are_checked_once_and_again_when_they_change(
    files: Files, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(files)
    folder = unpack(files, tmp_path)
    checked: list[str] = []
    check = cifar._right

    def watched(content: bytes, expected: str, place: str, remove: Path) -> bytes:
        checked.append(Path(place).name)
        return check(content, expected, place, remove)

    monkeypatch.setattr(cifar, "_right", watched)
    load(tmp_path)
    load(tmp_path)
    assert len(checked) == 6
    os.utime(folder / "test_batch", (1, 1))
    load(tmp_path)
    assert checked[6:] == ["test_batch"]


def test_a_folder_of_somebody_else_s_is_read_without_a_stamp(
    files: Files, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(files)
    folder = unpack(files, tmp_path)

    def refuse(self: Path, *arguments: object, **named: object) -> int:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)
    assert len(load(tmp_path, heldout=0).train) == 100
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)


@pytest.mark.parametrize("what", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE])
def test_an_archive_that_unpacks_to_more_than_it_may_is_refused(
    what: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In headers too, which the library would read into memory whole."""
    monkeypatch.setattr(cifar, "LARGEST_ARCHIVE", 1 << 20)
    junk = tarfile.TarInfo("cifar-10-batches-py/junk")
    junk.type, junk.size = what, 1 << 24
    head = junk.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(gzip.compress(head + bytes(1 << 24)))
    with pytest.raises(DataError, match=r"unpacks to more than 1\.0 MB"):
        load(tmp_path)


def test_a_truncated_or_incomplete_archive_is_named(files: Files, publish: Publish, tmp_path: Path) -> None:
    publish(files)
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(tarred(files)[:30_000])
    with pytest.raises(DataError, match=f"{path} is damaged"):
        load(tmp_path)
    path.write_bytes(b"<html>")
    with pytest.raises(DataError, match=f"{path} is damaged"):
        load(tmp_path)
    path.write_bytes(tarred({name: files[name] for name in files if name != "test_batch"}))
    with pytest.raises(DataError, match="lacks cifar-10-batches-py/test_batch"):
        load(tmp_path)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("made-by-a-pickle",)


def test_a_pickle_that_would_do_something_is_refused_even_with_the_right_sum(
    files: Files, publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files["data_batch_1"] = batch(1, 20, extra=Evil())
    publish(files)
    unpack(files, tmp_path)
    with pytest.raises(UnsafePickle, match=r"data_batch_1 is a pickle that asks for \w+\.mkdir"):
        load(tmp_path)
    assert not Path("made-by-a-pickle").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pickle.dumps([1, 2], 2), "holds a list, not a batch of CIFAR-10"),
        (pickle.dumps({"data": [1, 2], "labels": [0, 0]}, 2), "no 'data' of images as rows of 3072 bytes"),
        (pickle.dumps({"data": np.zeros((2, 3072), np.float32), "labels": [0, 0]}, 2), "no 'data' of images"),
        (
            pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, 2),
            "no 'labels' with a number below 1,000 for each of its 2",
        ),
        (batch(1, 19), "holds 109 images; CIFAR-10 has 110"),
        (batch(1, 20, classes=11), "holds labels 0 to 10, but CIFAR-10 has 0 to 9"),
    ],
)
def test_wrong_contents_are_told(content: bytes, said: str, files: Files, publish: Publish, tmp_path: Path) -> None:
    files["data_batch_1"] = content
    publish(files)
    unpack(files, tmp_path)
    with pytest.raises(DataError, match=said):
        load(tmp_path)


def test_planning_needs_no_files(tmp_path: Path) -> None:
    known = data.identify(DataConfig(name="cifar100", classes=("bear", "apple")), tmp_path / "nowhere")
    assert (known.classes, known.images, known.size) == (("bear", "apple"), 50_000, 32)
    assert data.identify(DataConfig(name="cifar100", labels="coarse"), tmp_path).classes == CIFAR100_COARSE
    with pytest.raises(DataError, match="Did you mean 'bear'"):
        data.fingerprint(DataConfig(name="cifar100", classes=("beaar", "apple")), tmp_path)


# The real data: 4 s.


@pytest.fixture(scope="module")
def real() -> Path:
    named = os.environ.get("PROTEGE_DATA")
    if (
        not named
        or not (Path(named) / "cifar-10-batches-py").is_dir()
        or not (Path(named) / "cifar-100-python").is_dir()
    ):
        pytest.skip("PROTEGE_DATA names no folder with cifar-10-batches-py and cifar-100-python in it")
    return Path(named)


def means(images: data.Images) -> list[float]:
    """Of pixels from 0 to 1, per channel; whole numbers until the end."""
    channels = images.pixels[:].unbind(1)
    return [round(one.long().sum().item() / one.numel() / 255, 4) for one in channels]


@pytest.fixture(scope="module")
def real10(real: Path) -> data.Splits:
    return data.load(DataConfig(name="cifar10", heldout=0), real, silent)


@pytest.fixture(scope="module")
def real100(real: Path) -> data.Splits:
    return data.load(DataConfig(name="cifar100", heldout=0), real, silent)


def test_real_cifar10_has_its_published_counts_means_and_names(real: Path, real10: data.Splits) -> None:
    assert real10.train.labels.bincount().tolist() == [5000] * 10
    assert real10.test.labels.bincount().tolist() == [1000] * 10
    assert means(real10.train) == [0.4914, 0.4822, 0.4465]
    meta = read_pickle((real / "cifar-10-batches-py" / "batches.meta").read_bytes(), "batches.meta")
    assert isinstance(meta, dict) and tuple(meta["label_names"]) == CIFAR10 == real10.classes


def test_real_cifar100_has_its_published_counts_means_and_names(real: Path, real100: data.Splits) -> None:
    assert real100.train.labels.bincount().tolist() == [500] * 100
    assert real100.test.labels.bincount().tolist() == [100] * 100
    assert means(real100.train) == [0.5071, 0.4865, 0.4409]
    meta = read_pickle((real / "cifar-100-python" / "meta").read_bytes(), "meta")
    assert isinstance(meta, dict)
    assert tuple(meta["fine_label_names"]) == CIFAR100 and tuple(meta["coarse_label_names"]) == CIFAR100_COARSE


def test_the_default_std_is_the_real_one(real10: data.Splits, real100: data.Splits) -> None:
    for splits in (real10, real100):
        measured = (splits.train.pixels[::5].double() / 255).std((0, 2, 3)).tolist()
        assert measured == pytest.approx(splits.std, abs=0.002)


def test_repeated_images_of_cifar100_are_counted(real: Path) -> None:
    told = data.describe(DataConfig(name="cifar100", heldout=0), real, silent)
    assert told.repeats == {"train": 14, "test": 2, "test in train": 10}
    assert told.counts["train"] == (500,) * 100


def test_superclasses_of_real_cifar100_are_balanced_and_split_alike(real: Path, real100: data.Splits) -> None:
    coarse = data.load(DataConfig(name="cifar100", labels="coarse"), real, silent)
    fine = data.load("cifar100", real, silent)
    assert coarse.heldout is not None and fine.heldout is not None
    assert coarse.train.labels.bincount().tolist() == [2250] * 20
    assert torch.equal(coarse.heldout.indices, fine.heldout.indices)
    assert coarse.content == fine.content == real100.content and coarse.fingerprint != fine.fingerprint
    apples = coarse.train.labels[torch.isin(coarse.train.indices, fine.train.indices[fine.train.labels == 0])]
    assert {coarse.classes[label] for label in apples.tolist()} == {"fruit_and_vegetables"}


def test_ten_real_classes_pooled_are_split_60_20_20(real: Path, real100: data.Splits) -> None:
    config = DataConfig(name="cifar100", classes=tuple(range(10)), resplit=(0.6, 0.2, 0.2))
    pooled = data.load(config, real, silent)
    assert pooled.heldout is not None
    parts = (pooled.train, pooled.heldout, pooled.test)
    assert [part.labels.bincount().tolist() for part in parts] == [[360] * 10, [120] * 10, [120] * 10]
    assert pooled.images == 60_000
    everything = torch.cat([real100.train.pixels[:], real100.test.pixels[:]])
    for part in parts:
        assert torch.equal(part.pixels[:], everything[part.indices])


def test_a_pipe_in_place_of_an_archive_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cifar-10-python.tar.gz")
    with pytest.raises(DataError, match="no regular file"):
        data.load("cifar10", tmp_path)
