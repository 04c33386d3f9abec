"""A page as files: HTML, Markdown, and CSV and LaTeX of each table."""

from __future__ import annotations

import contextlib
from pathlib import Path

from protege import runs
from protege.data.files import content_of
from protege.report.page.blocks import Page
from protege.report.page.formats import csv_text, latex, markdown_page
from protege.report.page.html import html


def write_page(page: Page, folder: Path, name: str) -> list[Path]:
    """Every file that was written, the page first. Tables of an earlier page in the same folder are replaced."""
    texts = {f"{name}.html": html(page), f"{name}.md": markdown_page(page)}
    texts |= {f"tables/{table.name}.csv": csv_text(table) for table in (*page.tables, *page.data)}
    texts |= {f"tables/{table.name}.tex": latex(table) for table in page.tables}
    _forget(folder / "tables", f".{name}")
    for file, text in texts.items():
        with runs.whole(folder / file) as partial:
            partial.write_text(text, encoding="utf-8")
    listed = [Path(file).name for file in texts if file.startswith("tables/")]
    with runs.whole(folder / "tables" / f".{name}") as partial:
        partial.write_text("".join(f"{one}\n" for one in listed))
    return [folder / file for file in texts]


def _forget(tables: Path, written: str) -> None:
    """Those that the earlier page says it wrote; what else is there is somebody's own."""
    with contextlib.suppress(OSError):
        for name in content_of(tables / written).decode(errors="replace").splitlines():
            if Path(name).name == name and Path(name).suffix in (".csv", ".tex"):
                (tables / name).unlink(missing_ok=True)
