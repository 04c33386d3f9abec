"""All memories of a folder: listed, dropped, and kept from being dropped."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from memory_cases import CLASSES, IMAGES, VIEWS, everything, filled, opened, word

from protege.errors import RunError
from protege.runs.files import allocated
from protege.teacher.memory_folder import drop, overview


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "memory"


def test_the_overview_tells_whose_words_and_how_many(root: Path) -> None:
    assert overview(root) == []
    filled(root).close()
    stream = opened(root, "of a stream", views=None)
    stream.store(torch.tensor([1]), torch.tensor([3]), torch.zeros(1, CLASSES))
    os.utime(filled(root).folder / "about.json", (1e9, 1e9))
    (root / "notes").mkdir()
    newest, oldest = overview(root)
    assert (oldest.about, oldest.known, oldest.possible, oldest.last_used) == ({"teacher": "a teacher"}, 240, 240, 1e9)
    assert (newest.about, newest.known, newest.possible) == ({"teacher": "of a stream"}, 1, None)
    assert (newest.in_use, oldest.in_use) == (True, False)
    assert newest.bytes_on_disk == allocated(stream.folder) > 0


def test_use_is_dated(root: Path) -> None:
    filled(root).close()
    about = next(root.glob("*/about.json"))
    os.utime(about, (1e9, 1e9))
    with opened(root):
        assert about.stat().st_mtime > 1e9
        os.utime(about, (1e9, 1e9))
    assert about.stat().st_mtime > 1e9


def test_what_is_in_use_is_not_dropped_unless_forced(root: Path) -> None:
    idle, used = filled(root, "idle"), filled(root, "used")
    idle.close()
    with pytest.raises(RunError, match=rf"{used.folder.name} in .* is in use, so nothing was removed"):
        drop(root, None)
    assert len(overview(root)) == 2
    assert [entry.key for entry in drop(root, idle.folder.name[:6])] == [idle.folder.name]
    assert len(drop(root, None, force=True)) == 1
    assert overview(root) == []
    used.store(torch.tensor([0]), torch.tensor([0]), torch.zeros(1, CLASSES))
    assert torch.equal(used.recall(*everything())[0], word(*everything()))


def test_who_was_robbed_does_not_spoil_the_memory_made_after(root: Path) -> None:
    robbed = opened(root)
    robbed.store(torch.tensor([0]), torch.tensor([0]), word(torch.tensor([0]), torch.tensor([0])))
    drop(root, None, force=True)
    after = filled(root)
    robbed.store(torch.tensor([1]), torch.tensor([1]), torch.ones(1, CLASSES))
    assert torch.equal(opened(root).recall(*everything())[0], word(*everything()))
    assert after.damaged == 0


def test_a_closed_memory_can_be_dropped_and_made_again(root: Path) -> None:
    with filled(root) as memory:
        assert overview(root)[0].in_use
    drop(root, memory.folder.name)
    assert not opened(root).recall(*everything())[1].any()


def test_a_mistyped_key_removes_nothing_and_suggests(root: Path) -> None:
    key = filled(root).folder.name
    with pytest.raises(RunError, match=f"Did you mean '{key}'"):
        drop(root, key[:-1] + "x")
    assert len(overview(root)) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"about": 3}'])
def test_a_damaged_about_file_is_written_again(root: Path, content: str) -> None:
    path = filled(root).folder / "about.json"
    path.write_text(content)
    assert [(entry.about, entry.known) for entry in overview(root)] == [(None, IMAGES * VIEWS)]
    assert opened(root).recall(*everything())[1].all()
    assert json.loads(path.read_text())["about"] == {"teacher": "a teacher"}
