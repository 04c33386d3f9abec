"""A study is walked in one direction: question, conduct, findings, and the files of each room in the order of its page."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import protege.study

ROOMS = ("question", "conduct", "findings")
STUDY = Path(protege.study.__file__).parent
FILES = sorted(path for room in ROOMS for path in (STUDY / room).glob("*.py") if path.stem != "__init__")


def imported(path: Path) -> set[tuple[str, str]]:
    """Room and file of everything of a study that a file imports, late imports too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("protege.study."):
            room, _, file = (node.module or "").removeprefix("protege.study.").partition(".")
            found |= {(room, file)} if file else {(room, alias.name) for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_nothing_in_a_room_looks_ahead(path: Path) -> None:
    """Neither into a later room, nor at what runs them all (`study/run.py`)."""
    allowed = ROOMS[: ROOMS.index(path.parent.name) + 1]
    assert {room for room, _ in imported(path)} <= set(allowed)


@pytest.mark.parametrize("room", ROOMS)
def test_no_files_of_a_room_import_each_other_in_a_circle(room: str) -> None:
    needs = {
        path.stem: {file for of, file in imported(path) if of == room} for path in FILES if path.parent.name == room
    }
    while ready := {name for name, needed in needs.items() if not needed & needs.keys()}:
        for name in ready:
            del needs[name]
    assert not needs, f"these import each other: {needs}"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_shows_at_most_14_files_and_its_page_names_each(room: str) -> None:
    files = [path.stem for path in FILES if path.parent.name == room]
    page = (STUDY / room / "__init__.py").read_text()
    assert len(files) <= 14
    assert not [name for name in files if f"\n{name} " not in page and f"`{name}`" not in page]
