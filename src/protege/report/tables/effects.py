"""Comparisons over seeds, and image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protege.report.material.subjects import Subject
from protege.report.page.table import Column, Range, Row, Table, Value, headed, interval, trimmed
from protege.study.findings import Effect, Findings, Measure

OUTCOMES = {
    "higher": "higher", "lower": "lower", "equivalent": "equivalent", "undecided": "not shown to differ",
    "untested": "untested", "pending": "not measured yet",
}  # fmt: skip


def decimals(measure: Measure | None) -> int:
    """Points to a hundredth; likelihoods and divergences are smaller numbers."""
    return 2 if measure is None or measure.unit == "%" else 4


def hardware_of_effect(effect: Effect, known: Mapping[str, Subject]) -> str:
    parts = [known[f"cell/{key}"].hardware for key in (effect.treatment, effect.control) if f"cell/{key}" in known]
    return ", ".join(dict.fromkeys(part for part in parts if part))


def effects(findings: Findings, known: Sequence[Subject]) -> list[Table]:
    """A table for differences in points, and one for those in units of a likelihood or a divergence."""
    measures = {measure.name: measure for measure in findings.measures}
    in_points = [effect for effect in findings.effects if decimals(measures.get(effect.measure)) == 2]
    in_units = [effect for effect in findings.effects if effect not in in_points]
    tables = [
        _table("effects", "points", 2, in_points, findings, known),
        _table("effects_in_units", "units", 4, in_units, findings, known),
    ]
    return [table for table in tables if table.rows]


def treatment_of(effect: Effect, known: Mapping[str, Subject]) -> str:
    found = known.get(f"cell/{effect.treatment}")
    return found.label if found else effect.treatment


def control_of(effect: Effect, known: Mapping[str, Subject]) -> str:
    """Its pair is that of the treatment, which says it already."""
    found = known.get(f"cell/{effect.control}")
    return effect.control if found is None else found.short if found.pair == effect.pair else found.label


def _table(
    name: str, unit: str, places: int, those: Sequence[Effect], findings: Findings, known: Sequence[Subject]
) -> Table:
    by_id = {one.id: one for one in known}
    measures = {measure.name: measure for measure in findings.measures}
    columns = headed([
        "treatment", "control", "measure", Column("difference", "number", places, signed=True),
        Column("95 % interval", "range", places, signed=True), Column("seeds", "count"), "outcome",
        Column("p", "p"), Column("p, corrected", "p"), "test", Column("smallest detectable", "number", places),
        Column("Welch's p", "p"), Column("paired p", "p"), Column("seed correlation", "number", 2, signed=True),
        Column("margin", "number", places), Column("equivalence p", "p"),
    ])  # fmt: skip
    marked = marked_ones(findings)
    rows = [
        Row(
            _values(effect, measures, by_id), hardware_of_effect(effect, by_id), _style(effect, by_id), effect in marked
        )
        for effect in those
    ]
    return trimmed(
        Table(name, f"Differences in {unit}, treatment minus control", columns, tuple(rows), _note(findings))
    )


def marked_ones(findings: Findings) -> list[Effect]:
    """The primary comparisons, where there are others: a mark on all would be none."""
    primary = [effect for effect in findings.effects if effect.primary]
    return primary if len(primary) < len(findings.effects) or len(primary) == 1 else []


def _style(effect: Effect, known: Mapping[str, Subject]) -> str:
    found = known.get(f"cell/{effect.treatment}")
    return found.style if found else ""


def _values(effect: Effect, measures: Mapping[str, Measure], known: Mapping[str, Subject]) -> tuple[Value, ...]:
    test = effect.paired if effect.named == "paired" else effect.welch
    measure = measures.get(effect.measure)
    equal = effect.equivalence
    return (
        treatment_of(effect, known),
        control_of(effect, known),
        measure.label if measure else effect.measure,
        effect.difference,
        interval(test.interval) if test else None,
        len(effect.seeds) or None,
        OUTCOMES[effect.outcome],
        test.p if test else None,
        effect.adjusted_p,
        {"paired": "paired t", "welch": "Welch's t"}[effect.named],
        effect.smallest_detectable,
        effect.welch.p if effect.welch and effect.named == "paired" else None,
        effect.paired.p if effect.paired and effect.named == "welch" else None,
        effect.correlation,
        equal.margin if equal else None,
        equal.p if equal else None,
    )


def _note(findings: Findings) -> str:
    family = max((effect.family for effect in findings.effects), default=0)
    corrected = f" p-values are corrected for {family} comparisons after Holm." if family > 1 else ""
    return (
        f"The test in the column of that name was named in advance and is the one that counts.{corrected} "
        "Smallest detectable: the true difference that so many seeds find in 4 studies of 5."
        if findings.study
        else f"Nothing was named in advance: these comparisons explore.{corrected}"
    )


# ---- image by image ----


def images(findings: Findings, known: Sequence[Subject]) -> Table:
    """What other test images would say: of each comparison of accuracies."""
    by_id = {one.id: one for one in known}
    columns = headed([
        "treatment", "control", Column("difference", "number", 2, signed=True),
        Column("other images, 95 %", "range", 2, signed=True),
        Column("other seeds and images, 95 %", "range", 2, signed=True),
        Column("images", "count"), Column("networks of the treatment", "count"), Column("of the control", "count"),
    ])  # fmt: skip
    rows = []
    for effect in findings.effects:
        if (found := effect.bootstrap) is None:
            continue
        values = (
            treatment_of(effect, by_id), control_of(effect, by_id), found.difference, Range(found.over_images.low, found.over_images.high),
            interval(found.over_seeds_and_images), found.images, *found.seeds,
        )  # fmt: skip
        row = Row(values, hardware_of_effect(effect, by_id), _style(effect, by_id), effect in marked_ones(findings))
        rows.append(row)
    note = (
        "Points of accuracy. Bootstrap over test images: these networks on other images, "
        "and other networks of these arms on other images."
    )
    return trimmed(Table("images", "What other test images would say", columns, tuple(rows), note))


def mcnemar(findings: Findings, known: Sequence[Subject]) -> Table:
    """Which images the two networks of one seed disagree on."""
    by_id = {one.id: one for one in known}
    columns = headed([
        "treatment", "control", Column("seed", "count"), Column("only the treatment is right", "count"),
        Column("only the control is right", "count"), Column("images", "count"), Column("p", "p"), Column("mid-p", "p"),
    ])  # fmt: skip
    rows = [
        Row(
            (
                treatment_of(effect, by_id),
                control_of(effect, by_id),
                one.seed,
                one.only_treatment,
                one.only_control,
                one.images,
                one.p,
                one.mid_p,
            ),
            hardware_of_effect(effect, by_id),
            _style(effect, by_id),
        )
        for effect in findings.effects
        for one in effect.mcnemar
    ]
    note = (
        "McNemar's exact test of two networks on the same images. It speaks of these two networks, not of the methods."
    )
    return Table("mcnemar", "Seed by seed on the same images", columns, tuple(rows), note)
