"""`protege compare`: whether some runs are better than others, in the sentence that studies print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Annotated, Any

import typer

from protege.cli.completion import known_runs
from protege.cli.places import JsonOption, RunsOption
from protege.errors import ConfigError, RunError
from protege.runs.display import out, table_of

if TYPE_CHECKING:
    from protege.runs import Run

WITH = "--with"


def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="A... --with B...",
            help="runs, a seed each; a beginning that fits several is all of them, if they differ in their seeds alone",
            autocompletion=known_runs,
        ),
    ],
    runs: RunsOption = Path("runs"),
    as_json: JsonOption = False,
) -> None:
    """What may be said of the difference in held-out accuracy of two groups of runs, a run a seed. Opens no test set."""
    treatment, control = _sides(names)
    arms = {"A": _arm(treatment, runs), "B": _arm(control, runs)}
    from protege.evaluate import compare as compared

    found = compared(arms["A"], arms["B"], names=("A", "B"))
    warning = _unlike(arms["A"], arms["B"])
    told = {side: _facts(arm) for side, arm in arms.items()}
    if as_json:
        print(json.dumps({"outcome": found.outcome, "sentence": found.sentence, "warning": warning, **told}))
        return
    table = table_of("", "", "runs", "seeds", "held-out %", "sd")
    for side, facts in told.items():
        spread = "-" if facts["sd"] is None else f"{facts['sd']:.2f}"
        table.add_row(side, facts["name"], ", ".join(map(str, facts["seeds"])), f"{facts['mean']:.2f}", spread)
    out.print(table)
    if warning:
        out.print(f"warning: {warning}", style="yellow", soft_wrap=True)
    out.print(found.sentence, style="bold", soft_wrap=True)


def _sides(names: Sequence[str]) -> tuple[list[str], list[str]]:
    given = list(names)
    if given.count(WITH) != 1 or not 0 < given.index(WITH) < len(given) - 1:
        raise ConfigError("Name runs on both sides: protege compare A... --with B...")
    place = given.index(WITH)
    if odd := [name for name in given if name.startswith("-") and name != WITH]:
        raise ConfigError(f"There is no option {odd[0]}. There are --with, --runs and --json.")
    return given[:place], given[place + 1 :]


def _arm(names: Sequence[str], root: Path) -> list[Run]:
    """In the order of their seeds, each seed once."""
    found = {run.id: run for name in names for run in _meant(name, root)}
    arm = sorted(found.values(), key=lambda run: run.record()["config"]["seed"])
    if open_ones := [run.id for run in arm if not run.finished]:
        raise RunError(f"{open_ones[0]} is not finished, so there is nothing to compare it by yet.")
    seeds = [run.record()["config"]["seed"] for run in arm]
    if twice := {seed for seed in seeds if seeds.count(seed) > 1}:
        raise RunError(
            f"Seed {min(twice)} is twice among {', '.join(run.id for run in arm)[:200]}. Name one run a seed."
        )
    return arm


def _meant(name: str, root: Path) -> list[Run]:
    from protege.runs import every, find

    fitting = [run for run in every(root) if run.id.startswith(name)]
    if len(fitting) < 2 or any(run.id == name for run in fitting):
        return [find(root, name)]
    kinds = {json.dumps(_but_for_the_seed(run), sort_keys=True) for run in fitting}
    if len(kinds) > 1:
        raise RunError(
            f"'{name}' fits {len(fitting)} runs that differ in more than their seeds: "
            f"{', '.join(run.id for run in fitting[:5])}. Name them one by one; `protege list --where` finds them."
        )
    return fitting


def _but_for_the_seed(run: Run) -> dict[str, Any]:
    """With teachers by their networks: students of three seeds are often taught by three."""
    record = run.record()
    config = {**record["config"], "seed": None, "teacher": len(record["teachers"])}
    views = config.get("views")
    return {**config, "views": {**views, "seed": None} if isinstance(views, dict) else views}


def _unlike(treatment: Sequence[Run], control: Sequence[Run]) -> str:
    seen = {run.record()["data"]["fingerprint"] for run in (*treatment, *control)}
    return (
        "these runs were trained or judged on different images, so what differs may be the data."
        if len(seen) > 1
        else ""
    )


def _facts(arm: Sequence[Run]) -> dict[str, Any]:
    scores = [100 * run.result()["heldout_accuracy"] for run in arm]
    name = arm[0].id.rpartition("-")[0]
    return {
        "name": name if len(arm) > 1 else arm[0].id,
        "runs": [run.id for run in arm],
        "seeds": [run.record()["config"]["seed"] for run in arm],
        "mean": mean(scores),
        "sd": stdev(scores) if len(scores) > 1 else None,
    }
