"""Comparisons on the page: the interval that is drawn is corrected as the outcome is, and every kind of claim has its table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_cases import ALONE, TAUGHT, findings

from protege.report.material import collect
from protege.report.page.blocks import Bullets, Figures, Section
from protege.report.page.formats import csv_text, markdown
from protege.report.page.table import Range, Table
from protege.report.sections.effects import also, effects
from protege.report.sections.head import picture
from protege.report.sections.published import published
from protege.study.findings import Findings, Interval
from protege.study.findings.record import Claim, Contrast, Recovery
from protege.study.question.measures import MEASURES


def claim(over: Any = "seeds", wide: float = 1.0) -> Claim:
    """Alone the interval leaves out zero; corrected for the family it does not."""
    return Claim(
        over=over,
        standard_error=0.4,
        degrees=6.0,
        interval=Interval(low=0.5, high=3.5 * wide),
        simultaneous=Interval(low=-0.25, high=4.25 * wide),
        p=0.02,
        adjusted_p=0.06,
    )


def claimed(**fields: Any) -> Findings:
    """Two arms against alone, of one family of two."""
    plain = findings({"alone": ALONE, "kd": TAUGHT, "dkd": (72.0, 72.5, 74.0)})
    claims = (claim(), claim("seeds and images", 2.0))
    made = [
        one.model_copy(update={"claims": claims, "named": "pooled", "family": 2, "outcome": "undecided"})
        for one in plain.effects
    ]
    return plain.model_copy(update={"effects": tuple(made), **fields})


def section(found: Findings, root: Path) -> Section:
    made = effects(collect(found, root))
    assert made is not None
    return made


def table(found: Findings, root: Path, name: str) -> Table:
    return next(one for one in section(found, root).blocks if isinstance(one, Table) and one.name == name)


def column(of: Table, name: str) -> list[Any]:
    place = [one.name for one in of.columns].index(name)
    return [row.values[place] for row in of.rows]


def test_a_hollow_point_has_an_interval_that_holds_zero(tmp_path: Path) -> None:
    """What is drawn beside "not shown to differ" is the interval that is corrected for the family, not the narrower one."""
    figure = next(block for block in section(claimed(), tmp_path).blocks if isinstance(block, Figures))
    assert "[-0.25, +4.25], n 3" in figure.drawings[0] and "+0.50, +3.50" not in figure.drawings[0]
    assert "all 2 of the family hold at once in 95 studies of 100" in figure.caption


def test_findings_of_an_older_version_say_that_their_intervals_are_not_corrected(tmp_path: Path) -> None:
    plain = findings({"alone": ALONE, "kd": TAUGHT, "dkd": (72.0, 72.5, 74.0)})
    older = [one.model_copy(update={"family": 2}) for one in plain.effects]
    found = plain.model_copy(update={"effects": tuple(older)})
    figure = next(block for block in section(found, tmp_path).blocks if isinstance(block, Figures))
    assert figure.caption.startswith("Difference with its 95 % interval, which is not corrected.")


def test_the_table_gives_the_interval_that_is_drawn_and_says_of_whom_it_speaks(tmp_path: Path) -> None:
    found = claimed(over="given its one teacher and these 2,000 test images")
    made = table(found, tmp_path, "effects")
    assert column(made, "95 % interval") == [Range(-0.25, 4.25)] * 2
    assert column(made, "p, corrected") == pytest.approx([one.adjusted_p for one in found.effects])
    assert set(column(made, "test")) == {"one error for all arms"}
    assert "What is said holds given its one teacher and these 2,000 test images." in made.note


def test_each_population_has_a_row_of_its_own(tmp_path: Path) -> None:
    made = table(claimed(), tmp_path, "populations")
    assert made.folded
    assert column(made, "over other") == ["seeds", "seeds and images"] * 2
    assert column(made, "95 %, all at once") == [Range(-0.25, 4.25), Range(-0.25, 8.5)] * 2


CONTRAST = Contrast(
    key="among",
    kind="among",
    label="configurations of kd",
    cells=("kd", "dkd"),
    pair=None,
    measure="accuracy",
    score="final",
    primary=True,
    family=3,
    difference=None,
    claims=(),
    f=4.4,
    degrees=(8.0, 16.0),
    p=0.006,
    adjusted_p=0.012,
    best="dkd",
    lead=0.5,
    lead_by_chance=0.3,
    lead_in_twenty=0.9,
    outcome="differ",
    sentence="The accuracies of kd differ.",
)


def test_what_was_asked_of_several_arms_is_told_and_listed(tmp_path: Path) -> None:
    found = claimed(contrasts=(CONTRAST,))
    assert also(found)[0] == "The accuracies of kd differ."
    made = table(found, tmp_path, "contrasts")
    assert column(made, "F") == [4.4] and column(made, "degrees of freedom") == ["8, 16"]
    assert column(made, "best") == ["dkd"] and column(made, "outcome") == ["differ"]
    answered = found.model_copy(update={"answer": f"{CONTRAST.sentence} And more."})
    assert CONTRAST.sentence not in also(answered)  # said above already


def test_gains_are_given_as_publications_state_them(tmp_path: Path) -> None:
    one = Recovery(
        cell="kd", control="alone", teacher="big", gap_recovered=38.5, error_reduction=12.4, teacher_recovered=98.8
    )
    made = table(claimed(recoveries=(one,)), tmp_path, "recoveries")
    assert column(made, "gap recovered %") == [38.5] and column(made, "of the teacher's accuracy %") == [98.8]


def test_all_that_a_reduced_form_changes_is_listed(tmp_path: Path) -> None:
    found = claimed(scale="reduced", differences=("batch_size 64 instead of 128",), published=(), notes=())
    made = published(collect(found, tmp_path))
    assert made is not None
    assert [block.items for block in made.blocks if isinstance(block, Bullets)] == [("batch_size 64 instead of 128",)]


DIFFERENCE = CONTRAST.model_copy(
    update={
        "key": "difference", "kind": "difference of differences", "label": "kd against alone, minus dkd against alone",
        "cells": ("kd", "alone", "dkd", "alone"), "difference": 1.275, "claims": (claim(),), "best": None, "f": None,
        "degrees": None, "outcome": "undecided",
    }
)  # fmt: skip


def test_a_difference_of_differences_is_drawn_with_its_corrected_interval(tmp_path: Path) -> None:
    """It may be the question itself; its colour is that of no arm, as it is of four."""
    figure = next(
        block for block in section(claimed(contrasts=(DIFFERENCE,)), tmp_path).blocks if isinstance(block, Figures)
    )
    drawn = str(figure.drawings[0])
    assert "(kd - alone) - (dkd - alone)" in drawn and "[-0.25, +4.25]" in drawn
    assert "difference of two differences in accuracy, points" in drawn and "hue" not in drawn


def test_the_first_picture_shows_the_difference_of_differences_that_was_asked(tmp_path: Path) -> None:
    """Where the networks are too many for a strip each."""
    arms = {"alone": ALONE, **{f"kd {number}": TAUGHT for number in range(10)}}
    found = findings(arms, contrasts=(DIFFERENCE.model_copy(update={"cells": ("kd 0", "alone", "kd 1", "alone")}),))
    shown = picture(collect(found, tmp_path))
    assert shown is not None and "(kd 0 - alone) - (kd 1 - alone)" in shown.drawings[0]


def test_a_comparison_across_pairs_names_the_pair_of_each_end(tmp_path: Path) -> None:
    found = findings({"alone": ALONE, "kd": TAUGHT})
    cells = [
        one.model_copy(update={"pair": pair, "arm": "alone", "label": f"alone: {pair}"})
        for one, pair in zip(found.cells, ("old stem", "new stem"), strict=True)
    ]
    effect = found.effects[0].model_copy(update={"pair": "new stem"})
    made = section(found.model_copy(update={"cells": tuple(cells), "effects": (effect,)}), tmp_path)
    figure = next(block for block in made.blocks if isinstance(block, Figures))
    assert (
        "alone: new stem - alone: old stem" in figure.drawings[0]
        or "minus that of alone: old stem" in figure.drawings[0]
    )


def test_bytes_have_no_decimals_and_likelihoods_four_in_every_table(tmp_path: Path) -> None:
    """One column has one number of decimals, so each unit has a table."""
    found = claimed()
    sized = found.effects[0].model_copy(update={"measure": "bytes", "difference": -226_040.0})
    likely = found.effects[1].model_copy(update={"measure": "nll", "difference": -0.01234})
    both = found.model_copy(update={"effects": (sized, likely), "measures": tuple(MEASURES.values())})
    for name in ("effects", "populations"):
        assert "| -226,040 |" in markdown(table(both, tmp_path, f"{name}_in_bytes"))
        assert "-226040," in csv_text(table(both, tmp_path, f"{name}_in_bytes"))
        assert "| -0.0123 |" in markdown(table(both, tmp_path, f"{name}_in_units"))
