"""A page as files: HTML, Markdown, and CSV and LaTeX of each table."""

from __future__ import annotations

import contextlib
from pathlib import Path

from protege import runs
from protege.report.page.blocks import Page
from protege.report.page.formats import csv_text, latex, markdown_page
from protege.report.page.html import html


def write_page(page: Page, folder: Path, name: str) -> list[Path]:
    """Every file that was written, the page first. Tables of an earlier page in the same folder are replaced."""
    texts = {f"{name}.html": html(page), f"{name}.md": markdown_page(page)}
    texts |= {f"tables/{table.name}.csv": csv_text(table) for table in (*page.tables, *page.data)}
    texts |= {f"tables/{table.name}.tex": latex(table) for table in page.tables}
    _forget(folder / "tables")
    for file, text in texts.items():
        with runs.whole(folder / file) as partial:
            partial.write_text(text, encoding="utf-8")
    return [folder / file for file in texts]


def _forget(tables: Path) -> None:
    for old in (*tables.glob("*.csv"), *tables.glob("*.tex")):
        with contextlib.suppress(FileNotFoundError):
            old.unlink()
