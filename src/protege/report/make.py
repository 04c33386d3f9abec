"""From findings to the files of a report: the page, Markdown, a CSV and a LaTeX file for each table, the findings themselves."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from protege import runs
from protege.data.files import is_folder, is_there
from protege.errors import ConfigError
from protege.report.material import collect
from protege.report.page.blocks import Page
from protege.report.page.formats import csv_text, latex, markdown_page
from protege.report.page.html import html
from protege.report.sections import page_of
from protege.study.findings import Findings, write


@dataclass(frozen=True)
class Made:
    files: tuple[Path, ...]  # the page first
    unread: tuple[str, ...]  # what the page lacks, and why

    @property
    def page(self) -> Path:
        return self.files[0]

    def sentence(self) -> str:
        return f"report: {self.page} ({len(self.files) - 1} more files beside it)"


def make_report(
    findings: Findings,
    root: Path,
    folder: Path,
    data_dir: Path | None = None,
    pictures: bool = True,
    moved: str | None = None,
) -> Made:
    """`root` is the folder of the runs, `folder` that of the report, which is made where it is missing."""
    folder = folder.absolute()
    if is_there(folder) and not is_folder(folder):
        raise ConfigError(f"--out {folder} is a file. Name a folder.")
    material = collect(findings, root, data_dir, pictures, moved)
    return Made(tuple(write_report(page_of(material), findings, folder)), material.unread)


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
