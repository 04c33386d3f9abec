"""Files that appear whole: JSON, lines of JSON, and weights with their own checksum."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protege.data.files import content_of, is_file, is_there
from protege.errors import NotEnoughSpace, RunError
from protege.runs.locking import flock
from protege.runs.records import CutShort, Header, record_of

if TYPE_CHECKING:
    from torch import Tensor

NUMBERS = re.compile(r"\[\n\s+([^\[\]{}\"]*?)\n\s*\]")  # a list of nothing else, as it is indented
LONGEST_LINE = 1 << 20  # bytes; ours have some hundreds
Tensors = dict[str, "Tensor"]


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write to that becomes `path` only when all of it is on the disk."""
    partial = partial_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except Exception as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if _disk_is_full(error):
            free = shutil.disk_usage(path.parent).free / 1e6
            raise NotEnoughSpace(
                f"{path} could not be written: the disk is full ({free:.0f} MB free). "
                "Free some space and give the same command again: it goes on from the last checkpoint."
            ) from error
        if isinstance(error, OSError) or "os error" in str(error):  # so safetensors says it
            raise RunError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}.") from error
        raise
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def partial_of(path: Path) -> Path:
    """A name beside it that no other process writes to, on this node or another one."""
    return path.with_name(f"{path.name}.{os.uname().nodename}.{os.getpid()}.partial")


def unless_there(partial: Path, path: Path) -> None:
    """What is whole becomes `path`, but where another process was first, its file stays. (Without links, the last one's does.)"""
    try:
        os.link(partial, path)
    except FileExistsError:
        pass
    except OSError:
        partial.replace(path)
        return
    partial.unlink()


def _disk_is_full(error: Exception) -> bool:
    """safetensors reports a full disk in words of its own, without the number."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)


def write_json(path: Path, value: Any) -> None:
    """Indented, with a list of numbers on a line: a confusion of a thousand classes has a million."""
    text = NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", json.dumps(value, indent=2, allow_nan=False))
    with whole(path) as partial:
        partial.write_text(text + "\n")


def read_json(path: Path, kind: Any = dict[str, Any]) -> Any:
    """A record of that `kind` (see `records`): whatever else is in the file is one line that names it."""
    try:
        content = content_of(path)
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing: {path.parent} is not the folder of a run, or it was damaged.") from error
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        return record_of(content, kind)
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}). Remove {path.parent} and train again.") from error


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """One line of JSON, in a single write, so that lines of two processes never mix; all of it, or nothing."""
    line = (json.dumps(value, allow_nan=False) + "\n").encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK, 0o644)
        try:
            alone = flock(descriptor, fcntl.LOCK_EX)
            _append(descriptor, _on_a_line_of_its_own(descriptor, line) if alone else line)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise RunError(f"{path} is not a file that keeps lines. Remove it.")
        finally:
            os.close(descriptor)
    except OSError as error:
        if _disk_is_full(error):
            raise NotEnoughSpace(
                f"{path} could not be written: the disk is full. Free some space and start again."
            ) from error
        raise RunError(f"{path} cannot be written: {error.strerror}.") from error


def _append(descriptor: int, line: bytes) -> None:
    """A disk that is nearly full takes a part of it, which would spoil the next one."""
    written = os.write(descriptor, line)
    if written < len(line):
        os.ftruncate(descriptor, os.lseek(descriptor, 0, os.SEEK_END) - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _on_a_line_of_its_own(descriptor: int, line: bytes) -> bytes:
    """After one that a crash cut short, which does not count and goes, or one that somebody left without an end."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode) or not (end := os.lseek(descriptor, 0, os.SEEK_END)):
        return line
    last = os.pread(descriptor, LONGEST_LINE, max(0, end - LONGEST_LINE)).rpartition(b"\n")[2]
    if last and _is_cut_short(last):
        os.ftruncate(descriptor, end - len(last))
        return line
    return b"\n" + line if last else line


def _is_cut_short(line: bytes) -> bool:
    try:
        record_of(line, dict[str, Any])
    except ValueError as error:
        return isinstance(error, CutShort)
    return False


def read_lines(path: Path, kind: Any = dict[str, Any]) -> list[Any]:
    """The records of a .jsonl file, a line each; a last line cut short by a crash does not count."""
    try:
        lines = content_of(path).splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(record_of(line, kind))
        except ValueError as error:
            if number == len(lines) and isinstance(error, CutShort):
                break
            raise RunError(f"{path} is damaged at line {number} ({error}).") from error
    return found


def keep_lines(path: Path, count: int) -> None:
    """Only the first `count` lines: what came after the checkpoint is made again."""
    lines = read_lines(path)
    if len(lines) > count or (path.exists() and len(content_of(path).splitlines()) != len(lines)):
        with whole(path) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in lines[:count]))


def write_weights(path: Path, tensors: Tensors, about: Mapping[str, Any] | None = None) -> None:
    """Tensors as safetensors, with `about` and a checksum of the contents in the header."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = json.dumps({"sha256": _checksum(tensors), "about": about or {}}, allow_nan=False)
    with whole(path) as partial:  # one key, for safetensors writes several in no fixed order
        save_file(tensors, partial, metadata={"protege": header})


def read_weights(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """The tensors and what was said about them; a damaged, truncated or foreign file is a `RunError` that names it."""
    from safetensors import SafetensorError, safe_open

    if is_there(path) and not is_file(path):
        raise RunError(f"{path} is not a file.")
    try:
        with safe_open(path, framework="pt") as file:
            written = (file.metadata() or {}).get("protege")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing.") from error
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(f"{path} is damaged or truncated ({error}).") from error
    if written is None:
        raise RunError(f"{path} was not written by protege: it has no checksum.")
    try:
        header = record_of(written.encode(), Header)
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}).") from error
    if header["sha256"] != _checksum(tensors):
        raise RunError(f"{path} is damaged: its contents do not match its checksum.")
    return tensors, header["about"]


def _checksum(tensors: Tensors) -> str:
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        flat = tensors[name].contiguous().reshape(-1)
        digest.update(f"{name} {flat.dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.hexdigest()


def allocated(folder: Path) -> int:
    """Bytes on the disk of all files below, holes left out."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # dropped by another process meanwhile, or a link to nowhere
                total += (Path(parent) / name).stat().st_blocks * 512
    return total
