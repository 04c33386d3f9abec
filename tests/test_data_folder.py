"""Images of one's own."""

import logging
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from protege import data
from protege.data import DataConfig, reading, store
from protege.data.mapped import Mapped
from protege.data.progress import silent
from protege.data.sources import folder
from protege.data.sources.picture import decoded, endings, strict_about_bombs
from protege.errors import DataError, NotEnoughSpace
from protege.views import Views, ViewsConfig

RED, GREEN = (255, 0, 0), (0, 255, 0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "protege" / "images"


def paint(path: Path, colour: tuple[int, int, int] = RED, size: tuple[int, int] = (16, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return path


def paint_class(root: Path, name: str, count: int, colour: tuple[int, int, int] = RED) -> None:
    """Images that differ a little, so that none repeats another."""
    for number in range(count):
        paint(root / name / f"{number:03}.png", (abs(colour[0] - number), colour[1], number))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten images of each of two classes, in no parts."""
    paint_class(tmp_path / "photos", "cat", 10, RED)
    paint_class(tmp_path / "photos", "dog", 10, GREEN)
    return tmp_path / "photos"


@pytest.fixture
def parted(tmp_path: Path) -> Path:
    for part, count in (("train", 6), ("valid", 2), ("test", 3)):
        paint_class(tmp_path / "parted" / part, "cat", count, RED)
        paint_class(tmp_path / "parted" / part, "dog", count, GREEN)
    return tmp_path / "parted"


def load(root: Path, **fields: object) -> data.Splits:
    return data.load(DataConfig.model_validate({"name": f"folder:{root}", "image_size": 16, **fields}), progress=silent)


def stores(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if path.is_dir())


# What becomes of a folder


def test_folders_are_classes_and_parts_are_split_off(photos: Path) -> None:
    splits = load(photos, heldout=0.25, split="position")
    assert splits.classes == ("cat", "dog")
    assert splits.heldout is not None
    parts = (splits.train, splits.heldout, splits.test)
    assert [part.labels.bincount().tolist() for part in parts] == [[6, 6], [2, 2], [2, 2]]
    assert splits.images == 20
    assert len({int(index) for part in parts for index in part.indices}) == 20
    assert splits.train.pixels[splits.train.labels == 1][:, 1].min() == 255  # dogs are green


def test_parts_that_came_with_the_folder_are_kept(parted: Path) -> None:
    splits = load(parted)
    assert splits.heldout is not None
    assert (len(splits.train), len(splits.heldout), len(splits.test)) == (12, 4, 6)
    assert splits.heldout.indices.tolist() == [12, 13, 14, 15]
    assert splits.test.indices.tolist() == [0, 1, 2, 3, 4, 5]
    assert splits.images == 16
    assert load(parted, heldout=0).heldout is None


def test_parts_can_be_pooled_and_split_anew(parted: Path) -> None:
    splits = load(parted, resplit=(0.5, 0, 0.5), split="position")
    assert (len(splits.train), len(splits.test), splits.images) == (11, 11, 22)


def test_a_missing_test_part_is_split_off_the_training_part(parted: Path) -> None:
    shutil.rmtree(parted / "test")
    splits = load(parted, split="position")
    assert splits.heldout is not None
    assert (len(splits.train), len(splits.heldout), len(splits.test)) == (10, 4, 2)


def test_a_missing_heldout_part_is_split_off_the_training_part(parted: Path) -> None:
    shutil.rmtree(parted / "valid")
    splits = load(parted, heldout=4)
    assert splits.heldout is not None
    assert (len(splits.train), len(splits.heldout), len(splits.test)) == (8, 4, 6)


def test_images_are_64_pixels_wide_unless_asked_otherwise(photos: Path) -> None:
    assert data.load(f"folder:{photos}", progress=silent).train.pixels.shape[1:] == (3, 64, 64)


def test_normalisation_is_measured_on_the_training_part_alone(tmp_path: Path) -> None:
    for part, grey in (("train", 51), ("train", 102), ("test", 255)):
        for name in ("a", "b"):
            paint(tmp_path / "set" / part / name / f"{grey}.png", (grey, grey, grey))
    splits = load(tmp_path / "set", heldout=0)
    assert splits.mean == (0.3, 0.3, 0.3)
    assert splits.std == (0.1, 0.1, 0.1)
    assert load(tmp_path / "set", heldout=0, mean=(0.5, 0.5, 0.5)).mean == (0.5, 0.5, 0.5)


def test_one_colour_alone_does_not_divide_by_zero(tmp_path: Path) -> None:
    paint(tmp_path / "set" / "a" / "1.png")
    for name in ("a", "b"):
        for number in range(5):
            paint(tmp_path / "set" / name / f"{number}.png")
    assert min(load(tmp_path / "set").std) > 0


def test_deeper_folders_links_hidden_and_foreign_files(photos: Path, tmp_path: Path) -> None:
    paint(photos / "cat" / "indoors" / "sofa" / "010.PNG")
    paint(tmp_path / "elsewhere" / "011.png")
    (photos / "cat" / "linked").symlink_to(tmp_path / "elsewhere")
    (photos / "cat" / "circle").symlink_to(photos / "cat")
    paint(photos / "cat" / ".hidden.png")
    paint(photos / ".thumbnails" / "1.png")
    paint(photos / "__MACOSX" / "1.png")
    (photos / "cat" / "notes.txt").write_text("a cat")
    (photos / "labels.csv").write_text("1,cat")
    splits = load(photos, heldout=0, resplit=(0.5, 0, 0.5))
    assert splits.classes == ("cat", "dog")
    assert splits.images == 22


# Folders that cannot be used


def refused(root: Path, **fields: object) -> str:
    with pytest.raises(DataError) as caught:
        load(root, **fields)
    return str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert "is not a folder, or not on this machine" in refused(tmp_path / "photos")
    paint(tmp_path / "photo.png")
    assert "is not a folder but a file" in refused(tmp_path / "photo.png")


def test_no_classes_one_class_and_loose_images(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    assert "images of each class belong in a folder" in refused(root)
    paint(root / "1.png")
    assert "It holds images outside any" in refused(root)
    paint(root / "cats" / "1.png")
    assert "holds the one class 'cats', and there must be two" in refused(root)


def test_a_folder_around_the_folder_is_pointed_at(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "download").mkdir()
    photos.rename(tmp_path / "download" / "photos")
    assert f"name folder:{tmp_path / 'download' / 'photos'}" in refused(tmp_path / "download")


def test_a_class_without_images_is_named(photos: Path) -> None:
    (photos / "emu").mkdir()
    assert "Class 'emu' has no images" in refused(photos)
    (photos / "emu" / "1.heic").touch()
    assert "only files that end in .heic, which Pillow does not read" in refused(photos)


def test_a_folder_that_may_not_be_read_is_named(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refuse(place: str | Path) -> object:
        if str(place).endswith("cat"):
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    assert f"{photos / 'cat'} cannot be read: Permission denied" in refused(photos)


def test_a_class_that_only_testing_knows_is_named(parted: Path) -> None:
    (parted / "test" / "dog").rename(parted / "test" / "dogs")
    assert "class 'dogs' that the training part lacks. Did you mean 'dog'?" in refused(parted)


def test_a_test_part_without_labels_is_not_replaced_in_silence(parted: Path) -> None:
    shutil.rmtree(parted / "test")
    paint(parted / "test" / "1.png")
    assert "has no class folders. Sort its images into cat, dog" in refused(parted)


def test_parts_that_do_not_make_sense(parted: Path, tmp_path: Path) -> None:
    (parted / "extra").mkdir()
    assert load(parted).classes == ("cat", "dog")
    paint(parted / "val" / "cat" / "1.png")
    assert "has both" in refused(parted)
    shutil.rmtree(parted / "val")
    shutil.rmtree(parted / "valid")
    shutil.rmtree(parted / "test")
    assert "is 'train' a class, or a part?" in refused(parted)
    shutil.rmtree(parted / "extra")
    (parted / "train").rename(parted / "test")
    assert "has test/ but no train/" in refused(parted)


def test_train_may_be_the_name_of_a_class(tmp_path: Path) -> None:
    for name in ("train", "bus"):
        paint_class(tmp_path / "vehicles", name, 10)
    assert load(tmp_path / "vehicles").classes == ("bus", "train")


def test_a_class_too_small_for_its_heldout_share_is_named(photos: Path) -> None:
    paint(photos / "emu" / "1.png")
    assert "leaves no training images of 'emu'" in refused(photos, heldout=0.9, split="position")


# Files that cannot be read


def test_a_few_unreadable_files_are_left_out_and_listed(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "set"
    paint_class(root, "cat", 30)
    paint_class(root, "dog", 30)
    (root / "cat" / "000.png").write_bytes(b"")
    whole = (root / "dog" / "000.png").read_bytes()
    (root / "dog" / "000.png").write_bytes(whole[: len(whole) // 2])
    (root / "dog" / "gone.png").symlink_to(root / "nowhere.png")
    with caplog.at_level(logging.WARNING):
        splits = load(root, heldout=0, resplit=(0.5, 0, 0.5))
    assert splits.images == 58
    list_file = stores(cache)[0].with_name(stores(cache)[0].name + ".unreadable.txt")
    assert [line.split("\t")[0] for line in list_file.read_text().splitlines()] == [
        "cat/000.png",
        "dog/000.png",
        "dog/gone.png",
    ]
    assert caplog.messages == [f"3 of the 61 images in {root} cannot be read and are left out; {list_file} lists them."]
    assert (stores(cache)[0] / "files.txt").read_text().splitlines()[0] == "cat/001.png"


def test_many_unreadable_files_are_an_error_and_leave_no_store(photos: Path, cache: Path) -> None:
    (photos / "cat" / "000.png").write_bytes(b"")
    assert load(photos, heldout=0).images == 19  # one is always forgiven
    (photos / "dog" / "000.png").write_bytes(b"GIF89a")
    said = refused(photos)
    assert "2 of the 20 images" in said and "(cat/000.png, dog/000.png...; the first: " in said
    list_file = Path(said.split("listed in ")[1].split(": repair")[0])
    assert len(list_file.read_text().splitlines()) == 2
    assert len(stores(cache)) == 1


def test_a_class_of_which_nothing_can_be_read_is_named(photos: Path) -> None:
    (photos / "emu").mkdir()
    (photos / "emu" / "1.png").write_bytes(b"no image")
    assert "No training image of class 'emu'" in refused(photos)


def test_a_decompression_bomb_is_not_decoded(tmp_path: Path) -> None:
    """A small file whose header promises 30,000 x 30,000 pixels."""
    path = tmp_path / "bomb.png"
    Image.new("1", (16, 16)).save(path)
    content = path.read_bytes()
    header = b"IHDR" + struct.pack(">II", 30_000, 30_000) + content[24:29]
    path.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])
    with (
        strict_about_bombs(),
        pytest.raises((Image.DecompressionBombError, Image.DecompressionBombWarning), match="900000000 pixels"),
    ):
        decoded(path, 16)


# Any picture


def one(path: Path, image: Image.Image, **options: Any) -> list[int]:
    """The middle pixel of the image, written to a file and read as data are."""
    image.save(path, **options)
    pixels = decoded(path, 8)
    assert pixels.shape == (3, 8, 8) and pixels.dtype == np.uint8
    return pixels[:, 4, 4].tolist()


def test_any_mode_becomes_rgb(tmp_path: Path) -> None:
    square = Image.new("RGB", (20, 20), (255, 0, 0))
    assert one(tmp_path / "palette.png", square.convert("P")) == [255, 0, 0]
    assert one(tmp_path / "grey.png", Image.new("L", (20, 20), 77)) == [77, 77, 77]
    assert one(tmp_path / "bits.png", Image.new("1", (20, 20), 1)) == [255, 255, 255]
    assert one(tmp_path / "one.gif", square) == [255, 0, 0]
    assert one(tmp_path / "one.webp", square, lossless=True) == [255, 0, 0]
    assert one(tmp_path / "cmyk.tif", Image.new("CMYK", (20, 20), (0, 255, 255, 0))) == [255, 0, 0]
    assert one(tmp_path / "one.bmp", square) == [255, 0, 0]
    red, green, blue = one(tmp_path / "one.jpg", square, quality=95)
    assert red > 250 and green < 5 and blue < 5


def test_transparent_pixels_lie_on_white(tmp_path: Path) -> None:
    assert one(tmp_path / "clear.png", Image.new("RGBA", (20, 20), (255, 0, 0, 0))) == [255, 255, 255]
    assert one(tmp_path / "half.png", Image.new("LA", (20, 20), (0, 128))) == [127, 127, 127]
    palette = Image.new("RGB", (20, 20), (255, 0, 0)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert one(tmp_path / "clear.gif", palette, transparency=palette.getpixel((0, 0))) == [255, 255, 255]


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    grey = Image.fromarray(np.full((20, 20), 0x8040, np.uint16))
    assert one(tmp_path / "deep.png", grey) == [128, 128, 128]
    assert one(tmp_path / "deep.tif", grey) == [128, 128, 128]


@pytest.mark.parametrize(("values", "kind"), [([0, 4095], "u2"), ([0, 255], "i4"), ([-5, 70_000], "i4")])
def test_values_whose_white_is_anyone_s_guess_are_refused(values: list[int], kind: str, tmp_path: Path) -> None:
    """Twelve bits in a file of sixteen would come out nearly black, eight in one of thirty-two quite black."""
    with pytest.raises(ValueError, match=r"grey values from .* where white should be 65535"):
        one(tmp_path / "deep.tif", Image.fromarray(np.tile(np.array(values, kind), (20, 10))))


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="floating-point"):
        one(tmp_path / "float.tif", Image.fromarray(np.ones((20, 20), np.float32)))


def test_exif_turns_the_image_and_damaged_exif_does_not_matter(tmp_path: Path) -> None:
    """Left half red, right half blue; orientation 6 turns it a quarter clockwise, so that red is on top."""
    halves = Image.new("RGB", (32, 32), (0, 0, 255))
    halves.paste((255, 0, 0), (0, 0, 16, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    halves.save(tmp_path / "turned.png", exif=exif)
    pixels = decoded(tmp_path / "turned.png", 8)
    assert pixels[:, 1, 4].tolist() == [255, 0, 0] and pixels[:, 6, 4].tolist() == [0, 0, 255]
    halves.save(tmp_path / "damaged.jpg", exif=b"Exif\x00\x00" + b"MM\x00\x2a\xff\xff\xff\xff")
    with strict_about_bombs():
        assert decoded(tmp_path / "damaged.jpg", 8).shape == (3, 8, 8)


def test_the_shorter_side_is_fitted_and_the_middle_kept(tmp_path: Path) -> None:
    """Three squares beside each other, red, green, blue: the green one stays."""
    flag = Image.new("RGB", (96, 32), GREEN)
    flag.paste(RED, (0, 0, 32, 32))
    flag.paste((0, 0, 255), (64, 0, 96, 32))
    flag.save(tmp_path / "flag.png")
    assert decoded(tmp_path / "flag.png", 32).transpose(1, 2, 0).reshape(-1, 3).tolist() == [list(GREEN)] * 1024


def test_shrinking_averages_and_does_not_skip(tmp_path: Path) -> None:
    board = np.indices((128, 128)).sum(0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "board.png")
    middle = decoded(tmp_path / "board.png", 8)[:, 2:6, 2:6]
    assert 120 <= middle.min() <= middle.max() <= 135


def test_usual_endings_are_known_and_documents_are_not() -> None:
    assert {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm"} <= endings()
    assert not {".pdf", ".eps", ".mpg", ".h5", ".txt"} & endings()


# The store


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    decode: Callable[[Path, int], np.ndarray] = folder.decoded

    def watched(path: Path, side: int) -> np.ndarray:
        names.append(path.name)
        return decode(path, side)

    monkeypatch.setattr(folder, "decoded", watched)
    return names


def test_images_are_decoded_once_until_a_file_changes(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = counted(monkeypatch)
    first = load(photos)
    again = load(photos, heldout=0.5, limit=2)
    assert len(names) == 20
    assert again.content == first.content
    paint(photos / "cat" / "000.png", GREEN)
    changed = load(photos)
    assert len(names) == 40
    assert changed.content != first.content and changed.fingerprint != first.fingerprint


def test_a_moved_folder_keeps_its_fingerprint(photos: Path, tmp_path: Path) -> None:
    before = load(photos)
    shutil.copytree(photos, tmp_path / "other" / "photos", copy_function=shutil.copy)  # dates change
    after = load(tmp_path / "other" / "photos")
    assert before.fingerprint == after.fingerprint
    shutil.rmtree(photos / "dog")
    (photos / "cat").rename(photos / "dog")
    paint_class(photos, "cat", 10, GREEN)
    assert load(photos).fingerprint != before.fingerprint


def test_pixels_are_mapped_and_the_file_cannot_be_changed_through_them(photos: Path, cache: Path) -> None:
    source = data.DATASETS["folder"](DataConfig(name=f"folder:{photos}", image_size=16), None, silent)
    file = stores(cache)[0] / "pixels.u8"
    before = file.read_bytes()
    pixels = source.read().pixels
    pixels[:].zero_()
    assert file.read_bytes() == before
    assert int(pixels[:].max()) == 255


def test_a_large_part_stays_in_its_file_however_it_is_scattered(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = load(photos, heldout=0.25)
    monkeypatch.setattr(reading, "WORTH_MAPPING", 0)
    mapped = load(photos, heldout=0.25)
    assert mapped.heldout is not None and copied.heldout is not None
    for kept, part in ((mapped.train, copied.train), (mapped.heldout, copied.heldout), (mapped.test, copied.test)):
        assert isinstance(kept.pixels, Mapped)
        assert (kept.pixels.shape, kept.pixels.nbytes) == (part.pixels.shape, part.pixels.nbytes)
        assert torch.equal(kept.pixels[:], part.pixels[:])
        few = torch.tensor([1, 0])
        assert torch.equal(kept.at(few).pixels[:], part.pixels[few])
        assert torch.equal(kept.pixels[1], part.pixels[1])
    views = Views(ViewsConfig(crop="resized", mix="cutmix"), 16)
    seen = [views.render(one.train, torch.arange(10), 0, 0).pixels for one in (mapped, copied)]
    assert torch.equal(seen[0], seen[1])


def test_a_store_larger_than_memory_can_be_mapped(tmp_path: Path) -> None:
    """A file full of holes, 4 TB by its length. A map that could be written to would be refused by most systems."""
    side, count = 1024, 4_000_000_000_000 // (3 * 1024**2)
    with (tmp_path / "pixels.u8").open("wb") as file:
        file.truncate(count * 3 * side**2)
    pixels = store.Store(tmp_path, {"count": count, "size": side}).pixels()
    assert len(pixels) == count
    assert int(pixels.at(np.array([5, count - 1]))[1].max()) == 0


def test_what_cannot_be_mapped_or_written_is_told_before_the_first_image_is_decoded(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    names = counted(monkeypatch)
    monkeypatch.setattr(np, "memmap", refuse)
    with pytest.raises(NotEnoughSpace, match=r"holds 15\.4 kB, more than this process may map"):
        load(photos)
    assert (names, stores(cache)) == ([], [])


@pytest.mark.parametrize(
    "fields", [{"classes": ("cat", "emu")}, {"heldout": 500}, {"limit": 1}, {"resplit": (0.001, 0, 0.999)}]
)
def test_a_split_that_cannot_be_made_is_told_before_the_first_image_is_decoded(
    fields: dict[str, object], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = counted(monkeypatch)
    refused(photos, **fields)
    assert names == []


def test_a_store_that_is_not_whole_is_made_anew(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(photos)
    with (stores(cache)[0] / "pixels.u8").open("r+b") as file:
        file.truncate(1000)
    names = counted(monkeypatch)
    again = load(photos)
    assert len(names) == 20
    assert torch.equal(first.train.pixels[:], again.train.pixels[:])


def test_an_interrupted_decoding_leaves_nothing(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path, side: int) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "decoded", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(photos)
    assert stores(cache) == []


def test_runs_that_start_at_once_decode_once(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = counted(monkeypatch)
    with ThreadPoolExecutor(3) as pool:
        loaded = list(pool.map(load, [photos] * 3))
    assert len(names) == 20
    assert len({splits.fingerprint for splits in loaded}) == 1


def test_a_full_disk_is_told_with_its_figures(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with pytest.raises(NotEnoughSpace, match=rf"needs 15,360 bytes \(15\.4 kB\) in {cache}, where 10 B are free"):
        load(photos)


def test_too_little_memory_is_told_before_it_is_taken(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Path.read_text

    def poor(self: Path) -> str:
        return "MemTotal: 1 kB\nMemAvailable: 1 kB\n" if str(self) == "/proc/meminfo" else original(self)

    monkeypatch.setattr(Path, "read_text", poor)
    with pytest.raises(NotEnoughSpace, match=r"of memory, and 1\.0 kB are free"):
        load(photos)


def test_threads_return_images_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "AHEAD", 7)
    assert list(store.each(lambda number: number * number, range(50))) == [number * number for number in range(50)]


def test_a_resized_cifar_is_made_once_and_named_apart(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = data.load("cifar10-mini", progress=silent)
    large = data.load(DataConfig(name="cifar10-mini", image_size=40), progress=silent)
    assert large.train.pixels.shape == (4500, 3, 40, 40)
    assert large.train.indices.tolist() == small.train.indices.tolist()
    assert large.content != small.content and large.fingerprint != small.fingerprint
    shrunk = torch.nn.functional.interpolate(large.train.pixels[:9].float(), size=32, mode="bicubic", antialias=True)
    assert (shrunk - small.train.pixels[:9]).abs().mean() < 4  # grey levels
    made = stores(cache)[0] / "pixels.u8"
    os.utime(made, (1, 1))
    data.load(DataConfig(name="cifar10-mini", image_size=40), progress=silent)
    assert made.stat().st_mtime == 1
    same = data.load(DataConfig(name="cifar10-mini", image_size=32), progress=silent)
    assert same.fingerprint == small.fingerprint
