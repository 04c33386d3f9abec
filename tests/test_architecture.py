"""The order of the stations: each imports only from those below it, and the tables of contents are true."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import protege

SOURCE = Path(protege.__file__).parent
STATIONS = [
    ["cli"],
    ["report"],
    ["study"],
    ["launch"],
    ["ship"],
    ["train"],
    ["evaluate"],
    ["teacher"],
    ["runs"],
    ["methods", "models", "views", "stats"],
    ["data"],
    ["lazy"],
    ["errors"],
]
LEVEL = {name: level for level, names in enumerate(STATIONS) for name in names}


def station(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Stations that this file imports anywhere, those for the type checker included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "protege":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("protege."):
            found.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("protege.")}
    return found & LEVEL.keys()


FACE = {"__init__", "__main__"}
FILES = sorted(path for path in SOURCE.rglob("*.py") if path.parent != SOURCE or path.stem not in FACE)
MULTIPLIES = {"methods", "models"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_each_station_imports_only_from_those_below(path: Path) -> None:
    own = station(path)
    assert own in LEVEL, f"{own} has no place in the order of the stations"
    wrong = {name for name in imported(path) - {own} if LEVEL[name] <= LEVEL[own]}
    assert not wrong, f"{path.relative_to(SOURCE)} imports {wrong}"


def module_of(path: Path) -> str:
    return ".".join(("protege", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__")


def needed(path: Path, modules: set[str]) -> set[str]:
    """Modules that must be imported before this file can be used; not what the type checker alone reads."""
    found: set[str] = set()

    def look(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.ImportFrom) and (child.module or "").startswith("protege"):
                whole = {f"{child.module}.{alias.name}" for alias in child.names} & modules
                found.update(whole or {str(child.module)})
            look(child)

    look(ast.parse(path.read_text()))
    return (found & modules) - {"protege", module_of(path)}


def test_no_import_goes_in_a_circle() -> None:
    paths = {module_of(path): path for path in FILES}
    waiting = {name: needed(path, set(paths)) for name, path in paths.items()}
    while free := [name for name, others in waiting.items() if not others & waiting.keys()]:
        for name in free:
            del waiting[name]
    assert not waiting


def entries(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.stem not in FACE | {"__pycache__", "py"}]


def test_the_package_reads_as_a_table_of_contents() -> None:
    assert len(entries(SOURCE)) <= 16


FOLDERS = sorted({path.parent for path in FILES} - {SOURCE})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_room_is_crowded(folder: Path) -> None:
    """Except where things multiply: a method or a family of networks is a file more."""
    assert folder.name in MULTIPLIES or len(entries(folder)) <= 14


def openings(path: Path) -> list[int]:
    """Lines that read `splits.test` for more than its length."""
    tree = ast.parse(path.read_text())
    counted = {
        id(call.args[0])
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "len"
    }
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr == "test"
        and getattr(node.value, "id", "") == "splits"
        and id(node) not in counted
    ]


def test_only_evaluation_opens_the_test_set() -> None:
    """Data makes it, a report shows images of what was evaluated; nothing else may."""
    opened = {path.relative_to(SOURCE).parts[0] for path in FILES if openings(path)}
    assert opened == {"evaluate.py", "data", "report"}


def architecture_page() -> str:
    page = SOURCE.parents[1] / "docs" / "architecture.md"
    if not page.exists():
        pytest.skip("needs the project's checkout, for its docs/architecture.md")
    return page.read_text()


def test_the_architecture_page_names_every_station() -> None:
    text = architecture_page()
    assert not [name for name in {station(path) for path in FILES} if name not in text]


def test_the_walk_through_a_study_passes_every_file_of_it() -> None:
    walk = architecture_page().partition("### A study, from its YAML file to its page")[2].partition("###")[0]
    files = [path.name for path in FILES if station(path) == "study" and path.stem not in FACE]
    assert not [name for name in files if f"`{name}`" not in walk and f"/{name}`" not in walk]
