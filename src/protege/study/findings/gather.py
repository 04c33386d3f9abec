"""From the folders of a study's runs to its findings."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from protege import data, runs
from protege.study.conduct.jobs import left, progress, to_unseal, unsealed
from protege.study.conduct.select import standing, tried
from protege.study.findings.answer import answer
from protege.study.findings.contrasts import contrasts
from protege.study.findings.effects import effects, over_whom
from protege.study.findings.family import family
from protege.study.findings.judging import Judge, unlike_arms
from protege.study.findings.published import published
from protege.study.findings.record import Budget, Cell, Costs, Effect, Findings, Hardware, RunRow, Selection, Split
from protege.study.findings.recoveries import recoveries
from protege.study.findings.rows import Rows, machines
from protege.study.findings.seal import ledger_of, seal_warnings
from protege.study.findings.selections import selection
from protege.study.findings.summaries import cells, grids, teachers
from protege.study.question.measures import MEASURES
from protege.study.question.plan import Plan, warnings_before


def gather(
    plan: Plan, failed: Mapping[str, str] | None = None, commands: Sequence[str] = (), split: Split | None = None
) -> Findings:
    """Everything known now; `complete` says whether that is everything. Test scores are taken from what was unsealed before.

    `split` is that of earlier findings, where its images need not be read again.
    """
    read = Rows(plan, failed or {})
    rows, split = read.all(), split or _split(plan)
    selections = [selection(plan, cell, split.heldout) for cell in plan.cells if cell.chosen_by_selection]
    found = cells(plan, rows, split.classes, split.image_size)
    members = family(plan.study, found, rows)
    judge = Judge(plan.study, plan.study.report, members, rows, read)
    compared = effects(plan, members, judge, rows, read, split.test)
    asked = contrasts(plan, members, judge, split.test)
    taught = teachers(plan, rows, split.classes, split.image_size)
    tested = grids(plan, selections, found)
    ledger = ledger_of(plan, rows)
    study = plan.study
    over = over_whom(plan, found, split.test)
    return Findings(
        name=study.name,
        folder=str(plan.folder.relative_to(plan.place.runs)),
        question=study.question,
        answer=answer(compared, {cell.key: cell.short for cell in found}, asked, over),
        complete=complete(plan),
        scale=plan.scale,
        protocol=study.protocol,
        score=study.report,
        differs=study.differs,
        differences=study.changes,
        notes=study.notes,
        warnings=tuple(_warnings(plan, rows, found, selections, compared, tested, judge)),
        data=split,
        select_seeds=study.select_seeds if selections else (),
        report_seeds=study.seeds.report,
        measures=tuple(MEASURES.values()),
        budgets=tuple(_budgets(plan)),
        teachers=tuple(taught),
        cells=tuple(found),
        effects=tuple(compared),
        contrasts=tuple(asked),
        over=over,
        recoveries=tuple(recoveries(study.report, found, taught)),
        selections=tuple(selections),
        grids=tuple(tested),
        published=tuple(published(study, found, taught, rows)),
        runs=tuple(rows),
        ledger=tuple(ledger),
        hardware=tuple(_hardware(plan, rows)),
        commands=tuple(commands),
        costs=_costs(plan, rows),
        study=study.model_dump(
            mode="json", by_alias=True, exclude={"reduced", "differs", "changes"}, exclude_defaults=True
        ),
        made=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    )


def complete(plan: Plan) -> bool:
    settled = all(standing(plan, cell).settled for cell in plan.cells)
    return settled and not left(plan) and all(unsealed(plan, run) for run, _ in to_unseal(plan))


def _split(plan: Plan) -> Split:
    """Counts need the images themselves; the first student's stand for all, as only training images may differ."""
    config = plan.cells[0].configurations[0].config
    splits = data.load(config.data, plan.place.data_dir)
    return Split(
        name=splits.name,
        classes=len(splits.classes),
        train=len(splits.train),
        heldout=len(splits.heldout) if splits.heldout else 0,
        test=len(splits.test),
        image_size=splits.train.pixels.shape[-1],
        fingerprint=splits.fingerprint,
    )


def _budgets(plan: Plan) -> Iterable[Budget]:
    for arm, pair in dict.fromkeys((cell.arm, cell.pair) for cell in plan.cells):
        own = [cell for cell in plan.cells if (cell.arm, cell.pair) == (arm, pair)]
        select = [run for cell in own if cell.chosen_by_selection for runs in tried(plan, cell) for run in runs]
        yield Budget(
            arm=arm,
            pair=pair,
            configurations=sum(len(plan.configurations(cell)) for cell in own),
            runs=len(select),
            epochs=sum(len(runs.Run(plan.place.runs / run.id).metrics()) for run in select),
            searched=any(cell.space for cell in own),
        )


def _hardware(plan: Plan, rows: Sequence[RunRow]) -> Iterable[Hardware]:
    finished = dict.fromkeys(row.id for row in rows if row.state == "finished")
    return machines(runs.Run(plan.place.runs / run_id).record() for run_id in finished)


def _costs(plan: Plan, rows: Sequence[RunRow]) -> Costs:
    once = {row.id: row for row in reversed(rows)}.values()

    def seconds(role: str | None = None) -> float:
        return sum(row.seconds or 0.0 for row in once if role in (None, row.role))

    now = progress(plan)
    return Costs(
        stated=plan.study.cost.sentence() if plan.study.cost else "",
        seconds=seconds(),
        teacher_seconds=seconds("teacher"),
        select_seconds=seconds("select"),
        report_seconds=seconds("report"),
        runs=now.planned + now.still_to_come,
        finished=now.finished,
    )


# ---- what weakens the conclusions ----


def _warnings(
    plan: Plan,
    rows: Sequence[RunRow],
    found: Sequence[Cell],
    selections: Sequence[Selection],
    compared: Sequence[Effect],
    tested: Sequence[Any],
    judge: Judge,
) -> Iterable[str]:
    yield from warnings_before(plan.study, plan.cells)
    yield from noisy_choices(selections)
    for grid in tested:
        if grid.split == "test" and grid.luck is not None:
            name = f"{grid.arm}, {grid.pair}" if grid.pair else grid.arm
            best = f"the best of {len(grid.points)} equally good ones would lead their mean by {grid.luck:.2f} points"
            yield f"All configurations of {name} were read on the test set, where {best}."
    for cell in found:
        if cell.missing and complete(plan):
            yield f"{cell.label} is reported without what did not finish: seed {', '.join(map(str, cell.missing))}."
    for row in rows:
        if row.state in ("diverged", "failed"):
            yield f"{row.id} ({row.cell}, seed {row.seed}) {row.state}: {row.error}"
    if (
        compared
        and sum(effect.primary for effect in compared) > 1
        and not any(one.primary for one in plan.study.compare)
    ):
        yield "No hypothesis was named primary, so the answer counts all."
    yield from seal_warnings(plan, rows)
    yield from unlike_arms(found, judge)
    yield from _unlike_prices(plan, rows)
    yield from _mixed(rows)


def noisy_choices(selections: Sequence[Selection]) -> Iterable[str]:
    """A sentence for each, or one for all where they are many; every choice's own stands beside its table."""
    noisy = [one for one in selections if one.is_noise]
    if len(noisy) < 3:
        yield from (f"The choice of {one.cell}: {one.sentence}" for one in noisy)
        return
    images = f"{noisy[0].heldout_images:,} held-out images"
    yield (
        f"The choices of {', '.join(one.cell for one in noisy)} are mostly noise: "
        f"what was tried spreads by no more than the standard error on {images}."
    )


def _unlike_prices(plan: Plan, rows: Sequence[RunRow]) -> Iterable[str]:
    """Milliseconds of another runtime, machine or number of threads do not compare."""
    found: set[str] = set()
    for row in rows:
        measured = runs.Run(plan.place.runs / row.id).measured().get(plan.study.report, {}) if row.test else {}
        if "latency_ms" in measured:
            machine = measured.get("machine")
            where = str(machine.get("processor")) if isinstance(machine, Mapping) else "a machine that is not named"
            found.add(
                f"{measured.get('runtime')}, {measured.get('threads')} thread(s), batch {measured.get('batch')}, {where}"
            )
    if len(found) > 1:
        yield f"Latencies were not all measured alike, so they do not compare: {'; '.join(sorted(found))}."


def _mixed(rows: Sequence[RunRow]) -> Iterable[str]:
    devices = sorted({row.device for row in rows if row.device})
    if len(devices) > 1:
        yield f"Runs were made on different hardware ({', '.join(devices)}), which may differ in the last digits."
