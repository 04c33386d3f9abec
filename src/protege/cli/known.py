"""What there is: `protege models`, `methods` and `data`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer

from protege.cli.options import checked, default_of, flags_of
from protege.cli.places import DataDirOption, JsonOption
from protege.cli.tables import show_dataset, show_method, show_methods
from protege.errors import ConfigError
from protege.runs.display import out, table_of


def models(
    classes: Annotated[int, typer.Option("--classes", min=2, max=100_000, help="classes of the data")] = 10,
    image_size: Annotated[int, typer.Option("--image-size", min=8, max=2048, help="side of the images in pixels")] = 32,
    as_json: JsonOption = False,
) -> None:
    """All networks of our own, with parameters and multiply-adds."""
    from protege.models import MODELS
    from protege.models.measure import describe as describe_model

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
        out.print(DATA_USAGE, markup=True)
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
