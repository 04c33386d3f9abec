"""A download is whole and right, or it is not there."""

import errno
import hashlib
import logging
import multiprocessing
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NamedTuple, Self

import pytest

from protege.data.progress import silent
from protege.data.sources import download as module
from protege.data.sources.download import Download, download, partial_of
from protege.errors import DataError, NotEnoughSpace

CONTENT = bytes(range(256)) * 400  # 102,400 bytes
NO_WAITS = (0.0,) * 5


class Server:
    """Serves `content`. What the next requests meet is in `script`; after that all is well."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.script: list[str] = []
        self.asked: list[str | None] = []  # the Range of each request
        outer = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/set.tar.gz"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.asked.append(asked)
        fault = self.script.pop(0) if self.script else ""
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if fault.isdecimal():
            request.send_error(int(fault))
            return
        if asked and start >= len(self.content):
            request.send_error(416)
            return
        if "deaf" in fault or not asked:
            start = 0
            request.send_response(200)
        else:
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        rest = self.content[start:]
        request.send_header("Content-Length", str(len(rest)))
        request.end_headers()
        request.wfile.write(rest[: len(rest) // 2] if "cut" in fault else rest)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def wanted(url: str, folder: Path) -> Download:
    return Download(url, folder / "set.tar.gz", hashlib.md5(CONTENT).hexdigest(), len(CONTENT), "SET_URL")


def fetch(server: Server, folder: Path) -> Path:
    return download(wanted(server.url, folder), silent, NO_WAITS)


def test_a_file_arrives_whole_and_leaves_no_partial(server: Server, tmp_path: Path) -> None:
    path = fetch(server, tmp_path / "new" / "folder")
    assert path.read_bytes() == CONTENT
    assert not partial_of(path).exists()


def test_a_file_that_is_there_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    fetch(server, tmp_path)
    assert len(server.asked) == 1


def test_a_cut_connection_is_resumed_where_it_ended(server: Server, tmp_path: Path) -> None:
    server.script = ["cut", "cut"]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=51200-", "bytes=76800-"]


def test_an_earlier_process_s_partial_file_is_resumed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.tar.gz.partial").write_bytes(CONTENT[:1000])
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-"]


def test_a_partial_file_that_was_whole_already_is_accepted(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.tar.gz.partial").write_bytes(CONTENT)
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_server_that_ignores_the_range_starts_the_file_anew(server: Server, tmp_path: Path) -> None:
    server.script = ["cut", "deaf"]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=51200-"]


def test_passing_troubles_of_a_server_are_waited_out(server: Server, tmp_path: Path) -> None:
    server.script = ["503", "429"]
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_missing_page_is_an_error_at_once(server: Server, tmp_path: Path) -> None:
    server.script = ["404"]
    with pytest.raises(DataError, match=rf"{server.url} cannot be fetched: the server answers 404 .* in SET_URL"):
        fetch(server, tmp_path)
    assert len(server.asked) == 1


def test_waits_grow_and_begin_anew_when_something_arrived(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    server.script = ["500", "500", "cut", "500", "500", "500"]
    with caplog.at_level(logging.WARNING):
        download(wanted(server.url, tmp_path), silent, (1, 2, 4, 8))
    assert slept == [1, 2, 1, 2, 4, 8]
    assert "set.tar.gz: the server answers 500 Internal Server Error. Again in 1 s." in caplog.messages


def test_a_server_that_never_answers_is_given_up_soon(server: Server, tmp_path: Path) -> None:
    server.script = ["503"] * 9
    with pytest.raises(DataError, match="the server answers 503"):
        fetch(server, tmp_path)
    assert len(server.asked) == 4


def test_without_a_net_it_gives_up_and_says_what_to_do(tmp_path: Path) -> None:
    with Server() as closed:
        url = closed.url
    with pytest.raises(DataError, match=r"cannot be fetched: .*refused.* Put the file there, or name another address"):
        download(wanted(url, tmp_path), silent, NO_WAITS)
    with pytest.raises(DataError, match="cannot be fetched: unknown url type"):
        download(wanted("mirror/set.tar.gz", tmp_path), silent, NO_WAITS)


def test_a_damaged_file_is_an_error_and_the_next_attempt_is_clean(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"?"
    with pytest.raises(DataError, match=r"gave 102\.4 kB with md5 \w{32}, but set\.tar\.gz is published with"):
        fetch(server, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if "lock" not in path.name] == []
    server.content = CONTENT
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_disk_that_is_too_small_is_told_before_the_first_byte(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(NotEnoughSpace, match=rf"needs 102,400 bytes .* in {tmp_path}, where 1\.0 kB are free"):
        fetch(server, tmp_path)
    assert server.asked == []


def test_a_disk_that_fills_up_keeps_what_arrived_and_says_what_is_needed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(NotEnoughSpace, match=f"needs 102,400 bytes .* in {tmp_path}"):
        fetch(server, tmp_path)
    monkeypatch.undo()
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made_is_named(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *arguments: object, **named: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(DataError, match=r"cannot be written to \(Permission denied\)"):
        fetch(server, tmp_path / "closed")


def test_a_mirror_on_disk_serves_as_well(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror.tar.gz"
    mirror.write_bytes(CONTENT)
    path = download(wanted(mirror.as_uri(), tmp_path / "data"), silent, NO_WAITS)
    assert path.read_bytes() == CONTENT


def _fetch_elsewhere(url: str, folder: Path, barrier: Barrier) -> None:
    barrier.wait()
    download(wanted(url, folder), silent, NO_WAITS)


def test_processes_that_ask_at_once_do_not_damage_each_other(server: Server, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    asking = [context.Process(target=_fetch_elsewhere, args=(server.url, tmp_path, barrier)) for _ in range(3)]
    for process in asking:
        process.start()
    for process in asking:
        process.join(30)
    assert [process.exitcode for process in asking] == [0, 0, 0]
    assert (tmp_path / "set.tar.gz").read_bytes() == CONTENT
    assert server.asked == [None]


class Seen(NamedTuple):
    what: str
    total: int | None
    unit: str
    steps: list[int]


def test_progress_tells_how_far_it_is(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Seen] = []

    @contextmanager
    def watching(what: str, total: int | None, unit: str) -> Iterator[Callable[[int], None]]:
        seen.append(Seen(what, total, unit, []))
        yield seen[-1].steps.append

    monkeypatch.setattr(module, "PIECE", 40_000)
    server.script = ["cut"]
    download(wanted(server.url, tmp_path), watching, NO_WAITS)
    assert seen == [("set.tar.gz", 102_400, "bytes", [0, 40_000, 51_200, 51_200, 91_200, 102_400])]
