"""A page as HTML that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from protege.report.page.blocks import Block, Page
from protege.report.page.table import Table, for_reading, said, sort_key

COLOURS, GOLDEN = 7, 137.5  # colours in page.css; degrees


def html(page: Page) -> str:
    """No name from data is ever markup, and the page's own policy forbids it to load or run anything else."""
    script = _file("page.js")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.globals |= {"said": said, "sort_key": _sort_key, "for_reading": for_reading, "is_wide": _is_wide}
    template = environment.from_string(_file("page.html.j2"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    made = template.render(page=page, kind=_kind, style=Markup(_file("page.css")), script=Markup(script), digest=digest)
    return made.replace("/* further colours */", _colours(made), 1)


def _colours(page: str) -> str:
    """Those of more arms than have a colour by name: far from their neighbours' on the wheel, so that none comes twice."""
    numbers = sorted({int(number) for number in re.findall(r"\bhue(\d+)\b", page)})
    rule = ".hue{0} {{ --series: oklch(var(--tone) .13 {1:.0f}); --base: var(--series); }}"
    return "\n".join(rule.format(number, number * GOLDEN % 360) for number in numbers if number >= COLOURS)


def _file(name: str) -> str:
    return resources.files("protege.report.page").joinpath(name).read_text(encoding="utf-8")


def _is_wide(table: Table) -> bool:
    """On paper it has a page across: figures cannot be folded as words can."""
    return len(table.columns) > 9 and sum(column.numeric for column in table.columns) > 4


def _kind(block: Block) -> str:
    return type(block).__name__.lower()


def _sort_key(value: object) -> str:
    found = sort_key(value)  # type: ignore[arg-type]
    return "" if found is None else f"{found:.10g}" if isinstance(found, float) else str(found)
