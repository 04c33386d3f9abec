"""Comparisons that nobody named in advance: the taught against the same network alone, marked as exploring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protege import stats
from protege.errors import RunError
from protege.evaluate import logits_of
from protege.runs import Run
from protege.stats.power import smallest_visible
from protege.study.findings import Bootstrap, Cell, Effect, RunRow
from protege.study.findings.effects import bootstrap_in_points, t_test
from protege.study.findings.rows import by_seed, test_value

LEVEL = 0.05


def explore(cells: Sequence[Cell], rows: Sequence[RunRow], controls: Mapping[str, str], root: Path) -> list[Effect]:
    """`controls`: key of a treatment -> key of its control. Compared by pairs of seeds where both have the same ones."""
    by_key = {cell.key: cell for cell in cells}
    values = {key: _values(rows, key) for key in by_key}
    pairs = [(one, other) for one, other in controls.items() if values[one] and values[other]]
    found = {one: _compared(values[one], values[other]) for one, other in pairs}
    adjusted = stats.holm({one: effect.p for one, effect in found.items()})
    effects = []
    for one, other in pairs:
        images = _bootstrap(rows, one, other, root)
        effects.append(_effect(by_key[one], by_key[other], found[one], adjusted[one], len(pairs), images))
    return effects


def _values(rows: Sequence[RunRow], key: str) -> dict[int, float]:
    own = [row for row in rows if row.role == "report" and row.cell == key]
    return dict(sorted(by_seed(own, test_value("final", "accuracy")).items()))


def _compared(treated: Mapping[int, float], controlled: Mapping[int, float]) -> stats.Effect:
    same = treated.keys() == controlled.keys()
    return stats.effect(list(treated.values()), list(controlled.values()), paired=same)


def _effect(
    treatment: Cell, control: Cell, found: stats.Effect, adjusted: float | None, size: int, images: Bootstrap | None
) -> Effect:
    names = (f"the accuracy of {treatment.label}", f"that of {control.label}")
    verdict = stats.verdict(found, adjusted_p=adjusted if size > 1 else None, comparisons=size, names=names)
    test = found.test
    return Effect(
        key=f"{treatment.key} - {control.key} in accuracy",
        treatment=treatment.key,
        control=control.key,
        pair=treatment.pair,
        measure="accuracy",
        score="final",
        primary=False,
        named=found.named,
        seeds=tuple(seed for seed in treatment.seeds if seed in control.seeds) if found.named == "paired" else (),
        difference=found.difference,
        welch=t_test(found.welch),
        paired=t_test(found.paired) if found.named == "paired" else None,
        correlation=found.correlation if found.named == "paired" else None,
        adjusted_p=adjusted,
        family=size,
        smallest_detectable=smallest_visible(test.standard_error, test.degrees, level=LEVEL / size) if test else None,
        equivalence=None,
        mcnemar=(),
        bootstrap=images,
        outcome=verdict.outcome,
        sentence=f"Exploring: {verdict.sentence}",
    )


def _bootstrap(rows: Sequence[RunRow], treatment: str, control: str, root: Path) -> Bootstrap | None:
    try:
        treated, controlled = (_correct(rows, key, root) for key in (treatment, control))
    except (RunError, ValueError):
        return None  # logits that are gone, or of other images
    if treated.shape[1] != controlled.shape[1]:
        return None
    return bootstrap_in_points(treated, controlled)


def _correct(rows: Sequence[RunRow], key: str, root: Path) -> NDArray[np.bool_]:
    """[runs, images]."""
    own = [row for row in rows if row.role == "report" and row.cell == key and row.test]
    said = [logits_of(Run(root / row.path), "test", "final") for row in own]
    return np.stack([(logits.argmax(1) == labels).numpy() for logits, labels in said])


def answer(effects: Sequence[Effect], cells: Sequence[Cell]) -> str:
    """Says that nothing was named in advance, and then what there is to see."""
    opening = "No hypothesis was named in advance, so nothing is concluded"
    if len(effects) == 1:
        said = effects[0].sentence.removeprefix("Exploring: ")
        return f"{opening}; exploring, {said}"
    if effects:
        counts = {name: sum(one.outcome == name for one in effects) for name in ("higher", "lower")}
        undecided = len(effects) - sum(counts.values())
        return (
            f"{opening}; of {len(effects)} taught arms against the same network alone, {counts['higher']} are higher, "
            f"{counts['lower']} lower and {undecided} not shown to differ (p-values corrected for {effects[0].family})."
        )
    if any(cell.test for cell in cells):
        return f"{opening}; no taught network has a counterpart alone among these runs, so there is nothing to compare."
    return f"{opening}; the test set of these runs has not been opened, so only held-out accuracies are known."
