"""Looking at a run: `protege show` and `evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from protege.cli.completion import known_runs
from protege.cli.options import checked, flags_of, given_fields
from protege.cli.places import (
    DataDirOption,
    DeviceOption,
    JsonOption,
    RunArgument,
    RunsOption,
    ThreadsOption,
    apart,
    place_of,
)
from protege.cli.tables import curve, scores_table
from protege.errors import ConfigError
from protege.runs.display import headed, out

if TYPE_CHECKING:
    from protege.runs.config import Place


NOT_KNOWN = (
    "Which images these weights were trained on nobody here knows; if these were among them, the figures say little."
)


def evaluate(
    context: typer.Context,
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN | FILE",
            help="id, beginning or end of an id, or folder; or a file of weights, with --model and --data",
            autocompletion=known_runs,
        ),
    ],
    test: Annotated[bool, typer.Option("--test", help="open the test set; the ledger keeps a line of it")] = False,
    teacher: Annotated[
        list[str] | None, typer.Option("--teacher", help="compare with this run too (its own teacher otherwise)")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="network of a file of weights; also --model.FIELD, and --mean and --std of its images"
        ),
    ] = None,
    runs: RunsOption = Path("runs"),
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="where the run's data are now, e.g. folder:PATH; of a file: the images to judge it by, also --data.FIELD",
        ),
    ] = None,
    data_dir: DataDirOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Accuracy, calibration and agreement with the teacher of a finished run, on held-out images (or, once, on the test set).

    Of a file of weights: `protege evaluate weights.pth --model resnet34 --data cifar100 --test`.
    """
    from protege.runs import find
    from protege.runs.config import TeacherConfig
    from protege.teacher.sources import is_weights

    place = place_of(runs=runs, data_dir=data_dir, device=device, threads=threads)
    if model is not None or is_weights(run):
        _evaluate_file(run, model, data, context, place, test, as_json)
        return
    list(given_fields(context.args, [], flags_of(context)))  # of a run nothing has to be described
    found = find(runs, run)
    import torch

    from protege.evaluate import evaluate as evaluate_run

    if threads:
        torch.set_num_threads(threads)
    teachers = [TeacherConfig(source=name) for name in teacher] if teacher else None
    scores = evaluate_run(found, place, test=test, teachers=teachers, moved=data)
    if as_json:
        print(json.dumps(scores))
        return
    out.print(scores_table(found.id, scores))
    out.print(f"in {found.evaluations / (scores['split'] + '.json')}", style="dim", soft_wrap=True)


def _evaluate_file(
    file: str, model: str | None, data: str | None, context: typer.Context, place: Place, test: bool, as_json: bool
) -> None:
    from protege.data.config import DataConfig
    from protege.runs.config import TeacherConfig

    if model is None or data is None:
        missing = "--model NAME" if model is None else "--data NAME"
        raise ConfigError(f"{file} is a file of weights: `protege evaluate {file}` also needs {missing}.")
    of_data, of_file = apart(context.args, ("--data.",))
    images_of = checked(DataConfig, {"name": data}, of_data, flags_of(context), "data", "data.")
    described = {"source": file, "model": {"name": model}}
    weights = checked(TeacherConfig, described, of_file, flags_of(context), "teacher")
    from protege.evaluate import evaluate_file

    scores = evaluate_file(weights, images_of, place, test=test)
    if as_json:
        print(json.dumps(scores))
        return
    out.print(scores_table(file, scores))
    out.print(NOT_KNOWN, style="dim", soft_wrap=True)


def show(run: RunArgument, runs: RunsOption = Path("runs"), as_json: JsonOption = False) -> None:
    """One run: its description, its curve, its scores, and where its files lie."""
    from protege.runs import find

    found = find(runs, run)
    record, metrics = found.record(), found.metrics()
    evaluations = {
        split: found.evaluation(split)
        for split in ("heldout", "test")
        if (found.evaluations / f"{split}.json").exists()
    }
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
    from protege.runs.keeping.rows import row_of

    out.print(headed(found.id, f"  {row_of(found)['state']}  in {found.path}"), soft_wrap=True)
    config = found.config()
    chosen = config.model_dump(mode="json", exclude_defaults=True)
    chosen["method"] = {"name": config.method.name, **chosen.get("method", {})}
    out.print(yaml.safe_dump(chosen, sort_keys=False, default_flow_style=None, width=120))
    if found.pruned_file.exists():
        pruned = found.pruned()
        out.print(f"keeps {pruned['share']:.3f} of the multiply-adds of its start: {pruned['multiply_adds']:,}\n")
    if metrics:
        out.print(curve(metrics))
    for scores in evaluations.values():
        out.print(scores_table(found.id, scores))
    out.print(f"made by: {record['command']}", style="dim", soft_wrap=True)
