"""The head of the report: what it is, the answer in one sentence and one picture, and what weakens it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from protege.report.figures.forest import ForestRow, forest
from protege.report.figures.strip import StripRow, strip
from protege.report.material import Material
from protege.report.material.subjects import Panel, Subject, panels, teachers_of
from protege.report.page.blocks import Figures
from protege.report.page.table import Column, estimate, number, said
from protege.report.tables.effects import decimals
from protege.report.tables.results import EPOCHS
from protege.runs.display import duration
from protege.study.findings import Effect, Findings, Summary
from protege.study.findings.answer import how_far, of_reduced_form

MOST_ROWS = 9  # of the one picture
ACCURACY = Column("accuracy", "estimate")


def first_line(findings: Findings) -> str:
    """Empty for a complete report of a full study."""
    said = []
    if findings.scale == "reduced":
        said.append(of_reduced_form(findings.differs))
    if not findings.study:
        said.append(
            "These runs belong to no study: nothing was named in advance, so this describes and concludes nothing."
        )
    elif not findings.complete:
        said.append(f"This report is not complete: {how_far(findings)}.")
    return " ".join(said)


# ---- the one picture ----


def picture(material: Material) -> Figures | None:
    """Seeds of the networks compared, where they are few; else the differences; else what is known of held-out images."""
    findings = material.findings
    primary = [effect for effect in findings.effects if effect.primary] or list(findings.effects)
    compared = [one for one in material.subjects if one.id in _involved(primary)]
    shown = [*teachers_of(compared, material.subjects), *compared]
    if compared and len(shown) <= MOST_ROWS and any(one.scores(findings.score) for one in compared):
        return strips(findings, Panel("", tuple(shown)))
    shown_first = [effect for effect in primary if effect.difference is not None][:MOST_ROWS]
    if shown_first:
        figure = forest_figure(material, shown_first)
        more = (
            f" The first {len(shown_first)} of {len(primary)} comparisons." if len(primary) > len(shown_first) else ""
        )
        return Figures(figure.drawings, figure.caption + more)
    return strips(findings, panels(material.subjects)[0]) if material.subjects else None


def _involved(effects: Iterable[Effect]) -> set[str]:
    return {f"cell/{key}" for effect in effects for key in (effect.treatment, effect.control)}


def strips(findings: Findings, panel: Panel) -> Figures | None:
    """Test accuracy; held-out accuracy while the test set is sealed."""
    students = [one for one in panel.subjects if one.kind != "teacher"] or panel.subjects
    tested = any(one.scores(findings.score).get("accuracy") for one in students)  # teachers may be known from elsewhere
    rows = [row for one in panel.subjects if (row := _strip_row(findings, one, tested, panel.label(one))) is not None]
    if not rows:
        return None
    images = "test" if tested else "held-out"
    axis = f"{images} accuracy %"
    drawn = strip(rows, axis, f"{axis} of {', '.join(row.label for row in rows)}")
    caption = (
        f"{images.capitalize()} accuracy of the {EPOCHS[findings.score]}: "
        f"a dot for each seed, a bar at the mean, a band for its 95 % interval. {hardware(panel.subjects)}"
    )
    return Figures([drawn], caption, title=panel.title)


def _strip_row(findings: Findings, one: Subject, tested: bool, label: str) -> StripRow | None:
    summary: Summary | None
    if tested:
        summary, values = one.scores(findings.score).get("accuracy"), one.by_seed(findings.score, "accuracy").values()
    else:
        summary = one.heldout.get(findings.score)
        values = [row.heldout[findings.score] for row in one.rows if findings.score in row.heldout]
    if summary is None:
        return None
    interval = (summary.interval.low, summary.interval.high) if summary.interval else None
    return StripRow(
        label,
        with_n(summary),
        list(values),
        summary.mean,
        interval,
        one.style,
    )


def with_n(summary: Summary) -> str:
    shown = said(estimate(summary), ACCURACY)
    return shown if summary.sd is None else f"{shown}, n {summary.n}"


def hardware(shown: Iterable[Subject]) -> str:
    found = list(dict.fromkeys(one.hardware for one in shown if one.hardware))
    return f"Hardware: {'; '.join(found)}." if found else ""


# ---- differences ----


def forest_figure(material: Material, effects: Sequence[Effect]) -> Figures:
    """One drawing a unit, for points and nats have no common axis."""
    findings = material.findings
    units = {measure.name: (measure.difference_unit, measure.label) for measure in findings.measures}
    by_id = {one.id: one for one in material.subjects}
    drawn = []
    for name in dict.fromkeys(effect.measure for effect in effects):
        those = [effect for effect in effects if effect.measure == name]
        rows, controls = forest_rows(material, those), _controls(those, by_id)
        unit, label = units.get(name, ("units", name))
        if rows:
            control = next(iter(controls)) if len(controls) == 1 else "control"
            axis = f"{label} minus that of {control}, {unit}"
            drawn.append(forest(rows, axis, axis))
    involved = [one for one in material.subjects if one.id in _involved(effects)]
    margins = any(effect.equivalence for effect in effects)
    corrected = max((effect.family for effect in effects), default=1) > 1
    caption = (
        f"Difference with its 95 % interval{', which is not corrected' if corrected else ''}. A filled point stands"
        f"{' after correction for all comparisons' if corrected else ''}, a hollow one is not shown to differ"
        f"{'; a grey band is the margin named in advance' if margins else ''}. {hardware(involved)}"
    )
    return Figures(drawn, caption)


def forest_rows(material: Material, effects: Sequence[Effect]) -> list[ForestRow]:
    by_id = {one.id: one for one in material.subjects}
    measures = {measure.name: measure for measure in material.findings.measures}
    rows = []
    several, alike = len({effect.pair for effect in effects}) > 1, len(_controls(effects, by_id)) == 1
    for effect in effects:
        if effect.difference is None:
            continue
        test = effect.paired if effect.named == "paired" else effect.welch
        places = decimals(measures.get(effect.measure))
        treatment = by_id.get(f"cell/{effect.treatment}")
        interval = (test.interval.low, test.interval.high) if test else None
        rows.append(
            ForestRow(
                label=_named(effect, by_id, several, alike),
                said=_difference(effect, interval, places),
                difference=effect.difference,
                interval=interval,
                margin=effect.equivalence.margin if effect.equivalence else None,
                settled=effect.outcome in ("higher", "lower", "equivalent"),
                style=treatment.style if treatment else "",
            )
        )
    return rows


def _named(effect: Effect, known: Mapping[str, Subject], several: bool, alike: bool) -> str:
    """The pair once, and only where there are others; the control only where it is not the same for all."""
    ends = [known.get(f"cell/{key}") for key in (effect.treatment, effect.control)]
    shorts = [_short(one, key) for one, key in zip(ends, (effect.treatment, effect.control), strict=True)]
    named = shorts[0] if alike else " - ".join(shorts)
    return f"{named}, {effect.pair}" if several and effect.pair else named


def _short(one: Subject | None, key: str) -> str:
    return key if one is None else one.short


def _controls(effects: Sequence[Effect], known: Mapping[str, Subject]) -> set[str]:
    return {_short(known.get(f"cell/{effect.control}"), effect.control) for effect in effects}


def _difference(effect: Effect, interval: tuple[float, float] | None, places: int) -> str:
    points = Column("", "number", places, signed=True)
    shown = said(effect.difference, points)
    seeds = f", n {len(effect.seeds)}" if effect.seeds else ""
    return (
        shown + (f" [{said(interval[0], points)}, {said(interval[1], points)}]" if interval else " (untested)") + seeds
    )


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
