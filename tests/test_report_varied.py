"""Varied values: a line for one, a heat map for two, a heat map a slice for three; and a list of points by its sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from report_cases import findings

from protege.report.material import collect
from protege.report.page.blocks import Figures
from protege.report.page.table import Table
from protege.report.sections.varied import varied
from protege.study.findings import Grid
from protege.study.findings.summaries import summary_of


def drawings(points: list[dict[str, Any]], root: Path, split: Any = "heldout") -> list[str]:
    """Of a grid that gives 70, 71, ... at these points."""
    paths = tuple(dict.fromkeys(path for point in points for path in point))
    measured = tuple((point, summary_of([70.0 + number, 70.5 + number])) for number, point in enumerate(points))
    grid = Grid(arm="kd", pair=None, split=split, paths=paths, points=measured, luck=0.5)
    section = varied(collect(findings(grids=(grid,)), root))
    assert section is not None
    return [str(drawn) for block in section.blocks if isinstance(block, Figures) for drawn in block.drawings]


def test_one_number_is_a_line_in_its_order(tmp_path: Path) -> None:
    (drawn,) = drawings([{"method.temperature": value} for value in (4, 1, 16)], tmp_path)
    assert "<path" in drawn and ">temperature<" in drawn
    assert [mark in drawn for mark in (">1<", ">2<", ">5<", ">10<")] == [True] * 4  # 16 is far from 1: powers of ten


def test_a_line_over_several_configurations_has_the_colour_of_their_arm(tmp_path: Path) -> None:
    """A shade of it would be that of one configuration alone."""
    (drawn,) = drawings([{"method.temperature": value} for value in (4, 1, 16)], tmp_path)
    assert "hue0 stroke" in drawn and "shade" not in drawn


def test_two_fields_are_a_heat_map_with_the_chosen_one_framed(tmp_path: Path) -> None:
    points = [{"method.temperature": t, "method.kd_weight": w} for t in (1, 4) for w in (0.5, 0.9)]
    (drawn,) = drawings(points, tmp_path)
    assert drawn.count("<rect") == 4
    assert "temperature (down), kd_weight (across)" in drawn


def test_the_chosen_configuration_is_framed(tmp_path: Path) -> None:
    """Of the plain case: temperature 4 was chosen, and the other varied field is a name."""
    points: list[dict[str, Any]] = [{"method.temperature": 4}, {"method.temperature": "high"}]
    (drawn,) = drawings(points, tmp_path)
    assert drawn.count("heat chosen") == 1


def test_three_fields_are_a_heat_map_for_each_value_of_the_third(tmp_path: Path) -> None:
    points = [{"a": a, "b": b, "c": c} for c in ("x", "y") for a in (1, 2) for b in (1, 2)]
    found = drawings(points, tmp_path)
    assert len(found) == 2
    assert [drawn.count("<rect") for drawn in found] == [4, 4]


def test_a_list_of_points_is_drawn_as_the_sweeps_that_it_is(tmp_path: Path) -> None:
    """Temperature with one weight, then weights with one temperature, as ablations are published."""
    points: list[dict[str, Any]] = [{"method.temperature": value} for value in (1, 2, 4)]
    points += [{"method.kd_weight": value} for value in (0.1, 0.5, 0.9)]
    first, second = drawings(points, tmp_path, split="test")
    assert ">temperature<" in first and ">kd_weight<" in second
    assert "test accuracy %" in first


def test_luck_is_said_under_the_drawing(tmp_path: Path) -> None:
    section = varied(collect(findings(), tmp_path))
    assert section is not None
    figures = [block for block in section.blocks if isinstance(block, Figures)]
    assert "the best would lead the mean by 0.50 points by luck" in figures[0].caption
    assert "1 seed a point" in figures[0].caption


def test_a_field_that_goes_with_another_needs_no_axis_of_its_own(tmp_path: Path) -> None:
    """Two weights whose sum is one are one line along the first; with a temperature they are a heat map of two."""
    weights = [{"a.ce_weight": w, "a.kd_weight": 1 - w} for w in (0.1, 0.3, 0.5, 0.7, 0.9)]
    (drawn,) = drawings(weights, tmp_path, split="test")
    assert "<rect" not in drawn and ">ce_weight (and kd_weight with it)<" in drawn
    assert [mark in drawn for mark in (">0.2<", ">0.4<", ">0.6<", ">0.8<")] == [True] * 4  # steps, not powers of ten
    points = [{"a.temperature": t, **weight} for t in (2, 4) for weight in weights]
    (heated,) = drawings(points, tmp_path)
    assert heated.count("<rect") == 10 and "temperature (down), ce_weight (across)" in heated


def test_the_chosen_value_of_one_field_is_ringed(tmp_path: Path) -> None:
    (drawn,) = drawings([{"method.temperature": value} for value in (1, 2, 4)], tmp_path)
    assert drawn.count("hollow") == 1
    (other,) = drawings([{"method.temperature": value} for value in (1, 2, 3)], tmp_path)
    assert "hollow" not in other  # 4 was chosen


def test_where_nothing_was_chosen_no_budget_is_listed(tmp_path: Path) -> None:
    titles = []
    for found in (findings(), findings(selections=())):
        section = varied(collect(found, tmp_path))
        assert section is not None
        titles.append([block.title for block in section.blocks if isinstance(block, Table)])
    assert "Tuning budgets" in titles[0] and "Tuning budgets" not in titles[1]
