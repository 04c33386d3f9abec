"""The page in a real browser: it renders, sorts, filters and complains of nothing. Skipped where there is no Chromium."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from report_cases import awkward, write_runs

from protege.report.material import collect
from protege.report.page.html import html
from protege.report.sections import page_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    found = awkward()
    write_runs(found, root)
    file = root / "report.html"
    file.write_text(html(page_of(collect(found, root))), encoding="utf-8")
    return file


class Browser:
    """The few words of the WebDriver protocol that are needed."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        options = {"args": FLAGS, "binary": CHROMIUM}
        asked = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self._say("POST", "/session", {"capabilities": {"alwaysMatch": asked}})
        self._base += f"/session/{session['sessionId']}"

    def _say(self, verb: str, path: str, body: dict[str, Any] | None = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, content, {"Content-Type": "application/json"}, method=verb)
        with urllib.request.urlopen(request) as reply:
            return json.loads(reply.read())["value"]

    def open(self, file: Path) -> None:
        self._say("POST", "/url", {"url": file.as_uri()})

    def run(self, script: str) -> Any:
        return self._say("POST", "/execute/sync", {"script": script, "args": []})

    def resize(self, width: int) -> None:
        self._say("POST", "/chromium/send_command_and_get_result", {
            "cmd": "Emulation.setDeviceMetricsOverride",
            "params": {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": True},
        })  # fmt: skip

    def complaints(self) -> list[dict[str, Any]]:
        return self._say("POST", "/se/log", {"type": "browser"})

    def close(self) -> None:
        self._say("DELETE", "")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def browser(page: Path) -> Iterator[Browser]:
    if not CHROMIUM or not DRIVER:
        pytest.skip("needs chromium and chromedriver (Debian: chromium chromium-driver)")
    port = _free_port()
    driver = subprocess.Popen([DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    opened = None
    try:
        while opened is None and driver.poll() is None:
            try:
                opened = Browser(port)
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        assert opened, "chromedriver did not answer"
        opened.open(page)
        yield opened
    finally:
        if opened:
            opened.close()
        driver.terminate()
        driver.wait()


COLUMN = """
const table = document.querySelector('#table-runs table');
const names = Array.from(table.tHead.rows[0].cells, (cell) => cell.textContent.trim());
const column = names.indexOf(%s);
"""
CLICK = COLUMN + "table.tHead.rows[0].cells[column].querySelector('button').click();"
SHOWN = (
    COLUMN
    + "return Array.from(table.tBodies[0].rows).filter((row) => !row.hidden).map((row) => row.cells[column].textContent);"
)


def shown(browser: Browser, column: str) -> list[str]:
    return browser.run(SHOWN % json.dumps(column))


def click(browser: Browser, column: str) -> None:
    browser.run(CLICK % json.dumps(column))


def test_every_drawing_and_table_has_a_size(browser: Browser) -> None:
    sizes = browser.run(
        "return Array.from(document.querySelectorAll('svg:not(.narrow):not(.wide), table'), (one) => {"
        " for (let up = one; up; up = up.parentElement) if (up.tagName === 'DETAILS') up.open = true;"
        " const box = one.getBoundingClientRect(); return [box.width, box.height]; })"
    )
    assert len(sizes) > 20
    assert all(width > 50 and height > 20 for width, height in sizes)


def test_numbers_sort_as_numbers_both_ways_and_unknown_ones_stay_last(browser: Browser) -> None:
    click(browser, "test accuracy %")
    down = shown(browser, "test accuracy %")
    known = [float(value) for value in down if value != "-"]
    assert known == sorted(known, reverse=True)
    assert len(known) > 5 and down[len(known) :] == ["-"] * (len(down) - len(known)) != []
    click(browser, "test accuracy %")
    up = shown(browser, "test accuracy %")
    assert [float(value) for value in up[: len(known)]] == sorted(known)
    assert up[-1] == "-"


def test_words_sort_as_words(browser: Browser) -> None:
    click(browser, "state")
    states = shown(browser, "state")
    assert states == sorted(states)
    assert browser.run("return document.querySelectorAll('#table-runs [aria-sort]').length") == 1


def test_the_filter_keeps_rows_with_all_the_words(browser: Browser) -> None:
    script = (
        "const input = document.querySelector('#table-runs input'); input.value = %s;"
        "input.dispatchEvent(new Event('input')); return document.querySelector('#table-runs output').textContent"
    )
    assert browser.run(script % json.dumps("ALONE finished")) == "3 of 13 rows"
    assert shown(browser, "network") == ["alone"] * 3
    assert browser.run(script % json.dumps("failed lost")) == "2 of 13 rows"
    assert browser.run(script % json.dumps("")) == "13 of 13 rows"


def test_on_a_phone_nothing_is_wider_than_the_screen_but_what_scrolls(browser: Browser) -> None:
    browser.resize(390)
    assert browser.run("return document.documentElement.scrollWidth") <= 390
    assert browser.run("return getComputedStyle(document.querySelector('.scroll')).overflowX") == "auto"
    sizes = browser.run(
        "return Array.from(document.querySelectorAll('header svg text'), (one) => one.getBoundingClientRect().height)"
        ".filter((height) => height > 0)"
    )
    assert len(sizes) > 5
    assert min(sizes) >= 10  # pixels: still to be read


def test_a_table_that_is_cut_says_how_many_columns_are_to_the_right(browser: Browser) -> None:
    browser.resize(390)
    hint = "const frame = document.querySelector('#table-effects .scroll'); const hint = frame.previousElementSibling;"
    seen = browser.run(
        hint + "return [frame.scrollWidth > frame.clientWidth, getComputedStyle(hint).display, hint.textContent];"
    )
    assert seen[:2] == [True, "block"] and re.fullmatch(r"\d+ more columns: scroll to the right →", seen[2])
    after = browser.run(
        hint + "frame.scrollLeft = frame.scrollWidth; frame.dispatchEvent(new Event('scroll'));"
        "const shown = getComputedStyle(hint).display; frame.scrollLeft = 0; return shown;"
    )
    assert after == "none"


def test_the_first_picture_uses_the_width_that_there_is(browser: Browser) -> None:
    shown = (
        "return Array.from(document.querySelectorAll('header figure svg'), (one) => one.getBoundingClientRect().width)"
        ".filter((width) => width > 0)"
    )
    browser.resize(390)
    (narrow,) = browser.run(shown)
    browser.resize(1280)
    (wide,) = browser.run(shown)
    browser.resize(390)
    assert 330 < narrow <= 390 and wide > 900


def test_a_drawing_is_saved_as_a_file_that_looks_the_same_by_itself(browser: Browser) -> None:
    """It needs no style sheet and no class: colours and sizes are written into it."""
    saved = browser.run(
        "let kept; const make = URL.createObjectURL; URL.createObjectURL = (blob) => { kept = blob; return make.call(URL, blob); };"
        "document.addEventListener('click', (event) => { if (event.target.tagName === 'A') event.preventDefault(); }, true);"
        "document.querySelector('header .save button').click(); URL.createObjectURL = make;"
        "return kept.text().then((text) => [kept.type, text]);"
    )
    kind, text = saved
    root = ElementTree.fromstring(text)
    assert kind == "image/svg+xml" and root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not any("class" in one.attrib for one in root.iter() if one is not root)
    assert any("rgb(" in one.get("stroke", "") for one in root.iter("{http://www.w3.org/2000/svg}line"))


def test_folded_parts_are_open_on_paper(browser: Browser) -> None:
    script = "dispatchEvent(new Event('%s')); return document.querySelectorAll('details:not([open])').length"
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = false; })")
    assert browser.run(script % "beforeprint") == 0
    assert browser.run(script % "afterprint") > 0


def test_no_name_was_run_and_the_console_is_empty(browser: Browser) -> None:
    assert browser.run("return document.scripts.length") == 1
    assert browser.complaints() == []


def test_what_is_loaded_is_the_page_alone(browser: Browser) -> None:
    assert browser.run("return performance.getEntriesByType('resource').length") == 0


def test_the_page_is_rendered_by_chromium_alone_too(page: Path, tmp_path: Path) -> None:
    """Where there is no driver: the script ran, for the filters count their rows."""
    if not CHROMIUM:
        pytest.skip("needs chromium")
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path}", "--enable-logging=stderr", "--v=0", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "13 of 13 rows" in done.stdout
    assert "CONSOLE" not in done.stderr
