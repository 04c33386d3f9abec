"""`protege export`: a finished run as a file for a device."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from protege.cli.places import DataDirOption, JsonOption, QuietOption, RunArgument, RunsOption, place_of
from protege.cli.ship.predict import WhichOption
from protege.runs.display import console, out

if TYPE_CHECKING:
    from protege.ship.export import Exported

LOSS = 0.5  # points of accuracy that a file may lose


def export(
    run: RunArgument,
    format: Annotated[  # noqa: A002 - the option's name
        Literal["onnx", "pt2", "openvino", "executorch"],
        typer.Option("--format", help="onnx; pt2 (torch.export); openvino; executorch"),
    ] = "onnx",
    precision: Annotated[
        Literal["fp32", "fp16", "int8"],
        typer.Option(
            "--precision", help="of the weights; int8 computes in whole numbers, a run trained so always does"
        ),
    ] = "fp32",
    raw: Annotated[
        bool, typer.Option("--raw", help="bytes in, probabilities out: preprocessing inside the file")
    ] = False,
    calibration: Annotated[
        Literal["minmax", "percentile"], typer.Option("--calibration", help="ranges of activations, for int8")
    ] = "minmax",
    calibration_images: Annotated[
        int, typer.Option("--calibration-images", min=1, help="training images that the ranges come from")
    ] = 512,
    accept_loss: Annotated[
        float, typer.Option("--accept-loss", min=0, help="points of accuracy that the file may lose")
    ] = LOSS,
    folder: Annotated[Path | None, typer.Option("--out", help="folder of the file (else in the run's)")] = None,
    which: WhichOption = "final",
    runs: RunsOption = Path("runs"),
    data_dir: DataDirOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a file, read it back in its runtime, compare it with the run, and lay a card and a check beside it."""
    from protege.runs import find

    found = find(runs, run)
    place = place_of(runs=runs, data_dir=data_dir, device="cpu", quiet=quiet)
    from protege.ship.export import export as export_run
    from protege.ship.formats.build import Wanted

    wanted = Wanted(format, precision, raw, calibration, calibration_images)
    made = export_run(
        found, place, wanted, which=which, out=folder, timed=True,
        say=lambda line: None if quiet else console.print(line, soft_wrap=True),
    )  # fmt: skip
    if as_json:
        print(json.dumps({**asdict(made), "path": str(made.path), "loss": made.likeness.loss}))
    else:
        show(made)
    if made.likeness.loss > accept_loss:
        console.print(
            f"protege: the file loses {made.likeness.loss:.2f} points, more than --accept-loss {accept_loss:g}",
            style="bold",
        )
        raise typer.Exit(1)


def show(made: Exported) -> None:
    found = made.likeness
    out.print(f"{made.path}: {made.bytes:,} bytes", soft_wrap=True)
    logits = found.largest_logit_difference
    differs = f", logits differ by {logits:.2g} at most" if logits is not None else ""
    out.print(
        f"read back: {100 * found.agreement:.2f} % equal first choices on {found.images:,} {found.which} images{differs}"
    )
    if found.accuracy_before is not None and found.accuracy_after is not None:
        out.print(
            f"accuracy: {100 * found.accuracy_before:.2f} % in the run, {100 * found.accuracy_after:.2f} % in the file"
        )
    if made.layers:
        bits = " and ".join(map(str, made.bits))
        out.print(f"{made.layers} layers with weights of {bits} bits{below(made.bits)}")
    out.print(f"beside it: card.md, card.json, check.py in {made.path.parent}", style="dim", soft_wrap=True)


def below(bits: list[int]) -> str:
    if min(bits) == 8:
        return ""
    return ", packed in the file; no runtime here computes in fewer than 8, so onnxruntime widens them as it loads"
