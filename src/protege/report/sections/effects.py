"""Comparisons over seeds, and image by image: differences with their intervals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from protege.report.figures.rows import ForestRow, forest
from protege.report.material import Material
from protege.report.material.subjects import Subject
from protege.report.page.blocks import Block, Bullets, Figures, Section
from protege.report.page.table import Column, Dress, Table, interval, said, table_of
from protege.report.sections.words import decimals, in_percent
from protege.study.findings import Claim, Effect, Findings, Interval, McNemar, TTest

OPEN = 4  # sentences that are not folded away
OUTCOMES = {
    "higher": "higher", "lower": "lower", "equivalent": "equivalent", "undecided": "not shown to differ",
    "untested": "untested", "pending": "not measured yet",
}  # fmt: skip
TESTS = {"paired": "paired t", "welch": "Welch's t", "pooled": "one error for all arms", "teachers": "t of teachers"}


def effects(material: Material) -> Section | None:
    findings = material.findings
    if not findings.effects:
        return None
    blocks: list[Block] = []
    figure = forest_figure(material, findings.effects)
    if figure.drawings:
        blocks.append(figure)
    if (told := untold(findings)) and not also(findings):
        which = "All" if len(told) == len(findings.effects) else "The other"
        blocks.append(Bullets(told, f"{which} {len(told)} comparisons in words" if len(told) > OPEN else ""))
    tables = (*_over_seeds(material), _over_images(material), _seed_by_seed(material))
    return Section("effects", "Effects", [*blocks, *(table for table in tables if table.rows)])


# ---- in words ----


def untold(findings: Findings) -> list[str]:
    """What the answer does not say already."""
    told = [one.sentence for one in findings.effects if one.outcome != "pending"]
    return [sentence for sentence in told if sentence not in findings.answer]


def also(findings: Findings) -> list[str]:
    """The other comparisons, where they are few enough to stand below the answer."""
    others = untold(findings)
    return others if len(others) <= OPEN else []


# ---- what a comparison is called ----


def marked_ones(findings: Findings) -> list[Effect]:
    """The primary comparisons, where there are others: a mark on all would be none."""
    primary = [effect for effect in findings.effects if effect.primary]
    return primary if len(primary) < len(findings.effects) or len(primary) == 1 else []


def compared(effects: Iterable[Effect], material: Material) -> list[Subject]:
    """Both ends of each, in the order of the page."""
    wanted = {f"cell/{key}" for effect in effects for key in (effect.treatment, effect.control)}
    return [one for one in material.subjects if one.id in wanted]


def _treatment(effect: Effect, material: Material) -> str:
    found = material.known.get(f"cell/{effect.treatment}")
    return found.label if found else effect.treatment


def _control(effect: Effect, material: Material) -> str:
    """Its pair is that of the treatment, which says it already."""
    found = material.known.get(f"cell/{effect.control}")
    return effect.control if found is None else found.short if found.pair == effect.pair else found.label


def _short(key: str, material: Material) -> str:
    found = material.known.get(f"cell/{key}")
    return found.short if found else key


def _test(effect: Effect) -> Claim | TTest | None:
    return effect.headline


def _interval(effect: Effect) -> Interval | None:
    """That of the whole family, which agrees with the outcome; findings of an older version have that of one comparison."""
    return effect.claims[0].simultaneous if effect.claims else test.interval if (test := _test(effect)) else None


# ---- drawn ----


def forest_figure(material: Material, effects: Sequence[Effect]) -> Figures:
    """One drawing a measure, for points and nats have no common axis."""
    measures = {measure.name: measure for measure in material.findings.measures}
    drawn = []
    for name in dict.fromkeys(effect.measure for effect in effects if effect.difference is not None):
        those = [effect for effect in effects if effect.measure == name]
        controls = {_short(effect.control, material) for effect in those}
        control = next(iter(controls)) if len(controls) == 1 else "control"
        measure = measures.get(name)
        axis = f"{measure.label if measure else name} minus that of {control}, {measure.difference_unit if measure else 'units'}"
        drawn.append(forest(_rows(material, those, decimals(measure), alike=len(controls) == 1), axis, axis))
    margins = any(effect.equivalence for effect in effects)
    corrected = max((effect.family for effect in effects), default=1) > 1
    alone = corrected and not all(effect.claims for effect in effects if effect.headline)
    how = ", which is not corrected" if alone else ", corrected as the outcome is" if corrected else ""
    caption = (
        f"Difference with its 95 % interval{how}. A filled point stands"
        f"{' after correction for all comparisons' if corrected else ''}, a hollow one is not shown to differ"
        f"{'; a grey band is the margin named in advance' if margins else ''}.{material.hardware(compared(effects, material))}"
    )
    return Figures(drawn, caption)


def _rows(material: Material, effects: Sequence[Effect], places: int, alike: bool) -> list[ForestRow]:
    """`alike`: all have the same control, which the axis names."""
    several = len({effect.pair for effect in effects}) > 1
    rows = []
    for effect in effects:
        if effect.difference is None:
            continue
        around, ends = _interval(effect), (effect.treatment, effect.control)
        named = " - ".join(_short(key, material) for key in (ends[:1] if alike else ends))
        rows.append(
            ForestRow(
                label=f"{named}, {effect.pair}" if several and effect.pair else named,
                said=_difference(effect, places),
                difference=effect.difference,
                interval=(around.low, around.high) if around else None,
                margin=effect.equivalence.margin if effect.equivalence else None,
                settled=effect.outcome in ("higher", "lower", "equivalent"),
                style=material.style(f"cell/{effect.treatment}"),
            )
        )
    return rows


def _difference(effect: Effect, places: int) -> str:
    """`+1.98 [-0.10, +4.07], n 3`."""
    points, around = Column("", "number", places, signed=True), _interval(effect)
    ends = f" [{said(around.low, points)}, {said(around.high, points)}]" if around else " (untested)"
    return f"{said(effect.difference, points)}{ends}{f', n {len(effect.seeds)}' if effect.seeds else ''}"


# ---- over seeds ----


def _over_seeds(material: Material) -> list[Table]:
    """A table for differences in points, and one for those in units of a likelihood or a divergence."""
    measures = {measure.name: measure for measure in material.findings.measures}
    in_points = [one for one in material.findings.effects if in_percent(measures.get(one.measure))]
    in_units = [one for one in material.findings.effects if one not in in_points]
    return [
        _table(material, "effects", "points", 2, in_points),
        _table(material, "effects_in_units", "units", 4, in_units),
    ]


def _table(material: Material, name: str, unit: str, places: int, effects: Sequence[Effect]) -> Table:
    labels = {measure.name: measure.label for measure in material.findings.measures}
    return table_of(
        name,
        f"Differences in {unit}, treatment minus control",
        effects,
        [
            ("treatment", lambda one: _treatment(one, material)),
            ("control", lambda one: _control(one, material)),
            ("measure", lambda one: labels.get(one.measure, one.measure)),
            (Column("difference", "number", places, signed=True), lambda one: one.difference),
            (
                Column("95 % interval", "range", places, signed=True),
                lambda one: interval(_interval(one)),
            ),
            (Column("seeds", "count"), lambda one: len(one.seeds) or None),
            ("outcome", lambda one: OUTCOMES[one.outcome]),
            (Column("p", "p"), lambda one: test.p if (test := _test(one)) else None),
            (Column("p, corrected", "p"), lambda one: one.adjusted_p),
            ("test", lambda one: TESTS[one.named]),
            (Column("smallest detectable", "number", places), lambda one: one.smallest_detectable),
            (Column("Welch's p", "p"), lambda one: one.welch.p if one.welch and one.named != "welch" else None),
            (Column("paired p", "p"), lambda one: one.paired.p if one.paired and one.named != "paired" else None),
            (Column("seed correlation", "number", 2, signed=True), lambda one: one.correlation),
            (Column("margin", "number", places), lambda one: one.equivalence.margin if one.equivalence else None),
            (Column("equivalence p", "p"), lambda one: one.equivalence.p if one.equivalence else None),
        ],
        _note(material.findings),
        lambda one: _dress(one, material),
    )


def _dress(effect: Effect, material: Material, mark: bool = True) -> Dress:
    ends = [material.known.get(f"cell/{key}") for key in (effect.treatment, effect.control)]
    devices = dict.fromkeys(one.hardware for one in ends if one and one.hardware)
    marked = mark and effect in marked_ones(material.findings)
    return Dress(", ".join(devices), material.style(f"cell/{effect.treatment}"), marked)


def _note(findings: Findings) -> str:
    family = max((effect.family for effect in findings.effects), default=0)
    corrected = f" p-values are corrected for {family} comparisons, and so are the intervals." if family > 1 else ""
    return (
        f"The test in the column of that name was named in advance and is the one that counts.{corrected} "
        "Smallest detectable: the true difference that so many seeds find in 4 studies of 5."
        if findings.study
        else f"Nothing was named in advance: these comparisons explore.{corrected}"
    )


# ---- image by image ----


def _over_images(material: Material) -> Table:
    """What other test images would say: of each comparison of accuracies."""
    return table_of(
        "images",
        "What other test images would say",
        [(effect, effect.bootstrap) for effect in material.findings.effects if effect.bootstrap],
        [
            ("treatment", lambda one: _treatment(one[0], material)),
            ("control", lambda one: _control(one[0], material)),
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
        lambda one: _dress(one[0], material),
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
            ("treatment", lambda one: _treatment(one[0], material)),
            ("control", lambda one: _control(one[0], material)),
            (Column("seed", "count"), lambda one: one[1].seed),
            (Column("only the treatment is right", "count"), lambda one: one[1].only_treatment),
            (Column("only the control is right", "count"), lambda one: one[1].only_control),
            (Column("images", "count"), lambda one: one[1].images),
            (Column("p", "p"), lambda one: one[1].p),
            (Column("mid-p", "p"), lambda one: one[1].mid_p),
        ],
        "McNemar's exact test of two networks on the same images. It speaks of these two networks, not of the methods.",
        lambda one: _dress(one[0], material, mark=False),
        folded=True,
    )
