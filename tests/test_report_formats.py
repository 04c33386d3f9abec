"""All formats print the same figures, and no name of anybody's becomes markup, a formula or a command."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_cases import FORMULA, GPU, NASTY, awkward, findings, write_runs

from protege.report.material import collect
from protege.report.page.blocks import Page, Section
from protege.report.page.formats import csv_text, latex, markdown
from protege.report.page.html import html
from protege.report.page.table import Column, Estimate, Range, Row, Table, p_value, said, table_of
from protege.report.sections import page_of

NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e-\d+)?")


def numbers(text: str) -> list[float]:
    return [float(found.replace(",", "")) for found in NUMBER.findall(text.replace("(1 seed)", ""))]


class Cells(HTMLParser):
    """Rows of every table of a page, by the table's name."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self._open = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name = dict(attrs).get("id") or ""
        if tag == "div" and name.startswith("table-"):
            self.tables[name.removeprefix("table-")] = []
        elif tag == "tr":
            next(reversed(self.tables.values())).append([])
        elif tag == "td":
            self._open = True
            next(reversed(self.tables.values()))[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag != "td"

    def handle_data(self, data: str) -> None:
        if self._open:
            next(reversed(self.tables.values()))[-1][-1] += data


def from_html(table: Table) -> list[list[float]]:
    page = html(Page("", "", "", "", None, (), (), (Section("s", "s", (table,)),), ""))
    return [numbers(" ; ".join(row)) for row in Cells(page).tables[table.name] if row]


def from_markdown(table: Table) -> list[list[float]]:
    return [numbers(line) for line in markdown(table).splitlines()[2:]]


def from_latex(table: Table) -> list[list[float]]:
    body = latex(table).partition(r"\midrule")[2].partition(r"\bottomrule")[0]
    return [numbers(line) for line in body.splitlines() if line.endswith(r"\\")]


def from_csv(table: Table) -> list[list[float]]:
    """Without what only CSV has: n beside an estimate, and hardware in every row."""
    rows = list(csv.reader(io.StringIO(csv_text(table))))
    kept = [index for index, name in enumerate(rows[0]) if name != "hardware" and not name.endswith(" n")]
    return [numbers(" ; ".join(row[index] for index in kept)) for row in rows[1:]]


def test_html_markdown_latex_and_csv_print_the_same_figures(tmp_path: Path) -> None:
    """Of every table of a report, row by row."""
    found = findings()
    write_runs(found, tmp_path)
    tables = page_of(collect(found, tmp_path)).tables
    assert len(tables) > 12
    for table in tables:
        shown = from_html(table)
        assert shown == from_markdown(table), table.name
        assert shown == from_latex(table), table.name
        assert shown == from_csv(table), table.name
        assert any(shown), table.name


TABLE = Table(
    "small",
    "Small",
    (Column("name"), Column("accuracy", "estimate"), Column("interval", "range", signed=True), Column("n", "count")),
    (
        Row(("a", Estimate(94.864, 0.1449, 5), Range(-0.081, 0.4), 21_282_122), GPU),
        Row(("b", Estimate(94.0, None, 1), None, None), GPU),
    ),
    note="A note.",
)


def test_a_value_is_rounded_once_and_alike_everywhere() -> None:
    assert "| a | 94.86 ± 0.14 | -0.08 to +0.40 | 21,282,122 |" in markdown(TABLE)
    assert r"a & 94.86 $\pm$ 0.14 & -0.08 to +0.40 & 21,282,122 \\" in latex(TABLE)
    assert csv_text(TABLE).splitlines()[1] == f"a,94.86,0.14,5,-0.08,+0.40,21282122,{GPU}"


def test_one_seed_has_no_spread_and_what_is_unknown_is_not_zero() -> None:
    assert "| b | 94.00 (1 seed) | - | - |" in markdown(TABLE)
    assert csv_text(TABLE).splitlines()[2] == f"b,94.00,,1,,,,{GPU}"


def test_hardware_is_said_once_where_it_is_the_same_and_in_every_row_where_it_is_not() -> None:
    two = Table("two", "Two", TABLE.columns, (TABLE.rows[0], Row(TABLE.rows[1].values, "a CPU")))
    page = html(Page("", "", "", "", None, (), (), (Section("s", "s", (TABLE, two)),), ""))
    assert f"A note. Hardware: {GPU}." in page
    assert [row[-1] for row in Cells(page).tables["two"] if row] == [GPU, "a CPU"]
    assert markdown(two).splitlines()[2].endswith(f"| {GPU} |")


def test_a_column_in_which_nothing_is_known_is_left_out() -> None:
    known = {"a": "1", "b": None}
    table = table_of("t", "T", known, [("name", str), ("top-5", lambda _: None), ("n", known.__getitem__)])
    assert [column.name for column in table.columns] == ["name", "n"]
    assert [row.values for row in table.rows] == [("a", "1"), ("b", None)]


def test_small_p_values_are_not_zero() -> None:
    assert [p_value(p) for p in (0.0312, 0.9, 0.00042)] == ["0.031", "0.900", "4e-04"]


def test_a_negative_zero_is_not_printed() -> None:
    assert said(-0.0001, Column("x", "number", 2, signed=True)) == "+0.00"


# ---- names ----


def test_the_head_of_a_column_is_no_formula_either() -> None:
    """Tables of classes and confusions have a column for each network, named by its arm."""
    table = Table("t", "T", (Column("class"), Column(FORMULA, "estimate")), (Row(("cat", Estimate(1.0, 0.5, 2))),))
    head = next(csv.reader(io.StringIO(csv_text(table))))
    assert head == ["class", f"'{FORMULA}", f"'{FORMULA} sd", f"'{FORMULA} n"]


@pytest.mark.parametrize("name", ["[1] cats", "*cats"])
def test_no_name_is_an_argument_of_the_row_before_it(name: str) -> None:
    """After the double backslash that ends a row, LaTeX reads a bracket or a star as part of it."""
    row = latex(named(name)).partition(r"\midrule")[2].splitlines()[1]
    assert row == rf"{{{name[0]}}}{name[1:]} \\"


def test_markdown_makes_no_link_of_a_name() -> None:
    assert "www&#46;example&#46;" not in markdown(named("www.example.org"))
    assert "www&#46;example.org" in markdown(named("www.example.org"))


def named(name: str) -> Table:
    return Table("t", name, (Column("name"),), (Row((name,)),), note=name)


def test_markdown_shows_a_name_as_it_is() -> None:
    line = markdown(named(NASTY)).splitlines()[2]
    assert line == "| &lt;script&gt;alert('x')&lt;/script&gt; &amp; 50% of \\$x\\_1\\$ \\#{\\~^}\\\\ \\|\\`\\* |"
    assert len(re.findall(r"(?<!\\)\|", line)) == 2  # the cell's own borders


def test_a_web_address_in_a_name_is_no_link_in_markdown() -> None:
    assert "https://" not in markdown(named("see https://example.org"))


def test_latex_shows_a_name_as_it_is() -> None:
    row = next(line for line in latex(named("50% & $x_1$ #{~^}\\")).splitlines() if line.startswith("50"))
    assert row == r"50\% \& \$x\_1\$ \#\{\textasciitilde{}\textasciicircum{}\}\textbackslash{} \\"


def test_a_spreadsheet_takes_no_name_for_a_formula() -> None:
    field = list(csv.reader(io.StringIO(csv_text(named(FORMULA)))))[1][0]
    assert field == f"'{FORMULA}"


def test_a_name_cannot_break_out_of_its_line() -> None:
    broken = named("a\n\n# heading\n| x |")
    assert len(markdown(broken).splitlines()) == 3
    assert len(list(csv.reader(io.StringIO(csv_text(broken))))) == 2
    assert r"a \# heading" in latex(broken)


def test_a_long_table_needs_longtable_and_says_so() -> None:
    rows = tuple(Row((str(number),)) for number in range(50))
    long = latex(Table("t", "T", (Column("name"),), rows))
    assert long.startswith(r"% \usepackage{booktabs} \usepackage{longtable}")
    assert r"\begin{longtable}{l}" in long


def test_every_brace_of_a_latex_file_is_closed(tmp_path: Path) -> None:
    found = awkward()
    write_runs(found, tmp_path)
    for table in page_of(collect(found, tmp_path)).tables:
        bare = re.sub(r"\\[{}\\]", "", latex(table))
        assert bare.count("{") == bare.count("}")
        for line in bare.splitlines()[1:]:
            assert not re.search(r"(?<!\\)[%#_]", line.replace(r"\textbackslash", "")), line


def test_a_latex_compiler_takes_every_table(tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex (Debian: texlive-latex-base texlive-latex-recommended)")
    found = awkward()
    write_runs(found, tmp_path)
    packages = r"\usepackage[T1]{fontenc}\usepackage{booktabs,longtable,graphicx,textcomp}"
    tables = [latex(table) for table in page_of(collect(found, tmp_path)).tables]
    whole = [r"\documentclass{article}" + packages, r"\begin{document}", *tables, r"\end{document}"]
    (tmp_path / "all.tex").write_text("\n".join(whole), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
