"""File systems that know no locks or no links train all the same, and no error of theirs is taken for another process."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from protege import runs
from protege.errors import RunError
from protege.runs import locking
from protege.teacher.memory import Memory


@pytest.fixture
def run(tmp_path: Path) -> runs.Run:
    return runs.start(tmp_path, "some-run", {"id": "some-run"})


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unknown)


BESIDE = """
import errno, fcntl, sys
from pathlib import Path
from protege.runs.locking import locked

def unknown(*_):
    raise OSError(errno.ENOSYS, "Function not implemented")

fcntl.flock = unknown
with locked(Path(sys.argv[1]), wait=False):
    pass
"""


def test_without_locks_a_run_is_still_of_one_process(run: runs.Run, no_locks: None) -> None:
    beside = [sys.executable, "-c", BESIDE, str(run.path)]
    with runs.locked(run, wait=False):
        said = subprocess.run(beside, capture_output=True, text=True, check=False).stderr
    assert f"is being trained by process {os.getpid()}" in said and "has no locks" in said
    assert subprocess.run(beside, check=False).returncode == 0


def test_what_a_dead_process_left_is_taken_over(run: runs.Run, no_locks: None) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (run.path / "lock.held").write_text(f"process {dead.pid} on {os.uname().nodename}")
    with runs.locked(run, wait=False):
        pass
    (run.path / "lock.held").write_text("process 1 on another-machine")
    with (
        pytest.raises(RunError, match=r"process 1 on another-machine.*if that process is gone, remove .*lock\.held"),
        runs.locked(run, wait=False),
    ):
        pass


def test_another_error_is_not_another_process(run: runs.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(locking.fcntl, "flock", fails)
    with pytest.raises(RunError, match="cannot be locked: Input/output error"), runs.locked(run, wait=False):
        pass


def test_a_memory_works_without_locks(tmp_path: Path, no_locks: None) -> None:
    with Memory.open(tmp_path, {"teacher": "t"}, images=2, views=1, classes=3) as memory:
        memory.store(torch.arange(2), torch.zeros(2, dtype=torch.long), torch.ones(2, 3))
        assert memory.full is None and memory.count_known() == 2


def test_without_links_the_checkpoint_before_is_kept_all_the_same(
    run: runs.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "link", unknown)
    for epoch in range(3):
        runs.save_checkpoint(run, {"a": torch.tensor(float(epoch))}, {"epoch": epoch})
    found = [runs.read_weights(path)[1]["epoch"] for path in (run.checkpoint_file, run.previous_checkpoint_file)]
    assert found == [2, 1]
