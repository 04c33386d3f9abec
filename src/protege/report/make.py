"""From findings to the files of a report: the page, Markdown, a CSV and a LaTeX file for each table, the findings themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from protege.data.files import is_folder, is_there
from protege.errors import ConfigError
from protege.report.material import collect
from protege.report.page.blocks import Page
from protege.report.page.written import write_page
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
    """Write the page and its tables. `root` is the folder of the runs, `folder` that of the report, which is made where it is missing."""
    folder = folder.absolute()
    if is_there(folder) and not is_folder(folder):
        raise ConfigError(f"--out {folder} is a file. Name a folder.")
    material = collect(findings, root, data_dir, pictures, moved)
    return Made(tuple(write_report(page_of(material), findings, folder)), material.unread)


def write_report(page: Page, findings: Findings, folder: Path) -> list[Path]:
    """Every file that was written, the page first. Tables of an earlier report in the same folder are replaced."""
    files = write_page(page, folder, "report")
    write(folder / "findings.json", findings)
    return [*files, folder / "findings.json"]
