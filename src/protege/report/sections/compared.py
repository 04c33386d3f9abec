"""What comparisons are called, and the tables of what else is known of them: other populations, gains, single networks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from protege.report.material import Material
from protege.report.material.subjects import Subject
from protege.report.material.words import by_unit
from protege.report.page.table import Column, Dress, Range, Table, interval, table_of
from protege.study.findings import Effect, Findings, McNemar
from protege.study.findings.record import Claim, Contrast


def marked_ones(findings: Findings) -> list[Effect]:
    """The primary comparisons, where there are others: a mark on all would be none."""
    primary = [effect for effect in findings.effects if effect.primary]
    return primary if len(primary) < len(findings.effects) or len(primary) == 1 else []


def compared(effects: Iterable[Effect], material: Material) -> list[Subject]:
    """Both ends of each, in the order of the page."""
    wanted = {f"cell/{key}" for effect in effects for key in (effect.treatment, effect.control)}
    return [one for one in material.subjects if one.id in wanted]


def label_of(key: str, material: Material) -> str:
    found = material.known.get(f"cell/{key}")
    return found.label if found else key


def control_of(effect: Effect, material: Material) -> str:
    """Its pair is that of the treatment, which says it already."""
    found = material.known.get(f"cell/{effect.control}")
    return effect.control if found is None else found.short if found.pair == effect.pair else found.label


def short_of(key: str, material: Material) -> str:
    found = material.known.get(f"cell/{key}")
    return found.short if found else key


def dress(effect: Effect, material: Material, mark: bool = True) -> Dress:
    ends = [material.known.get(f"cell/{key}") for key in (effect.treatment, effect.control)]
    devices = dict.fromkeys(one.hardware for one in ends if one and one.hardware)
    marked = mark and effect in marked_ones(material.findings)
    return Dress(", ".join(devices), material.style(f"cell/{effect.treatment}"), marked)


def besides(material: Material) -> tuple[Table, ...]:
    """What was asked of several arms at once first; the others are for those who look closer."""
    several = (*_contrasts(material), _recoveries(material))
    return (*several, *_populations(material), _over_images(material), _seed_by_seed(material))


# ---- of several arms ----


def _contrasts(material: Material) -> list[Table]:
    """Differences of differences, and whether several arms differ at all."""
    groups = by_unit(material.measures, material.findings.contrasts, lambda one: one.measure)
    return [_of_several(material, f"contrasts{suffix}", unit, places, those) for suffix, unit, places, those in groups]


def _of_several(material: Material, name: str, unit: str, places: int, contrasts: Sequence[Contrast]) -> Table:
    def ends(one: Contrast) -> Range | None:
        return interval(one.claims[0].simultaneous) if one.claims else None

    return table_of(
        name,
        "Differences of differences, and among arms" + (f", in {unit}" if unit != "points" else ""),
        contrasts,
        [
            ("compared", lambda one: one.label),
            ("measure", lambda one: material.measured(one.measure)),
            (Column("difference", "number", places, signed=True), lambda one: one.difference),
            (Column("95 % interval", "range", places, signed=True), ends),
            (Column("F", "number"), lambda one: one.f),
            (
                "degrees of freedom",
                lambda one: ", ".join(f"{value:g}" for value in one.degrees) if one.degrees else None,
            ),
            (Column("p", "p"), lambda one: one.p),
            (Column("p, corrected", "p"), lambda one: one.adjusted_p),
            (
                "outcome",
                lambda one: {"undecided": "not shown to differ", "pending": "not measured yet"}.get(
                    one.outcome, one.outcome
                ),
            ),
            ("best", lambda one: label_of(one.best, material) if one.best else None),
            (Column("leads their mean by", "number", places), lambda one: one.lead),
            (Column("by chance", "number", places), lambda one: one.lead_by_chance),
            (Column("by chance once in twenty", "number", places), lambda one: one.lead_in_twenty),
        ],
        "Members of the same family as the differences above. By chance: how far the best would lead if all were equally good.",
        lambda one: Dress(marked=one.primary),
    )


def _recoveries(material: Material) -> Table:
    """Gains as publications state them."""
    return table_of(
        "recoveries",
        "What the gain amounts to",
        material.findings.recoveries,
        [
            ("student", lambda one: label_of(one.cell, material)),
            ("alone", lambda one: label_of(one.control, material)),
            ("teacher", lambda one: one.teacher),
            (Column("gap recovered %", "number"), lambda one: one.gap_recovered),
            (Column("errors removed %", "number", signed=True), lambda one: one.error_reduction),
            (Column("of the teacher's accuracy %", "number"), lambda one: one.teacher_recovered),
        ],
        "Of means over seeds. Gap: the way from the student alone to its teacher; a share of a small gap means little.",
        lambda one: Dress(style=material.style(f"cell/{one.cell}")),
    )


# ---- for those who look closer ----


def _populations(material: Material) -> list[Table]:
    """Each difference for each population that it may be claimed for: points, and units of likelihoods or divergences."""
    claims = [(one, claim) for one in material.findings.effects for claim in one.claims]
    groups = by_unit(material.measures, claims, lambda one: one[0].measure)
    return [_of_whom(material, f"populations{suffix}", unit, places, those) for suffix, unit, places, those in groups]


def _of_whom(material: Material, name: str, unit: str, places: int, claims: Sequence[tuple[Effect, Claim]]) -> Table:
    return table_of(
        name,
        "Of whom it may be said" + (f", in {unit}" if unit != "points" else ""),
        claims,
        [
            ("treatment", lambda one: label_of(one[0].treatment, material)),
            ("control", lambda one: control_of(one[0], material)),
            ("measure", lambda one: material.measured(one[0].measure)),
            ("over other", lambda one: one[1].over),
            (Column("difference", "number", places, signed=True), lambda one: one[0].difference),
            (Column("95 %, this one alone", "range", places, signed=True), lambda one: interval(one[1].interval)),
            (Column("95 %, all at once", "range", places, signed=True), lambda one: interval(one[1].simultaneous)),
            (Column("p", "p"), lambda one: one[1].p),
            (Column("p, corrected", "p"), lambda one: one[1].adjusted_p),
            (Column("degrees of freedom", "number", 1), lambda one: one[1].degrees),
        ],
        "The first of each comparison is the one that its outcome speaks of. "
        "Where teachers or images are not named, these are given.",
        lambda one: dress(one[0], material),
        folded=True,
    )


def _over_images(material: Material) -> Table:
    """What other test images would say: of each comparison of accuracies."""
    return table_of(
        "images",
        "What other test images would say",
        [(effect, effect.bootstrap) for effect in material.findings.effects if effect.bootstrap],
        [
            ("treatment", lambda one: label_of(one[0].treatment, material)),
            ("control", lambda one: control_of(one[0], material)),
            (Column("difference", "number", signed=True), lambda one: one[0].difference),
            (Column("other images, 95 %", "range", signed=True), lambda one: interval(one[1].over_images)),
            (
                Column("other seeds and images, 95 %", "range", signed=True),
                lambda one: interval(one[1].over_seeds_and_images),
            ),
            (Column("images", "count"), lambda one: one[1].images),
            (Column("networks of the treatment", "count"), lambda one: one[1].seeds[0]),
            (Column("of the control", "count"), lambda one: one[1].seeds[1]),
        ],
        "Points of accuracy. Bootstrap over test images: these networks on other images, "
        "and other networks of these arms on other images.",
        lambda one: dress(one[0], material),
        folded=True,
    )


def _seed_by_seed(material: Material) -> Table:
    """Which images the two networks of one seed disagree on."""
    tests: list[tuple[Effect, McNemar]] = [(one, test) for one in material.findings.effects for test in one.mcnemar]
    return table_of(
        "mcnemar",
        "Seed by seed on the same images",
        tests,
        [
            ("treatment", lambda one: label_of(one[0].treatment, material)),
            ("control", lambda one: control_of(one[0], material)),
            (Column("seed", "count"), lambda one: one[1].seed),
            (Column("only the treatment is right", "count"), lambda one: one[1].only_treatment),
            (Column("only the control is right", "count"), lambda one: one[1].only_control),
            (Column("images", "count"), lambda one: one[1].images),
            (Column("p", "p"), lambda one: one[1].p),
            (Column("mid-p", "p"), lambda one: one[1].mid_p),
        ],
        "McNemar's exact test of two networks on the same images. It speaks of these two networks, not of the methods.",
        lambda one: dress(one[0], material, mark=False),
        folded=True,
    )
