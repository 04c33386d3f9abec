"""Optional libraries: imported where they are needed, and one line with the command where they are missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from protege.errors import MissingExtra


def need(library: str, extra: str, purpose: str) -> Any:
    """The library, or what to install for it."""
    try:
        return import_module(library)
    except ImportError as error:
        raise MissingExtra(
            f"{purpose} needs {library}, which is not installed: pip install 'protege[{extra}]'"
        ) from error
