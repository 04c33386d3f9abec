"""Published figures beside ours."""

from __future__ import annotations

from collections.abc import Sequence

from protege.study.findings.record import Cell, PublishedRow, Recovery, RunRow, Summary, TeacherFacts, Which
from protege.study.findings.recoveries import recoveries
from protege.study.findings.rows import by_seed, heldout_value, test_value
from protege.study.findings.summaries import summary_of
from protege.study.question.arms import cell_label
from protege.study.question.measures import RATIOS
from protege.study.question.schema import Published, Study


def published(
    study: Study, cells: Sequence[Cell], teachers: Sequence[TeacherFacts], rows: Sequence[RunRow]
) -> list[PublishedRow]:
    made = [_row(study.report, figure, cells, teachers, rows) for figure in study.published]
    known = recoveries(study.report, cells, teachers)
    return [_ratio(row, figure, cells, known) for row, figure in zip(made, study.published, strict=True)]


def _ratio(row: PublishedRow, figure: Published, cells: Sequence[Cell], known: Sequence[Recovery]) -> PublishedRow:
    """Of means over seeds, so without a spread of its own."""
    if figure.measure not in RATIOS:
        return row
    fitting = {cell.key for cell in cells if figure.fits(cell.arm, cell.pair, cell.values)}
    (value,) = [getattr(one, figure.measure) for one in known if one.cell in fitting] or [None]
    return row.model_copy(update={"measured": value, "difference": None if value is None else value - figure.value})


def _row(
    score: Which,
    figure: Published,
    cells: Sequence[Cell],
    teachers: Sequence[TeacherFacts],
    rows: Sequence[RunRow],
) -> PublishedRow:
    measured = _of_teacher(score, figure, teachers) if figure.teacher else _of_arm(score, figure, cells, rows)
    return PublishedRow(
        label=_label(figure),
        arm=figure.arm,
        teacher=figure.teacher,
        pair=figure.pair,
        values=figure.at,
        against=figure.against,
        measure=figure.measure,
        split=figure.split,
        published=figure.value,
        published_sd=figure.sd,
        published_seeds=figure.seeds,
        measured=measured.mean if measured else None,
        measured_sd=measured.sd if measured else None,
        measured_seeds=measured.n if measured else None,
        measured_interval=measured.interval if measured else None,
        difference=measured.mean - figure.value if measured else None,
        note=figure.note,
    )


def _label(figure: Published) -> str:
    if figure.teacher:
        return f"teacher {figure.teacher}"
    label = cell_label(figure.arm or "", figure.pair, figure.at)
    return f"{label}, minus {figure.against}" if figure.against else label


def _of_teacher(score: Which, figure: Published, teachers: Sequence[TeacherFacts]) -> Summary | None:
    found = next((teacher for teacher in teachers if teacher.key == figure.teacher), None)
    return _taken(found, figure, score) if found else None


def _of_arm(score: Which, figure: Published, cells: Sequence[Cell], rows: Sequence[RunRow]) -> Summary | None:
    fitting = [cell for cell in cells if figure.fits(cell.arm, cell.pair, cell.values)]
    if len(fitting) != 1:
        return None
    if figure.against is None:
        return _taken(fitting[0], figure, score)
    control = next((cell for cell in cells if cell.arm == figure.against and cell.pair == fitting[0].pair), None)
    return _between(fitting[0], control, figure, score, rows) if control else None


def _between(treatment: Cell, control: Cell, figure: Published, score: Which, rows: Sequence[RunRow]) -> Summary | None:
    """Seed by seed, as the effects are: of the seeds that both have."""
    read = heldout_value(score) if figure.split == "heldout" else test_value(score, figure.measure)
    treated, controlled = (
        by_seed([row for row in rows if row.role == "report" and row.cell == cell.key], read)
        for cell in (treatment, control)
    )
    return summary_of([treated[seed] - controlled[seed] for seed in treated if seed in controlled])


def _taken(from_: Cell | TeacherFacts, figure: Published, score: Which) -> Summary | None:
    return from_.heldout.get(score) if figure.split == "heldout" else from_.scores(score).get(figure.measure)
