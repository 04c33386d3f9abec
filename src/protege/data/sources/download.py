"""A file from the net: resumed after a cut, checked by its published sum, and either whole or not there."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from protege.data.places import alone, disk_errors, need_space, size
from protege.data.progress import Progress, Reached, shown
from protege.errors import DataError

log = logging.getLogger(__name__)

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # seconds before each new attempt; they begin anew whenever something arrived
PATIENCE = 30.0  # seconds of silence before a connection counts as cut
PIECE = 1 << 18
PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers of a server that may do better later


@dataclass(frozen=True)
class Download:
    """What to fetch. `size` is only what is told to people and asked of the disk; `md5` decides."""

    url: str
    target: Path
    md5: str
    size: int
    variable: str  # of the environment, which names another address


def download(wanted: Download, progress: Progress = shown, waits: Sequence[float] = WAITS) -> Path:
    """The file at its target. Several processes may ask at once: one fetches, the others wait."""
    folder = wanted.target.parent
    with disk_errors(folder, wanted.size, wanted.target.name):
        folder.mkdir(parents=True, exist_ok=True)
        with alone(wanted.target, wanted.target.name):
            if not wanted.target.exists():
                _fetch(wanted, progress, waits)
    return wanted.target


def partial_of(target: Path) -> Path:
    return target.with_name(target.name + ".partial")


def _fetch(wanted: Download, progress: Progress, waits: Sequence[float]) -> None:
    partial = partial_of(wanted.target)
    need_space(wanted.target.parent, wanted.size - _length(partial), wanted.target.name)
    with progress(wanted.target.name, wanted.size, "bytes") as reached:
        _persist(wanted, partial, reached, waits)
    if (found := md5(partial)) != wanted.md5:
        told = size(_length(partial))
        partial.unlink()
        raise DataError(
            f"{wanted.url} gave {told} with md5 {found}, but {wanted.target.name} is published with {wanted.md5}. "
            f"It was removed: try again, or name another address in {wanted.variable}."
        )
    partial.replace(wanted.target)


def _persist(wanted: Download, partial: Path, reached: Reached, waits: Sequence[float]) -> None:
    """Attempt after attempt, each from where the last one ended."""
    tried, allowed = 0, waits[:3]  # a machine without a net learns it soon; a line that has worked is worth waiting for
    while True:
        before = _length(partial)
        try:
            return _attempt(wanted.url, partial, reached)
        except urllib.error.HTTPError as error:
            cause = f"the server answers {error.code} {error.reason}"
            if error.code not in PASSING:
                raise _unreachable(wanted, cause) from error
        except ValueError as error:  # an address without http://
            raise _unreachable(wanted, str(error)) from error
        except (
            urllib.error.URLError,
            http.client.HTTPException,
            ssl.SSLError,
            ConnectionError,
            TimeoutError,
        ) as error:
            cause = str(getattr(error, "reason", error)) or type(error).__name__
        if _length(partial) > before:
            tried, allowed = 0, waits
        if tried == len(allowed):
            raise _unreachable(wanted, cause)
        log.warning("%s: %s. Again in %g s.", wanted.target.name, cause, waits[tried])
        time.sleep(waits[tried])
        tried += 1


def _unreachable(wanted: Download, cause: str) -> DataError:
    return DataError(
        f"{wanted.target.name} is not in {wanted.target.parent}, and {wanted.url} cannot be fetched: {cause}. "
        f"Put the file there, or name another address in {wanted.variable}."
    )


def _attempt(url: str, partial: Path, reached: Reached) -> None:
    """Fetch what is missing of the partial file; a `ConnectionError` where the server promised more than came."""
    have = _length(partial)
    request = urllib.request.Request(url, headers={"User-Agent": "protege"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        if (
            error.code == 416
        ):  # nothing follows: the partial file is whole, or it is of something else, which its sum will tell
            return
        raise
    with response:
        resumed = have > 0 and _continues(response, have)
        with partial.open("ab" if resumed else "wb") as file:
            _receive(response, file, have if resumed else 0, reached)
            file.flush()
            os.fsync(file.fileno())


def _continues(response: http.client.HTTPResponse, have: int) -> bool:
    """Whether the answer goes on where the partial file ends; servers may ignore the question and send all of it."""
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return getattr(response, "status", None) == 206 and found is not None and int(found[1]) == have


def _receive(response: http.client.HTTPResponse, file: BinaryIO, done: int, reached: Reached) -> None:
    promised = response.headers.get("Content-Length")
    whole = done + int(promised) if promised is not None else None
    reached(done)
    while piece := response.read(PIECE):
        file.write(piece)
        done += len(piece)
        reached(done)
    if whole is not None and done < whole:
        raise ConnectionError(f"the connection ended after {done:,} of {whole:,} bytes")


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
