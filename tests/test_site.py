"""The documents build, strictly, to a site that loads nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from protege.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("mkdocs", "material", "latex2mathml")),
    reason="needs pip install -e '.[docs]'",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mkdocs build --strict`, in which a link that leads nowhere is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r"<(?:script|img|iframe|source)[^>]*\ssrc=[\"']?(?:https?:)?//|<link[^>]*stylesheet[^>]*//")
    pages = [*site.glob("*.html"), *site.glob("studies/*.html"), *site.glob("results/studies/*.html")]
    assert len(pages) > 10
    assert [page.name for page in pages if loaded.search(page.read_text())] == []


def test_every_formula_is_set(site: Path) -> None:
    page = (site / "methods.html").read_text()
    assert page.count("<math ") == len(METHODS)
    assert "\\" not in "".join(re.findall(r"<math .*?</math>", page, re.S))


def test_search_finds_every_page(site: Path) -> None:
    found = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    pages = {entry["location"].partition("#")[0] for entry in found}
    assert {"index.html", "choosing.html", "methods.html", "studies.html", "studies/index.html"} <= pages | {
        "index.html"
    }


def test_the_first_page_is_the_readme_and_its_links_work(site: Path) -> None:
    page = (site / "index.html").read_text()
    assert "distils knowledge" in page
    targets = [one for one in re.findall(r'(?:href|src)="([^"#:]+)', page) if not one.startswith("http")]
    assert len(targets) > 10
    assert [one for one in targets if not (site / one).exists()] == []


def test_a_study_that_was_run_leads_to_its_page(site: Path) -> None:
    """The report as it was written, not its text set anew."""
    assert 'href="quick/report.html"' in (site / "results" / "studies" / "index.html").read_text()
    made = site / "results" / "studies" / "quick" / "report.html"
    assert made.read_bytes() == (ROOT / "results" / "studies" / "quick" / "report.html").read_bytes()
