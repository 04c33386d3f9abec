"""Are the sentences of a page true as often as they say? Studies with known truth, through the project's own statistics.

    python benchmarks/claims.py                     # 2,000 studies a cell, two processes
    python benchmarks/claims.py --studies 400       # a look

In a cell everything about a study is fixed but chance: seeds, teachers, how far teachers differ, whether arms share what a
seed brings, the family's size, the number of test images. For each population that a sentence may name, the truth is
known: how often is anything claimed that is false, and how often do all intervals hold it? Acceptance: at most .06, at
least .935. `docs/statistics.md` says what is assumed.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from scipy import special

from protege import runs
from protege.stats.families import (
    LEVEL,
    Arm,
    Contrast,
    Tested,
    among,
    given_teachers,
    over_images,
    over_teachers,
    p_of_f,
)
from protege.stats.images import image_variance

HERE = Path(__file__).resolve().parent
MOST_FALSE, LEAST_COVERED = 0.06, 0.935
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """One kind of study. Spreads are in units of the sd over seeds."""

    question: str  # against alone, difference of differences, among, equivalence, images
    seeds: int
    teachers: int  # in turn; as many as seeds: each its own
    teacher_sd: float
    correlated: bool  # arms of one seed (and of one teacher) share 70 % of what it brings
    family: int
    images: int = 0  # 0: infinitely many
    unlike: float = 1.0  # sd over seeds of the first taught arm, in that of the others

    @property
    def taught_by(self) -> tuple[tuple[str, ...], ...]:
        return tuple((f"teacher {seed % self.teachers}",) for seed in range(self.seeds))


@dataclass(frozen=True)
class Found:
    """Shares of studies."""

    cell: Cell
    population: str
    false_claims: float
    covered: float


def contrasts_of(family: int) -> list[Contrast]:
    return [{f"taught {number}": 1.0, "alone": -1.0} for number in range(family)]


# ---- studies as one value a seed ----


def simulated(cell: Cell, studies: int, generator: np.random.Generator) -> tuple[dict[str, Arm], Array]:
    """Arms of `studies` studies at once, and what each taught arm owes to its teachers: [studies, family]. No method has any effect."""
    shared = np.sqrt(0.7) if cell.correlated else 0.0
    of_seed = generator.standard_normal((studies, cell.seeds))
    of_teacher = generator.standard_normal((studies, cell.teachers))
    turn = [seed % cell.teachers for seed in range(cell.seeds)]

    def own(like: Array) -> Array:
        return shared * like + np.sqrt(1 - shared**2) * generator.standard_normal(like.shape)

    arms = {"alone": Arm(own(of_seed))}
    owed = []
    for number in range(cell.family):
        taught = (cell.teacher_sd * own(of_teacher))[:, turn]
        spread = cell.unlike if number == 0 else 1.0
        arms[f"taught {number}"] = Arm(spread * own(of_seed) + taught, cell.taught_by)
        owed.append(taught.mean(-1))
    return arms, np.stack(owed, -1)


def judged(found: Sequence[Tested], truth: Array) -> tuple[float, float]:
    """How often anything false is claimed where there is nothing to find, and how often all intervals hold the truth.

    An arm moved by its true effect moves its interval with it, so that both are asked of the same studies.
    """
    errors = [np.abs(one.difference - truth[:, number]) for number, one in enumerate(found)]
    covered = np.all([error <= one.simultaneous_reach for error, one in zip(errors, found, strict=True)], 0)
    claimed = np.any(
        [one.adjusted_p < LEVEL for number, one in enumerate(found)]
        if not np.any(truth)
        else [error > one.simultaneous_reach for error, one in zip(errors, found, strict=True)],
        0,
    )
    return float(claimed.mean()), float(covered.mean())


def without_images(cell: Cell, studies: int, generator: np.random.Generator) -> Iterator[Found]:
    arms, owed = simulated(cell, studies, generator)
    contrasts = contrasts_of(cell.family)
    yield Found(cell, "these teachers", *judged(given_teachers(arms, contrasts), owed))
    over = [over_teachers(arms, contrast, len(contrasts)) for contrast in contrasts]
    if all(one is not None for one in over):
        yield Found(cell, "other teachers", *judged([one for one in over if one], np.zeros_like(owed)))


def of_differences(cell: Cell, studies: int, generator: np.random.Generator) -> Iterator[Found]:
    """Two pairs, whose students spread as 1 to 2: is a method worth more in one of them?"""
    (here, owed_here), (there, owed_there) = (simulated(cell, studies, generator) for _ in range(2))
    arms = {f"{name}, here": Arm(arm.values, arm.teachers, "here") for name, arm in here.items()}
    arms |= {f"{name}, there": Arm(2 * arm.values, arm.teachers, "there") for name, arm in there.items()}
    contrasts = [
        {f"taught {one}, here": 1.0, "alone, here": -1.0, f"taught {one}, there": -1.0, "alone, there": 1.0}
        for one in range(cell.family)
    ]
    truth = owed_here - 2 * owed_there
    yield Found(cell, "these teachers", *judged(given_teachers(arms, contrasts), truth))
    over = [over_teachers(arms, contrast, len(contrasts)) for contrast in contrasts]
    if all(one is not None for one in over):
        yield Found(cell, "other teachers", *judged([one for one in over if one], np.zeros_like(truth)))


def of_omnibus(cell: Cell, studies: int, generator: np.random.Generator) -> Iterator[Found]:
    """Do `family` configurations differ among themselves? Their teachers being these: what they bring is taken out."""
    arms, owed = simulated(cell, studies, generator)
    names = list(arms)[1:]
    level = {
        name: Arm(arm.values - (owed[:, [number - 1]] if number else 0), arm.teachers)
        for number, (name, arm) in enumerate(arms.items())
    }
    f, above, below = among(level, names) or (np.zeros(studies), 1, np.ones(studies))
    claimed = float((p_of_f(f, above, below) < LEVEL).mean())
    yield Found(cell, "these teachers", claimed, 1 - claimed)


def of_equivalence(cell: Cell, studies: int, generator: np.random.Generator) -> Iterator[Found]:
    """Every true difference is exactly the margin: "equivalent" is false wherever it is said."""
    arms, owed = simulated(cell, studies, generator)
    margin = 4.0 * np.sqrt(2 / cell.seeds)
    equivalent = np.zeros(studies, bool)
    for number, one in enumerate(given_teachers(arms, contrasts_of(cell.family))):
        moved = one.difference - owed[:, number] + margin
        equivalent |= (special.stdtr(one.degrees, (np.abs(moved) - margin) / one.standard_error) * cell.family) < LEVEL
    yield Found(cell, "these teachers", float(equivalent.mean()), 1 - float(equivalent.mean()))


# ---- studies as right and wrong answers ----

SEED_SHIFT = 0.05  # of the logit of every answer: half a point of accuracy, about


def answers(cell: Cell, generator: np.random.Generator) -> tuple[dict[str, NDArray[np.bool_]], Array]:
    """Of each arm which answers were right, [seeds, images]; and the expected accuracy of each taught arm minus that of alone, here.

    Images differ in difficulty, and each in how much it suits an arm; of other images no arm is better.
    """
    difficulty = 1.5 + 1.5 * generator.standard_normal(cell.images)
    shared = np.sqrt(0.7) if cell.correlated else 0.0
    of_seed = generator.standard_normal(cell.seeds)
    of_teacher = cell.teacher_sd * SEED_SHIFT * generator.standard_normal((cell.family, cell.teachers))
    turn = [seed % cell.teachers for seed in range(cell.seeds)]
    right, expected = {}, []
    for number in range(cell.family + 1):
        suits = difficulty + 0.4 * generator.standard_normal(cell.images)
        shift = SEED_SHIFT * (shared * of_seed + np.sqrt(1 - shared**2) * generator.standard_normal(cell.seeds))
        lift = of_teacher[number - 1, turn] if number else np.zeros(cell.seeds)
        chance = special.expit((suits[None] + (shift + lift)[:, None]).astype(np.float32))
        right["alone" if number == 0 else f"taught {number - 1}"] = generator.random(chance.shape, np.float32) < chance
        by_teacher = [over_seeds(suits + one) for one in (lift[: cell.teachers] if number else lift[:1])]
        expected.append(np.mean([by_teacher[place] for place in turn] if number else by_teacher))
    return right, np.array(expected[1:]) - expected[0]


def over_seeds(logit: Array) -> float:
    """Accuracy that seeds have on average, to the fourth order of their small shift."""
    chance = special.expit(logit)
    return float((chance + chance * (1 - chance) * (1 - 2 * chance) * SEED_SHIFT**2 / 2).mean())


def with_images(cell: Cell, studies: int, generator: np.random.Generator) -> Iterator[Found]:
    contrasts = contrasts_of(cell.family)
    drawn = [answers(cell, generator) for _ in range(studies)]
    truth = np.stack([here for _, here in drawn])
    arms = {
        name: Arm(np.stack([right[name].mean(1) for right, _ in drawn]), cell.taught_by if name != "alone" else ())
        for name in drawn[0][0]
    }
    added = [
        np.array([image_variance({name: right[name] for name in one}, one) for right, _ in drawn]) for one in contrasts
    ]
    here = given_teachers(arms, contrasts)
    yield Found(cell, "these teachers, these images", *judged(here, truth))
    if cell.teacher_sd == 0:
        wider = [over_images(one, more, cell.family) for one, more in zip(here, added, strict=True)]
        yield Found(cell, "these teachers, other images", *judged(wider, np.zeros_like(truth)))
    over = [one for contrast in contrasts if (one := over_teachers(arms, contrast, cell.family)) is not None]
    if len(over) == cell.family:
        widest = [over_images(one, more, cell.family) for one, more in zip(over, added, strict=True)]
        yield Found(cell, "other teachers, other images", *judged(widest, np.zeros_like(truth)))


# ---- cells ----

KINDS = {
    "against alone": without_images,
    "difference of differences": of_differences,
    "among": of_omnibus,
    "equivalence": of_equivalence,
    "images": with_images,
    "arms that spread unlike": without_images,
}


def cells() -> list[Cell]:
    seeds, found = (3, 5, 8, 10), []
    grid = [
        (n, k, sd, correlated)
        for n in seeds
        for k in dict.fromkeys((1, 3, n))
        for sd in (0.0, 0.5, 1.0, 2.0)
        for correlated in (False, True)
    ]
    for question, families in (
        ("against alone", (1, 9)),
        ("difference of differences", (1, 3)),
        ("among", (5,)),
        ("equivalence", (1, 9)),
    ):
        found += [Cell(question, *one, family) for one in grid for family in families]
    found += [Cell("arms that spread unlike", n, 1, 0.0, False, family, 0, 2.0) for n in seeds for family in (1, 9)]
    found += [
        Cell("images", n, k, sd, correlated, family, images)
        for n in seeds
        for k, sd in ((1, 0.0), (n, 1.0))
        for correlated in (False, True)
        for family, images in ((1, 1_000), (9, 1_000), (1, 10_000))
        if family == 1 or not correlated
        if images == 1_000 or (n in (3, 8) and not correlated)
    ]
    return found


def asked(cell: Cell, studies: int, number: int) -> list[Found]:
    """One value a seed is quickly drawn, so that ten times as many studies are: chance moves their shares by .0015."""
    slow = cell.family > 1 or cell.images > 1_000
    drawn = 10 * studies if not cell.images else studies // 2 if slow else studies
    return list(KINDS[cell.question](cell, drawn, np.random.default_rng([2026, number])))


def main(
    studies: Annotated[int, typer.Option(min=50, help="a cell")] = 2000,
    processes: Annotated[int, typer.Option(min=1)] = 2,
    out: Annotated[Path, typer.Option(help="folder of the results")] = HERE / "results",
) -> None:
    began, everything = time.time(), cells()
    with ProcessPoolExecutor(processes) as pool:
        done = pool.map(asked, everything, [studies] * len(everything), range(len(everything)), chunksize=4)
        found = [one for part in done for one in part]
    text = page(found, studies, time.time() - began)
    print(text)
    hardware = runs.environment()["processor"].split("with")[0].strip().lower().replace(" ", "-").rstrip(".")
    name = f"claims_{hardware}_{time.strftime('%Y-%m-%d')}"
    out.mkdir(exist_ok=True)
    (out / f"{name}.md").write_text(text + "\n")
    rows = [{**asdict(one.cell), **{k: v for k, v in asdict(one).items() if k != "cell"}} for one in found]
    (out / f"{name}.json").write_text(json.dumps({"studies": studies, "cells": rows}, indent=1) + "\n")


def page(found: Sequence[Found], studies: int, seconds: float) -> str:
    """A line for each question and population; and every cell that misses."""
    lines = [
        "# How often a page's sentences are true",
        "",
        f"{10 * studies:,} studies a cell; {studies:,} where images are simulated ({studies // 2:,} of many arms or images); seeded. "
        f"{seconds / 60:.0f} minutes on {os.cpu_count()} cores of {runs.environment()['processor']}. "
        f"`{shlex.join(['python', 'benchmarks/claims.py', *sys.argv[1:]])}`",
        "",
        "| question | population | cells | false claims: worst, mean | coverage: worst, mean | missing |",
        "|---|---|---:|---:|---:|---:|",
    ]
    groups: dict[tuple[str, str], list[Found]] = {}
    for one in found:
        groups.setdefault((one.cell.question, one.population), []).append(one)
    for (question, population), those in groups.items():
        false, covered = [one.false_claims for one in those], [one.covered for one in those]
        lines.append(
            f"| {question} | {population} | {len(those)} | {max(false):.3f}, {np.mean(false):.3f} | "
            f"{min(covered):.3f}, {np.mean(covered):.3f} | {sum(map(misses, those))} |"
        )
    lines += [
        "",
        *(
            f"- misses: {asdict(one.cell)}, {one.population}: {one.false_claims:.3f}, {one.covered:.3f}"
            for one in found
            if misses(one)
        ),
    ]
    return "\n".join(lines)


def misses(one: Found) -> bool:
    return one.false_claims > MOST_FALSE or one.covered < LEAST_COVERED


if __name__ == "__main__":
    typer.run(main)
