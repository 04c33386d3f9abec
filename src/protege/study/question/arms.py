"""From a study's file to its cells: every arm, of every pair, with every configuration that is tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from protege.errors import ModelError
from protege.methods import parse_method
from protege.models import check as check_model
from protege.runs.config import MODEL, Description, RunConfig, canonical, check_run, examine, merge
from protege.study.question.fields import merge_fields
from protege.study.question.schema import Arm, Pair, Study, Teacher, Values
from protege.study.question.search import Axis, corners

OPEN = "weights of the arm that it starts from"  # in the place of a path that is known with the seed


@dataclass(frozen=True)
class Configuration:
    """One way to train a student; its teachers are still keys of the study, and its seed is still open."""

    values: Values  # of the varied fields
    config: RunConfig
    init: str | None = None  # the arm whose run of the same seed it starts from; until then its weights are OPEN

    @property
    def teachers(self) -> tuple[str, ...]:
        return tuple(teacher.source for teacher in self.config.teacher)


@dataclass(frozen=True)
class Cell:
    """What becomes one row of a report: an arm of a pair, with the configurations from which one is chosen (if several).

    Of an arm that searches, one stands for all: which others are tried is known when they are asked for (`Plan.configurations`).
    """

    key: str
    arm: str
    pair: str | None
    configurations: tuple[Configuration, ...]
    reference: tuple[str, ...] = field(default=())  # teachers to compare with, where no teacher taught
    space: Mapping[str, Axis] = field(default_factory=dict)  # of an arm that searches

    @property
    def chosen_by_selection(self) -> bool:
        return len(self.configurations) > 1 or bool(self.space)

    @cached_property
    def alone(self) -> bool:
        return not any(configuration.teachers for configuration in self.configurations)


def cells(study: Study) -> list[Cell]:
    """In the order of the file. In the literature protocol nothing is chosen, so every configuration is a cell."""
    found = []
    for pair in study.pairs or (None,):
        for name, arm in study.arms.items():
            descriptions = list(_descriptions(study, pair, name, arm))
            tried = tuple(
                Configuration(values, check_run(described, f"arm {name}"), arm.init)
                for values, described in descriptions
            )
            reference = teacher_keys(_over_pair(study, pair).get("teacher"))
            if study.protocol == "literature":
                found += [_cell(name, pair, (one,), reference, one.values) for one in tried]
            else:
                found.append(_cell(name, pair, tried[:1] if arm.search else tried, reference, {}, arm.search))
    return found


def configured(study: Study, cell: Cell, values: Values) -> Configuration:
    """The configuration of a trial: the cell's arm with these values of what it searches."""
    pair = next((pair for pair in study.pairs if pair.name == cell.pair), None)
    described = _described(study, pair, cell.arm, study.arms[cell.arm], values)
    return Configuration(values, check_run(described, f"arm {cell.arm}"), study.arms[cell.arm].init)


def _cell(
    arm: str,
    pair: Pair | None,
    tried: tuple[Configuration, ...],
    reference: tuple[str, ...],
    values: Values,
    space: Mapping[str, Axis] | None = None,
) -> Cell:
    name = pair.name if pair else None
    return Cell(cell_key(arm, name, values), arm, name, tried, reference, space or {})


def cell_key(arm: str, pair: str | None, values: Mapping[str, Any]) -> str:
    """`kd`, `kd (temperature 4)`, `kd: resnet34 -> resnet18`."""
    varied = ", ".join(f"{_last(path)} {_plain(value)}" for path, value in values.items())
    return (f"{arm} ({varied})" if varied else arm) + (f": {pair}" if pair else "")


def cell_label(arm: str, pair: str | None, values: Mapping[str, Any]) -> str:
    """The same for people: `temperature 4` of an arm that is called after the one field that it varies."""
    names = {_last(path): value for path, value in values.items()}
    if list(names) != [arm]:
        return cell_key(arm, pair, values)
    return f"{arm} {_plain(names[arm])}" + (f": {pair}" if pair else "")


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else canonical(value)


def teacher_keys(given: Any) -> tuple[str, ...]:
    """A teacher is a key of the study, several are a list; one that is described in place is known by its source."""
    if given is None:
        return ()
    if isinstance(given, Mapping):
        return (str(given["source"]),) if "source" in given else ()
    return (
        tuple(key for one in given for key in teacher_keys(one)) if isinstance(given, list | tuple) else (str(given),)
    )


# ---- descriptions ----


def _descriptions(study: Study, pair: Pair | None, name: str, arm: Arm) -> Iterator[tuple[Values, Description]]:
    for point in corners(arm.search) if arm.search else arm.vary or ({},):
        yield point, _described(study, pair, name, arm, point)


def _described(study: Study, pair: Pair | None, name: str, arm: Arm, point: Values) -> Description:
    own = merge_fields(arm.fields, pair.arms.get(name, {}) if pair else {})
    described = _student(study, _over_pair(study, pair), own, point)
    return merge({"model": MODEL, **described}, "model.weights", OPEN) if arm.init else described


def _over_pair(study: Study, pair: Pair | None) -> Description:
    return merge_fields(study.base, pair.fields if pair else {})


def _student(study: Study, base: Description, own: Description, point: Values) -> Description:
    described = merge_fields(base, own)
    for path, value in point.items():
        described = merge(described, path, value)
    if "teacher" in own and own["teacher"] is None and "method" not in own:
        described.pop("method", None)  # the base's method would wait for the teacher that this arm does without
    if (
        described.get("teacher") is not None
        and "teacher" not in own
        and "teacher" not in point
        and _wants_none(described)
    ):
        described["teacher"] = None
    return _everywhere(study, {**described, "teacher": list(teacher_keys(described.get("teacher")))})


def _wants_none(described: Description) -> bool:
    try:
        method = parse_method(described["method"])
    except (KeyError, ValueError):
        return False  # what is wrong with it is said when the whole description is checked
    return not method.wants_teacher()


def _everywhere(study: Study, described: Description) -> Description:
    described = merge_fields(described, study.every_run)
    data = described.get("data")
    if study.protocol == "literature" and not (isinstance(data, Mapping) and "heldout" in data):
        described = (
            merge(described, "data.heldout", 0)
            if data
            else {**described, "data": {"name": "cifar10-mini", "heldout": 0}}
        )
    return described


def teacher_config(study: Study, key: str) -> RunConfig:
    """How a teacher of the study is trained; its own teachers are still keys, and its seed is still open."""
    return check_run(_teacher(study, study.teachers[key]), f"teacher {key}")


def _teacher(study: Study, teacher: Teacher) -> Description:
    base = {path: value for path, value in study.base.items() if path.partition(".")[0] not in ("teacher", "method")}
    described = merge_fields(base, teacher.fields)
    shortened = _everywhere(study, {**described, "teacher": list(teacher_keys(described.get("teacher")))})
    return merge_fields(shortened, teacher.over_every_run)


# ---- everything wrong at once ----


def problems_of_arms(study: Study) -> list[str]:
    """What is wrong with the runs; a mistake of the base is told once."""
    described = dict(_all_descriptions(study))
    said: dict[str, list[str]] = {}
    for place, one in described.items():
        for problem in _problems(one):
            said.setdefault(problem, []).append(place)
    return [f"{_where(places, len(described))}: {problem}" for problem, places in said.items()]


def _all_descriptions(study: Study) -> Iterator[tuple[str, Description]]:
    for key, teacher in study.teachers.items():
        if not teacher.source:
            yield f"teachers.{key}", _teacher(study, teacher)
    for pair in study.pairs or (None,):
        for name, arm in study.arms.items():
            for point, described in _descriptions(study, pair, name, arm):
                yield f"arms.{cell_key(name, pair.name if pair else None, point)}", described


def _where(places: list[str], everywhere: int) -> str:
    return "base" if len(places) == everywhere > 1 else places[0]


def _problems(described: Description) -> list[str]:
    found = examine(described)
    if isinstance(found, list):
        return found
    try:
        check_model(found.model)
    except ModelError as error:
        return [str(error)]
    return []
