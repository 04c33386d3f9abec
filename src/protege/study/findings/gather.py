"""From the folders of a study's runs to its findings."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from protege import data
from protege.study.conduct.jobs import left, progress, to_unseal, unsealed
from protege.study.conduct.select import standing, tried
from protege.study.findings.answer import answer
from protege.study.findings.contrasts import contrasts
from protege.study.findings.effects import Given, effects
from protege.study.findings.family import family
from protege.study.findings.judging import Judge, unlike_arms
from protege.study.findings.published import published
from protege.study.findings.record import Budget, Costs, Findings, Hardware, RunRow, Selection, Split
from protege.study.findings.recoveries import recoveries
from protege.study.findings.rows import Rows, machines
from protege.study.findings.seal import ledger_of, seal_warnings
from protege.study.findings.selections import selection
from protege.study.findings.summaries import cells, grids, teachers
from protege.study.question.layout import Layout
from protege.study.question.measures import MEASURES
from protege.study.question.plan import Plan, warnings_before


def gather(
    plan: Plan, failed: Mapping[str, str] | None = None, commands: Sequence[str] = (), split: Split | None = None
) -> Findings:
    """Everything known now; `complete` says whether that is everything. Test scores are taken from what was unsealed before.

    `split` is that of earlier findings, where its images need not be read again.
    """
    found = facts(plan, failed or {}, commands, split or _split(plan))
    return found.model_copy(update={"warnings": tuple(_warnings(plan, found))})


def facts(plan: Layout, failed: Mapping[str, str], commands: Sequence[str], split: Split) -> Findings:
    """All but what weakens it."""
    study, read = plan.study, Rows(plan, failed)
    rows = read.all()
    selections = [selection(plan, cell, split.heldout) for cell in plan.cells if cell.chosen_by_selection]
    found, taught = cells(plan, rows, split), teachers(plan, rows, split)
    members = family(plan.asked(), found, rows)
    judge = Judge(study.report, members, rows, read)
    given = Given(rows, _images(plan, split))
    compared, asked, over = effects(members, judge, given), contrasts(members, judge, given), given.over_whom(found)
    return Findings(
        name=study.name,
        folder=str(plan.folder.relative_to(plan.place.runs)),
        question=study.question,
        answer=answer(
            compared, {one.key: one.short for one in found}, asked, over, {one.key: one.pair for one in found}
        ),
        complete=complete(plan),
        scale=plan.scale,
        protocol=study.protocol,
        score=study.report,
        differs=study.differs,
        differences=study.changes,
        notes=study.notes,
        warnings=(),
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
        grids=tuple(grids(plan, selections, found, asked)),
        published=tuple(published(study, found, taught, rows)),
        runs=tuple(rows),
        ledger=tuple(ledger_of(plan, rows)),
        hardware=tuple(_hardware(plan, rows)),
        commands=tuple(commands),
        costs=_costs(plan, rows),
        study=study.model_dump(
            mode="json", by_alias=True, exclude={"reduced", "differs", "changes"}, exclude_defaults=True
        ),
        made=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    )


def _images(plan: Layout, split: Split) -> str:
    """In words: what judges."""
    one = len({plan.judged_by(cell.key) for cell in plan.cells}) == 1
    return f"these {split.test:,} test images" if one else "these test images"


def complete(plan: Layout) -> bool:
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


def _budgets(plan: Layout) -> Iterable[Budget]:
    for arm, pair in dict.fromkeys((cell.arm, cell.pair) for cell in plan.cells):
        own = [cell for cell in plan.cells if (cell.arm, cell.pair) == (arm, pair)]
        select = [run for cell in own if cell.chosen_by_selection for runs in tried(plan, cell) for run in runs]
        yield Budget(
            arm=arm,
            pair=pair,
            configurations=sum(len(plan.configurations(cell)) for cell in own),
            runs=len(select),
            epochs=sum(len(plan.run(run.id).metrics()) for run in select),
            searched=any(cell.space for cell in own),
        )


def _hardware(plan: Layout, rows: Sequence[RunRow]) -> Iterable[Hardware]:
    finished = dict.fromkeys(row.id for row in rows if row.state == "finished")
    return machines(plan.run(run_id).record() for run_id in finished)


def _costs(plan: Layout, rows: Sequence[RunRow]) -> Costs:
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


def _warnings(plan: Plan, found: Findings) -> Iterable[str]:
    yield from warnings_before(plan.study, plan.cells)
    yield from noisy_choices(found.selections)
    for grid in found.grids:
        if grid.split == "test" and grid.luck is not None:
            name = f"{grid.arm}, {grid.pair}" if grid.pair else grid.arm
            best = f"the best of {len(grid.points)} equally good ones would lead their mean by {grid.luck:.2f} points"
            yield f"All configurations of {name} were read on the test set, where {best}."
    for cell in found.cells:
        if cell.missing and found.complete:
            yield f"{cell.label} is reported without what did not finish: seed {', '.join(map(str, cell.missing))}."
    for row in found.runs:
        if row.state in ("diverged", "failed"):
            yield f"{row.id} ({row.cell}, seed {row.seed}) {row.state}: {row.error}"
    if sum(effect.primary for effect in found.effects) > 1 and not any(one.primary for one in plan.study.compare):
        yield "No hypothesis was named primary, so the answer counts all."
    yield from seal_warnings(plan, found.runs)
    yield from of_runs(plan, found)


def of_runs(plan: Layout, found: Findings) -> Iterable[str]:
    """What weakens any comparison of runs, planned or not."""
    yield from _unseen(plan, found.runs)
    yield from unlike_arms(found.cells, Judge(found.score, (), found.runs, Rows(plan, {})))
    yield from _unlike_prices(plan, found.runs)
    yield from _mixed(found.runs)


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


def _unseen(plan: Layout, rows: Sequence[RunRow]) -> Iterable[str]:
    """What nobody can know: whether somebody that taught has seen what judges."""
    learned: dict[str, set[str]] = {}
    for run in (plan.run(row.id) for row in rows):
        for thing in run.record().get("seen", {}).get("unknown", ()) if run.record_file.exists() else ():
            learned.setdefault(thing, set()).add(run.id)
    for thing, those in learned.items():
        yield (
            f"Nobody knows {thing}, and {len(those)} run(s) learned from it, {min(those)} among them: "
            "if images that judge were part of it, their scores are too good."
        )


def _unlike_prices(plan: Layout, rows: Sequence[RunRow]) -> Iterable[str]:
    """Milliseconds of another runtime, machine or number of threads do not compare."""
    found: set[str] = set()
    for row in rows:
        measured = plan.run(row.id).measured().get(plan.study.report, {}) if row.test else {}
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
