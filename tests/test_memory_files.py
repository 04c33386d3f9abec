"""The files of a teacher's memory: damage is found, and a full disk ends the storing and not the run."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from memory_cases import CLASSES, IMAGES, VIEWS, asker, everything, filled, opened, word

from protege.errors import RunError
from protege.runs.files import allocated
from protege.teacher import memory_files
from protege.teacher.memory import Memory, answers

ROW = 4 * (CLASSES // 2 + 1)  # bytes: ten values of two bytes, and the checksum


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "memory"


def flip_bit(path: Path, byte: int, bit: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(byte)
        found = file.read(1)[0]
        file.seek(byte)
        file.write(bytes([found ^ (1 << bit)]))


# ---- damage ----


def test_a_flipped_bit_makes_a_row_unknown_and_is_said_once(root: Path) -> None:
    filled(root).close()
    heard: list[str] = []
    memory = opened(root, say=heard.append)
    flip_bit(memory.folder / "rows.bin", 2 * ROW + 5, bit=3)
    flip_bit(memory.folder / "rows.bin", 7 * ROW + ROW - 1)  # in a checksum
    _, known = memory.recall(*everything())
    assert (~known).nonzero().flatten().tolist() == [2, 7]
    assert memory.damaged == 2
    ask, _ = asker(*everything())
    said = answers(memory, *everything(), ask, batch_size=4)
    assert said.asked == 2
    assert torch.equal(said.logits, word(*everything()))
    assert opened(root).recall(*everything())[1].all()
    assert len(heard) == 1
    assert "rows.bin holds damaged rows (2 of" in heard[0]


@pytest.mark.parametrize("name", ["rows.bin", "places.bin"])
def test_no_flipped_bit_ever_gives_a_wrong_word(root: Path, name: str) -> None:
    indices, numbers = everything()
    path = filled(root).folder / name
    drawn = random.Random(0)
    start = 0 if name == "rows.bin" else memory_files.PAGE
    size = IMAGES * VIEWS * (ROW if name == "rows.bin" else 4)
    for _ in range(200):
        byte, bit = start + drawn.randrange(size), drawn.randrange(8)
        flip_bit(path, byte, bit)
        recalled, known = opened(root, say=lambda _: None).recall(indices, numbers)
        flip_bit(path, byte, bit)
        assert known.sum() == len(known) - 1
        assert torch.equal(recalled[known], word(indices, numbers)[known])


def test_rows_in_each_others_places_are_not_believed(root: Path) -> None:
    path = filled(root).folder / "rows.bin"
    rows = bytearray(path.read_bytes())
    rows[:ROW], rows[ROW : 2 * ROW] = rows[ROW : 2 * ROW], rows[:ROW]  # another image, same view
    of_view_1 = slice(IMAGES * ROW + 5 * ROW, IMAGES * ROW + 6 * ROW)
    of_view_0 = slice(5 * ROW, 6 * ROW)
    rows[of_view_0], rows[of_view_1] = rows[of_view_1], rows[of_view_0]  # another view, same image
    path.write_bytes(rows)
    _, known = opened(root, say=lambda _: None).recall(*everything())
    assert (~known).nonzero().flatten().tolist() == [0, 1, 5, IMAGES + 5]


def test_rows_of_another_teacher_are_not_believed(root: Path) -> None:
    theirs, ours = filled(root, "another"), filled(root)
    (ours.folder / "rows.bin").write_bytes((theirs.folder / "rows.bin").read_bytes())
    memory = opened(root, say=lambda _: None)
    assert not memory.recall(*everything())[1].any()
    assert memory.damaged == IMAGES * VIEWS


@pytest.mark.parametrize("left", [0, 1, ROW * 100 + 7])
def test_a_rows_file_cut_short_loses_only_what_was_cut(root: Path, left: int) -> None:
    path = filled(root).folder / "rows.bin"
    os.truncate(path, left)
    memory = opened(root, say=lambda _: None)
    assert memory.recall(*everything())[1].sum() == left // ROW
    memory.store(*everything(), word(*everything()))
    assert torch.equal(opened(root).recall(*everything())[0], word(*everything()))


def test_a_places_file_cut_short_loses_only_what_was_cut(root: Path) -> None:
    path = filled(root).folder / "places.bin"
    os.truncate(path, memory_files.PAGE + 4 * IMAGES * 2 + 10)
    memory = opened(root)
    assert memory.recall(*everything())[1].tolist() == [True] * (2 * IMAGES) + [False] * (4 * IMAGES)
    memory.store(*everything(), word(*everything()))
    assert torch.equal(opened(root).recall(*everything())[0], word(*everything()))


def test_a_wrong_count_of_rows_is_not_believed(root: Path) -> None:
    memory = opened(root)
    indices, numbers = everything()
    memory.store(indices[:50], numbers[:50], word(indices[:50], numbers[:50]))
    flip_bit(memory.folder / "places.bin", memory_files.PAGE - 2)  # 2^48 rows
    memory.store(indices, numbers, word(indices, numbers))
    assert torch.equal(opened(root).recall(indices, numbers)[0], word(indices, numbers))


def test_a_lost_rows_file_is_made_again(root: Path) -> None:
    (filled(root).folder / "rows.bin").unlink()
    memory = opened(root, say=lambda _: None)
    assert not memory.recall(*everything())[1].any()
    memory.store(*everything(), word(*everything()))
    assert memory.recall(*everything())[1].all()


@pytest.mark.parametrize("content", [b"", b"something else", bytes(10_000)])
def test_a_foreign_file_is_an_error_that_names_it(root: Path, content: bytes) -> None:
    path = filled(root).folder / "places.bin"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"places.bin is damaged, or not part of this memory. Remove"):
        opened(root)


# ---- room ----


def test_the_disk_holds_only_what_was_said(root: Path) -> None:
    """CIFAR-100's 162 views of 2,000 images would be 65 MB; three of them are 1.2 MB, beside 1.3 MB of places."""
    memory = opened(root, images=2000, views=162, classes=100)
    for view in (160, 0, 7):
        indices = torch.arange(2000)
        numbers = torch.full_like(indices, view)
        memory.store(indices, numbers, word(indices, numbers, 100))
    rows, places = 3 * 2000 * 204, 2000 * 162 * 4
    assert allocated(root) - rows - places < 50_000


def test_a_stream_grows_without_writing_anything_anew(root: Path) -> None:
    memory = opened(root, images=2000, views=None)
    indices = torch.arange(2000)
    for epoch in range(20):
        numbers = torch.full_like(indices, epoch)
        memory.store(indices, numbers, word(indices, numbers))
    assert memory.count_known() == 40_000
    before = memory.folder.joinpath("rows.bin").read_bytes()[: 40_000 * ROW]
    memory.store(indices, torch.full_like(indices, 99), word(indices, indices % 8))
    assert memory.folder.joinpath("rows.bin").read_bytes()[: 40_000 * ROW] == before
    assert allocated(root) < 42_000 * ROW + 104 * 2000 * 4 + 50_000
    recalled, known = opened(root, images=2000, views=None).recall(indices, torch.full_like(indices, 19))
    assert known.all()
    assert torch.equal(recalled, word(indices, torch.full_like(indices, 19)))


def serves_but_takes_no_more(memory: Memory, heard: list[str], reason: str) -> None:
    """Ends the storing, says so once, and the answers stay right."""
    stored = memory.count_known()
    assert memory.full
    assert reason in memory.full
    indices, numbers = everything(memory.extent.images)
    ask, _ = asker(indices, numbers)
    for _ in range(2):
        said = answers(memory, indices, numbers, ask, batch_size=16)
        assert said.asked == len(indices) - stored
        assert torch.equal(said.logits, word(indices, numbers))
    assert memory.count_known() == stored
    assert len([line for line in heard if "takes no more" in line]) == 1


def test_the_limit_is_for_the_whole_folder_and_is_kept(root: Path) -> None:
    filled(root, "another")
    limit = allocated(root) + 100_000
    heard: list[str] = []
    memory = opened(root, images=1000, limit_bytes=limit, say=heard.append)
    indices, numbers = everything(1000)
    for part in torch.arange(len(indices)).split(50):
        memory.store(indices[part], numbers[part], word(indices[part], numbers[part]))
    assert limit - 15_000 < allocated(root) <= limit
    assert 2000 < memory.count_known() < 6000
    serves_but_takes_no_more(memory, heard, "MB are used")


def test_a_disk_that_is_nearly_full_is_left_to_checkpoints(root: Path) -> None:
    heard: list[str] = []
    memory = opened(root, spare_bytes=10**18, say=heard.append)
    memory.store(*everything(), word(*everything()))
    assert memory.count_known() == 0
    serves_but_takes_no_more(memory, heard, "stay so for checkpoints")


def test_a_write_that_fails_halfway_changes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    memory = opened(root, say=heard.append)
    indices, numbers = everything()
    memory.store(indices[:50], numbers[:50], word(indices[:50], numbers[:50]))
    write = os.pwrite

    def half(descriptor: int, data: memoryview, offset: int) -> int:
        if len(data) < 300:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[: len(data) // 2], offset)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", half)
        assert torch.equal(memory.store(indices, numbers, word(indices, numbers)), word(indices, numbers))
    assert memory.count_known() == 50
    serves_but_takes_no_more(memory, heard, "No space left")
    later = opened(root)
    later.store(indices, numbers, word(indices, numbers))
    assert torch.equal(later.recall(indices, numbers)[0], word(indices, numbers))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("filler", [0, 200_000, 255_000, 10**6])
def test_a_full_disk_ends_the_storing_and_not_the_run(small_disk: Path, filler: int) -> None:
    """Whichever of the files is the one that finds no room, and although the disk looked large enough."""
    with (small_disk / "filler").open("wb", buffering=0) as file:
        while filler > 0 and (written := write_if_possible(file.fileno(), bytes(min(filler, 4096)))):
            filler -= written
    heard: list[str] = []
    memory = opened(small_disk / "memory", images=1000, views=20, spare_bytes=-(10**9), say=heard.append)
    indices = torch.arange(1000)
    for view in range(20):
        numbers = torch.full_like(indices, view)
        said = answers(
            memory, indices, numbers, lambda positions, view=view: word(positions, positions * 0 + view), 128
        )
        assert torch.equal(said.logits, word(indices, numbers))
        again, known = memory.recall(indices, numbers)
        assert torch.equal(again[known], said.logits[known])
    assert memory.full == "No space left on device"
    assert len(heard) == 1


def write_if_possible(descriptor: int, data: bytes) -> int:
    try:
        return os.write(descriptor, data)
    except OSError:
        return 0
