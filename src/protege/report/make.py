"""From findings to the files of a report: the one way, for whoever asks for a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from protege.errors import ConfigError
from protege.report.material import collect
from protege.report.sections import page_of
from protege.report.write import write_report
from protege.study.findings import Findings


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
    findings: Findings, root: Path, folder: Path, data_dir: Path | None = None, pictures: bool = True
) -> Made:
    """`root` is the folder of the runs, `folder` that of the report, which is made where it is missing."""
    folder = folder.absolute()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file. Name a folder.")
    material = collect(findings, root, data_dir, pictures)
    return Made(tuple(write_report(page_of(material), findings, folder)), material.unread)
