"""The one place where a page becomes Markdown, and its tables CSV and LaTeX. HTML takes the same `said` through the template."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

from protege.errors import no_formula
from protege.report.page.blocks import Block, Bullets, Code, Page, Section, Words
from protege.report.page.table import Column, Estimate, Range, Row, Table, Value, for_reading, said, with_hardware

# ---- Markdown ----


def markdown_page(page: Page) -> str:
    """The words and the tables; curves and diagrams are in the page."""
    parts = [f"**{markdown_text(page.first_line)}**"] if page.first_line else []
    parts += [f"# {markdown_text(page.title)}", markdown_text(page.question), f"**{markdown_text(page.answer)}**"]
    parts += [_bullets(Bullets(page.also)), _pairs(page.arms), _pairs(page.facts)]
    if page.warnings:
        parts += ["What weakens this:", _bullets(Bullets(page.warnings))]
    for section in page.sections:
        parts += _section(section, page.one_machine)
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(section: Section, one_machine: bool) -> Iterator[str]:
    said_here = [text for block in section.blocks if (text := _markdown_block(block, section.title, one_machine))]
    if said_here:
        yield f"## {markdown_text(section.title)}"
        yield from said_here


def _markdown_block(block: Block, above: str, one_machine: bool) -> str:
    """`above`: the title of the section, which a table of the same name does not repeat."""
    if isinstance(block, Table):
        title = "" if block.title == above else f"### {markdown_text(block.title)}\n\n"
        note = markdown_text(for_reading(block, one_machine).note)
        return f"{title}{markdown(block, one_machine)}\n{note}".rstrip()
    if isinstance(block, Words):
        return markdown_text(block.text)
    if isinstance(block, Bullets):
        return _bullets(block)
    return _fenced(block.text) if isinstance(block, Code) else ""


def _pairs(named: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- {markdown_text(name)}: {markdown_text(value)}" for name, value in named)


def _bullets(block: Bullets) -> str:
    return "\n".join(f"- {markdown_text(item)}" for item in block.items)


def _fenced(code: str) -> str:
    """Longer than any fence inside."""
    fence = "```"
    while fence in code:
        fence += "`"
    return f"{fence}\n{code.rstrip()}\n{fence}"


def markdown(table: Table, said_above: bool = False) -> str:
    shown = for_reading(table, said_above)
    aligned = ["---:" if column.numeric else ":---" for column in shown.columns]
    head = [_line([markdown_text(column.name) for column in shown.columns]), _line(aligned)]
    return "\n".join([*head, *(_markdown_row(shown, row) for row in shown.rows)]) + "\n"


def _markdown_row(table: Table, row: Row) -> str:
    cells = [markdown_text(said(value, column)) for value, column in zip(row.values, table.columns, strict=True)]
    if row.marked:
        cells[0] = f"**{cells[0]}**"
    return _line(cells)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def markdown_text(plain: str) -> str:
    """Nothing in a name is a mark, a tag or a link."""
    one_line = " ".join(plain.split())
    marked = re.sub(r"([\\`*_\[\]|#~$])", r"\\\1", one_line)
    marked = marked.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("://", ":&#47;&#47;")
    return re.sub(r"www\.", "www&#46;", marked, flags=re.IGNORECASE)


# ---- CSV ----


def csv_text(table: Table) -> str:
    """A number a field: an estimate is a mean, its sd and its n; a range is two ends; what is not known is empty."""
    whole = with_hardware(table)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([no_formula(name) for column in whole.columns for name in _names(column)])
    for row in whole.rows:
        pairs = zip(row.values, whole.columns, strict=True)
        writer.writerow([field for value, column in pairs for field in _fields(value, column)])
    return out.getvalue()


def _names(column: Column) -> list[str]:
    if column.kind == "estimate":
        return [column.name, f"{column.name} sd", f"{column.name} n"]
    return [f"{column.name} low", f"{column.name} high"] if column.kind == "range" else [column.name]


def _fields(value: Value, column: Column) -> list[str]:
    if value is None:
        return [""] * len(_names(column))
    plain = Column(column.name, "number", column.decimals, column.signed)
    if isinstance(value, Estimate):
        return [_bare(value.mean, plain), "" if value.sd is None else f"{value.sd:.{column.decimals}f}", str(value.n)]
    if isinstance(value, Range):
        return [_bare(value.low, plain), _bare(value.high, plain)]
    if isinstance(value, str):
        return [no_formula(value)]
    return [str(value) if column.kind == "count" else _bare(value, column)]


def _bare(value: float, column: Column) -> str:
    return said(value, column).replace(",", "")


# ---- LaTeX ----

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "→": r"$\rightarrow$", "²": r"$^2$", "…": r"\ldots{}", "|": r"\textbar{}",
    "\"": r"\textquotedbl{}", "`": r"\textasciigrave{}",
}  # fmt: skip
LONG = 40  # rows that no longer fit on a page
FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{"  # as wide as the text at most


def latex(table: Table) -> str:
    """Its first line says which packages it needs: booktabs and graphicx, or longtable where the rows fill more than a page."""
    shown = for_reading(table)
    letters = "".join("r" if column.numeric else "l" for column in shown.columns)
    head = _latex_row([latex_text(column.name) for column in shown.columns])
    rows = [_latex_row(_latex_cells(shown, row)) for row in shown.rows]
    title, note = latex_text(shown.title), latex_text(shown.note)
    long = len(rows) > LONG
    needs = (
        r"% \usepackage{booktabs}"
        + (r" \usepackage{longtable}" if long else r" \usepackage{graphicx}")
        + r" \usepackage[T1]{fontenc}"
    )
    caption = rf"\caption{{{' '.join(part for part in (title + '.', note) if part)}}}"
    body = [r"\toprule", head, r"\midrule", *([r"\endhead"] if long else []), *rows, r"\bottomrule"]
    if long:
        lines = [needs, rf"\begin{{longtable}}{{{letters}}}", caption + r" \\", *body, r"\end{longtable}"]
    else:
        inside = [FITTED, rf"\begin{{tabular}}{{{letters}}}", *body, r"\end{tabular}", "}"]
        lines = [needs, r"\begin{table}", r"\centering", caption, *inside, r"\end{table}"]
    return "\n".join(lines) + "\n"


def _latex_cells(table: Table, row: Row) -> list[str]:
    cells = []
    for value, column in zip(row.values, table.columns, strict=True):
        plain = latex_text(said(value, column))
        cells.append(f"${plain}$" if _is_a_signed_number(value) and "$" not in plain else plain)
    return [rf"\textbf{{{cells[0]}}}", *cells[1:]] if row.marked else cells


def _is_a_signed_number(value: Value) -> bool:
    """In text its minus would be a hyphen."""
    return isinstance(value, int | float) and value < 0


def _latex_row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def latex_text(plain: str) -> str:
    """After the end of a row, [ and * would be arguments of it."""
    said = "".join(LATEX.get(letter, letter) for letter in " ".join(plain.split()))
    return f"{{{said[0]}}}{said[1:]}" if said[:1] in ("[", "*") else said
