"""What `mkdocs build` needs beyond the files of `docs/`: the README as the first page, what pages link to elsewhere in the
repository, and formulas as MathML, which browsers show without a script.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(?<=\]\()(?P<path>[^)#:\s]+)(?P<anchor>#[^)\s]*)?(?=\))")
FORMULA = re.compile(r"^```math\n(?P<tex>.*?)\n```$", re.M | re.S)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The README, and every file that a page links to, at the place that it has in the repository."""
    waiting = [ROOT / "README.md", *(ROOT / "docs" / file.src_uri for file in files.documentation_pages())]
    seen = set(waiting)
    while waiting:
        source = waiting.pop()
        if files.get_file_from_path(address(source)) is None:
            files.append(File.generated(config, address(source), abs_src_path=str(source)))
        for target in linked(source):
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links as they must be on the site, and formulas set."""
    source = ROOT / "docs" / page.file.src_uri if page.file.generated_by is None else Path(page.file.abs_src_path or "")
    here = PurePosixPath(address(source)).parent

    def on_site(found: re.Match[str]) -> str:
        target = meant(source, found["path"])
        return os.path.relpath(address(target), here) + (found["anchor"] or "") if target.is_file() else found[0]

    return FORMULA.sub(typeset, LINK.sub(on_site, markdown))


def linked(source: Path) -> Iterator[Path]:
    """The files of the repository that a page links to."""
    if source.suffix == ".md":
        for found in LINK.finditer(source.read_text()):
            target = meant(source, found["path"])
            if target.is_file() and target.is_relative_to(ROOT):
                yield target


def meant(source: Path, path: str) -> Path:
    """The file behind a link; of a report that is there as a page and as text, the page."""
    target = Path(os.path.normpath(source.parent / path))
    page = target.with_suffix(".html")
    return page if target.suffix == ".md" and page.is_file() else target


def address(file: Path) -> str:
    """Where a file of the repository is on the site: `docs/` is its root."""
    within = file.relative_to(ROOT)
    if within == Path("README.md"):
        return "index.md"
    return (within.relative_to("docs") if within.parts[0] == "docs" else within).as_posix()


def typeset(found: re.Match[str]) -> str:
    names = re.sub(r"\\texttt\{(.*?)\}", lambda name: name[0].replace(r"\_", "_"), found["tex"])
    return f'<div class="formula">{convert(names, display="block")}</div>'
