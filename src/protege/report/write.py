"""The files of a report: the page, Markdown, a CSV and a LaTeX file for each table, and the findings in full precision."""

from __future__ import annotations

import contextlib
from pathlib import Path

from protege import runs
from protege.report.page.blocks import Page
from protege.report.page.formats import csv_text, latex
from protege.report.page.html import html, markdown_page
from protege.study.findings import Findings, write


def write_report(page: Page, findings: Findings, folder: Path) -> list[Path]:
    """Every file that was written, the page first. Tables of an earlier report in the same folder are replaced."""
    texts = {"report.html": html(page), "report.md": markdown_page(page)}
    texts |= {f"tables/{table.name}.csv": csv_text(table) for table in (*page.tables, *page.data)}
    texts |= {f"tables/{table.name}.tex": latex(table) for table in page.tables}
    _forget(folder / "tables")
    for name, text in texts.items():
        _write(folder / name, text)
    write(folder / "findings.json", findings)
    return [*(folder / name for name in texts), folder / "findings.json"]


def _forget(tables: Path) -> None:
    for old in (*tables.glob("*.csv"), *tables.glob("*.tex")):
        with contextlib.suppress(FileNotFoundError):
            old.unlink()


def _write(path: Path, text: str) -> None:
    with runs.whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
