"""What everything else relies on: parts that share nothing, and fingerprints that tell data apart."""

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from protege import data
from protege.data import DataConfig, Images, Source
from protege.data.base import Published, at_a_time
from protege.data.places import cache_folder, data_folder, size
from protege.data.progress import bar, lines, shown, silent
from protege.errors import DataError

OFFICIAL = {
    "cifar10": "8a90bfcfdc4493647618f03ad9368b34616cc85acca113a77ee5f2f7bb6c8311",
    "cifar100": "0d332ea2661d78c7be82f5446d521c0e569ac0660f36fbc6708c1a813506aac8",
    "cifar10-mini": "5119ded18e7869d91ca75e5e96bbc1eef264af2a0a9d7298eab139799a983833",
}
CHANGES: list[dict[str, object]] = [
    {},
    {"heldout": 500},
    {"heldout": 0},
    {"heldout_seed": 1},
    {"classes": ("cat", "dog")},
    {"classes": ("dog", "cat")},
    {"imbalance": 10},
    {"limit": 100},
    {"resplit": (0.6, 0.2, 0.2)},
    {"resplit": (0.5, 0.25, 0.25)},
    {"mean": (0.5, 0.5, 0.5)},
    {"std": (0.25, 0.25, 0.25)},
    {"image_size": 40},
]


def fingerprint(**fields: object) -> str:
    return data.fingerprint(DataConfig.model_validate({"name": "cifar10-mini", **fields}), progress=silent)


def test_whatever_changes_the_data_changes_the_fingerprint() -> None:
    assert len({fingerprint(**change) for change in CHANGES}) == len(CHANGES)


def test_what_changes_nothing_leaves_the_fingerprint_alone() -> None:
    assert fingerprint(classes=("cat", "dog")) == fingerprint(classes=(3, "5"))
    assert fingerprint(image_size=32) == fingerprint()
    assert fingerprint(heldout=0, heldout_seed=1) == fingerprint(heldout=0)
    assert fingerprint(resplit=(0.6, 0.2, 0.2), heldout=7) == fingerprint(resplit=(0.6, 0.2, 0.2))


def test_only_other_pixels_make_another_content() -> None:
    contents = {
        data.identify(DataConfig.model_validate({"name": "cifar10-mini", **change}), progress=silent).content
        for change in CHANGES
    }
    assert len(contents) == 2  # 32 and 40 pixels


def test_official_fingerprints_do_not_change_from_one_version_to_the_next() -> None:
    """Finished runs are found by them."""
    assert data.fingerprint("cifar10", Path("nowhere")) == OFFICIAL["cifar10"]
    assert data.fingerprint("cifar100", Path("elsewhere")) == OFFICIAL["cifar100"]
    assert fingerprint() == OFFICIAL["cifar10-mini"]


@pytest.mark.parametrize("change", CHANGES[:10])
def test_what_is_planned_is_what_is_loaded(change: dict[str, object]) -> None:
    config = DataConfig.model_validate({"name": "cifar10-mini", **change})
    planned, loaded = data.identify(config), data.load(config, progress=silent)
    for name in ("name", "classes", "images", "mean", "std", "fingerprint", "content"):
        assert getattr(planned, name) == getattr(loaded, name)
    assert loaded.train.pixels.shape[-1] == planned.size


@pytest.mark.parametrize("change", [{}, {"classes": ("cat", "dog"), "imbalance": 5, "limit": 300}])
def test_no_image_is_in_two_parts(change: dict[str, object]) -> None:
    splits = data.load(DataConfig.model_validate({"name": "cifar10-mini", **change}), progress=silent)
    assert splits.heldout is not None
    assert not torch.isin(splits.heldout.indices, splits.train.indices).any()
    assert int(splits.train.indices.max()) < splits.images
    told = {bytes(image.numpy().tobytes()) for image in splits.train.pixels}
    for part in (splits.heldout, splits.test):
        assert not any(image.numpy().tobytes() in told for image in part.pixels)


def test_an_image_stays_at_its_index_however_the_data_are_split() -> None:
    whole = data.load(DataConfig(name="cifar10-mini", heldout=0), progress=silent)
    some = data.load(DataConfig(name="cifar10-mini", classes=("dog", "cat"), limit=50), progress=silent)
    assert torch.equal(some.train.pixels[:], whole.train.pixels[some.train.indices])
    assert whole.train.labels[some.train.indices].tolist() == [5 - 2 * label for label in some.train.labels.tolist()]


def test_large_images_are_looked_at_by_fewer_at_a_time() -> None:
    assert [at_a_time(500, side) for side in (8, 32, 64, 128, 224, 1024)] == [500, 500, 500, 125, 40, 1]


def test_images_can_be_chosen_by_position() -> None:
    images = Images(torch.arange(24, dtype=torch.uint8).view(2, 3, 2, 2), torch.tensor([4, 5]), torch.tensor([70, 80]))
    chosen = images.at(torch.tensor([1])).to("cpu")
    assert (len(chosen), chosen.labels.tolist(), chosen.indices.tolist()) == (1, [5], [80])
    assert chosen.pixels[:].flatten().tolist() == list(range(12, 24))


def own(pixels: torch.Tensor, labels: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> data.Splits:
    """A dataset of somebody's own, named in DATASETS."""
    source = Source(
        classes=("no", "yes"),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        size=8,
        parts=(16, 0, 4),
        content="mine",
        place=lambda: "memory",
        read=lambda: Published(pixels, labels, labels),
    )
    monkeypatch.setitem(data.DATASETS, "mine", lambda config, folder, progress: source)
    return data.load(DataConfig(name="mine", heldout=4))


def test_a_dataset_of_one_s_own_is_a_function_named_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    splits = own(torch.zeros(20, 3, 8, 8, dtype=torch.uint8), torch.arange(20) % 2, monkeypatch)
    assert (len(splits.train), splits.test.labels.tolist()) == (12, [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("pixels", "labels", "said"),
    [
        (torch.zeros(20, 3, 8, 8), torch.arange(20) % 2, r"float32 \[20, 3, 8, 8\]; they must be uint8"),
        (torch.zeros(19, 3, 8, 8, dtype=torch.uint8), torch.arange(20) % 2, r"must be uint8 \[20, 3, 8, 8\]"),
        (torch.zeros(20, 3, 8, 8, dtype=torch.uint8), torch.zeros(20), r"labels are torch.float32"),
        (torch.zeros(20, 3, 8, 8, dtype=torch.uint8), torch.arange(20) % 3, "labels outside 0 to 1"),
    ],
)
def test_a_dataset_of_one_s_own_that_is_wrong_is_told_how(
    pixels: torch.Tensor, labels: torch.Tensor, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=said):
        own(pixels, labels, monkeypatch)


def test_folders_are_the_one_named_then_the_environment_s_then_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    monkeypatch.setenv("PROTEGE_DATA", "/big/disk")
    assert data_folder(Path("/here")) == Path("/here")
    assert data_folder() == Path("/big/disk")
    monkeypatch.delenv("PROTEGE_DATA")
    assert data_folder() == Path("/var/cache/protege/data")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path.home() / ".cache" / "protege"


def test_log_files_get_a_line_every_ten_seconds_and_one_at_the_end() -> None:
    written = io.StringIO()
    now = [0.0]
    console = Console(file=written, width=200)
    with lines("set.tar.gz", 100_000_000, "bytes", console, clock=lambda: now[0]) as reached:
        for now[0], done in ((1.0, 20_000_000), (12.0, 44_000_000), (15.0, 70_000_000), (23.0, 100_000_000)):
            reached(done)
    assert written.getvalue().splitlines() == [
        "set.tar.gz: 44.0 MB of 100.0 MB, 2.0 MB/s, 28 s left",
        "set.tar.gz: 100.0 MB of 100.0 MB, 3.5 MB/s, 0 s left",
        "set.tar.gz: 100.0 MB in 23 s",
    ]


def test_terminals_get_a_bar_with_bytes_and_speed() -> None:
    written = io.StringIO()
    with bar("set.tar.gz", 2_000_000, "bytes", Console(file=written, width=100, force_terminal=True)) as reached:
        reached(2_000_000)
    assert "set.tar.gz" in written.getvalue() and "2.0/2.0 MB" in written.getvalue()


def test_progress_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with shown("decoding [photos]", 3, "images") as reached:
        reached(3)
    with silent("decoding", 3, "images") as reached:
        reached(3)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "decoding [photos]: 3 images in 0 s\n")


def test_sizes_are_told_in_units() -> None:
    assert [size(999), size(170_498_071), size(2.5e12)] == ["999 B", "170.5 MB", "2.5 TB"]
