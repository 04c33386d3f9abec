"""A page as HTML that needs nothing else, and as Markdown."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from protege.report.page.blocks import Block, Bullets, Code, Page, Section, Words
from protege.report.page.formats import NUMBERS, markdown, markdown_text
from protege.report.page.table import Table, for_reading, said, sort_key

# ---- HTML ----


def html(page: Page) -> str:
    """No name from data is ever markup, and the page's own policy forbids it to load or run anything else."""
    script = _file("page.js")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.globals |= {"said": said, "sort_key": _sort_key, "for_reading": for_reading, "numbers": NUMBERS}
    environment.globals["is_wide"] = _is_wide
    template = environment.from_string(_file("page.html.j2"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return template.render(
        page=page, kind=_kind, style=Markup(_file("page.css")), script=Markup(script), digest=digest
    )  # the two files are ours


def _file(name: str) -> str:
    return resources.files("protege.report.page").joinpath(name).read_text(encoding="utf-8")


def _is_wide(table: Table) -> bool:
    """On paper it has a page across: figures cannot be folded as words can."""
    return len(table.columns) > 9 and sum(column.kind in NUMBERS for column in table.columns) > 4


def _kind(block: Block) -> str:
    return type(block).__name__.lower()


def _sort_key(value: object) -> str:
    found = sort_key(value)  # type: ignore[arg-type]
    return "" if found is None else f"{found:.10g}" if isinstance(found, float) else str(found)


# ---- Markdown ----


def markdown_page(page: Page) -> str:
    """The words and the tables; curves and diagrams are in the page."""
    parts = [f"**{markdown_text(page.first_line)}**"] if page.first_line else []
    parts += [f"# {markdown_text(page.title)}", markdown_text(page.question), f"**{markdown_text(page.answer)}**"]
    parts.append("\n".join(f"- {name}: {markdown_text(value)}" for name, value in page.facts))
    if page.warnings:
        parts += ["What weakens this:", _bullets(Bullets(page.warnings))]
    for section in page.sections:
        parts += _section(section)
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(section: Section) -> Iterator[str]:
    said_here = [text for block in section.blocks if (text := _markdown_block(block, section.title))]
    if said_here:
        yield f"## {markdown_text(section.title)}"
        yield from said_here


def _markdown_block(block: Block, above: str) -> str:
    """`above`: the title of the section, which a table of the same name does not repeat."""
    if isinstance(block, Table):
        title = "" if block.title == above else f"### {markdown_text(block.title)}\n\n"
        return f"{title}{markdown(block)}\n{markdown_text(for_reading(block).note)}".rstrip()
    if isinstance(block, Words):
        return markdown_text(block.text)
    if isinstance(block, Bullets):
        return _bullets(block)
    return _fenced(block.text) if isinstance(block, Code) else ""


def _bullets(block: Bullets) -> str:
    return "\n".join(f"- {markdown_text(item)}" for item in block.items)


def _fenced(code: str) -> str:
    """Longer than any fence inside."""
    fence = "```"
    while fence in code:
        fence += "`"
    return f"{fence}\n{code.rstrip()}\n{fence}"
