"""Nodes that share a folder, with caches of their own and without locks, lose time at worst, and never mix what was said."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from memory_cases import asker, everything, opened, word

from protege.runs.files import partial_of, unless_there
from protege.runs.tuning import Choice, agreed
from protege.teacher.memory import Memory, answers
from protege.teacher.memory_files import PAGE, PLACES


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)


def cached(memory: Memory) -> None:
    """From here on it sees nothing of what the other node writes to the places, as through a cache of its own."""
    files = memory._files
    files._head, files._places = files._head.copy(), files._places.copy()


def written_back(memory: Memory) -> None:
    """Whole pages, over what the other node wrote to them meanwhile."""
    files = memory._files
    content = files._head.tobytes()[:PAGE] + files._places.astype(np.uint32).tobytes()
    with (memory.folder / PLACES).open("r+b") as file:
        file.write(content)


def test_two_nodes_that_store_at_once_never_mix_their_rows(tmp_path: Path, no_locks: None) -> None:
    """Both write to the same end of the same file; what was lost is asked again, and then all is known."""
    indices, numbers = everything()
    one, other = opened(tmp_path), opened(tmp_path)
    one.store(indices[:10], numbers[:10], word(indices[:10], numbers[:10]))
    other.recall(indices, numbers)
    cached(other)
    for memory, part in ((one, slice(10, 60)), (other, slice(40, 120))):
        memory.store(indices[part], numbers[part], word(indices[part], numbers[part]))
    written_back(other)
    third = opened(tmp_path, say=lambda _: None)
    logits, known = third.recall(indices, numbers)
    assert torch.equal(logits[known], word(indices, numbers)[known])
    assert known[:10].all() and known[40:120].any() and not known[120:].any()
    ask, _ = asker(indices, numbers)
    found = answers(third, indices, numbers, ask, 16)
    assert torch.equal(found.logits, word(indices, numbers)) and found.asked == int((~known).sum())
    assert opened(tmp_path).recall(indices, numbers)[1].all()


def test_two_nodes_that_begin_a_memory_at_once_have_the_same(tmp_path: Path, no_locks: None) -> None:
    """The second finds the file there when it wants to make it, with the first one's rows in use."""
    indices, numbers = everything()
    one, other = opened(tmp_path), opened(tmp_path)
    one.store(indices[:10], numbers[:10], word(indices[:10], numbers[:10]))
    other._files._created()
    other.store(indices[10:20], numbers[10:20], word(indices[10:20], numbers[10:20]))
    _, known = opened(tmp_path).recall(indices, numbers)
    assert known[:20].all()


def test_who_is_first_stays_where_there_are_links(tmp_path: Path) -> None:
    for said in ("first", "second"):
        partial = tmp_path / said
        partial.write_text(said)
        unless_there(partial, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_without_links_a_file_still_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    (tmp_path / "partial").write_text("whole")
    unless_there(tmp_path / "partial", tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_processes_of_one_number_on_two_nodes_write_to_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = partial_of(tmp_path / "file")
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "elsewhere", "", "", "")))
    assert partial_of(tmp_path / "file") != here


def test_without_locks_runs_that_try_at_once_compute_alike(tmp_path: Path, no_locks: None) -> None:
    """Another node's trial ends while ours goes on: its choice is everybody's."""
    theirs, ours = Choice("bf16", {}, {}), Choice("fp32", {}, {})

    def trial() -> Choice:
        agreed(tmp_path, "a network", lambda: theirs)
        return ours

    assert agreed(tmp_path, "a network", trial) == theirs
    assert agreed(tmp_path, "a network", lambda: ours) == theirs
