"""The page: complete in itself, honest in its first line, small, and safe whatever runs are called."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_cases import ALONE, GPU, NASTY, TAUGHT, awkward, findings, many_arms, write_runs

from protege.report.make import write_report
from protege.report.material import collect
from protege.report.page.blocks import Figures
from protege.report.page.formats import markdown_page
from protege.report.page.html import html
from protege.report.page.table import Table
from protege.report.page.written import write_page
from protege.report.sections import page_of
from protege.study.findings import Findings, Measure, read
from protege.study.findings.summaries import summary_of


def page(found: Findings, root: Path) -> str:
    return html(page_of(collect(found, root)))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    found, root = findings(), tmp_path_factory.mktemp("runs")
    write_runs(found, root)
    return page(found, root)


class Tags(HTMLParser):
    """Every element with its attributes, and the text that a reader sees."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._hidden = False
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._hidden = tag in ("style", "script", "title")

    def handle_data(self, data: str) -> None:
        if data.strip() and not self._hidden:
            self.text.append(data.strip())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


# ---- complete in itself ----


def test_nothing_is_loaded_from_anywhere(tiny: str) -> None:
    found = Tags(tiny)
    assert not [tag for tag, _ in found.elements if tag in ("link", "iframe", "object", "embed", "base", "form")]
    for tag, attributes in found.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            target = attributes.get(name)
            assert target is None or target.startswith(("#", "data:image/png;base64,")), (tag, name, target)
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|https?://", tiny)


def test_every_link_of_the_contents_leads_somewhere(tiny: str) -> None:
    found = Tags(tiny)
    anchors = {attributes.get("id") for _, attributes in found.elements}
    links = [attributes["href"] for attributes in found.of("a")]
    assert len(links) > 8
    assert {str(link).removeprefix("#") for link in links} <= anchors


def test_the_pages_own_policy_forbids_everything_but_its_script(tiny: str) -> None:
    policy = next(one for one in Tags(tiny).of("meta") if one.get("http-equiv") == "Content-Security-Policy")
    script = re.search(r"<script>(.*?)</script>", tiny, re.DOTALL)
    assert script
    digest = base64.b64encode(hashlib.sha256(script.group(1).encode()).digest()).decode()
    assert policy["content"] == (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )


def test_names_of_anybodys_are_text_and_nothing_else(tmp_path: Path) -> None:
    found = awkward()
    write_runs(found, tmp_path)
    made = page(found, tmp_path)
    tags = Tags(made)
    assert len(tags.of("script")) == 1
    assert "<b>" not in made  # of a class's name
    assert NASTY in " ".join(tags.text)


# ---- what it says ----


def first_words(source: str) -> str:
    return Tags(source).text[0]


def test_the_first_line_of_a_reduced_study_says_that_it_is_reduced(tmp_path: Path) -> None:
    reduced = findings(scale="reduced", differs="a resnet20 teaches, 3 seeds instead of 5", differences=("a", "b"))
    said = "This is a reduced-scale run of the study: a resnet20 teaches, 3 seeds instead of 5. It shows that"
    made = page(reduced, tmp_path)
    assert first_words(made).endswith("All 2 differences, computed from both forms, are listed below.")
    assert first_words(made).startswith(said) and made.count("a resnet20 teaches, 3 seeds") == 1
    assert markdown_page(page_of(collect(reduced, tmp_path))).startswith(f"**{said}")
    without = first_words(page(findings(scale="reduced"), tmp_path))
    assert without.startswith("This is a reduced-scale run of the study. It shows that")
    assert first_words(page(findings(), tmp_path)) == "tiny"


@pytest.mark.parametrize(
    ("unit", "needs_teacher", "section"), [("ms", False, "costs"), ("", False, "calibration"), ("%", True, "fidelity")]
)
def test_a_measure_that_is_declared_appears_by_itself(
    unit: str, needs_teacher: bool, section: str, tmp_path: Path
) -> None:
    """Beside the known ones, in the table of its kind; a price is drawn against accuracy as well."""
    declared = Measure(
        name="novel",
        label="novel figure",
        unit=unit,
        difference_unit="units",
        higher_is_better=False,
        needs_teacher=needs_teacher,
    )
    plain = findings()
    cells = [
        cell.model_copy(
            update={"test": {"final": cell.test["final"] | {"novel": summary_of([4.0 + place, 6.0 + place])}}}
        )
        for place, cell in enumerate(plain.cells)
    ]
    found = plain.model_copy(update={"cells": tuple(cells), "measures": (*plain.measures, declared)})
    made = next(one for one in page_of(collect(found, tmp_path)).sections if one.anchor == section)
    table = next(block for block in made.blocks if isinstance(block, Table))
    place = [column.name for column in table.columns].index(f"novel figure {unit}".strip())
    assert [row.values[place] for row in table.rows if row.values[place]] == [(5.0, 2**0.5, 2), (6.0, 2**0.5, 2)]
    drawn = [drawing for block in made.blocks if isinstance(block, Figures) for drawing in block.drawings]
    assert not any("novel figure" in drawing for drawing in drawn)
    others = {
        one.anchor: str(one.blocks) for one in page_of(collect(found, tmp_path)).sections if one.anchor == "frontier"
    }
    assert ("novel figure, ms" in others.get("frontier", "")) == (section == "costs")


def test_the_first_line_of_an_unfinished_study_says_so(tmp_path: Path) -> None:
    found = findings(complete=False)
    costs = found.costs.model_copy(update={"finished": 5, "runs": 9})
    made = page(found.model_copy(update={"costs": costs}), tmp_path)
    assert first_words(made).startswith("This report is not complete: 5 of 9 runs are finished, and ")


def test_the_title_is_the_question_with_a_capital(tiny: str) -> None:
    assert "<h1>Does it help?</h1>" in tiny


def test_a_picture_and_a_title_stand_once(tiny: str) -> None:
    """The head's picture is that of the one panel of networks; a table called like its section has no title of its own."""
    titles = re.findall(r"<h[23]>(.*?)</h[23]>", tiny)
    assert len(titles) == len(set(titles))
    drawings = re.findall(r"<svg.*?</svg>", tiny, re.DOTALL)
    assert len(drawings) == len(set(drawings))


def test_the_environment_is_told_at_the_head_and_in_the_table_of_machines(tiny: str) -> None:
    assert "NVIDIA H200, 1 thread, torch 2.13.0, Python 3.12.1, numpy 2.4.6, Linux 6.1 x86_64: 10 runs" in tiny
    table = tiny[tiny.index('id="table-hardware"') :]
    assert "3.12.1 2.4.6 Linux 6.1 x86_64" in " ".join(Tags(table[: table.index("</table>")]).text)


def test_the_answer_comes_before_everything_else_and_has_one_picture(tiny: str) -> None:
    head = tiny[: tiny.index("<main>")]
    assert head.count('class="narrow"') == head.count('class="wide"') == 1 and head.count("<svg") == 2  # one is shown
    assert "The accuracy of kd is higher than that of alone: +2.00 points" in " ".join(Tags(head).text)
    assert head.index("<svg") < head.index("protocol")


@pytest.mark.parametrize(
    ("protocol", "words"),
    [("heldout", "configurations are chosen on held-out images"), ("literature", "nothing chosen")],
)
def test_the_protocol_is_named(tmp_path: Path, protocol: str, words: str) -> None:
    made = page(findings(protocol=protocol), tmp_path)
    assert made.count(words) == 2  # at the head, and where the protocol is described


def test_warnings_stand_beside_the_answer(tiny: str) -> None:
    assert "One seed alone selects" in tiny[: tiny.index("<main>")]


def test_a_network_of_one_seed_is_shown_without_spread(tmp_path: Path) -> None:
    made = page(findings({"alone": ALONE, "kd": (72.5,)}), tmp_path)
    assert "72.50 (1 seed)" in made
    assert "untested: 1 and 1 seeds cannot tell a difference from chance" in made


def test_runs_that_failed_are_shown_with_their_error(tmp_path: Path) -> None:
    made = page(findings({"alone": ALONE, "kd": TAUGHT, "lost": (None,)}), tmp_path)
    assert "out of memory" in made
    assert "1 failed" in made


def test_a_sealed_study_shows_held_out_accuracy_and_no_test_score(tmp_path: Path) -> None:
    found = findings(complete=False, effects=(), published=())
    rows = tuple(row.model_copy(update={"test": {}}) for row in found.runs)
    cells = tuple(cell.model_copy(update={"test": {}}) for cell in found.cells)
    teachers = tuple(one.model_copy(update={"test": {}}) for one in found.teachers)
    made = page(found.model_copy(update={"runs": rows, "cells": cells, "teachers": teachers}), tmp_path)
    assert "Held-out accuracy of the last epoch" in made
    assert "test accuracy %" not in made


def test_published_figures_stand_beside_ours_with_what_differs(tiny: str) -> None:
    section = tiny[tiny.index('id="published"') : tiny.index('id="curves"')]
    said = " ".join(Tags(section).text)
    assert "73.07 72.58 ± 0.50 71.58 to 73.58 3 -0.49" in said
    assert "ten epochs instead of two hundred" in said


def test_small_published_figures_keep_their_decimals(tmp_path: Path) -> None:
    """A divergence of 0.0241 is not 0.02."""
    (one,) = findings().published
    small = {"measure": "kl_t4", "published": 0.0241, "measured": 0.0312, "difference": 0.0071, "measured_sd": 0.0011}
    found = findings(published=(one, one.model_copy(update={**small, "measured_interval": None})))
    made = page(found, tmp_path)
    assert 'id="table-published_in_units"' in made and 'id="table-published"' in made
    table = made[made.index('id="table-published_in_units"') :]
    said = " ".join(Tags(table[: table.index("</table>")]).text)
    assert "0.0241 0.0312 ± 0.0011 3 +0.0071" in said


def test_a_third_with_too_few_evaluations_is_not_drawn_alone(tmp_path: Path) -> None:
    """Twelve epochs have four in their last third; evaluated every fifth, one."""
    found = findings()
    write_runs(found, tmp_path)
    assert "from epoch 9 on: held-out accuracy" in page(found, tmp_path)
    for file in tmp_path.glob("*/metrics.jsonl"):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for line in lines:
            if (line["epoch"] + 1) % 5:
                del line["heldout_accuracy"], line["heldout_nll"]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = page(found, tmp_path)
    assert "held-out accuracy %" in made and "from epoch" not in made


def test_late_epochs_are_those_of_the_shortest_training_so_that_all_are_in_the_picture(tmp_path: Path) -> None:
    """A teacher of 24 epochs and students of 12: from epoch 9, the last third of the students."""
    found = findings()
    write_runs(found, tmp_path)
    for one in found.runs_of("big", "teacher"):
        file = tmp_path / one.path / "metrics.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        longer = [{**line, "epoch": line["epoch"] + 12} for line in lines]
        file.write_text("".join(json.dumps(line) + "\n" for line in (*lines, *longer)))
    made = page(found, tmp_path)
    drawn = made[: made.index("from epoch 9 on: held-out accuracy")].rpartition("<svg")[2]
    late = made[made.index(drawn) :].partition("</svg>")[0]
    assert [name for name in ("teacher big", "alone", "kd") if f"<title>{name}:" in late] == [
        "teacher big",
        "alone",
        "kd",
    ]


# ---- as a reader ----


def test_all_that_was_asked_is_answered_above_the_first_picture(tmp_path: Path) -> None:
    """The answer speaks of the primary comparison; the others follow it, and are not said again below."""
    found = findings({"alone": ALONE, "kd": TAUGHT, "dkd": (74.0, 74.5, 75.5)})
    first, second = found.effects
    second = second.model_copy(update={"primary": False})
    found = found.model_copy(update={"effects": (first, second), "answer": first.sentence})
    made = page(found, tmp_path)
    head = " ".join(Tags(made[: made.index("<nav")]).text)
    assert head.index(first.sentence) < head.index(second.sentence) < head.index("test accuracy %")
    assert " ".join(Tags(made).text).count(second.sentence) == 1
    assert made[: made.index("<nav")].count(">dkd</text>") == 2  # in the picture, which is drawn for two widths


def test_what_an_arm_is_stands_on_the_page(tmp_path: Path) -> None:
    made = page_of(collect(findings(), tmp_path))
    assert dict(made.arms) == {"alone": "resnet8, kd", "kd": "resnet8 taught by big, kd"}
    plain = findings()
    cells = [
        one.model_copy(update={"method": {"name": "kd", "temperature": 4.0, "standardise": False}})
        for one in plain.cells
    ]
    made = page_of(collect(plain.model_copy(update={"cells": tuple(cells)}), tmp_path))
    assert dict(made.arms)["kd"] == "resnet8 taught by big, kd (temperature 4)"
    assert "- kd: resnet8 taught by big, kd (temperature 4)" in markdown_page(made)


def test_a_reduced_form_is_not_subtracted_from_what_the_full_one_published(tmp_path: Path) -> None:
    assert "measured minus published" in page(findings(), tmp_path)
    assert "measured minus published" not in page(findings(scale="reduced"), tmp_path)


def test_tests_of_single_networks_are_folded(tiny: str) -> None:
    for name in ("mcnemar", "images", "ledger", "hardware"):
        table = tiny[tiny.index(f'id="table-{name}"') :]
        assert table.index("<details>") < table.index("<table>")
    assert tiny[tiny.index('id="table-effects"') :].index("<table>") < tiny[tiny.index('id="table-effects"') :].index(
        "<details>"
    )


def test_a_difference_is_the_same_figure_in_every_table(tmp_path: Path) -> None:
    """Though the bootstrap's own is a mean in another order."""
    found = findings()
    (effect,) = found.effects
    assert effect.bootstrap and effect.difference is not None
    other = effect.bootstrap.model_copy(update={"difference": effect.difference + 0.01})
    found = found.model_copy(update={"effects": (effect.model_copy(update={"bootstrap": other}),)})
    tables = {table.name: table for table in page_of(collect(found, tmp_path)).tables}
    read = {
        name: table.rows[0].values[[column.name for column in table.columns].index("difference")]
        for name, table in tables.items()
        if name in ("effects", "images")
    }
    assert read == {"effects": effect.difference, "images": effect.difference}


def test_hardware_that_is_everywhere_the_same_is_said_at_the_head_alone(tmp_path: Path) -> None:
    found = findings()
    write_runs(found, tmp_path)
    same = page_of(collect(found, tmp_path))
    assert dict(same.facts)["hardware"].startswith(GPU)
    assert "Hardware:" not in html(same) and "Hardware:" not in markdown_page(same)
    rows = tuple(row.model_copy(update={"device": "a CPU"}) if row.cell == "alone" else row for row in found.runs)
    mixed = html(page_of(collect(found.model_copy(update={"runs": rows}), tmp_path)))
    assert f"Hardware: {GPU}; a CPU." in mixed


def test_no_two_arms_have_a_colour_in_common_however_many_they_are(tmp_path: Path) -> None:
    """Forty arms: seven colours by name and one for each of the others, which the page defines."""
    made = page(many_arms(), tmp_path)
    shown = {int(number) for number in re.findall(r'<i class="hue(\d+)[^"]*swatch', made)}
    assert shown == set(range(39))
    rules = re.findall(r"\.hue(\d+) \{ --series: (oklch\([^)]*\) [^)]*\))", made)
    assert {int(number) for number, _ in rules} == set(range(7, 39)) and len({rule for _, rule in rules}) == 32


def test_a_mark_on_all_would_be_none(tmp_path: Path) -> None:
    several = page(findings({"alone": ALONE, "a": TAUGHT, "b": TAUGHT}), tmp_path)
    effects = several[several.index('id="table-effects"') : several.index('id="results"')]
    assert "marked" not in effects  # both are primary
    one = page(findings(), tmp_path)
    assert 'class="marked"' in one[one.index('id="table-effects"') : one.index('id="results"')]


def test_notes_speak_only_of_what_the_table_has(tmp_path: Path) -> None:
    found = findings()
    assert "temperature is fitted on held-out" in page(found, tmp_path)
    rows = [one.model_copy(update={"test": {}}) for one in found.runs]
    bare = {
        which: {name: one for name, one in scores.items() if not name.startswith("scaled")}
        for which, scores in found.cells[0].test.items()
    }
    cells = tuple(one.model_copy(update={"test": bare}) for one in found.cells)
    teachers = tuple(one.model_copy(update={"test": {}}) for one in found.teachers)
    chosen_nothing = {"cells": cells, "teachers": teachers, "runs": tuple(one for one in rows if one.role != "select")}
    made = page(found.model_copy(update=chosen_nothing), tmp_path)
    assert "temperature is fitted" not in made and "all selection runs of the arm" not in made
    assert "brought along" not in made


def test_every_network_has_its_column_in_a_table_of_classes(tmp_path: Path) -> None:
    """A teacher, five alone and six taught go into one chart; none of them is left out of its table."""
    arms = {"alone": ALONE} | {f"arm {number}": TAUGHT for number in range(10)}
    found = findings(arms)
    lone = [one.model_copy(update={"alone": one.arm in ("alone", *list(arms)[1:5])}) for one in found.cells]
    found = found.model_copy(update={"cells": tuple(lone)})
    write_runs(found, tmp_path)
    made = page(found, tmp_path)
    heads = " ".join(re.findall(r'id="table-per_class.*?</thead>', made, re.DOTALL))
    assert heads.count("<th scope") == 2 + 12
    assert all(f">{arm}</button>" in heads for arm in arms)


def test_a_command_that_is_the_same_for_all_stands_once_in_the_ledger(tmp_path: Path) -> None:
    (entry,) = findings().ledger
    lines = tuple({**entry, "command": "protege study run tiny.yaml --slots 7"} for _ in range(3))
    made = page(findings(ledger=lines), tmp_path)
    assert made.count("--slots 7") == 1


def test_the_teachers_time_is_counted(tiny: str) -> None:
    """101 s of the student, 300 s of its teacher, and twice 200 s to choose a temperature."""
    row = re.search(r'id="table-costs".*?>kd</td>(.*?)</tr>', tiny, re.DOTALL)
    assert row
    assert Tags(row.group(1)).text[-4:] == ["101.0 ± 1.0", "300.0", "401.0", "400.0"]


def test_folders_that_are_gone_are_said_and_the_rest_stays(tmp_path: Path) -> None:
    made = page(findings(), tmp_path)
    assert "their curves and diagrams are left out" in made
    assert 'id="curves"' not in made
    assert 'id="table-results"' in made


def test_a_damaged_evaluation_is_said_and_the_rest_stays(tmp_path: Path) -> None:
    found = findings()
    write_runs(found, tmp_path)
    row = found.runs_of("kd")[0]
    (tmp_path / row.path / "evaluations" / "test.json").write_text('{"final"')
    made = page(found, tmp_path)
    assert "is damaged (not JSON)" in made
    assert 'id="table-per_class"' in made


# ---- size ----


def test_two_hundred_runs_of_forty_arms_stay_under_three_megabytes(tmp_path: Path) -> None:
    found = many_arms()
    write_runs(found, tmp_path, epochs=200)
    assert len(found.runs) > 200
    made = page(found, tmp_path)
    assert len(made.encode()) < 3_000_000
    assert made.count("arm 38") > 5


# ---- files ----


def test_the_files_of_a_report(tmp_path: Path) -> None:
    found = findings()
    write_runs(found, tmp_path)
    written = write_report(page_of(collect(found, tmp_path)), found, tmp_path / "report")
    names = {str(path.relative_to(tmp_path / "report")) for path in written}
    assert {"report.html", "report.md", "findings.json", "tables/results.csv", "tables/results.tex"} <= names
    assert "tables/curves.csv" in names and "tables/curves.tex" not in names
    assert all(path.is_file() for path in written)
    assert read(tmp_path / "report") == found


def test_tables_of_an_earlier_report_do_not_stay_behind_and_other_files_do(tmp_path: Path) -> None:
    made = page_of(collect(findings(), tmp_path))
    write_page(made, tmp_path, "report")
    assert (tmp_path / "tables" / "results.tex").is_file()
    for name in ("mine.csv", "mine.tex"):
        (tmp_path / "tables" / name).write_text("somebody's own")
    write_page(dataclasses.replace(made, sections=()), tmp_path, "report")
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"mine.csv", "mine.tex", ".report"}


def test_many_sentences_are_folded_away_and_few_are_not(tmp_path: Path, tiny: str) -> None:
    assert "comparisons in words" not in tiny
    arms = {f"arm {number}": TAUGHT for number in range(6)}
    assert "All 6 comparisons in words" in page(findings({"alone": ALONE, **arms}), tmp_path)


def test_a_study_of_ones_own_differs_from_no_publication(tmp_path: Path) -> None:
    found = findings(published=(), notes=("Three seeds see large differences only.",))
    write_runs(found, tmp_path)
    text = markdown_page(page_of(collect(found, tmp_path)))
    assert "## Notes\n\n- Three seeds see large differences only." in text
    assert "publication" not in text and "Published" not in text
