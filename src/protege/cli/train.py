"""`protege train`: one network, alone or taught."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from protege.cli.options import cluster_table, described, field_tables, file_or_option, flags_of, recipe_table
from protege.cli.places import (
    DataDirOption,
    DetachOption,
    DeviceOption,
    JsonOption,
    LogOption,
    MemoryLimitOption,
    OnOption,
    QuietOption,
    RunsOption,
    ThreadsOption,
    place_of,
    where_of,
)
from protege.errors import ConfigError
from protege.runs.display import out, table_of
from protege.runs.process.started import refuse_several

if TYPE_CHECKING:
    from protege.launch.where import Where
    from protege.runs import Run
    from protege.runs.config import Place, RunConfig

TRAIN_USAGE = """[bold]protege train[/] \\[FILE.yaml] \\[--FIELD VALUE ...]

Train one network: alone, or taught. The same description is the same run: finished, it is not trained twice; interrupted, it goes on.

  protege train --data cifar10-mini --model resnet8 --optim.epochs 6
  protege train --data cifar100 --model mobilenet_v2 --teacher RUN --method kd --method.temperature 4
  protege train --data cifar10 --recipe fast-teacher
  protege train run.yaml --seed 3
  protege train run.yaml --search optim.lr 0.01 0.5 log --search optim.optimizer sgd adamw --trials 12

`--search FIELD LOW HIGH \\[log]`, or `--search FIELD CHOICE CHOICE ...`: a few trials with a seed of their own, judged on held-out images;
the best of them is then trained with the run's own seed. It needs `pip install 'protege\\[search]'`.
"""


def train(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="a YAML file of fields")] = None,
    init: Annotated[
        str | None, typer.Option("--init", help="start from the final weights of this run, or of hub:USER/NAME")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="fields that go well together, by their name; see below")
    ] = None,
    runs: RunsOption = Path("runs"),
    data_dir: DataDirOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    checkpoint_seconds: Annotated[
        float, typer.Option("--checkpoint-seconds", min=0, help="between checkpoints")
    ] = 30.0,
    memory_dir: Annotated[
        Path | None, typer.Option("--memory-dir", help="folder of what teachers said (else RUNS/memory)")
    ] = None,
    memory_limit: MemoryLimitOption = None,
    compiled: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile", help="the student by torch.compile (else where a trial shows that it pays)"
        ),
    ] = None,
    count: Annotated[int, typer.Option("--trials", min=2, help="configurations that `--search` tries")] = 8,
    wait: Annotated[bool, typer.Option("--wait", help="wait for another process on the same run")] = False,
    regroup: Annotated[
        bool, typer.Option("--regroup", help="go on with another number of processes: the last bits differ")
    ] = False,
    log: LogOption = None,
    quiet: QuietOption = False,
    on: OnOption = "local",
    detach: DetachOption = False,
    as_json: JsonOption = False,
    show_help: Annotated[bool, typer.Option("--help", "-h", help="show this, and every field of a run")] = False,
) -> None:
    """Train one network: alone, or taught."""
    file, arguments = file_or_option(file, context)
    if show_help:
        _show_train_help(context, arguments)
        return
    if init is not None:
        from protege.teacher.sources import first_weights

        arguments = [*arguments, "--model.weights", str(first_weights(init, runs))]
    axes, arguments = _searched(arguments)
    if axes:
        refuse_several("`--search`", os.environ)
    if on != "local":
        refuse_several(f"`--on {on}`", os.environ)
    where, arguments = where_of(on, arguments, flags_of(context), detach)
    given, config = described(file, arguments, flags_of(context), recipe)
    place = place_of(
        runs=runs,
        data_dir=data_dir,
        device=device,
        threads=threads,
        checkpoint_seconds=checkpoint_seconds,
        wait=wait,
        regroup=regroup,
        quiet=quiet,
        compile=compiled,
        memory_dir=memory_dir,
        memory_limit=memory_limit,
        log=tuple(log or ()),
    )
    if axes:
        _search(given, config, axes, count, place, where, as_json)
        return
    if where.on == "local":
        from protege.runs.process.ranks import joined, present
        from protege.train import train as train_run

        with joined(place) as here:
            trained = train_run(config, here)
            run = trained if present().first else None  # of several processes one tells of it
    else:
        run = _elsewhere(config, place, where, detach)
    if run is None:
        return
    if as_json:
        print(json.dumps({**run.result(), "path": str(run.path)}))
    else:
        _say_result(run)


def _searched(arguments: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Fields after `--search` with the words that follow them, and all other arguments."""
    axes: dict[str, list[str]] = {}
    others: list[str] = []
    words = others
    for token in arguments:
        if words is not others and not words:
            words.append(token)
        elif token == "--search":
            words = axes.setdefault(f"search {len(axes)}", [])
        elif token.startswith("--"):
            words = others
            words.append(token)
        else:
            words.append(token)
    if any(len(words) < 3 for words in axes.values()):
        raise ConfigError("--search needs a field and its range, such as `--search optim.lr 0.01 0.5 log`.")
    return {path.replace("-", "_"): words for path, *words in axes.values()}, others


def _search(
    given: dict[str, Any],
    config: RunConfig,
    axes: dict[str, list[str]],
    count: int,
    place: Place,
    where: Where,
    as_json: bool,
) -> None:
    from protege.study.single import search

    found = search(given, config, axes, count, place, where, shlex.join(["protege", *sys.argv[1:]]))
    if as_json:
        tried = [{"values": one.configuration.values, "state": one.state, "heldout": one.score} for one in found.trials]
        print(json.dumps({**found.run.result(), "path": str(found.run.path), "chosen": found.values, "trials": tried}))
        return
    table = table_of(f"{len(found.trials)} trials", *axes, "held-out %")
    for one in found.trials:
        score = one.state if one.score is None else f"{one.score:.2f}"
        chosen = one.configuration.values == found.values
        values = (
            f"{value:g}" if isinstance(value, float) else str(value) for value in one.configuration.values.values()
        )
        table.add_row(*values, score + (" chosen" if chosen else ""))
    out.print(table)
    _say_result(found.run)


def _elsewhere(config: RunConfig, place: Place, where: Where, detach: bool) -> Run | None:
    """The finished run; None where it was left to its job."""
    from protege.launch.single import leave, made

    if not detach:
        return made(config, place, where, shlex.join(["protege", *sys.argv[1:]]))
    out.print(leave(config, place, where, shlex.join(["protege", *sys.argv[1:]])), soft_wrap=True)
    return None


def _show_train_help(context: typer.Context, arguments: list[str]) -> None:
    method = next((after for token, after in pairwise(arguments) if token == "--method"), None)
    with (
        out.pager(styles=True)
        if out.is_terminal and not os.environ.get("PROTEGE_NO_PAGER")
        else contextlib.nullcontext()
    ):
        out.print(TRAIN_USAGE, markup=True)
        options = table_of("where and how (never part of the run's id)", "option", "default", "meaning")
        for parameter in context.command.params:
            if parameter.opts[0].startswith("--"):
                default = "-" if parameter.default in (None, False) else str(parameter.default)
                options.add_row(", ".join(parameter.opts), default, getattr(parameter, "help", "") or "")
        out.print(options)
        out.print()
        out.print(recipe_table())
        out.print()
        out.print(cluster_table())
        for table in field_tables(method):
            out.print()
            out.print(table)


def _say_result(run: Run) -> None:
    result = run.result()
    parts = [f"{result['parameters']:,} parameters", f"{result['epochs']} epochs"]
    if result["heldout_accuracy"] is not None:
        parts.insert(0, f"held-out accuracy {100 * result['heldout_accuracy']:.2f} %")
    out.print(f"{run.id}: {', '.join(parts)}, in {run.path}", soft_wrap=True)
    out.print(f"next: {next_command(run)}", style="dim", soft_wrap=True)


def next_command(run: Run) -> str:
    """To be typed as it stands, where this one was typed."""
    elsewhere = [] if run.path.parent == Path("runs") else ["--runs", str(run.path.parent)]
    return shlex.join(["protege", "evaluate", run.id, *elsewhere])
