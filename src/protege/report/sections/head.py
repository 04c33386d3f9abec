"""The head of the report: what it is, the answer in one sentence and one picture, and what weakens it."""

from __future__ import annotations

from collections.abc import Sequence

from protege.report.material import Material
from protege.report.material.subjects import Panel, panels, teachers_of
from protege.report.material.words import EPOCHS
from protege.report.page.blocks import Figures
from protege.report.page.table import number, plain
from protege.report.sections.compared import compared
from protege.report.sections.effects import also, forest_figure
from protege.report.sections.networks import architecture, strips
from protege.runs.display import duration
from protege.study.findings import Cell, Findings
from protege.study.findings.answer import how_far, of_reduced_form

MOST_ROWS, FEW = 9, 3  # of the one picture; names of a kind in a line


def first_line(findings: Findings) -> str:
    """Empty for a complete report of a full study."""
    said = []
    if findings.scale == "reduced":
        said.append(of_reduced_form(findings.differs))
        if findings.differences:
            said.append(f"All {len(findings.differences)} differences, computed from both forms, are listed below.")
    if not findings.study:
        said.append(
            "These runs belong to no study: nothing was named in advance, so this describes and concludes nothing."
        )
    elif not findings.complete:
        said.append(f"This report is not complete: {how_far(findings)}.")
    return " ".join(said)


def picture(material: Material) -> Figures | None:
    """Seeds of the networks compared, where they are few; else the differences; else what is known of held-out images."""
    findings = material.findings
    primary = [effect for effect in findings.effects if effect.primary or also(findings)] or list(findings.effects)
    ends = compared(primary, material)
    shown = [*teachers_of(ends, material.subjects), *ends]
    if ends and len(shown) <= MOST_ROWS and any(one.scores(findings.score) for one in ends):
        return strips(material, Panel("", tuple(shown)))
    asked = [one for one in findings.contrasts if one.primary and one.difference is not None][:MOST_ROWS]
    first = [one for one in primary if one.difference is not None and (one.primary or not asked)][
        : MOST_ROWS - len(asked)
    ]
    if first or asked:
        figure = forest_figure(material, first, asked)
        more = f" The first {len(first)} of {len(primary)} comparisons." if 0 < len(first) < len(primary) else ""
        return Figures(figure.drawings, figure.caption + more)
    return strips(material, panels(material.subjects)[0]) if material.subjects else None


# ---- arms ----


def arms(findings: Findings) -> list[tuple[str, str]]:
    """What stands behind the name of each: network, teacher, and the method with its fields."""
    found: dict[str, str] = {}
    for cell in findings.cells:
        several = [one for one in findings.cells if one.arm == cell.arm]
        found.setdefault(cell.arm, _described(cell, several))
    return list(found.items())


def _described(cell: Cell, several: Sequence[Cell]) -> str:
    """Of several configurations or pairs, what they have in common."""
    models = list(dict.fromkeys(architecture(one.student.model) for one in several))
    teachers = list(dict.fromkeys(one.teacher for one in several if one.teacher))
    varied = len({str(one.values) for one in several}) > 1
    paths = {path.removeprefix("method.") for one in several for path in one.values} if varied else set()
    method = {name: value for name, value in (cell.method or {}).items() if name != "name"}
    fields = [
        f"{name} varied" if name in paths else f"{name} {plain(value)}"
        for name, value in method.items()
        if name in paths or value  # what is off says nothing
    ]
    named = str((cell.method or {}).get("name", "a method that is not chosen yet"))
    taught = f" taught by {_few(teachers)}" if teachers else ""
    said = f" ({', '.join(fields)})" if fields else ""
    chosen = f", chosen among {cell.configurations}" if cell.configurations > 1 and cell.method else ""
    smaller = f"; {cell.smaller}" if cell.smaller else ""
    return f"{_few(models)}{taught}, {named}{said}{chosen}{smaller}"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")


# ---- facts ----


def facts(findings: Findings) -> list[tuple[str, str]]:
    split = findings.data
    heldout = f"{split.heldout:,}" if split.heldout else "no"
    counts = f"{split.train:,} training, {heldout} held-out and {split.test:,} test images"
    found = [
        ("protocol", protocol_in_words(findings)),
        ("data", f"{split.name}: {split.classes} classes, {split.image_size} x {split.image_size} pixels, {counts}"),
        ("seeds", _seeds(findings)),
        ("hardware", _hardware(findings)),
        ("runs", _runs(findings)),
        ("made", findings.made),
    ]
    return [(name, value) for name, value in found if value]


def protocol_in_words(findings: Findings) -> str:
    epoch = f"the score is that of the {EPOCHS[findings.score]}"
    if not findings.study:
        return f"none: these runs belong to no study; {epoch}"
    if findings.protocol == "literature":
        return f"literature: trained on all training images, nothing chosen, every configuration reported on the test set; {epoch}"
    return f"held-out: configurations are chosen on held-out images with seeds of their own, the test set is read last; {epoch}"


def _seeds(findings: Findings) -> str:
    chosen = f"; {_listed(findings.select_seeds)} choose" if findings.select_seeds else ""
    return f"{_listed(findings.report_seeds)} are reported{chosen}" if findings.report_seeds else ""


def _listed(seeds: Sequence[int]) -> str:
    """`0 to 7 (8 seeds)`."""
    seeds = sorted(seeds)
    joined = seeds == list(range(seeds[0], seeds[-1] + 1)) and len(seeds) > 2
    shown = f"{seeds[0]} to {seeds[-1]}" if joined else ", ".join(map(str, seeds))
    return f"{shown} ({number(len(seeds), 'seed')})"


def _hardware(findings: Findings) -> str:
    """A machine once, though its code may have been edited between runs."""
    counted: dict[str, int] = {}
    for one in findings.hardware:
        threads = "/".join(map(str, one.threads))
        parts = [
            one.processor if one.device == "cpu" else one.device,
            f"{threads} {'thread' if threads == '1' else 'threads'}",
            f"torch {one.torch}",
            f"Python {one.python}" if one.python else "",
            f"numpy {one.numpy}" if one.numpy else "",
            one.system or "",
        ]
        machine = ", ".join(part for part in parts if part)
        counted[machine] = counted.get(machine, 0) + one.runs
    return "; ".join(f"{machine}: {number(count, 'run')}" for machine, count in counted.items())


def _runs(findings: Findings) -> str:
    bad = {row.id: row.state for row in findings.runs if row.state in ("diverged", "failed")}
    counts = [f"{findings.costs.finished} of {findings.costs.runs} finished"]
    counts += [
        f"{sum(state == kind for state in bad.values())} {kind}"
        for kind in ("diverged", "failed")
        if kind in bad.values()
    ]
    return f"{', '.join(counts)}; {duration(findings.costs.seconds)} of training"
