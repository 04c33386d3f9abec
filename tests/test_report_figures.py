"""Drawings put things where their numbers are, and are well-formed whatever they are called."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from report_cases import NASTY

from protege.report.figures.bars import Bar, bars
from protege.report.figures.heat import Field, heat
from protege.report.figures.plots import MOST_POINTS, Dot, Series, lines, scatter, thinned
from protege.report.figures.reliability import Bin, Diagram, reliability
from protege.report.figures.rows import ForestRow, StripRow, forest, strip
from protege.report.figures.svg import Scale, apart, scale, short, tick_labels


def test_ticks_are_round_and_say_as_much_as_tells_them_apart() -> None:
    ticks = Scale(94.63, 95.41, 0, 100).ticks()
    assert tick_labels(ticks) == ["94.8", "95.0", "95.2", "95.4"]
    assert tick_labels(Scale(0, 60, 0, 100).ticks(3)) == ["0", "20", "40", "60"]
    assert tick_labels(Scale(0, 20e6, 0, 100).ticks(2)) == ["0", "10 M", "20 M"]


def test_powers_of_ten_are_evenly_spaced() -> None:
    log = Scale(1, 100, 0, 200, log=True)
    assert [log(value) for value in (1, 10, 100)] == pytest.approx([0, 100, 200])
    assert log.ticks() == [1, 2, 5, 10, 20, 50, 100]


def test_one_lonely_value_stands_in_the_middle() -> None:
    assert scale([94.5], 0, 100)(94.5) == pytest.approx(50)


def test_short_numbers() -> None:
    assert [short(value) for value in (21_282_122, 2_236_682, 78_042, 12.5)] == ["21.3 M", "2.24 M", "78 k", "12.5"]


def test_labels_that_would_overlap_are_moved_apart_in_their_order() -> None:
    places = apart([50.0, 51.0, 10.0], 12, 0, 100)
    assert places[2] < places[0] < places[1]
    assert places[1] - places[0] >= 12
    assert places[2] == 10.0


def test_labels_stay_inside() -> None:
    places = apart([99.0, 98.0, 97.0], 10, 0, 100)
    assert sorted(places) == [80.0, 90.0, 100.0]


def curve(label: str, values: list[float], style: str = "hue0", n: int = 1) -> Series:
    return Series(
        label, list(range(1, len(values) + 1)), values, [v - 1 for v in values], [v + 1 for v in values], style, n
    )


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    kept = thinned(curve("a", [float(value) for value in range(1000)]))
    assert len(kept.x) == MOST_POINTS
    assert (kept.mean[0], kept.mean[-1], kept.low[-1], kept.high[-1]) == (0.0, 999.0, 998.0, 1000.0)


def test_a_band_is_drawn_over_seeds_only() -> None:
    assert "band" in lines([curve("a", [1.0, 2.0], n=3)], "", "epoch", "y")
    assert "band" not in lines([curve("a", [1.0, 2.0], n=1)], "", "epoch", "y")


def test_a_curve_goes_where_its_numbers_go() -> None:
    """Three points: the middle epoch in the middle, higher values further up."""
    points = re.search(
        r'<path d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"',
        lines([curve("a", [10, 30, 20])], "", "e", "y"),
    )
    assert points
    x1, y1, x2, y2, x3, y3 = map(float, points.groups())
    assert x2 == pytest.approx((x1 + x3) / 2, abs=0.1)
    assert y2 < y3 < y1
    assert y3 == pytest.approx((y1 + y2) / 2, abs=0.1)


def test_a_value_that_is_not_a_number_leaves_a_gap() -> None:
    drawn = lines([Series("a", [1, 2, 3], [1.0, float("nan"), 3.0], [1, 1, 3], [1, 1, 3], "hue0", 1)], "", "e", "y")
    assert "nan" not in drawn
    assert re.search(r'd="M[^ML]+M[^ML]+"', drawn)


def test_zero_is_always_on_a_forest_and_a_settled_difference_is_filled() -> None:
    rows = [
        ForestRow("kd", "+2.00", 2.0, (1.5, 2.5), None, True, "hue0"),
        ForestRow("at", "", 3.0, None, None, False, ""),
    ]
    drawn = forest(rows, "points", "label")
    assert 'class="zero"' in drawn
    assert "hue0 fill" in drawn and " hollow" in drawn


def test_rows_are_drawn_for_a_telephone_and_for_a_wide_page_with_the_same_figures() -> None:
    rows = [ForestRow("kd", "+2.00 [+1.50, +2.50]", 2.0, (1.5, 2.5), None, True, "hue0")]
    narrow, wide = forest(rows, "points", "label").split("</svg>")[:2]
    assert 'class="narrow"' in narrow and 'viewBox="0 0 360 ' in narrow
    assert 'class="wide"' in wide and 'viewBox="0 0 900 ' in wide
    for drawn in (narrow, wide):
        assert drawn.count("+2.00 [+1.50, +2.50]</text>") == 1 and drawn.count("<circle") == 1


def test_a_margin_named_in_advance_is_shown_around_zero() -> None:
    drawn = forest([ForestRow("kd", "", 0.1, (-0.2, 0.4), 0.5, True, "hue0")], "points", "label")
    x, width = (float(value) for value in re.search(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', drawn).groups())  # type: ignore[union-attr]
    zero = float(re.search(r'<line x1="([\d.]+)"[^>]*class="zero"', drawn).group(1))  # type: ignore[union-attr]
    assert zero == pytest.approx(x + width / 2, abs=0.1)
    assert "±0.5 was said in advance not to matter" in drawn


def test_a_higher_field_of_a_heat_map_is_darker_and_the_chosen_one_framed() -> None:
    fields = [
        [Field(94.0, "94.00", "", ""), Field(95.0, "95.00", "± 0.10", "", chosen=True)],
        [None, Field(94.5, "94.50", "", "")],
    ]
    drawn = heat(["1", "4"], ["0.5", "0.9"], fields, "T", "weight", "kd", "hue3")
    assert re.findall(r'class="(hue3 heat[ a-z]*)" fill-opacity="([\d.]+)"', drawn) == [
        ("hue3 heat", "0.06"), ("hue3 heat chosen", "0.60"), ("hue3 heat", "0.33"),
    ]  # fmt: skip
    assert ">94.50<" in drawn and ">± 0.10<" in drawn


def test_prices_that_differ_widely_are_shown_in_powers_of_ten() -> None:
    dots = [Dot("a", 78_042, 70.0, 0.5, None, "hue0", ""), Dot("b", 21e6, 79.0, None, None, "teacher", "")]
    assert "10 M" in scatter(dots, "parameters", "accuracy %")


def test_the_part_of_a_price_that_is_not_the_teachers_is_a_hollow_point() -> None:
    dots = [Dot("a", 400.0, 70.0, 0.5, 100.0, "hue0", ""), Dot("b", 100.0, 69.0, None, None, "alone", "")]
    assert scatter(dots, "seconds", "accuracy %").count("hollow") == 1


def test_a_bin_off_the_diagonal_says_by_how_much() -> None:
    drawn = reliability([Diagram("as trained", "ECE 15.00", [Bin(0.9, 0.75, 20)])], "kd", "hue0")
    assert "20 images, 90.0 % sure, 75.0 % right" in drawn


def test_names_too_long_for_their_line_get_one_of_their_own() -> None:
    """So that two arms whose names begin alike can be told apart."""
    names = [f"kd (temperature 4, kd_weight 0.9, teacher resnet{number})" for number in (14, 20)]
    rows = [StripRow(name, "94.86 ± 0.14, n 5", [94.8, 94.9], 94.86, (94.7, 95.0), "hue0") for name in names]
    drawn = strip(rows, "accuracy %", "label")
    assert all(f">{name}<" in drawn for name in names)
    assert drawn.count("…") == 0


def test_there_is_nothing_between_two_epochs() -> None:
    drawn = lines([curve("a", [1.0, 2.0, 3.0])], "", "epoch", "y")
    assert re.findall(r'text-anchor="middle">([^<]+)<', drawn) == ["1", "2", "3", "epoch"]


ALL = [
    lines([curve(NASTY, [1.0, 2.0], n=2)], NASTY, NASTY, NASTY),
    strip([StripRow(NASTY, NASTY, [1.0, 2.0], 1.5, (1.0, 2.0), "alone")], NASTY, NASTY),
    forest([ForestRow(NASTY, NASTY, 1.0, (0.5, 1.5), 0.3, True, "hue0")], NASTY, NASTY),
    heat([NASTY], [NASTY], [[Field(1.0, NASTY, NASTY, NASTY)]], NASTY, NASTY, NASTY, "hue0"),
    scatter([Dot(NASTY, 1.0, 2.0, 0.1, 0.5, "hue0", NASTY)], NASTY, NASTY),
    reliability([Diagram(NASTY, NASTY, [Bin(0.5, 0.5, 3)])], NASTY, "hue0"),
    bars([Bar(NASTY, -1.0, 0.5, NASTY)], NASTY, "hue0", NASTY),
]


@pytest.mark.parametrize("drawn", ALL, ids=["lines", "strip", "forest", "heat", "scatter", "reliability", "bars"])
def test_a_drawing_is_well_formed_and_named_whatever_the_names(drawn: str) -> None:
    for root in ElementTree.fromstring(f"<figure>{drawn}</figure>"):
        assert root.tag == "svg"
        assert root.get("role") == "img" and root.get("aria-label")
    assert "<script" not in drawn


@pytest.mark.parametrize("drawn", ALL)
def test_a_drawing_has_no_colour_of_its_own(drawn: str) -> None:
    """So that one drawing serves light, dark and paper."""
    assert not re.search(r"#[0-9a-f]{3,6}\b|rgb\(|(?:fill|stroke)=", drawn.replace(NASTY, ""))


# ---- names ----


def test_names_too_long_for_the_end_of_a_line_stand_below_in_full() -> None:
    long = [f"weight (ce_weight 0.{number}, kd_weight 0.{10 - number})" for number in (1, 3)]
    drawn = str(lines([curve(name, [1.0, 2.0], f"hue{number}") for number, name in enumerate(long)], "", "epoch", "%"))
    assert all(f">{name}<" in drawn for name in long) and "…" not in drawn
    beside = str(lines([curve("kd", [1.0, 2.0]), curve("alone", [1.0, 1.5])], "", "epoch", "%"))
    assert height(drawn) > height(beside)


def test_long_names_of_points_stand_below_in_full() -> None:
    dots = [Dot(f"weight (ce_weight 0.{n}, kd_weight 0.9)", n, 90 + n, 0.1, None, f"hue{n}", "") for n in (1, 2)]
    drawn = str(scatter(dots, "parameters", "accuracy"))
    assert all(f">{dot.label}<" in drawn for dot in dots)
    assert "tie" not in drawn


def height(drawn: str) -> float:
    found = re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', drawn)
    assert found
    return float(found[1])


def test_a_calibration_error_is_printed_whole() -> None:
    bins = [Bin(0.5, 0.5, 10)]
    for count in (1, 2):
        diagrams = [Diagram("as trained", "ECE 11.63 ± 1.02 %", bins)] * count
        assert "as trained: ECE 11.63 ± 1.02 %<" in str(reliability(diagrams, "kd (3 runs)", "hue0"))


def test_the_line_at_zero_does_not_cross_figures() -> None:
    """A minus beside it could not be seen: figures stand between the pieces of the line."""
    row = ForestRow("kd", "-1.58 [-2.00, +2.00], n 2", -1.58, (-2.0, 2.0), None, False, "hue0")
    drawn = forest([row, row], "points", "points").partition("</svg>")[0]  # beside it where there is more room
    zeros = re.findall(r'<line x1="[^"]+" y1="([^"]+)" x2="[^"]+" y2="([^"]+)" class="zero"/>', drawn)
    said = [float(y) for y in re.findall(r'y="([^"]+)" class="dim" text-anchor="end">-1.58', drawn)]
    assert len(zeros) == len(said) == 2
    for (top, bottom), (own, after) in zip(zeros, [(said[0], said[1]), (said[1], 1e9)], strict=True):
        assert own <= float(top) < float(bottom) < after - 8
