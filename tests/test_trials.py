"""`protege doctor` finds out by doing, says what each thing means, and leaves nothing behind."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from protege.cli.app import app
from protege.launch import trials
from protege.launch.trials import Finding


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def of_folder(folder: Path) -> dict[str, Finding]:
    return {finding.what: finding for finding in trials.of_folder(folder)}


def test_a_usual_folder_works_and_is_left_as_it_was(tmp_path: Path) -> None:
    found = of_folder(tmp_path / "runs" / "not" / "yet")
    assert {what for what, finding in found.items() if finding.works == "yes"} >= {
        "files appear whole",
        "locks",
        "hard links",
    }
    assert list(tmp_path.iterdir()) == []


def test_no_locks_no_links_and_locks_of_one_node_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "one node only" in trials._locks(tmp_path, {"rw", "localflock"}).means
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOSYS))
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    found = of_folder(tmp_path)
    assert found["locks"].works == found["hard links"].works == "in part"
    assert "who trains a run" in found["locks"].means


def test_a_lock_that_is_given_twice_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    assert of_folder(tmp_path)["locks"].works == "no"


def test_maps_that_are_seen_late_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pread", lambda *_: b"\0")
    found = of_folder(tmp_path)["mapped files"]
    assert found.works == "in part" and "--memory-dir" in found.means


def test_a_folder_that_takes_nothing_is_broken_and_the_exit_code_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "mkdtemp", failing(errno.EROFS))
    result = CliRunner().invoke(app, ["doctor", "--runs", str(tmp_path)])
    assert result.exit_code == 1
    assert "broken: folder" in result.output


def test_what_works_is_printed_and_can_be_read_by_programs(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["doctor", "--runs", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    found = {finding["what"]: finding["works"] for finding in json.loads(result.stdout)}
    assert found["PyTorch"] == found["several processes"] == found["locks"] == "yes"


@pytest.mark.parametrize(
    ("answers", "works", "said"),
    [
        ({"sinfo": "gpu*\ncpu\n", "sacct": ""}, "yes", "partitions cpu, gpu; sacct tells"),
        ({"sinfo": "gpu*\n"}, "yes", "no accounting"),
        ({}, "in part", "no answer"),
    ],
)
def test_slurm_is_asked(answers: dict[str, str], works: str, said: str) -> None:
    found = trials.of_slurm(lambda command: answers.get(command[0]), {})
    assert (found.works, said in found.found) == (works, True)


def test_a_broken_torch_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    (found,) = trials.of_torch()
    assert found.works == "no" and "Install PyTorch" in found.means


def test_an_old_torch_is_refused() -> None:
    assert trials._version("2.9.1+cu126").works == "no"
    assert trials._version("2.11.0").works == "yes"


def test_every_extra_of_the_project_is_looked_for() -> None:
    file = Path(__file__).parents[1] / "pyproject.toml"
    extras = tomllib.loads(file.read_text())["project"]["optional-dependencies"]
    assert extras.keys() - {"dev", "docs"} <= trials.EXTRAS.keys()
