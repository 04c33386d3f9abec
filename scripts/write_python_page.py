"""Write the reference in `docs/python.md` from the docstrings of the names that other people's code may rely on.

    python scripts/write_python_page.py

The text above the marker is written by hand and kept.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from generated import below

import protege

PAGE = Path(__file__).resolve().parents[1] / "docs" / "python.md"


def main() -> None:
    PAGE.write_text(page())


def page() -> str:
    """The whole page: its text as it stands, and everything below the marker anew."""
    return below(PAGE, "write_python_page.py", (line for name in protege.__all__ for line in entry(name)))


def entry(name: str) -> Iterator[str]:
    thing = getattr(protege, name)
    yield f"### {name}\n"
    if inspect.isfunction(thing):
        yield f"```text\n{name}{inspect.signature(thing)}\n```\n"
    yield said(thing) + "\n"
    if inspect.isclass(thing) and (own := list(members(thing))):
        yield "\n".join(own) + "\n"


def members(kind: type) -> Iterator[str]:
    """What a class offers itself, in its order: methods and properties that say what they are."""
    for name, member in list(vars(kind).items()):
        plain = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if not name.startswith("_") and inspect.isfunction(plain) and plain.__doc__:
            taken = (
                ""
                if isinstance(member, property)
                else str(inspect.signature(plain)).replace("self, ", "").replace("self", "")
            )
            yield f"- `.{name}{taken}`: {said(plain)}"


def said(thing: object) -> str:
    return " ".join((inspect.getdoc(thing) or "").split())


if __name__ == "__main__":
    main()
