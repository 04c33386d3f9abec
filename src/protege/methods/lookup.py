"""From what a user writes, `kd` or `{name: kd, temperature: 2}` or `my_method.py:Mine`, to a method."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, SerializeAsAny, ValidationError

from protege.data.files import is_file
from protege.data.outside.code import FAILURES, Code, failure, imported, read_code
from protege.data.outside.consent import refuse_unknown, rule
from protege.errors import ConfigError, ProtegeError, out_of_memory, quoted, suggest
from protege.methods.base import Method

METHODS: dict[str, type[Method]] = {}  # filled by the package, which every import of this file has gone through
DECLARED: dict[str, tuple[Any, str]] = {  # what a class says of itself, outside of its fields
    "reads": ((tuple, list, set, frozenset), '("stages",)'),
    "needs_teacher": (bool, "False"),
    "presets": (Mapping, '{"resnet56 -> resnet20": {"temperature": 4}}'),
    "variants": (Mapping, "{}"),
    **dict.fromkeys(("family", "paper", "formula", "source", "adds"), (str, '"..."')),
}


def parse_method(data: object) -> Method:
    """The method that `data` describes: its name, or a mapping with `name` and hyper-parameters.

    Raises ValueError, pydantic's own where a hyper-parameter is wrong: about the chosen method alone, not all forty.
    """
    if isinstance(data, Method):
        return data
    given = {"name": data} if isinstance(data, str) else data
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise ValueError(f"a method is a name, or a mapping with a name and hyper-parameters, not {quoted(data)}")  # noqa: TRY004
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


class Unread(Method):
    """Stands for a method from outside where nothing may be imported: its name and fields, and nothing it could do."""

    model_config = ConfigDict(extra="allow")


def outside(name: str) -> type[Method]:
    """A user's own method. Its class keeps `name: str` as inherited, for the name is where it was found."""
    if not rule().imports:
        return Unread
    place, _, attribute = name.rpartition(":")
    kind = getattr(_module(place), attribute, None)
    if not (isinstance(kind, type) and issubclass(kind, Method)):
        raise ValueError(f"{place} has no class {attribute} that extends protege.methods.Method")  # noqa: TRY004
    if kind.model_fields["name"].annotation is not str:
        raise ValueError(f"{attribute} in {place} sets its own name; leave `name` out of the class")
    for field, (takes, example) in DECLARED.items():
        found: Any = getattr(kind, field, None)
        if not isinstance(found, takes) or (field == "reads" and not all(isinstance(one, str) for one in found)):
            said = quoted(vars(kind).get(field), 40)
            raise ValueError(f"{attribute} in {place} has {field} = {said}; write {field} = {example}")
    return kind


def fingerprint(method: Method) -> str:
    """Digest of the files behind methods from outside, whose code may change under one name; "" where all are ours."""
    parts = [part.method for part in getattr(method, "parts", ())]
    digests = [fingerprint(part) for part in parts]
    if ":" in method.name:
        digests.append(_code(method.name.rpartition(":")[0]).digest)
    return "".join(digests)


def from_outside(method: Method) -> list[str]:
    """Names of what is not ours, in sums too."""
    below = [name for part in getattr(method, "parts", ()) for name in from_outside(part.method)]
    return [*([method.name] if ":" in method.name else []), *below]


def found_again(described: Any, copies: Path) -> Any:
    """A description of a method, in which a file that is not there any more is named by its copy."""
    if isinstance(described, list):
        return [found_again(one, copies) for one in described]
    if not isinstance(described, dict):
        return described
    found = {key: found_again(value, copies) for key, value in described.items()}
    place, _, kind = str(found.get("name", "")).rpartition(":")
    copy = copies / Path(place).name
    gone = place.endswith(".py") and not is_file(Path(place).expanduser()) and is_file(copy)
    return found | {"name": f"{copy}:{kind}"} if gone else found


@contextlib.contextmanager
def as_its_authors(method: Method) -> Iterator[None]:
    """What fails inside of a method from outside is a line that names the place in its file."""
    try:
        yield
    except FAILURES as error:
        theirs = from_outside(method)
        if isinstance(error, ProtegeError) or not theirs or out_of_memory(error):
            raise
        raise ConfigError(f"The method {' or '.join(theirs)} fails: {failure(error)}") from error


def _module(place: str) -> ModuleType:
    """Imported only after what is in the file was allowed to run."""
    code = _code(place)
    refuse_unknown(place, code.digest)
    if place.endswith(".py"):
        return imported(place, code)
    try:
        return importlib.import_module(place)
    except FAILURES as error:
        raise ValueError(f"cannot import {place}: {failure(error)}") from error


def _code(place: str) -> Code:
    """By what is in the file itself: what it imports never counted in the id of a method."""
    source = _source(place)
    return Code(source, read_code(source))


def _source(place: str) -> Path:
    """The file of a method, found without running any: importing a package runs what is in it."""
    if place.endswith(".py"):
        path = Path(place).expanduser()
        if not is_file(path):
            raise ValueError(f"there is no file {path}")
        return path.resolve()
    parts, folders, spec = place.split("."), None, None
    for number, part in enumerate(parts, 1):
        if not part.isidentifier() or (number > 1 and folders is None):
            raise ValueError(
                f"cannot import {place}: there is no such module; a file is written path/to/file.py:ClassName"
            )
        spec = _spec(".".join(parts[:number]), folders)
        folders = spec.submodule_search_locations if spec else None
    if spec is None or not (spec.origin or "").endswith(".py"):
        raise ValueError(
            f"cannot import {place}: there is no such module of Python; a file is written path/to/file.py:ClassName"
        )
    return Path(str(spec.origin))


def _spec(name: str, folders: Iterable[str] | None) -> ModuleSpec | None:
    looked = (finder.find_spec(name, folders) for finder in sys.meta_path)  # type: ignore[arg-type]
    return next((spec for spec in looked if spec is not None), None)


def _in_words(error: ValidationError, kind: type[Method]) -> Iterator[str]:
    for problem in error.errors():
        where = ".".join(str(step) for step in problem["loc"])
        if problem["type"] == "extra_forbidden":
            yield f"it has no '{where}'.{suggest(where, list(kind.model_fields))}"
        elif problem["type"] == "missing":
            yield f"{where} is missing"
        else:
            message = problem["msg"].removeprefix("Value error, ")
            yield f"{where} = {quoted(problem['input'])}: {message}" if where else message
