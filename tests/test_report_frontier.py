"""Which one to ship: what is beaten is named, by whom, and how surely; without a measured price there is no such section."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from report_cases import ALONE, TAUGHT, findings, network

from protege.report.material import collect
from protege.report.page.blocks import Figures, Words
from protege.report.page.table import Table
from protege.report.sections.frontier import frontier
from protege.study.findings import Findings
from protege.study.findings.summaries import summary_of


def priced(prices: Mapping[str, tuple[float, float, int]]) -> Findings:
    """Arms with bytes, milliseconds and multiply-adds; accuracies 70.6, 72.6 and 72.1."""
    plain = findings({"alone": ALONE, "kd": TAUGHT, "dkd": (72.0, 72.1, 72.2)})
    cells = []
    for cell in plain.cells:
        size, time, count = prices[cell.key]
        measured = {"bytes": summary_of([size, size, size]), "latency_ms": summary_of([time - 0.1, time, time + 0.1])}
        facts = network("resnet8", 1, count)
        cells.append(cell.model_copy(update={"test": {"final": cell.test["final"] | measured}, "student": facts}))
    return plain.model_copy(update={"cells": tuple(cells)})


def test_what_another_beats_in_accuracy_and_every_price_is_named_and_how_surely(tmp_path: Path) -> None:
    """kd is more accurate than dkd and smaller, quicker, with fewer multiply-adds; alone is the cheapest of all."""
    found = priced({"alone": (80.0, 1.0, 10_000), "kd": (90.0, 1.5, 12_000), "dkd": (100.0, 2.0, 15_000)})
    section = frontier(collect(found, tmp_path))
    assert section is not None
    words, figures, table = section.blocks
    assert isinstance(words, Words) and isinstance(figures, Figures) and isinstance(table, Table)
    assert words.text.startswith(
        "For a budget of size, bytes, ship (test accuracy in %): from 80 alone (70.58 ± 0.63, n 3); from 90 kd ("
    )
    assert "multiply-adds, ship (test accuracy in %): from 10,000 alone" in words.text.replace(" an image", "")
    assert "For a budget of latency, ms, ship (test accuracy in %): from 1 alone (" in words.text
    assert "every price: dkd by kd (within the intervals)." in words.text
    names = [column.name for column in table.columns]
    beaten = {row.values[0]: row.values[names.index("beaten by")] for row in table.rows}
    assert beaten == {"alone": None, "kd": None, "dkd": "kd"}
    assert {"size bytes", "latency ms", "multiply-adds"} <= set(names)
    for name, drawing in zip(("size, bytes", "latency, ms", "multiply-adds"), figures.drawings, strict=True):
        assert f"against {name}" in drawing
    assert all(drawing.count('class="hue1 dash0 hollow"') == 1 for drawing in figures.drawings)


def test_intervals_that_do_not_meet_make_it_sure(tmp_path: Path) -> None:
    """alone (69.0 to 72.2) costs more than dkd (71.9 to 72.3), whose interval meets it, and than at, whose does not."""
    found = priced({"alone": (200.0, 3.0, 20_000), "kd": (90.0, 1.5, 12_000), "dkd": (100.0, 2.0, 15_000)})
    sure = found.model_copy(
        update={
            "cells": tuple(
                cell.model_copy(
                    update={"test": {"final": cell.test["final"] | {"accuracy": summary_of([75.0, 75.1, 75.2])}}}
                )
                if cell.key == "kd"
                else cell
                for cell in found.cells
            )
        }
    )
    section = frontier(collect(sure, tmp_path))
    assert section is not None and isinstance(section.blocks[0], Words)
    assert "alone by kd (beyond both intervals)" in section.blocks[0].text


def test_a_network_that_is_better_in_one_price_is_not_beaten(tmp_path: Path) -> None:
    found = priced({"alone": (80.0, 1.0, 10_000), "kd": (90.0, 2.5, 12_000), "dkd": (100.0, 2.0, 15_000)})
    section = frontier(collect(found, tmp_path))
    assert section is not None and isinstance(section.blocks[0], Words)
    assert "Beaten" not in section.blocks[0].text


def test_without_a_measured_price_or_where_all_cost_the_same_there_is_no_such_section(tmp_path: Path) -> None:
    assert frontier(collect(findings(), tmp_path)) is None
    same = (80.0, 1.0, 10_000)
    assert frontier(collect(priced({"alone": same, "kd": same, "dkd": same}), tmp_path)) is None


def test_prices_of_one_network_of_several_are_said_to_be_that(tmp_path: Path) -> None:
    found = priced({"alone": (80.0, 1.0, 10_000), "kd": (90.0, 1.5, 12_000), "dkd": (100.0, 2.0, 15_000)})
    once = {"bytes": summary_of([80.0]), "latency_ms": summary_of([1.0])}
    cells = [
        cell.model_copy(update={"test": {"final": cell.test["final"] | once}}) if cell.key == "alone" else cell
        for cell in found.cells
    ]
    for given, said in ((found, False), (found.model_copy(update={"cells": tuple(cells)}), True)):
        section = frontier(collect(given, tmp_path))
        assert section is not None and isinstance(section.blocks[1], Figures)
        assert ("Prices are those of one network of an arm" in str(section.blocks[1].caption)) == said
