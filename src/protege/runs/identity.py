"""The id of a run: the same for the same outcome, and found again where it was made under an earlier rule.

What cannot change the outcome is not in the id: a field that this description does not use counts as its default, and a method
from a file counts by its class and its code, wherever the file lies. A run that was begun before this rule keeps its id.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from protege.data.outside.code import code_at, is_own
from protege.errors import ConfigError
from protege.methods import fingerprint as code_of
from protege.runs.config import RunConfig, canonical, digest

RECORD = "run.json"  # what a folder holds from the moment on that a run was begun there
WEIGHTS = {"model.safetensors": "final", "best.safetensors": "best"}  # of a run


def run_id(config: RunConfig, fingerprint: str, teachers: Sequence[str], root: Path) -> str:
    """`<model>-<method>-<hash>`; that of an earlier rule, if `root` has the run so. `fingerprint` is the data's."""
    known = [
        _hashed(config, told, start, fingerprint, teachers)
        for start in starts(config)
        for told in (plainly(config), _told(config))
    ]
    return next((one for one in known if (root / one / RECORD).is_file()), known[0])


def starts(config: RunConfig) -> list[str | None]:
    """What the first weights are, in the rule of now and in that of before: a run's by the run, so that a chain of runs can be
    planned before any is trained; a file's by its contents, as a run's were too."""
    weights = config.model.weights
    if weights is None:
        return [None]
    path = Path(weights).expanduser()
    if not of_a_run(path):
        return [digest(path)]
    by_run = f"run:{path.parent.name}:{WEIGHTS[path.name]}"
    return [by_run, digest(path)] if path.is_file() else [by_run]


def of_a_run(path: Path) -> bool:
    """Whether these are the weights of a run, finished or only planned."""
    named_so = path.name in WEIGHTS and re.fullmatch(r".+-.+-[0-9a-f]{12}", path.parent.name) is not None
    return named_so and ((path.parent / RECORD).is_file() or not path.exists())


def known_as(config: RunConfig, fingerprint: str, teachers: Sequence[str], root: Path) -> tuple[RunConfig, str]:
    """Description and id; of a run that `root` has from when a default was another one, those that it was begun with."""
    now = run_id(config, fingerprint, teachers, root)
    if not (root / now / RECORD).is_file():
        for before in _with_earlier_defaults(config):
            earlier = run_id(before, fingerprint, teachers, root)
            if (root / earlier / RECORD).is_file():
                return before, earlier
    return config, now


def _with_earlier_defaults(config: RunConfig) -> Iterator[RunConfig]:
    """As it was understood when ranges were learned at 8 bits too, when precision was fp32, and when both were so."""
    meant = [config]
    if config.compress and config.compress.ranges == "minmax" and "ranges" not in config.compress.model_fields_set:
        learned = config.compress.model_copy(update={"ranges": "learned"})
        meant.append(config.model_copy(update={"compress": learned}))
    if config.optim.precision == "auto":
        exact = config.optim.model_copy(update={"precision": "fp32"})
        meant += [one.model_copy(update={"optim": exact}) for one in meant]
    yield from meant[1:]


def _told(config: RunConfig) -> dict[str, Any]:
    """Without what counts by its contents, and without parts that came later and are not used."""
    later: dict[str, Any] = {}
    if config.compress is None:
        later = {"compress": True}
    elif config.compress.prune is None:
        later = {"compress": {"prune", "importance", "spread", "images"}}
    told = config.model_dump(mode="json", exclude={"data": True, "teacher": True, "model": {"weights"}, **later})
    return told | {"model": by_its_code(told["model"])}


def by_its_code(network: dict[str, Any]) -> dict[str, Any]:
    """A network of the user's own by its name and what is in its file, wherever that lies; others as they are."""
    place, _, name = network["name"].rpartition(":")
    if not is_own(network["name"]):
        return network
    try:
        return network | {"name": name, "code": code_at(place).digest}
    except ValueError as error:
        raise ConfigError(f"--model {network['name']}: {error}.") from error


def code_recorded(config: RunConfig) -> str:
    """Digests of all code from outside that a run is made of, one after another."""
    networks = [config.model, *(teacher.model for teacher in config.teacher if teacher.model)]
    told = [by_its_code({"name": network.name}) for network in networks]
    return "".join([code_of(config.method), *(network.get("code", "") for network in told)])


def _hashed(
    config: RunConfig, told: dict[str, Any], start: str | None, fingerprint: str, teachers: Sequence[str]
) -> str:
    described = {
        "format": 1,
        "config": told,
        "weights": start,
        "code": code_of(config.method),  # of a method from outside; ours are fixed by their names
        "data": fingerprint,
        "teachers": list(teachers),
    }
    name = "-".join(re.sub(r"[^\w.]+", "_", part) for part in (told["model"]["name"], told["method"]["name"]))
    return f"{name}-{hashlib.sha256(canonical(described).encode()).hexdigest()[:12]}"


def plainly(config: RunConfig) -> dict[str, Any]:
    """The description with nothing in it that cannot change the outcome."""
    told = _told(config)
    for path in unused(config):
        section, _, field = path.rpartition(".")
        (told[section] if section else told)[field] = _default(config, section, field)
    told["method"] = _without_places(told["method"])
    return told


def unused(config: RunConfig) -> set[str]:
    """Fields that this description gives but does not look at."""
    optim, views, compress = config.optim, config.views, config.compress
    when = {
        "compress.images": compress is not None and compress.prune is not None and compress.importance != "first_order",
        "compress.ranges": compress is not None and compress.prune is not None and not compress.rounds,
        "compress.ends": compress is not None and compress.prune is not None and compress.weights is None,
        "optim.milestones": optim.schedule != "multistep",
        "optim.step_epochs": optim.schedule != "step",
        "optim.decay_factor": optim.schedule not in ("multistep", "step"),
        "optim.floor_lr": optim.schedule not in ("cosine", "linear"),
        "optim.schedule_every": optim.schedule
        not in ("cosine", "linear"),  # the others move at whole epochs, or not at all
        "optim.betas": optim.optimizer != "adamw",
        "optim.decay_norms": optim.weight_decay == 0,
        "optim.momentum": optim.optimizer != "sgd",
        "optim.nesterov": optim.optimizer != "sgd",
        "remember": not config.teacher or set(config.method.wants()) != {"logits"},
        "views.padding": views.crop != "pad",
        "views.scale": views.crop != "resized",
        "views.ratio": views.crop != "resized",
        "views.policy_ops": views.policy != "randaugment",
        "views.policy_magnitude": views.policy != "randaugment",
        "views.mix_concentration": views.mix == "none",
        "views.mix_probability": views.mix == "none",
        "views.seed": views.seed == config.seed,  # which it is anyway
        "model.stem": config.model.stem == "cifar",  # likewise
    }
    return {path for path, is_unused in when.items() if is_unused}


def _default(config: RunConfig, section: str, field: str) -> Any:
    described: BaseModel = getattr(config, section) if section else config
    default = type(described).model_fields[field].get_default(call_default_factory=True, validated_data=vars(described))
    return list(default) if isinstance(default, tuple) else default


def _without_places(described: Any) -> Any:
    """`folder/mine.py:Mine` as `Mine`, in sums of methods too."""
    if isinstance(described, list):
        return [_without_places(part) for part in described]
    if not isinstance(described, dict):
        return described
    found = {key: _without_places(value) for key, value in described.items()}
    place, colon, kind = str(found.get("name", "")).rpartition(":")
    return found | {"name": kind} if colon and place.endswith(".py") else found
