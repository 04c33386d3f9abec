"""A network from a file of the user's own: a class or a function, called with the number of classes where it takes one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from protege.data.outside.code import FAILURES, failure, found
from protege.errors import ModelError, quoted, suggest
from protege.models.external import without_inplace

# What people call the number of classes.
CLASSES = (
    "num_classes", "n_classes", "nb_classes", "classes", "num_class", "n_class", "nclass", "nclasses", "class_num",
    "classes_num", "number_of_classes", "num_labels", "num_outputs", "out_classes",
)  # fmt: skip


def build_own(name: str, classes: int, args: Mapping[str, Any], where: str = "model") -> nn.Module:
    """`my_nets.py:SmallNet`, with fresh weights. What importing it draws or seeds does not reach them."""
    try:
        with torch.random.fork_rng(devices=[]):
            make = found(name)
    except ValueError as error:
        raise ModelError(f"{name}: {error}") from error
    if not callable(make) or isinstance(make, nn.Module):
        raise ModelError(f"{name} is a {type(make).__name__}. Name a class of network, or a function that makes one.")
    return without_inplace(_made(name, make, _arguments(name, make, classes, args, where)))


def _arguments(
    name: str, make: Callable[..., Any], classes: int, args: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Those that were given, and the number of classes under the name that it has there."""
    taken = _parameters(make)
    anything = any(one.kind is one.VAR_KEYWORD for one in taken.values())
    named = [one for one, about in taken.items() if about.kind in (about.POSITIONAL_OR_KEYWORD, about.KEYWORD_ONLY)]
    for one in args:
        if one not in named and not anything:
            offered = f" It takes: {', '.join(named)}." if named else " It takes none."
            raise ModelError(f"{name} takes no argument '{one}'.{suggest(one, named) or offered}")
    its_name = next((one for one in CLASSES if one in named), "num_classes" if anything else None)
    counted = {} if its_name is None or its_name in args else {its_name: classes}
    needed = [one for one in named if taken[one].default is inspect.Parameter.empty and one not in {**args, **counted}]
    if needed:
        raise ModelError(f"{name} needs {', '.join(needed)}: give {where}.args.{needed[0]}.")
    return {**counted, **args}


def _parameters(make: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(make).parameters
    except (TypeError, ValueError):
        return {}


def _made(name: str, make: Callable[..., Any], arguments: dict[str, Any]) -> nn.Module:
    try:
        network = make(**arguments)
    except FAILURES as error:
        if "num_classes" in arguments and "'num_classes'" in str(error) and isinstance(error, TypeError):
            return _made(name, make, {key: value for key, value in arguments.items() if key != "num_classes"})
        given = ", ".join(f"{key}={quoted(value, 40)}" for key, value in arguments.items())
        raise ModelError(f"{name}({given}) fails: {failure(error)}") from error
    if not isinstance(network, nn.Module):
        raise ModelError(f"{name} made a {type(network).__name__}, not a network (torch.nn.Module).")
    return network
