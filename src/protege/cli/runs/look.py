"""Looking at a run: `protege show` and `evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
import yaml

from protege.cli.places import (
    DataDirOption,
    DeviceOption,
    JsonOption,
    MovedOption,
    RunArgument,
    RunsOption,
    ThreadsOption,
    place_of,
)
from protege.cli.tables import curve, scores_table
from protege.runs.display import headed, out


def evaluate(
    run: RunArgument,
    test: Annotated[bool, typer.Option("--test", help="open the test set; the ledger keeps a line of it")] = False,
    teacher: Annotated[
        list[str] | None, typer.Option("--teacher", help="compare with this run too (its own teacher otherwise)")
    ] = None,
    runs: RunsOption = Path("runs"),
    data: MovedOption = None,
    data_dir: DataDirOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Accuracy, calibration and agreement with the teacher of a finished run, on held-out images (or, once, on the test set)."""
    from protege.runs import find
    from protege.runs.config import TeacherConfig

    place = place_of(runs=runs, data_dir=data_dir, device=device, threads=threads)
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
