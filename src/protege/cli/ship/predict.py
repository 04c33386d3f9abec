"""`protege predict`: what a run or an exported file says of photos. torch is not imported for an ONNX file."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from protege.cli.places import JsonOption, QuietOption, RunsOption, ThreadsOption
from protege.data.files import is_file, is_folder, is_there
from protege.errors import ConfigError, DataError, no_formula, visible
from protege.lazy import load_shapes, shapes_later, without_collecting

if TYPE_CHECKING:
    from protege.ship.photos import Found
    from protege.ship.shipped import Prediction, Shipped

AT_ONCE = 64  # photos
Which = Literal["final", "best"]
SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN_OR_FILE", help="id, beginning or end of an id, folder, hub:USER/NAME; or an exported file"
    ),
]
WhichOption = Annotated[Which, typer.Option("--which", help="of a run: last epoch, or best on held-out images")]


@dataclass
class Said:
    """What became of one photo."""

    name: str
    prediction: Prediction | None = None
    problem: str = ""

    def row(self, top: int) -> dict[str, Any]:
        if self.prediction is None:
            return {"photo": self.name, "error": self.problem}
        likeliest = [{"class": name, "probability": share} for name, share in self.prediction.top(top)]
        return {"photo": self.name, "predictions": likeliest}


def predict(
    source: SourceArgument,
    photos: Annotated[
        list[str], typer.Argument(metavar="PHOTOS...", help="pictures, folders of them, or - for standard input")
    ],
    top: Annotated[int, typer.Option("--top", min=1, help="classes to name")] = 3,
    calibrated: Annotated[
        bool, typer.Option("--calibrate/--no-calibrate", help="divide by the temperature fitted on held-out images")
    ] = True,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="write all probabilities here")] = None,
    which: WhichOption = "final",
    runs: RunsOption = Path("runs"),
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Classes and probabilities of photos of any size and kind, read as training reads them."""
    with without_collecting():
        from protege.ship import load
        from protege.ship.photos import find

        found = find(photos)
        if csv_file:
            refuse_unwritable(csv_file)
        shipped = soon(lambda: load(source, runs, which=which, threads=threads, calibrated=calibrated))
    said = []
    for one in answers(shipped, found, quiet or len(found) <= AT_ONCE):
        said.append(one)
        if not as_json:
            show(one, top)
    if as_json:
        print(json.dumps({"calibrated": shipped.calibrated, "photos": [one.row(top) for one in said]}))
    elif not quiet:
        print(visible(how_sure(shipped, calibrated)), file=sys.stderr)
    if csv_file:
        write_csv(csv_file, said)
    refuse_bad(said, found)


def soon(loaded: Callable[[], Shipped]) -> Shipped:
    """Loaded with as little of torch as answering takes, and tried on a black image; with all of torch where that is too little."""
    with shapes_later():
        try:
            return tried(loaded())
        except Exception:
            if not load_shapes():
                raise
    return tried(loaded())


def tried(shipped: Shipped) -> Shipped:
    import numpy as np

    shipped.said(np.zeros((1, 3, shipped.about.size, shipped.about.size), np.uint8))
    return shipped


def answers(shipped: Shipped, found: Sequence[Found], quiet: bool) -> Iterator[Said]:
    """In the order given; a photo that cannot be read is said, and the others still count."""
    import numpy as np

    from protege.ship.photos import read

    for start in range(0, len(found), AT_ONCE):
        part = found[start : start + AT_ONCE]
        some: list[Said] = []
        pixels = []
        for one in part:
            try:
                pixels.append(read(one.file, shipped.about.size, one.name))
                some.append(Said(one.name))
            except DataError as error:
                some.append(Said(one.name, problem=str(error)))
        predictions = iter(shipped.said(np.stack(pixels)) if pixels else ())
        for said in some:
            if not said.problem:
                said.prediction = next(predictions)
            yield said
        if not quiet:
            print(f"{start + len(part):,} of {len(found):,} photos", file=sys.stderr)


def show(said: Said, top: int) -> None:
    if said.prediction is None:
        print(f"protege: {said.problem}", file=sys.stderr)
        return
    classes = "  ".join(f"{name} {100 * share:.1f} %" for name, share in said.prediction.top(top))
    print(visible(f"{said.name}: {classes}"))


def how_sure(shipped: Shipped, asked: bool) -> str:
    about = shipped.about
    if shipped.calibrated:
        return f"probabilities calibrated: temperature {about.temperature:.3f}, fitted on held-out images"
    if asked and about.run:
        return visible(f"probabilities not calibrated: `protege evaluate {about.run}` fits a temperature")
    return "probabilities not calibrated"


def refuse_unwritable(path: Path) -> None:
    """Before the first of many photos."""
    if is_there(path) and (not is_file(path) or path.suffix.lower() != ".csv"):
        raise ConfigError(f"--csv {path} is there already, and is no .csv file. Choose another name.")
    if not is_folder(path.parent):
        raise ConfigError(f"--csv {path} cannot be written: there is no folder {path.parent}.")


def write_csv(path: Path, said: list[Said]) -> None:
    """A line a photo, a column a class."""
    known = next((one.prediction.classes for one in said if one.prediction), ())
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["photo", "class", *map(cell, known)])
            for one in said:
                if one.prediction:
                    shares = (f"{share:.6f}" for share in one.prediction.probabilities)
                    writer.writerow([cell(one.name), cell(one.prediction.name), *shares])
    except OSError as error:
        raise ConfigError(f"--csv {path} cannot be written: {error.strerror}.") from error


def cell(name: str) -> str:
    """Of anybody's, as a spreadsheet may open it."""
    return no_formula(visible(name))


def refuse_bad(said: list[Said], found: Sequence[Found]) -> None:
    """A photo that was asked for by name must be readable; of a folder, some of it."""
    bad = [one for one in said if one.problem]
    if any(one.asked_for for one, other in zip(found, said, strict=True) if other.problem) or len(bad) == len(said):
        raise DataError(f"{len(bad)} of {len(said)} photos could not be read; the first: {bad[0].problem}")
