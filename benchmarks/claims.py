"""Are the sentences of a page true as often as they say? Studies with known truth, through the project's own statistics.

    python benchmarks/claims.py                     # 2,000 studies a cell, two processes
    python benchmarks/claims.py --only images       # one question, into a file of its own
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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from scipy import special

from protege import runs
from protege.stats import effect, paired_bootstrap
from protege.stats.families import (
    LEVEL,
    Arm,
    Contrast,
    Tested,
    among,
    given_teachers,
    lead_by_chance,
    over_images,
    over_teachers,
    p_of_f,
    t_test,
)
from protege.stats.images import image_variance

HERE = Path(__file__).resolve().parent
MOST_FALSE, LEAST_COVERED = 0.06, 0.935
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """One kind of study. Spreads are in units of the sd over seeds."""

    question: str  # one of KINDS
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
    level, names = without_teachers(cell, studies, generator)
    f, above, below = among(level, names) or (np.zeros(studies), 1, np.ones(studies))
    claimed = float((p_of_f(f, above, below) < LEVEL).mean())
    yield Found(cell, "these teachers", claimed, 1 - claimed)


def without_teachers(cell: Cell, studies: int, generator: np.random.Generator) -> tuple[dict[str, Arm], list[str]]:
    """Arms less what their teachers bring on average, and the names of the taught."""
    arms, owed = simulated(cell, studies, generator)
    level = {
        name: Arm(arm.values - (owed[:, [number - 1]] if number else 0), arm.teachers)
        for number, (name, arm) in enumerate(arms.items())
    }
    return level, list(arms)[1:]


def of_equivalence(cell: Cell, studies: int, generator: np.random.Generator) -> Iterator[Found]:
    """Every true difference is exactly the margin: "equivalent" is false wherever it is said."""
    arms, owed = simulated(cell, studies, generator)
    contrasts = contrasts_of(cell.family)
    said = called_equivalent(given_teachers(arms, contrasts), owed, 4.0 * np.sqrt(2 / cell.seeds))
    yield Found(cell, "these teachers", said, 1 - said)
    over = [one for contrast in contrasts if (one := over_teachers(arms, contrast, cell.family)) is not None]
    if len(over) == cell.family:
        spread = np.sqrt((2 + cell.teacher_sd**2 * cell.seeds / cell.teachers) / cell.seeds)
        said = called_equivalent(over, np.zeros_like(owed), 4.0 * spread)
        yield Found(cell, "other teachers", said, 1 - said)


def called_equivalent(found: Sequence[Tested], truth: Array, margin: float) -> float:
    """How often any is, where each is moved to lie at the margin."""
    said = np.zeros(len(truth), bool)
    for number, one in enumerate(found):
        beyond = np.abs(one.difference - truth[:, number] + margin) - margin
        said |= (special.stdtr(one.degrees, beyond / one.standard_error) * len(found)) < LEVEL
    return float(said.mean())


def of_the_best(cell: Cell, studies: int, generator: np.random.Generator) -> Iterator[Found]:
    """Of equals: how often the best leads by more than is said to happen in one study of twenty."""
    level, names = without_teachers(cell, studies, generator)
    means = np.stack([level[name].mean for name in names])
    squares = np.stack([arm.values.var(-1, ddof=1) for arm in level.values()])
    rare = lead_by_chance([cell.seeds] * len(names), 1.0, len(level) * (cell.seeds - 1))[1]
    claimed = float((means.max(0) - means.mean(0) > rare * np.sqrt(squares.mean(0))).mean())
    yield Found(cell, "these teachers", claimed, 1 - claimed)


def as_named(cell: Cell, studies: int, generator: np.random.Generator) -> Iterator[Found]:
    """`test: paired` or `test: welch`, named in the file before the data."""
    arms, owed = simulated(cell, studies, generator)
    found = []
    for contrast in contrasts_of(cell.family):
        treatment, control = (arms[name].values for name in contrast)
        paired = cell.question == "test: paired"
        tests = [effect(*both, paired=paired).test for both in zip(treatment, control, strict=True)]
        kept = [(one.difference, one.standard_error, one.degrees) for one in tests if one is not None]
        assert len(kept) == studies
        difference, error, degrees = np.array(kept).T
        found.append(t_test(difference, error, degrees, cell.family))
    yield Found(cell, "these teachers", *judged(found, owed))


# ---- studies as right and wrong answers ----

SEED_SHIFT = 0.05  # of the logit of every answer: half a point of accuracy, about
DIFFICULTY, SUITS = (1.5, 1.5), 0.4  # mean and sd of images' logits; sd of how much an image suits an arm
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)


def answers(cell: Cell, generator: np.random.Generator) -> tuple[dict[str, NDArray[np.bool_]], Array, Array]:
    """Of each arm which answers were right, [seeds, images]; and the expected accuracy of each taught arm minus that of alone, on
    these images and on others.

    Images differ in difficulty, and each in how much it suits an arm; on others an arm is better by what these teachers bring alone.
    """
    difficulty = DIFFICULTY[0] + DIFFICULTY[1] * generator.standard_normal(cell.images)
    shared = np.sqrt(0.7) if cell.correlated else 0.0
    of_seed = generator.standard_normal(cell.seeds)
    of_teacher = cell.teacher_sd * SEED_SHIFT * generator.standard_normal((cell.family, cell.teachers))
    turn = [seed % cell.teachers for seed in range(cell.seeds)]
    right, here, elsewhere = {}, [], []
    for number in range(cell.family + 1):
        suits = difficulty + SUITS * generator.standard_normal(cell.images)
        shift = SEED_SHIFT * (shared * of_seed + np.sqrt(1 - shared**2) * generator.standard_normal(cell.seeds))
        lift = of_teacher[number - 1, turn] if number else np.zeros(cell.seeds)
        chance = special.expit((suits[None] + (shift + lift)[:, None]).astype(np.float32))
        right["alone" if number == 0 else f"taught {number - 1}"] = generator.random(chance.shape, np.float32) < chance
        by_teacher = [over_seeds(suits + one) for one in (lift[: cell.teachers] if number else lift[:1])]
        here.append(np.mean([by_teacher[place] for place in turn] if number else by_teacher))
        elsewhere.append(np.mean([on_other_images(one) for one in lift]))
    return right, np.array(here[1:]) - here[0], np.array(elsewhere[1:]) - elsewhere[0]


def on_other_images(lift: float) -> float:
    """The accuracy of all images that there could be."""
    chance = special.expit(DIFFICULTY[0] + np.hypot(DIFFICULTY[1], SUITS) * NODES + lift)
    return float(WEIGHTS @ moved_by_seeds(chance) / WEIGHTS.sum())


def over_seeds(logit: Array) -> float:
    """Accuracy that seeds have on average, to the fourth order of their small shift."""
    return float(moved_by_seeds(special.expit(logit)).mean())


def moved_by_seeds(chance: Array) -> Array:
    return chance + chance * (1 - chance) * (1 - 2 * chance) * SEED_SHIFT**2 / 2


def with_images(cell: Cell, studies: int, generator: np.random.Generator) -> Iterator[Found]:
    contrasts = contrasts_of(cell.family)
    means, added, truth, elsewhere = [], [], np.empty((studies, cell.family)), np.empty((studies, cell.family))
    for study in range(studies):
        right, truth[study], elsewhere[study] = answers(cell, generator)
        means.append({name: one.mean(1) for name, one in right.items()})
        added.append([image_variance({name: right[name] for name in one}, one) for one in contrasts])
    arms = {
        name: Arm(np.stack([one[name] for one in means]), cell.taught_by if name != "alone" else ())
        for name in means[0]
    }
    added = np.array(added).T  # [family, studies]
    here = given_teachers(arms, contrasts)
    yield Found(cell, "these teachers, these images", *judged(here, truth))
    wider = [over_images(one, more, cell.family) for one, more in zip(here, added, strict=True)]
    yield Found(cell, "these teachers, other images", *judged(wider, elsewhere))
    over = [one for contrast in contrasts if (one := over_teachers(arms, contrast, cell.family)) is not None]
    if len(over) == cell.family:
        widest = [over_images(one, more, cell.family) for one, more in zip(over, added, strict=True)]
        yield Found(cell, "other teachers, other images", *judged(widest, np.zeros_like(truth)))


def differences_with_images(cell: Cell, studies: int, generator: np.random.Generator) -> Iterator[Found]:
    """Two pairs, each a taught arm and its control, on the same images."""
    contrast = {"taught 0": 1.0, "alone": -1.0, "taught 2": -1.0, "taught 1": 1.0}
    kinds = dict(zip(contrast, ("here", "here", "there", "there"), strict=True))
    means, added, truth, elsewhere = [], [], np.empty((studies, 1)), np.empty((studies, 1))
    for study in range(studies):
        right, *expected = answers(replace(cell, family=3), generator)
        truth[study], elsewhere[study] = (one[0] - (one[2] - one[1]) for one in expected)
        means.append({name: right[name].mean(1) for name in contrast})
        added.append(image_variance(right, contrast))
    arms = {
        name: Arm(np.stack([one[name] for one in means]), () if name == "alone" else cell.taught_by, kind)
        for name, kind in kinds.items()
    }
    (here,) = given_teachers(arms, [contrast])
    yield Found(cell, "these teachers, these images", *judged([here], truth))
    yield Found(cell, "these teachers, other images", *judged([over_images(here, np.array(added))], elsewhere))


def by_bootstrap(cell: Cell, studies: int, generator: np.random.Generator) -> Iterator[Found]:
    """The interval of a table that is folded away, of one comparison alone."""
    missed = 0
    for _ in range(studies):
        right, _, elsewhere = answers(cell, generator)
        interval = paired_bootstrap(right["taught 0"], right["alone"], draws=1_000).over_seeds_and_images
        assert interval is not None
        missed += not interval.low <= elsewhere[0] <= interval.high
    yield Found(cell, "these teachers, other images", missed / studies, 1 - missed / studies)


# ---- cells ----

KINDS = {
    "against alone": without_images,
    "difference of differences": of_differences,
    "among": of_omnibus,
    "equivalence": of_equivalence,
    "images": with_images,
    "arms that spread unlike": without_images,
    "best of equals": of_the_best,
    "test: paired": as_named,
    "test: welch": as_named,
    "difference of differences, images": differences_with_images,
    "bootstrap": by_bootstrap,
}
SLOWLY = ("test: paired", "test: welch", "difference of differences, images", "bootstrap")  # drawn a study at a time


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
    found += [Cell("images", *one, *size) for one in grid for size in sizes(*one)]
    found += [Cell("best of equals", n, 1, 0.0, correlated, 5) for n in seeds for correlated in (False, True)]
    few = [(n, k, sd) for n in (3, 5, 10) for k, sd in ((1, 0.0), (3, 1.0))]
    found += [Cell("test: paired", *one, True, family) for one in few for family in (1, 9)]
    found += [Cell("test: welch", *one, False, family, 0, 2.0) for one in few for family in (1, 9)]
    found += [Cell("difference of differences, images", *one, False, 1, 1_000) for one in few]
    return [*found, *(Cell("bootstrap", n, 1, 0.0, False, 1, 1_000) for n in (4, 5, 10))]


def sizes(seeds: int, teachers: int, teacher_sd: float, correlated: bool) -> Iterator[tuple[int, int]]:
    """Families and numbers of images. Nine comparisons, or 10,000 images, take ten times as long, so a few cells stand for all."""
    yield 1, 1_000
    if not correlated and (teachers, teacher_sd) in ((1, 0.0), (seeds, 1.0)):
        yield 9, 1_000
        if seeds in (3, 8):
            yield 1, 10_000


def asked(cell: Cell, studies: int, number: int) -> list[Found]:
    """One value a seed is quickly drawn, so that ten times as many studies are: chance moves their shares by .0015."""
    drawn = 10 * studies if not cell.images and cell.question not in SLOWLY else studies
    drawn //= 4 if cell.question == "bootstrap" else 1
    return list(KINDS[cell.question](cell, drawn, np.random.default_rng([2026, number])))


def main(
    studies: Annotated[int, typer.Option(min=50, help="a cell")] = 2000,
    processes: Annotated[int, typer.Option(min=1)] = 2,
    only: Annotated[list[str] | None, typer.Option(help=f"{', '.join(KINDS)}; may be given several times")] = None,
    out: Annotated[Path, typer.Option(help="folder of the results")] = HERE / "results",
) -> None:
    began = time.time()
    everything = [(number, cell) for number, cell in enumerate(cells()) if not only or cell.question in only]
    with ProcessPoolExecutor(processes) as pool:
        numbers, those = zip(*everything, strict=True)
        done = pool.map(asked, those, [studies] * len(those), numbers)
        found = [one for part in done for one in part]
    text = page(found, studies, time.time() - began)
    print(text)
    hardware = runs.environment()["processor"].split("with")[0].strip().lower().replace(" ", "-").rstrip(".")
    part = "" if not only else "-some" if len(only) > 1 else f"-{only[0].replace(' ', '-')}"
    name = f"claims{part}_{hardware}_{time.strftime('%Y-%m-%d')}"
    out.mkdir(exist_ok=True)
    (out / f"{name}.md").write_text(text + "\n")
    rows = [{**asdict(one.cell), **{k: v for k, v in asdict(one).items() if k != "cell"}} for one in found]
    (out / f"{name}.json").write_text(json.dumps({"studies": studies, "cells": rows}, indent=1) + "\n")


def page(found: Sequence[Found], studies: int, seconds: float) -> str:
    """A line for each question and population; and every cell that misses."""
    lines = [
        "# How often a page's sentences are true",
        "",
        f"{10 * studies:,} studies a cell; {studies:,} where images are simulated or the file names the test; seeded. "
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
