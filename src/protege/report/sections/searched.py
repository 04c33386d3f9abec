"""What a search tried: the best so far, where in each field good trials lie, which fields matter, and every trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from protege.report.figures.plots import Dot, Series, lines, scatter
from protege.report.material import Material
from protege.report.page.blocks import Block, Figures, Section, Words
from protege.report.page.table import Column, Table, last, plain, table_of, varied
from protege.report.sections.varied import dress_of_tried
from protege.study.findings import Candidate, Searched, Selection, Trial

Tried = tuple[Candidate, Trial]
WORDS = {"due": "in training", "waits": "waits for its round", "finished": "finished", "diverged": "diverged"}


def searched(material: Material) -> Section | None:
    """An arm after the other; nothing where no arm searched."""
    found = [(one, one.search) for one in material.findings.selections if one.search is not None]
    if not found:
        return None
    blocks: list[Block] = [Words(_budget(material, [search for _, search in found]))]
    for number, (selection, search) in enumerate(found, 1):
        style = next((one.style for one in material.subjects if one.arm == selection.arm), "hue0")
        tried = list(zip(selection.candidates, search.trials, strict=True))
        axis = f"held-out {(measure := material.findings.measure(selection.measure)).label} {measure.unit}".strip()
        blocks += _drawn(selection, search, tried, style, axis)
        blocks += [_importance(selection, search, number)] if search.importance else []
        blocks.append(_every_trial(material, selection, search, tried, number, axis))
    return Section("search", "Search", blocks)


def _budget(material: Material, found: Sequence[Searched]) -> str:
    """What each arm could spend, which is the same for all that search; and what it did."""
    spent = [
        f"{one.arm}{f', {one.pair}' if one.pair else ''}: {one.configurations} "
        f"{'trials' if one.searched else 'configuration' if one.configurations == 1 else 'configurations'}"
        f"{f', {one.runs} runs' if one.runs else ''}{f', {one.epochs:,} epochs' if one.epochs else ''}"
        for one in material.findings.budgets
    ]
    return f"Each arm that searches has the same budget: {found[0].budget}. Spent: {'; '.join(spent)}."


# ---- drawn ----


def _drawn(selection: Selection, search: Searched, tried: Sequence[Tried], style: str, axis: str) -> list[Block]:
    ended = [(candidate, trial) for candidate, trial in tried if trial.state == "finished" and trial.score is not None]
    if len(ended) < 2:
        return []
    fields = [path for path in search.space if all(_is_number(one.values[path]) for one, _ in tried)]
    drawings = [_best_so_far(search, style, axis), *(_along(path, tried, style, axis) for path in fields)]
    caption = f"{selection.cell}: {axis}, {_seeds(selection)} a trial; hollow: stopped early, at its last look."
    return [Figures(drawings, caption)]


def _seeds(selection: Selection) -> str:
    return f"{len(selection.seeds)} seed{'' if len(selection.seeds) == 1 else 's'}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _best_so_far(search: Searched, style: str, axis: str) -> Markup:
    known = [(float(one.number), one.best) for one in search.trials if one.best is not None]
    numbers, best = [number for number, _ in known], [best for _, best in known]
    one = Series(label="", x=numbers, mean=best, low=best, high=best, style=style, n=1)
    return lines([one], "best so far", "trial", axis)


def _along(path: str, tried: Sequence[Tried], style: str, axis: str) -> Markup:
    dots = [
        Dot(
            label="",
            x=float(candidate.values[path]),
            y=trial.score,
            spread=None,
            before=None,
            style=style,
            tooltip=f"trial {trial.number}, {varied(candidate.values)}: {trial.score:.2f}",
            hollow=trial.state != "finished",
        )
        for candidate, trial in tried
        if trial.score is not None
    ]
    return scatter(dots, last(path), axis)


# ---- tables ----


def _importance(selection: Selection, search: Searched, number: int) -> Table:
    return table_of(
        f"importance_{number}",
        f"What mattered in the search of {selection.cell}",
        sorted(search.importance.items(), key=lambda one: -one[1]),
        [
            ("field", lambda one: one[0]),
            ("searched", lambda one: search.space[one[0]]),
            (Column("importance", "number"), lambda one: one[1]),
        ],
        "Share in what tells the best tenth of the trials from all of them (PED-ANOVA). Of so few trials it is a hint.",
    )


def _every_trial(
    material: Material, selection: Selection, search: Searched, tried: Sequence[Tried], number: int, axis: str
) -> Table:
    dress = dress_of_tried(material.findings)
    return table_of(
        f"trials_{number}",
        f"Every trial of {selection.cell}",
        tried,
        [
            (Column("trial", "count"), lambda one: one[1].number),
            (Column("round", "count"), lambda one: one[1].round),
            *((last(path), lambda one, path=path: plain(one[0].values[path])) for path in search.space),
            ("state", lambda one: WORDS.get(one[1].state, f"stopped after epoch {one[1].epochs}")),
            (Column(axis, "number"), lambda one: one[1].score),
            (Column("best so far", "number"), lambda one: one[1].best),
            ("chosen", lambda one: "chosen" if one[0].chosen else None),
        ],
        f"{selection.heldout_images:,} held-out images, mean of {_seeds(selection)} that report nothing. {selection.sentence}",
        lambda one: dress(one[0]),
    )
