"""What is imported at its first use: torch, for `protege --help` answers in a tenth of a second, and torch alone takes nearly one;
and optional libraries, which need not be there.

Modules that declare what the command line must know (configs, methods) import torch from here; everything else imports it plainly.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from protege.errors import MissingExtra


@contextmanager
def without_collecting() -> Iterator[None]:
    """While modules are loaded: they make many objects that stay, and looking for garbage among them takes a fifth of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


SHAPES = "torch._meta_registrations"  # what operations do to tensors that have a shape and no values


class _Later(ModuleType):
    """Stands for torch's module until somebody asks for a name in it."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        load_shapes()
        return getattr(sys.modules[SHAPES], name)


class _Finder:
    """Finds `_Later` in place of the module, once."""

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        if name != SHAPES:
            return None
        sys.meta_path.remove(self)
        return ModuleSpec(name, self)  # pyright: ignore[reportArgumentType]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Later(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run yet."""


@contextmanager
def shapes_later() -> Iterator[None]:
    """For a process that only computes with values: torch, imported inside, spares a third of its time. Whatever needs the rest
    (tracing, compiling, tensors on `meta`) calls `load_shapes` first."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)


def load_shapes() -> bool:
    """Load what was put off; False where nothing was."""
    if not isinstance(sys.modules.get(SHAPES), _Later):
        return False
    del sys.modules[SHAPES]
    importlib.import_module(SHAPES)
    return True


if TYPE_CHECKING:
    import torch as torch
    import torch.nn.functional as F
    from torch import Tensor as Tensor
    from torch import nn as nn
else:

    class _Lazy:
        """Stands for a module until something is asked of it."""

        def __init__(self, module: str) -> None:
            self._module = module

        def __getattr__(self, name: str) -> object:
            if name.startswith("__"):
                raise AttributeError(name)
            if self._module not in sys.modules:  # torch.compile can read sys.modules, but not trace an import
                with without_collecting():
                    importlib.import_module(self._module)
            return getattr(sys.modules[self._module], name)

    torch, nn, F = _Lazy("torch"), _Lazy("torch.nn"), _Lazy("torch.nn.functional")
    Tensor = "torch.Tensor"

__all__ = [
    "F",
    "Tensor",
    "at_first_use",
    "load_shapes",
    "need",
    "nn",
    "shapes_later",
    "torch",
    "without_collecting",
]


def at_first_use(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """`__getattr__` of a package whose names live in the modules `homes`, which are imported when one of their names is asked for."""

    def find(name: str) -> object:
        for module, names in homes.items():
            if name in names.split():
                return getattr(importlib.import_module(module), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find


def need(library: str, extra: str, purpose: str) -> Any:
    """An optional library; one line with what to install where it is missing."""
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise MissingExtra(
            f"{purpose} needs {library}, which is not installed: pip install 'protege[{extra}]'"
        ) from error
