"""Comparisons: differences with their intervals, in words, drawn, and as a table."""

from __future__ import annotations

from collections.abc import Sequence

from protege.report.figures.rows import ForestRow, forest
from protege.report.material import Material
from protege.report.material.words import by_unit, decimals
from protege.report.page.blocks import Block, Bullets, Figures, Section
from protege.report.page.table import Column, Table, interval, said, table_of
from protege.report.sections.compared import besides, compared, control_of, dress, label_of, short_of
from protege.study.findings import Effect, Findings, Interval, Measure
from protege.study.findings.record import Contrast

OPEN = 4  # sentences that are not folded away
OUTCOMES = {
    "higher": "higher", "lower": "lower", "equivalent": "equivalent", "undecided": "not shown to differ",
    "untested": "untested", "pending": "not measured yet",
}  # fmt: skip
TESTS = {"paired": "paired t", "welch": "Welch's t", "pooled": "one error for all arms", "teachers": "t of teachers"}


def effects(material: Material) -> Section | None:
    findings = material.findings
    if not findings.effects and not findings.contrasts:
        return None
    blocks: list[Block] = []
    figure = forest_figure(material, findings.effects, findings.contrasts)
    if figure.drawings:
        blocks.append(figure)
    if (told := untold(findings)) and not also(findings):
        which = "All" if len(told) == len(findings.effects) + len(findings.contrasts) else "The other"
        blocks.append(Bullets(told, f"{which} {len(told)} comparisons in words" if len(told) > OPEN else ""))
    tables = (*_over_seeds(material), *besides(material))
    return Section("effects", "Effects", [*blocks, *(table for table in tables if table.rows)])


# ---- in words ----


def untold(findings: Findings) -> list[str]:
    """What the answer does not say already."""
    asked = (*findings.contrasts, *findings.effects)
    told = [one.sentence for one in asked if one.outcome != "pending"]
    return [sentence for sentence in told if sentence not in findings.answer]


def also(findings: Findings) -> list[str]:
    """The other comparisons, where they are few enough to stand below the answer."""
    others = untold(findings)
    return others if len(others) <= OPEN else []


# ---- drawn ----


def forest_figure(material: Material, effects: Sequence[Effect], contrasts: Sequence[Contrast] = ()) -> Figures:
    """One drawing a measure, for points and nats have no common axis; and one for differences of differences."""
    drawn, asked = [], [one for one in contrasts if one.difference is not None]
    for name in dict.fromkeys(one.measure for one in asked):
        measure, those = material.measures.get(name), [one for one in asked if one.measure == name]
        axis = f"difference of two differences in {material.measured(name)}, {_unit(measure)}"
        drawn.append(forest([_contrast_row(material, one, decimals(measure)) for one in those], axis, axis))
    for name in dict.fromkeys(effect.measure for effect in effects if effect.difference is not None):
        those = [effect for effect in effects if effect.measure == name]
        controls = {control_of(effect, material) for effect in those}
        control = next(iter(controls)) if len(controls) == 1 else "control"
        measure = material.measures.get(name)
        axis = f"{material.measured(name)} minus that of {control}, {_unit(measure)}"
        drawn.append(forest(_rows(material, those, decimals(measure), alike=len(controls) == 1), axis, axis))
    margins = any(effect.equivalence for effect in effects)
    corrected = max((one.family for one in (*effects, *asked)), default=1) > 1
    shown = [*compared(effects, material), *(material.known[f"cell/{key}"] for one in asked for key in one.cells)]
    caption = (
        f"Difference with its {_kind_of_interval((*effects, *asked))}. A filled point stands"
        f"{' after correction for all comparisons' if corrected else ''}, a hollow one is not shown to differ"
        f"{'; a grey band is the margin named in advance' if margins else ''}.{material.hardware(shown)}"
    )
    return Figures(drawn, caption)


def _unit(measure: Measure | None) -> str:
    return measure.difference_unit if measure else "units"


def _contrast_row(material: Material, one: Contrast, places: int) -> ForestRow:
    """In the colour of no arm, as it is of four. `logit - alone: CIFAR stem less ImageNet stem`."""
    cells = [material.known[f"cell/{key}"] for key in one.cells]
    shorts, pairs = [cell.short for cell in cells], [cell.pair for cell in cells]
    if shorts[:2] == shorts[2:]:
        label = f"{shorts[0]} - {shorts[1]}: {pairs[0]} less {pairs[2]}"
    else:
        first, second = (f"({this} - {that})" for this, that in (shorts[:2], shorts[2:]))
        where = f", {one.pair}" if one.pair and len({cell.pair for cell in material.findings.cells}) > 1 else ""
        label = f"{first} - {second}{where}"
    shown = one.claims[0].simultaneous if one.claims else None
    return ForestRow(
        label=label,
        said=_figures(one.difference, shown, places),
        difference=one.difference or 0.0,
        interval=(shown.low, shown.high) if shown else None,
        margin=None,
        settled=one.outcome in ("higher", "lower"),
        style="",
    )


def _interval(effect: Effect) -> Interval | None:
    """Corrected as the outcome is, so that it leaves out zero exactly where a difference is shown."""
    if effect.claims and effect.family > 1:
        return effect.claims[0].simultaneous
    return effect.headline.interval if effect.headline else None


def _kind_of_interval(drawn: Sequence[Effect | Contrast]) -> str:
    family = max((one.family for one in drawn), default=1)
    if family == 1:
        return "95 % interval"
    if any(one.claims for one in drawn):
        return f"interval; all {family} of the family hold at once in 95 studies of 100"
    return "95 % interval, which is not corrected"


def _rows(material: Material, effects: Sequence[Effect], places: int, alike: bool) -> list[ForestRow]:
    """`alike`: all have the same control, which the axis names."""
    several = len({effect.pair for effect in effects}) > 1
    rows = []
    for effect in effects:
        if effect.difference is None:
            continue
        shown = _interval(effect)
        rows.append(
            ForestRow(
                label=_row_name(effect, material, several, alike),
                said=_difference(effect, places),
                difference=effect.difference,
                interval=(shown.low, shown.high) if shown else None,
                margin=effect.equivalence.margin if effect.equivalence else None,
                settled=effect.outcome in ("higher", "lower", "equivalent"),
                style=material.style(f"cell/{effect.treatment}"),
            )
        )
    return rows


def _row_name(effect: Effect, material: Material, several: bool, alike: bool) -> str:
    """`kd - alone, R34 -> R18`; across pairs each end says its own."""
    treatment, control = short_of(effect.treatment, material), control_of(effect, material)
    if control != short_of(effect.control, material):
        return f"{label_of(effect.treatment, material)} - {control}"
    named = treatment if alike else f"{treatment} - {control}"
    return f"{named}, {effect.pair}" if several and effect.pair else named


def _difference(effect: Effect, places: int) -> str:
    """`+1.98 [-0.10, +4.07], n 3`."""
    seeds = f", n {len(effect.seeds)}" if effect.seeds else ""
    return _figures(effect.difference, _interval(effect), places) + seeds


def _figures(difference: float | None, shown: Interval | None, places: int) -> str:
    points = Column("", "number", places, signed=True)
    ends = f" [{said(shown.low, points)}, {said(shown.high, points)}]" if shown else " (untested)"
    return f"{said(difference, points)}{ends}"


# ---- over seeds ----


def _over_seeds(material: Material) -> list[Table]:
    """A table for differences in points, and one for each other unit."""
    groups = by_unit(material.measures, material.findings.effects, lambda one: one.measure)
    return [_table(material, f"effects{suffix}", unit, places, those) for suffix, unit, places, those in groups]


def _table(material: Material, name: str, unit: str, places: int, effects: Sequence[Effect]) -> Table:
    return table_of(
        name,
        f"Differences in {unit}, treatment minus control",
        effects,
        [
            ("treatment", lambda one: label_of(one.treatment, material)),
            ("control", lambda one: control_of(one, material)),
            ("measure", lambda one: material.measured(one.measure)),
            (Column("difference", "number", places, signed=True), lambda one: one.difference),
            (Column("95 % interval", "range", places, signed=True), lambda one: interval(_interval(one))),
            (Column("seeds", "count"), lambda one: len(one.seeds) or None),
            ("outcome", lambda one: OUTCOMES[one.outcome]),
            (Column("p", "p"), lambda one: one.headline.p if one.headline else None),
            (Column("p, corrected", "p"), lambda one: one.adjusted_p),
            ("test", lambda one: TESTS[one.named]),
            (Column("smallest detectable", "number", places), lambda one: one.smallest_detectable),
            (Column("which lies between", "range", places), lambda one: interval(one.smallest_between)),
            (Column("Welch's p", "p"), lambda one: one.welch.p if one.welch and one.named != "welch" else None),
            (Column("paired p", "p"), lambda one: one.paired.p if one.paired and one.named != "paired" else None),
            (Column("seed correlation", "number", 2, signed=True), lambda one: one.correlation),
            (Column("margin", "number", places), lambda one: one.equivalence.margin if one.equivalence else None),
            (Column("equivalence p", "p"), lambda one: one.equivalence.p if one.equivalence else None),
        ],
        _note(material.findings),
        lambda one: dress(one, material),
    )


def _note(findings: Findings) -> str:
    family = max((effect.family for effect in findings.effects), default=0)
    which = "Intervals and p-values" if any(effect.claims for effect in findings.effects) else "p-values"
    corrected = f" {which} are corrected for {family} comparisons." if family > 1 else ""
    over = f" What is said holds {findings.over}." if findings.over else ""
    return (
        f"The test in the column of that name was settled in advance and is the one that counts.{corrected}{over} "
        "Smallest detectable: about the true difference that so many seeds find in 4 studies of 5."
        if findings.study
        else f"Nothing was named in advance: these comparisons explore.{corrected}"
    )
