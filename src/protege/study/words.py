"""A study's plan, findings and power, as a terminal shows them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from protege.runs.display import Plain, unless_shown

if TYPE_CHECKING:
    from protege.study.findings.record import Cell, Findings, TeacherFacts

WIDE = 120  # of a file, into which a table is written as it is
out = Plain(highlight=False, markup=False, emoji=False, soft_wrap=True, width=unless_shown(WIDE))


def say_plan(planned: dict[str, Any]) -> None:
    from protege.runs.display import duration
    from protege.study.findings.answer import of_reduced_form

    out.print(f"{planned['name']}: {planned['question']}", style="bold")
    if planned["scale"] == "reduced":
        out.print(of_reduced_form(planned["differs"], planned["differences"]), style="yellow")
    table = _table("", "configurations", "selection runs", "reporting runs")
    for row in planned["arms"]:
        table.add_row(row["cell"], str(row["configurations"]), str(row["select"]), str(row["report"]))
    out.print(table)
    counts = [f"{planned['finished']} finished", f"{planned['begun']} begun", f"{planned['left']} left"]
    out.print(f"{planned['runs']} runs, {planned['teachers']} of them teachers: {', '.join(counts)}.")
    if planned["seconds"] is not None:
        each = f"{planned['memory'] / 1e6:,.0f} MB of memory" + (" each" if planned["slots"] > 1 else "")
        takes = f"about {duration(planned['seconds'])} with {planned['slots']} slot(s), {planned['disk'] / 1e6:,.0f} MB of disk, {each}"
        out.print(f"Left: {takes} (from a few steps of each kind of run here).")
    elif planned["untried"]:
        out.print(
            f"How long it takes is not known here: --probe tries a few steps of each of {planned['untried']} kinds of run."
        )
    if planned["cost"]:
        out.print(f"The full form is said to take {planned['cost']}.")
    _warn(planned["warnings"])


def say_findings(findings: Findings, folder: Path) -> None:
    """The answer stands last, where it is seen when a long run ends."""
    from protege.study.findings.answer import how_far, of_reduced_form

    out.print(f"{findings.name} ({findings.scale}): {findings.question}", style="bold")
    if findings.scale == "reduced":
        out.print(of_reduced_form(findings.differs, findings.differences), style="yellow")
    for one in findings.selections:
        values = ", ".join(f"{path} {value}" for path, value in (one.chosen or {}).items())
        out.print(f"chosen for {one.cell}: {values or 'nothing yet'}.{'' if one.is_noise else f' {one.sentence}'}")
    out.print(_results(findings))
    for one in (*findings.effects, *findings.contrasts):
        if one.sentence not in findings.answer and one.outcome != "pending":
            out.print(one.sentence)
    _warn(findings.warnings)
    if not findings.complete:
        out.print(f"{(said := how_far(findings))[0].upper()}{said[1:]}.")
    out.print(findings.answer, style="bold")
    out.print(f"everything is in {folder}", style="dim")


def say_report(made: str, unread: tuple[str, ...]) -> None:
    _warn(unread)
    out.print(made)


def _warn(warnings: list[str] | tuple[str, ...]) -> None:
    for warning in warnings:
        out.print(f"warning: {warning}", style="yellow")


def _results(findings: Findings) -> Table:
    """Without columns in which nothing is known."""
    names = ["seeds", "held-\nout %", "test %", "sd", "95 % interval", "agrees\nwith the\nteacher %", "ECE %"]
    rows = {f"teacher {teacher.key}": _figures(findings, teacher) for teacher in findings.teachers}
    rows |= {cell.label: _figures(findings, cell) for cell in findings.cells}
    kept = [number for number in range(len(names)) if any(figures[number] != "-" for figures in rows.values())]
    table = _table("", *(names[number] for number in kept))
    for label, figures in rows.items():
        table.add_row(label, *(figures[number] for number in kept))
    return table


def _figures(findings: Findings, found: Cell | TeacherFacts) -> list[str]:
    test = found.test.get(findings.score, found.test.get("final", {}))
    accuracy, heldout = test.get("accuracy"), found.heldout.get(findings.score)
    interval = accuracy.interval if accuracy else None
    return [
        str(len(found.seeds)),
        _number(heldout.mean if heldout else None),
        _number(accuracy.mean if accuracy else None),
        _number(accuracy.sd if accuracy else None),
        f"{interval.low:.2f} to {interval.high:.2f}" if interval else "-",
        *(_number(test[name].mean if name in test else None) for name in ("agreement", "ece")),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _table(*columns: str) -> Table:
    """Long names are folded, figures never."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, justify="right" if column else "left", overflow="fold", no_wrap=bool(column))
    return table


def say_power(found: dict[str, Any]) -> None:
    wanted, sd = f"in {100 * found['power']:g} of 100 studies", f"(sd {found['sd']:g})"
    if "seeds_needed" in found:
        print(f"{found['seeds_needed']} seeds an arm find a difference of {found['effect']:g} {wanted} {sd}.")
    if "smallest_detectable" in found:
        smallest = f"{found['smallest_detectable']:.2f}"
        print(f"{found['seeds']} seeds an arm find differences of {smallest} or more {wanted} {sd}.")
    if "power_of_seeds" in found:
        often = f"in {100 * found['power_of_seeds']:.0f} of 100 studies"
        print(f"{found['seeds']} seeds an arm find a difference of {found['effect']:g} {often} {sd}.")
    if "seeds_for_equivalence" in found:
        equal = f"two equal arms to be within ±{found['margin']:g}"
        print(f"{found['seeds_for_equivalence']} seeds an arm show {equal} {wanted} {sd}.")
