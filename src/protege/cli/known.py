"""What there is: `protege models`, `methods` and `data`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from protege.cli.options import checked, default_of, flags_of
from protege.cli.places import DataDirOption, JsonOption
from protege.cli.tables import show_dataset, show_method, show_methods, show_network, show_networks
from protege.errors import ConfigError
from protege.runs.display import out, table_of

MODELS_USAGE = """[bold]protege models[/] \\[NAME] \\[--FIELD VALUE ...]

All networks of our own, with parameters and multiply-adds; or one of any kind, with its stages.

  protege models --classes 100
  protege models my_nets.py:SmallNet --args.width 0.5
  protege models resnet18 --stem imagenet --image-size 224
"""


def models(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="one network: ours, timm:NAME, torchvision:NAME, file.py:NAME")
    ] = None,
    classes: Annotated[int, typer.Option("--classes", min=2, max=100_000, help="classes of the data")] = 10,
    image_size: Annotated[int, typer.Option("--image-size", min=8, max=2048, help="side of the images in pixels")] = 32,
    as_json: JsonOption = False,
    show_help: Annotated[bool, typer.Option("--help", "-h", help="show this, and every field of a network")] = False,
) -> None:
    """All networks of our own, with parameters and multiply-adds; or one, with its stages."""
    from protege.models import MODELS
    from protege.models.config import ModelConfig

    if show_help:
        _show_usage(MODELS_USAGE, ModelConfig, context)
        return
    if name is not None and name.startswith("--"):
        raise ConfigError(f"{name}: name the network first, as in `protege models resnet18 {name} VALUE`.")
    chosen = (
        [checked(ModelConfig, {"name": name}, list(context.args), flags_of(context), "model")] if name else list(MODELS)
    )
    from protege.models.measure import describe as describe_model

    rows = [describe_model(one, classes, image_size) for one in chosen]
    if as_json:
        print(json.dumps(rows))
    elif name is not None:
        show_network(rows[0], classes, image_size)
    else:
        show_networks(rows, classes, image_size)


def _show_usage(usage: str, described: type[BaseModel], context: typer.Context) -> None:
    """Options of the verb, and fields of what it describes."""
    out.print(usage, markup=True)
    table = table_of("options", "option", "default", "meaning")
    for parameter in context.command.params:
        if parameter.opts[0].startswith("--"):
            default = "-" if parameter.default in (None, False) else str(parameter.default)
            table.add_row(", ".join(parameter.opts), default, getattr(parameter, "help", "") or "")
    out.print(table)
    fields = table_of("fields", "option", "default", "meaning")
    for field, info in described.model_fields.items():
        if field != "name":
            fields.add_row(f"--{field.replace('_', '-')}", default_of(info), info.description or "")
    out.print(fields)


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
  protege data my_data.py:read
"""


def show_data(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="cifar10, cifar100, cifar10-mini, folder:PATH or file.py:NAME")
    ] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    show_help: Annotated[bool, typer.Option("--help", "-h", help="show this, and every field of a dataset")] = False,
) -> None:
    """What a dataset holds and how it is split."""
    from protege import data as stations
    from protege.data.config import DataConfig

    if show_help:
        _show_usage(DATA_USAGE, DataConfig, context)
        return
    if name is None:
        _list_datasets(stations.DATASETS)
        return
    config = checked(DataConfig, {"name": name}, list(context.args), flags_of(context), "data")
    found = stations.describe(config, data_dir)
    if as_json:
        print(json.dumps(asdict(found)))
    else:
        show_dataset(found)


def _list_datasets(known: Mapping[str, Any]) -> None:
    names = ", ".join(name for name in known if name != "folder")
    out.print(
        f"Datasets: {names}, folder:PATH for any folder of class folders, and file.py:NAME for arrays of your own. "
        "More: protege data NAME",
        soft_wrap=True,
    )
