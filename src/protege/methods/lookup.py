"""From what a user writes, `kd` or `{name: kd, temperature: 2}` or `my_method.py:Mine`, to a method."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Annotated

from pydantic import BeforeValidator, SerializeAsAny, ValidationError

from protege.errors import suggest
from protege.methods.base import Method

METHODS: dict[str, type[Method]] = {}  # filled by the package, which every import of this file has gone through


def parse_method(data: object) -> Method:
    """The method that `data` describes: its name, or a mapping with `name` and hyper-parameters.

    Raises ValueError, pydantic's own where a hyper-parameter is wrong: about the chosen method alone, not all forty.
    """
    if isinstance(data, Method):
        return data
    given = {"name": data} if isinstance(data, str) else data
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise ValueError(f"a method is a name, or a mapping with a name and hyper-parameters, not {data!r}")  # noqa: TRY004
    return resolve(given["name"]).model_validate(dict(given))


def _in_one_line(data: object) -> Method:
    try:
        return parse_method(data)
    except ValidationError as error:
        name = data["name"] if isinstance(data, Mapping) else data
        raise ValueError(f"method {name}: {'; '.join(_in_words(error, resolve(str(name))))}") from None


AnyMethod = Annotated[SerializeAsAny[Method], BeforeValidator(_in_one_line)]


def resolve(name: str) -> type[Method]:
    """The class of a method in METHODS, or of one outside: `path/to/file.py:ClassName`, `package.module:ClassName`."""
    if ":" in name:
        return outside(name)
    if name not in METHODS:
        raise ValueError(
            f"there is no method '{name}'.{suggest(name, list(METHODS))} Known: {', '.join(METHODS)}. "
            "One of your own is written path/to/file.py:ClassName."
        )
    return METHODS[name]


def outside(name: str) -> type[Method]:
    """A user's own method. Its class keeps `name: str` as inherited, for the name is where it was found."""
    place, _, attribute = name.rpartition(":")
    kind = getattr(_module(place), attribute, None)
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise ValueError(f"{place} has no class {attribute} that extends protege.methods.Method")  # noqa: TRY004
    if kind.model_fields["name"].annotation is not str:
        raise ValueError(f"{attribute} in {place} sets its own name; leave `name` out of the class")
    return kind


def fingerprint(method: Method) -> str:
    """Digest of the files behind methods from outside, whose code may change under one name; "" where all are ours."""
    parts = [part.method for part in getattr(method, "parts", ())]
    digests = [fingerprint(part) for part in parts]
    if ":" in method.name:
        source = _module(method.name.rpartition(":")[0]).__file__
        digests.append(hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else "")
    return "".join(digests)


def _module(place: str) -> ModuleType:
    try:
        return _from_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except ImportError as error:
        raise ValueError(f"cannot import {place}: {error}") from error


def _from_file(path: Path) -> ModuleType:
    path = path.expanduser().resolve()
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    # The digest of the text is in the name, so that an edited file is another module and is read again.
    name = f"protege_outside_{path.stem}_{hashlib.sha256(str(path).encode() + path.read_bytes()).hexdigest()[:16]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ValueError(f"cannot read {path} as Python")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # before it runs: pydantic looks its types up there
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _in_words(error: ValidationError, kind: type[Method]) -> Iterator[str]:
    for problem in error.errors():
        where = ".".join(str(step) for step in problem["loc"])
        if problem["type"] == "extra_forbidden":
            yield f"it has no '{where}'.{suggest(where, list(kind.model_fields))}"
        elif problem["type"] == "missing":
            yield f"{where} is missing"
        else:
            message = problem["msg"].removeprefix("Value error, ")
            yield f"{where} = {problem['input']!r}: {message}" if where else message
