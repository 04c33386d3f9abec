"""The verbs. torch is imported only by those that compute, so that help and mistakes are answered at once."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from pydantic import ValidationError

from protege.bench.commands import bench
from protege.display import out, table_of
from protege.errors import ConfigError, ProtegeError
from protege.options import checked, default_of, describe, field_tables, file_or_option, flags_of
from protege.remember import app as remember_commands
from protege.report.commands import report
from protege.study_verbs import app as study_commands
from protege.tables import curve, row_of, scores_table, show_dataset, show_method, show_methods

if TYPE_CHECKING:
    from protege.config import Place
    from protege.runs import Run

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Distil big image classifiers into small ones worth shipping, with honest evidence that it helped.",
    epilog="Start with `protege demo`. Fields of a run: `protege train --help`.",
)
DESCRIBED = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

RunsOption = Annotated[Path, typer.Option("--runs", help="folder of the runs")]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="folder of the data (else PROTEGE_DATA, else the cache)")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1")]
ThreadsOption = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads (else all)")]
MemoryLimitOption = Annotated[
    float | None,
    typer.Option("--memory-limit", min=0, help="gigabytes that what teachers said may take (else no limit)"),
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="no progress display")]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="id, beginning or end of an id, or folder")]


def main() -> None:
    """Every mistake of the user is one clear line and exit code 2; a stop is 130."""
    try:
        app()
    except ProtegeError as error:
        _fail(str(error), 2)
    except KeyboardInterrupt:
        _fail("stopped", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def _fail(message: str, code: int) -> None:
    print(f"protege: {message}", file=sys.stderr)
    raise SystemExit(code)


# ---- options that are fields of a run ----


TRAIN_USAGE = """[bold]protege train[/] \\[FILE.yaml] \\[--FIELD VALUE ...]

Train one network: alone, or taught. The same description is the same run: finished, it is not trained twice; interrupted, it goes on.

  protege train --data cifar10-mini --model resnet8 --optim.epochs 6
  protege train --data cifar100 --model mobilenet_v2 --teacher RUN --method kd --method.temperature 4
  protege train run.yaml --seed 3
"""


@app.command(context_settings=DESCRIBED, add_help_option=False, short_help="Train one network: alone, or taught.")
def train(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="a YAML file of fields")] = None,
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
    wait: Annotated[bool, typer.Option("--wait", help="wait for another process on the same run")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    show_help: Annotated[bool, typer.Option("--help", "-h", help="show this, and every field of a run")] = False,
) -> None:
    """Train one network: alone, or taught."""
    file, arguments = file_or_option(file, context)
    if show_help:
        _show_train_help(context, arguments)
        return
    config = describe(file, arguments, flags_of(context))
    place = _place(
        runs=runs,
        data_dir=data_dir,
        device=device,
        threads=threads,
        checkpoint_seconds=checkpoint_seconds,
        wait=wait,
        quiet=quiet,
        compile=compiled,
        memory_dir=memory_dir,
        memory_limit=memory_limit,
    )
    from protege.process import Stopped
    from protege.train import train as train_run

    try:
        run = train_run(config, place)
    except Stopped as stopped:
        _fail(str(stopped), 130)
        return
    if as_json:
        print(json.dumps({**run.result(), "path": str(run.path)}))
    else:
        _say_result(run)


def _show_train_help(context: typer.Context, arguments: list[str]) -> None:
    method = next((after for token, after in pairwise(arguments) if token == "--method"), None)
    with out.pager(styles=True) if out.is_terminal and not os.environ.get("PROTEGE_NO_PAGER") else _no_pager():
        out.print(TRAIN_USAGE)
        options = table_of("where and how (never part of the run's id)", "option", "default", "meaning")
        for parameter in context.command.params:
            if parameter.opts[0].startswith("--"):
                default = "-" if parameter.default in (None, False) else str(parameter.default)
                options.add_row(", ".join(parameter.opts), default, getattr(parameter, "help", "") or "")
        out.print(options)
        for table in field_tables(method):
            out.print()
            out.print(table)


def _no_pager() -> Any:
    import contextlib

    return contextlib.nullcontext()


def _place(**fields: Any) -> Place:
    from protege.config import Place

    try:
        return Place(**fields)
    except ValidationError as error:
        raise ConfigError("; ".join(f"--{one['loc'][0]}: {one['msg']}" for one in error.errors())) from error


def _say_result(run: Run) -> None:
    result = run.result()
    parts = [f"{result['parameters']:,} parameters", f"{result['epochs']} epochs"]
    if result["heldout_accuracy"] is not None:
        parts.insert(0, f"held-out accuracy {100 * result['heldout_accuracy']:.2f} %")
    out.print(f"{run.id}: {', '.join(parts)}, in {run.path}", soft_wrap=True)
    out.print(f"next: protege evaluate {run.id} --runs {run.path.parent}", style="dim", soft_wrap=True)


# ---- looking at runs ----


@app.command()
def evaluate(
    run: RunArgument,
    test: Annotated[bool, typer.Option("--test", help="open the test set; the ledger keeps a line of it")] = False,
    teacher: Annotated[
        list[str] | None, typer.Option("--teacher", help="compare with this run too (its own teacher otherwise)")
    ] = None,
    runs: RunsOption = Path("runs"),
    data_dir: DataDirOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Accuracy, calibration and agreement with the teacher of a finished run, on held-out images (or, once, on the test set)."""
    from protege.config import TeacherConfig
    from protege.runs import find

    place = _place(runs=runs, data_dir=data_dir, device=device, threads=threads)
    found = find(runs, run)
    import torch

    from protege.evaluate import evaluate as evaluate_run

    if threads:
        torch.set_num_threads(threads)
    teachers = [TeacherConfig(source=name) for name in teacher] if teacher else None
    scores = evaluate_run(found, place, test=test, teachers=teachers)
    if as_json:
        print(json.dumps(scores))
        return
    out.print(scores_table(found.id, scores))
    out.print(f"in {found.evaluations / (scores['split'] + '.json')}", style="dim", soft_wrap=True)


@app.command("list")
def list_runs(runs: RunsOption = Path("runs"), as_json: JsonOption = False) -> None:
    """All runs of a folder: what they are, how far they are, how good."""
    from protege.runs import every

    rows = [row_of(run) for run in every(runs)]
    if as_json:
        print(json.dumps(rows))
        return
    if not rows:
        out.print(
            f"No runs in {runs} yet. `protege demo` makes some; `protege train --help` says how to make your own."
        )
        return
    table = table_of(
        f"{len(rows)} runs in {runs}", "run", "data", "seed", "taught by", "state", "held-out %", "parameters"
    )
    for row in rows:
        accuracy = "-" if row["heldout_accuracy"] is None else f"{100 * row['heldout_accuracy']:.2f}"
        parameters = "-" if row["parameters"] is None else f"{row['parameters']:,}"
        table.add_row(
            row["id"],
            row["data"],
            str(row["seed"]),
            ", ".join(row["teachers"]) or "-",
            row["state"],
            accuracy,
            parameters,
        )
    out.print(table)


@app.command()
def show(run: RunArgument, runs: RunsOption = Path("runs"), as_json: JsonOption = False) -> None:
    """One run: its description, its curve, its scores, and where its files lie."""
    from protege.runs import find, read_json

    found = find(runs, run)
    record, metrics = found.record(), found.metrics()
    evaluations = {path.stem: read_json(path) for path in sorted(found.evaluations.glob("*.json"))}
    if as_json:
        print(
            json.dumps(
                {
                    **record,
                    "metrics": metrics,
                    "result": found.result() if found.finished else None,
                    "evaluations": evaluations,
                }
            )
        )
        return
    out.print(f"[bold]{found.id}[/]  {row_of(found)['state']}  in {found.path}", soft_wrap=True)
    chosen = found.config().model_dump(mode="json", exclude_defaults=True)
    out.print(yaml.safe_dump(chosen, sort_keys=False, default_flow_style=None, width=120), markup=False)
    if metrics:
        out.print(curve(metrics))
    for scores in evaluations.values():
        out.print(scores_table(found.id, scores))
    out.print(f"made by: {record['command']}", style="dim", soft_wrap=True, markup=False)


# ---- what there is ----


@app.command()
def models(
    classes: Annotated[int, typer.Option("--classes", min=2, help="classes of the data")] = 10,
    image_size: Annotated[int, typer.Option("--image-size", min=8, help="side of the images in pixels")] = 32,
    as_json: JsonOption = False,
) -> None:
    """All networks of our own, with parameters and multiply-adds."""
    from protege.models import MODELS
    from protege.models.network import describe as describe_model

    rows = [describe_model(name, classes, image_size) for name in MODELS]
    if as_json:
        print(json.dumps(rows))
        return
    table = table_of(
        f"networks, for {classes} classes and {image_size} x {image_size} pixels",
        "name",
        "parameters",
        "multiply-adds",
        "stages",
        "what it is",
    )
    for row in rows:
        table.add_row(
            row["name"],
            f"{row['parameters']:,}",
            f"{row['multiply_adds'] / 1e6:,.1f} M",
            str(len(row["stages"])),
            row["summary"],
        )
    out.print(table)
    out.print("Others: timm:NAME and torchvision:NAME, after `pip install 'protege[timm]'`.", style="dim")


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="show this one in full")] = None, as_json: JsonOption = False
) -> None:
    """All methods; or one, with its formula, its fields and where its defaults come from."""
    from protege.methods.catalogue import card, cards

    try:
        found = cards() if name is None else card(name)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if as_json:
        print(json.dumps(found))
    elif isinstance(found, list):
        show_methods(found)
    else:
        show_method(found)


DATA_USAGE = """[bold]protege data[/] \\[NAME] \\[--FIELD VALUE ...]

What a dataset holds and how it is split: classes, counts, normalisation, fingerprint.

  protege data cifar100 --data-dir DIR
  protege data folder:PATH --image-size 64 --heldout 0.2
"""


@app.command(
    "data", context_settings=DESCRIBED, add_help_option=False, short_help="What a dataset holds and how it is split."
)
def show_data(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="cifar10, cifar100, cifar10-mini or folder:PATH")] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    show_help: Annotated[bool, typer.Option("--help", "-h", help="show this, and every field of a dataset")] = False,
) -> None:
    """What a dataset holds and how it is split."""
    from protege import data as stations
    from protege.data.config import DataConfig

    if show_help:
        out.print(DATA_USAGE)
        table = table_of("fields", "option", "default", "meaning")
        for field, info in DataConfig.model_fields.items():
            table.add_row(f"--{field.replace('_', '-')}", default_of(info), info.description or "")
        out.print(table)
        return
    if name is None:
        _list_datasets(stations.DATASETS)
        return
    config = checked(DataConfig, {"name": name}, list(context.args), flags_of(context))
    found = stations.describe(config, data_dir)
    if as_json:
        print(json.dumps(asdict(found)))
    else:
        show_dataset(found)


def _list_datasets(known: Mapping[str, Any]) -> None:
    names = ", ".join(name for name in known if name != "folder")
    out.print(
        f"Datasets: {names}, and folder:PATH for any folder of class folders. More: protege data NAME", soft_wrap=True
    )


@app.command()
def demo(
    runs: RunsOption = Path("runs/demo"),
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """A teacher, a student alone and the same student taught, on bundled images, in minutes; ends with an honest comparison."""
    place = _place(runs=runs, device=device, threads=threads, quiet=quiet)
    from protege.demo import demonstrate
    from protege.process import Stopped

    try:
        demonstrate(place, out)
    except Stopped as stopped:
        _fail(str(stopped), 130)


app.add_typer(study_commands, name="study")
app.command()(report)
app.command()(bench)
app.add_typer(remember_commands, name="remember")


@remember_commands.command("warm", context_settings=DESCRIBED, short_help="Ask the teacher ahead of training.")
def warm(
    context: typer.Context,
    file: Annotated[Path | None, typer.Argument(help="a YAML file of fields")] = None,
    every_view: Annotated[
        bool, typer.Option("--every-view", help="all views there are, not only those of the run's epochs")
    ] = False,
    runs: RunsOption = Path("runs"),
    data_dir: DataDirOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    memory_limit: MemoryLimitOption = None,
    quiet: QuietOption = False,
) -> None:
    """Ask the teacher all that a run will need: the fields are those of `protege train`. It may be stopped and started again."""
    from protege.remember import warm_up

    file, arguments = file_or_option(file, context)
    config = describe(file, arguments, flags_of(context))
    place = _place(runs=runs, data_dir=data_dir, device=device, threads=threads, memory_limit=memory_limit, quiet=quiet)
    import torch

    if threads:
        torch.set_num_threads(threads)
    warm_up(config, place, every_view)


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context, show_version: Annotated[bool, typer.Option("--version", help="print the version")] = False
) -> None:
    if show_version:
        from protege import __version__

        print(__version__)
        raise typer.Exit


if __name__ == "__main__":
    main()
