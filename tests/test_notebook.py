"""Runs, comparisons and findings show themselves in notebooks, and the notebook that comes along works."""

from __future__ import annotations

import ast
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from report_cases import findings

from protege import compare, every, fit, rows
from protege.runs import Run
from protege.runs.config import Place

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "first-steps.ipynb"


def shown(value: Any) -> str:
    """What a notebook would show of the last value of a cell."""
    return value._repr_html_() if hasattr(value, "_repr_html_") else repr(value)


def executed(cells: list[str]) -> list[Any]:
    """The last value of each cell, as a notebook keeps it; all share one namespace."""
    space: dict[str, Any] = {}
    values = []
    for cell in cells:
        body = ast.parse(cell).body
        last = body.pop().value if isinstance(body[-1], ast.Expr) else None  # pyright: ignore[reportAttributeAccessIssue]
        exec(compile(ast.Module(body, []), str(NOTEBOOK), "exec"), space)
        values.append(eval(compile(ast.Expression(last), str(NOTEBOOK), "eval"), space) if last else None)
    return values


def test_the_first_steps_work_cell_by_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = [
        "".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"
    ]
    values = executed(cells)
    teacher, verdict, listed = values[1], values[3], values[5]
    assert isinstance(teacher, Run)
    assert "resnet14" in shown(teacher)
    assert "2 pairs of seeds" in shown(verdict)
    assert len(listed) == 5


def test_the_notebook_has_no_output_of_anybodys_machine() -> None:
    assert all(cell.get("outputs", []) == [] for cell in json.loads(NOTEBOOK.read_text())["cells"])


def test_it_runs_in_a_real_kernel(tmp_path: Path) -> None:
    if not all(importlib.util.find_spec(name) for name in ("nbclient", "ipykernel")):
        pytest.skip("needs pip install nbclient ipykernel")
    import nbformat  # pyright: ignore[reportMissingImports]
    from nbclient import NotebookClient  # pyright: ignore[reportMissingImports]

    book = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    kinds = {kind for cell in book.cells for output in cell.get("outputs", []) for kind in output.get("data", {})}
    assert "text/html" in kinds


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    place = Place(runs=tmp_path_factory.mktemp("runs"), threads=1, quiet=True)
    described = {
        "data": {"name": "cifar10-mini", "limit": 40, "heldout": 20},
        "model": "resnet8",
        "optim": {"epochs": 1},
    }
    return fit(described, place)


def test_a_run_is_a_flat_row_with_all_its_fields(run: Run) -> None:
    (row,) = rows(every(run.path.parent))
    assert row["id"] == run.id
    assert row["heldout_accuracy"] == run.result()["heldout_accuracy"]
    assert (row["optim.epochs"], row["data.limit"], row["model.name"]) == (1, 40, "resnet8")
    assert not any(isinstance(value, dict) for value in row.values())


def test_what_a_notebook_shows_of_a_run_is_no_markup_of_others(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    record = run.record()
    record["data"]["name"] = "<script>alert(1)</script>"
    monkeypatch.setattr(Run, "record", lambda self: record)
    assert "<script>" not in shown(run)
    assert "&lt;script&gt;" in shown(run)


def test_an_untested_comparison_shows_its_sentence(run: Run) -> None:
    verdict = compare([run], [run])
    assert shown(verdict) == f"<p>{verdict.sentence}</p>"


def test_findings_are_rows_of_runs_with_scores_of_the_epoch_that_counts() -> None:
    found = findings()
    told = found.rows()
    assert len(told) == len(found.runs)
    for row, run_row in zip(told, found.runs, strict=True):
        assert row["id"] == run_row.id
        assert row["accuracy"] == run_row.test[found.score]["accuracy"] if run_row.test else "accuracy" not in row
    assert found.answer.split(":")[0] in shown(found)
