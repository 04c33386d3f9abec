"""The names that other people's code may rely on: there, documented as they are, and free of charge until they are used."""

from __future__ import annotations

import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import protege

PAGE = Path(__file__).resolve().parents[1] / "docs" / "python.md"


@pytest.fixture
def page() -> str:
    return PAGE.read_text()


def test_importing_the_package_imports_nothing_that_is_slow() -> None:
    code = (
        "import sys, protege; print([name for name in ('torch', 'numpy', 'pydantic', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", protege.__all__)
def test_every_name_is_there_and_hides_no_module(name: str) -> None:
    assert callable(getattr(protege, name))
    assert not (Path(protege.__file__).parent / name).exists()
    assert not (Path(protege.__file__).parent / f"{name}.py").exists()


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        protege.nonsense  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_the_page_is_what_its_script_writes(page: str) -> None:
    """After a change to a name or its docstring: python scripts/write_python_page.py"""
    script = PAGE.parents[1] / "scripts" / "write_python_page.py"
    spec = importlib.util.spec_from_file_location("write_python_page", script)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.page() == page


def test_the_page_has_every_name_with_its_signature_and_a_meaning(page: str) -> None:
    assert re.findall(r"^### (\w+)$", page, re.M) == list(protege.__all__)
    for name in protege.__all__:
        thing = getattr(protege, name)
        assert thing.__doc__
        if inspect.isfunction(thing):
            assert f"{name}{inspect.signature(thing)}\n" in page


def test_the_example_of_the_page_works(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    monkeypatch.chdir(tmp_path)
    told: dict[str, object] = {}
    exec(compile(example, str(PAGE), "exec"), told)
    assert told["logits"].shape == (1, 10)  # type: ignore[attr-defined]


def test_the_package_is_a_command() -> None:
    done = subprocess.run([sys.executable, "-m", "protege", "--version"], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == protege.__version__
