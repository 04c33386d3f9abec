"""Files of Python that are not ours: found without running any, allowed by what is in them, and only then imported.

What a file imports from beside it belongs to it: it is in the digest, and comes from what was looked at, not from the disk again.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.abc
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from protege.data.files import content_of, is_file, is_folder
from protege.data.outside.consent import already_asked, refuse_unknown, rule
from protege.errors import suggest

LARGEST = 1 << 22  # bytes of one file
MOST_FILES = 200  # beside the first
FAILURES = (Exception, SystemExit)  # that somebody's code may end with: a script reads arguments as it is imported
OURS = str(Path(__file__).parents[2])
INSTALLED = sys.stdlib_module_names | {"torch", "torchvision", "timm", "numpy", "scipy", "PIL", "protege"}


def is_own(name: str) -> bool:
    """`path/to/file.py:NAME`, and not a name of ours or of a library."""
    place, colon, attribute = name.rpartition(":")
    return bool(colon) and place.endswith(".py") and attribute.isidentifier()


@dataclass(frozen=True)
class Code:
    """A file, and those beside it that it imports, by their paths from its folder."""

    source: Path
    content: bytes
    beside: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Of a file by itself its sha256; where it lies does not matter."""
        parts = [self.content, *(f"\n{name} {_sha256(self.beside[name])}".encode() for name in sorted(self.beside))]
        return _sha256(b"".join(parts))


def code_at(place: str) -> Code:
    """What is in `path/to/file.py`; a `ValueError` where there is no such file."""
    source = Path(place).expanduser()
    if not is_file(source):
        raise ValueError(f"there is no file {source}")
    source = source.resolve()
    content = read_code(source)
    return Code(source, content, _beside(source.parent, source.name, content))


def read_code(source: Path) -> bytes:
    try:
        return content_of(source, LARGEST)
    except OSError as error:
        raise ValueError(f"{source} cannot be read: {error.strerror}") from error


def allow(name: str) -> None:
    """When a description is checked: a `ValueError` unless this file may run, by what is in it now. Runs nothing."""
    if rule().imports:
        place = name.rpartition(":")[0]
        refuse_unknown(place, code_at(place).digest)


def found(name: str) -> Any:
    """What `file.py:NAME` names. Runs the file, if it was allowed when the name was checked, or is known here."""
    place, _, attribute = name.rpartition(":")
    code = code_at(place)
    with already_asked():
        if not rule().imports:
            raise ValueError(f"{place} is code, and none is run here")
        refuse_unknown(place, code.digest)
    module = imported(place, code)
    try:
        it = getattr(module, attribute)
    except AttributeError:
        names = [known for known in vars(module) if not known.startswith("_")]
        raise ValueError(f"{place} has no '{attribute}'.{suggest(attribute, names)}") from None
    except FAILURES as error:
        raise ValueError(f"cannot import {place}: {failure(error)}") from error
    if inspect.iscoroutinefunction(it):
        raise ValueError(
            f"'{attribute}' in {place} is async, and nobody here would wait for it. Write a plain function."
        )
    return it


def imported(place: str, code: Code) -> ModuleType:
    """The module of a file that may run; the same one again, until the file is edited."""
    name = f"protege_outside_{code.source.stem}_{_sha256(os.fsencode(code.source) + code.digest.encode())[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__, module.__path__, module.__package__ = str(code.source), [], name
    sys.modules[name] = module  # before it runs: pydantic looks its types up there
    try:
        with Beside(code, name).imports():
            run(code.content, code.source, module)
    except FAILURES as error:
        del sys.modules[name]
        raise ValueError(f"cannot import {place}: {failure(error)}") from error
    except BaseException:
        del sys.modules[name]
        raise
    return module


def failure(error: BaseException) -> str:
    """What went wrong in somebody's code, and where; its own words may fail as well."""
    try:
        words = str(error)
    except Exception:
        words = "it cannot say what"
    outside = [one for one in traceback.extract_tb(error.__traceback__) if not one.filename.startswith(OURS)]
    place = f" at {Path(outside[-1].filename).name}:{outside[-1].lineno}" if outside else ""
    return f"{type(error).__name__}: {words}{place}" if words else f"{type(error).__name__}{place}"


def run(content: bytes, source: Path, module: ModuleType) -> None:
    exec(compile(content, str(source), "exec", dont_inherit=True), module.__dict__)


def keep(name: str, folder: Path) -> None:
    """A copy of the file and of those beside it, by which `name` stays what it is when its own file is edited."""
    code = code_at(name.rpartition(":")[0])
    for path, content in {**code.beside, code.source.name: code.content}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


# ---- files beside it ----


class Beside(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives a file what it imports from its own folder, by plain names (`import blocks`) and from itself (`from .blocks import`)."""

    def __init__(self, code: Code, package: str) -> None:
        self.code, self.package = code, package
        self.tops = {name.partition("/")[0].removesuffix(".py") for name in code.beside}

    @contextlib.contextmanager
    def imports(self) -> Iterator[None]:
        """Here these files go before others of their names, which come back afterwards."""
        others = self._taken_out()
        sys.meta_path.insert(0, self)
        try:
            yield
        finally:
            sys.meta_path.remove(self)
            self._taken_out()
            sys.modules.update(others)

    def _taken_out(self) -> dict[str, ModuleType]:
        return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in self.tops}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        stem = fullname.removeprefix(f"{self.package}.").replace(".", "/")
        for name, package in ((f"{stem}.py", False), (f"{stem}/__init__.py", True)):
            if name in self.code.beside:
                origin = str(self.code.source.parent / name)
                return importlib.util.spec_from_loader(fullname, self, origin=origin, is_package=package)
        if any(name.startswith(f"{stem}/") for name in self.code.beside):
            return importlib.util.spec_from_loader(fullname, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> None:
        """As usual."""

    def exec_module(self, module: ModuleType) -> None:
        origin = module.__spec__.origin if module.__spec__ else None
        if origin is not None:
            name = str(PurePosixPath(Path(origin).relative_to(self.code.source.parent)))
            module.__file__ = origin
            run(self.code.beside[name], Path(origin), module)


def _beside(folder: Path, first: str, content: bytes) -> dict[str, bytes]:
    """All files below `folder` that the first one imports, and that those import."""
    contents = {first: content}
    waiting = [first]
    while waiting:
        name = waiting.pop()
        for wanted in _imports(contents[name], PurePosixPath(name)):
            if wanted not in contents and not is_folder(folder / wanted) and is_file(folder / wanted):
                contents[wanted] = read_code(folder / wanted)
                waiting.append(wanted)
        if len(contents) > MOST_FILES:
            raise ValueError(f"{folder / first} imports more than {MOST_FILES} files beside it")
    del contents[first]
    return contents


def _imports(content: bytes, name: PurePosixPath) -> Iterator[str]:
    """Files that there would be, if what this one imports lay beside the first."""
    try:
        nodes = list(ast.walk(ast.parse(content)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # running it says what is wrong
    for node in nodes:
        if isinstance(node, ast.Import):
            dotted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*_package(name, node.level), *filter(None, [node.module])])
            dotted = [base, *(f"{base}.{alias.name}".strip(".") for alias in node.names)]
        else:
            continue
        for one in dotted:
            parts = one.split(".")
            if parts[0] and parts[0] not in INSTALLED:
                for length in range(1, len(parts) + 1):
                    path = "/".join(parts[:length])
                    yield from (f"{path}.py", f"{path}/__init__.py")


def _package(name: PurePosixPath, level: int) -> list[str]:
    """Where a relative import of this level begins, from the first file's folder."""
    folders = list(name.parent.parts)
    return folders[: len(folders) - level + 1] if level else []


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
