"""A study's YAML file, checked: a question, and everything that is decided before the first result is seen.

question: does distillation help?
base: {data: cifar100, teacher: resnet32x4, student: resnet8x4}
arms:
  alone: {method: supervised}
  kd: {method: kd, vary: {method.temperature: [1, 2, 4], method.kd_weight: [0.5, 0.9]}}
seeds: {select: [100, 101], report: 8}
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from protege.errors import quoted, suggest
from protege.runs.config import Described, Description, Normalisation, OfEpoch
from protege.study.question.fields import RUN_FIELDS, aliased, fields_and_rest, merge_fields
from protege.study.question.measures import MEASURES, RATIOS
from protege.study.question.search import FIXED, Axis, Search

SELECT_SEEDS = (100, 101)
MOST_SEEDS = 1000
MOST_POINTS = 1000  # of a grid
Scale = Literal["full", "reduced"]
Which = Literal["final", "best"]  # the last epoch, or the best epoch on held-out images
Values = dict[str, Any]  # dotted path of a varied field -> its value


def _seeds_from(first: int) -> BeforeValidator:
    def listed_seeds(given: Any) -> Any:
        if isinstance(given, bool) or (isinstance(given, int) and given > MOST_SEEDS):
            raise ValueError(f"a number of seeds up to {MOST_SEEDS} is needed, or a list of them")
        return tuple(range(first, first + given)) if isinstance(given, int) and not isinstance(given, bool) else given

    return BeforeValidator(listed_seeds)


def _alone_or_many(given: Any) -> Any:
    return (given,) if isinstance(given, str | Path) else given


def _own(part: type[Described]) -> tuple[str, ...]:
    """What a part of the file says besides run fields, as it is written there."""
    return tuple(one.alias or name for name, one in part.model_fields.items() if name != "fields")


def _measured(measure: str, known: Collection[str]) -> str:
    if measure not in known:
        raise ValueError(f"'{measure}' is not measured.{suggest(measure, list(known))} There are {', '.join(known)}")
    return measure


class Seeds(Described):
    """Fresh seeds report what other seeds chose. A number stands for so many: 8 means 0 to 7 (and, to select, 100 to 107)."""

    select: Annotated[tuple[int, ...] | None, _seeds_from(100)] = Field(
        default=None, description="seeds that choose; default 100 and 101"
    )
    report: Annotated[tuple[int, ...], _seeds_from(0)] = Field(
        default=tuple(range(5)), min_length=1, description="seeds that are reported"
    )

    @model_validator(mode="after")
    def _apart(self) -> Self:
        select = self.select or ()
        for name, seeds in (("select", select), ("report", self.report)):
            if len(set(seeds)) < len(seeds):
                raise ValueError(f"{name} names a seed twice: {list(seeds)}")
            if any(not 0 <= seed < 2**31 for seed in seeds):
                raise ValueError(f"{name} {list(seeds)}: a seed is a whole number from 0 to {2**31 - 1}")
        if both := sorted(set(select) & set(self.report)):
            raise ValueError(
                f"seed {both[0]} both selects and reports, which flatters what was selected. Choose others for one of them"
            )
        return self


class Arm(Described):
    """One way of training: run fields over the base's, and the fields that are varied."""

    fields: Description = Field(default={}, description="run fields, over those of the base and of the pair")
    vary: tuple[Values, ...] = Field(
        default=(), description="a grid {path: [values]}, or a list of points {path: value}"
    )
    init: str | None = Field(
        default=None, description="another arm: each seed starts from the weights of that arm's run of the same seed"
    )
    search: dict[str, Axis] = Field(
        default={},
        description="instead of `vary`: {path: LOW HIGH log} or {path: [choices]}, tried as the study's `search` says",
    )

    @model_validator(mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        return fields_and_rest({} if given is None else given, _own(cls))

    @field_validator("search", mode="before")
    @classmethod
    def _axes(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or not given:
            raise ValueError("write fields and their ranges, such as {optim.lr: 0.01 0.5 log}")
        for path in given:
            _refuse_path(path)
            if any(aliased(str(path)) == one or aliased(str(path)).startswith(f"{one}.") for one in FIXED):
                raise ValueError(f"{path} is the same for all trials, or their scores would not compare: leave it out")
        return {aliased(str(path)): axis for path, axis in given.items()}

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.vary and self.search:
            raise ValueError(
                "vary and search both say what is tried: give one of them (a list in `search` is a choice)"
            )
        return self

    @field_validator("vary", mode="before")
    @classmethod
    def _points(cls, given: Any) -> Any:
        points = list(_grid(given)) if isinstance(given, Mapping) else given
        if not isinstance(points, list | tuple) or not all(isinstance(point, Mapping) and point for point in points):
            raise ValueError(
                "write a grid such as {method.temperature: [1, 2, 4]}, or a list of points [{method.temperature: 1}]"
            )
        for path in {path for point in points for path in point}:
            _refuse_path(path)
        if any(point == other for point, other in itertools.combinations(points, 2)):
            raise ValueError("the same configuration stands in it twice")
        return [{aliased(path): value for path, value in point.items()} for point in points]


def _grid(axes: Mapping[str, Any]) -> Iterable[Values]:
    for path, values in axes.items():
        if not isinstance(values, list | tuple) or not values:
            raise ValueError(f"{path}: {quoted(values)} is not a list of values to try")
    if (points := math.prod(len(values) for values in axes.values())) > MOST_POINTS:
        raise ValueError(f"the grid has {points} points; up to {MOST_POINTS} can be tried")
    for point in itertools.product(*axes.values()):
        yield dict(zip(axes, point, strict=True))


def _refuse_path(path: Any) -> None:
    head = str(path).partition(".")[0]
    if head == "seed":
        raise ValueError("a seed is nothing to choose by: leave `seed` to the study's `seeds`")
    if aliased(head) not in RUN_FIELDS:
        raise ValueError(f"{path}: there is no such field.{suggest(head, list(RUN_FIELDS))}")


class Teacher(Described):
    """Who teaches: a network to train first, over the base's settings but alone; or one that is given (`from`)."""

    fields: Description = Field(default={}, description="run fields, over the base's without its teacher and method")
    source: tuple[str, ...] = Field(
        default=(), alias="from", description="runs or weights files to take instead of training; one for each seed"
    )
    weights: OfEpoch = "final"
    mean: Normalisation = None
    std: Normalisation = None
    seeds: Annotated[tuple[int, ...], _seeds_from(0)] = Field(
        default=(0,), min_length=1, description="of the teachers to train"
    )
    assign: Literal["rotate", "cross"] = Field(
        default="rotate", description="rotate: student seeds take turns; cross: each gets all"
    )
    over_every_run: Description = Field(
        default={}, description="run fields over `every_run` too: those that a reduced form gives this teacher itself"
    )

    @model_validator(mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = {"model": given}
        return fields_and_rest(given, _own(cls))

    _one_or_many = field_validator("source", mode="before")(_alone_or_many)

    @model_validator(mode="after")
    def _given_or_trained(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds names a seed twice: {list(self.seeds)}")
        if self.source and (surplus := sorted(set(self.fields) - {"model"})):
            raise ValueError(
                f"a given teacher (`from`) is not trained, so {', '.join(surplus)} would do nothing: leave it out"
            )
        if self.source and "seeds" in self.model_fields_set:
            raise ValueError("a given teacher (`from`) has its seeds already: list several sources instead of `seeds`")
        if not self.source and (self.mean or self.std):
            raise ValueError("mean and std belong to a weights file: name it with `from`")
        if not self.source and "model" not in self.fields:
            raise ValueError("name its network (`model`), or a run or weights file to take (`from`)")
        return self


class Pair(Described):
    """A teacher and a student, with what only these two need."""

    name: str = Field(description="default: TEACHER -> STUDENT")
    fields: Description = Field(description="run fields, over the base's; model and teacher among them")
    arms: dict[str, Description] = Field(
        default={}, description="run fields of single arms for this pair alone, over the arm's own"
    )

    @model_validator(mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        found = fields_and_rest(given, _own(cls))
        found["arms"] = {arm: fields_and_rest(over, ())["fields"] for arm, over in (found.get("arms") or {}).items()}
        fields = found["fields"]
        if not fields.get("model"):
            raise ValueError("name the student")
        found.setdefault("name", f"{_short(fields.get('teacher', 'base'))} -> {_short(fields['model'])}")
        return found


def _short(given: Any) -> str:
    if isinstance(given, Mapping):
        return str(given.get("name") or given.get("source"))
    return " + ".join(map(_short, given)) if isinstance(given, list | tuple) else str(given)


class Than(Described):
    """What is another difference's own; the rest is the hypothesis's."""

    treatment: str | None = Field(default=None, description="an arm")
    control: str | None = Field(default=None, description="an arm")
    pair: str | None = Field(default=None, description="the pair of both arms of the other difference")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.treatment or self.control or self.pair):
            raise ValueError("name the treatment, the control or the pair of the other difference")
        return self


class Hypothesis(Described):
    """A comparison named in advance. All of them together are the family that p-values are corrected for.

    {treatment: kd}                                    kd against alone
    {treatment: kd, pair: A, than: {pair: B}}          is kd worth more (or less) with A than with B?
    {among: kd}                                        do the configurations of kd differ at all? Also of several arms
    """

    treatment: str | None = Field(default=None, description="an arm")
    control: str = Field(default="alone", description="an arm")
    control_pair: str | None = Field(
        default=None, description="the pair of the control, where it is not the treatment's"
    )
    at: Values = Field(default={}, description="varied fields of the treatment meant, in the literature protocol")
    control_at: Values = Field(default={}, description="the same of the control")
    than: Than | None = Field(default=None, description="of another difference, which is taken away from this one")
    among: Annotated[tuple[str, ...], BeforeValidator(_alone_or_many)] = Field(
        default=(), description="an arm whose configurations, or several arms that, are asked to differ at all"
    )
    pair: str | None = Field(default=None, description="this pair alone; else all, a comparison each")
    measure: str = Field(default="accuracy", description=f"one of {', '.join(MEASURES)}")
    test: Literal["paired", "welch"] | None = Field(
        default=None,
        description="default: one error for all arms of a student, or by teacher where each seed has its own; "
        "paired: by seed, as arms share initial weights, order and views; welch: of these two arms alone",
    )
    margin: float | None = Field(
        default=None, gt=0, description="a difference too small to matter (points, or units of the measure)"
    )
    primary: bool = Field(default=False, description="the answer speaks of this one")

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if bool(self.among) == bool(self.treatment):
            raise ValueError("name a treatment, or arms to compare `among` themselves: one of the two")
        own = {"control", "control_pair", "at", "control_at", "than", "test", "margin"} & self.model_fields_set
        if self.among and own:
            raise ValueError(
                f"`among` compares all with all, so {', '.join(sorted(own))} would do nothing: leave it out"
            )
        if self.control_pair and (self.than or not self.pair):
            raise ValueError("control_pair goes with `pair`, that of the treatment, and not with `than`")
        if self.than and (self.test or self.margin):
            raise ValueError("a difference of differences has its own test and no margin: leave test and margin out")
        return self

    @property
    def asked(self) -> dict[str, Any]:
        """What makes it another hypothesis than its neighbours: all but how it is judged."""
        return self.model_dump(mode="json", exclude={"test", "margin", "primary"})

    @field_validator("measure")
    @classmethod
    def _known(cls, measure: str) -> str:
        return _measured(measure, MEASURES)


class Published(Described):
    """A figure from the literature, to be printed beside ours."""

    arm: str | None = Field(default=None, description="the figure is of this arm")
    teacher: str | None = Field(default=None, description="the figure is of this teacher")
    pair: str | None = Field(default=None, description="of the arm, where there are several")
    at: Values = Field(default={}, description="varied fields of the configuration meant, in the literature protocol")
    against: str | None = Field(default=None, description="an arm: `value` is a difference from it, in points")
    value: float = Field(description="percent, or units of the measure")
    sd: float | None = Field(default=None, ge=0, description="over seeds")
    seeds: int | None = Field(default=None, ge=1, description="how many")
    measure: str = Field(default="accuracy", description=f"as in `compare`, or one of {', '.join(RATIOS)}")
    split: Literal["test", "heldout"] = Field(default="test", description="which images it was measured on")
    note: str = Field(default="", description="what one should know of it, printed beside it")

    @field_validator("measure")
    @classmethod
    def _known(cls, measure: str) -> str:
        return _measured(measure, [*MEASURES, *RATIOS])

    @model_validator(mode="after")
    def _of_one(self) -> Self:
        if (self.arm is None) == (self.teacher is None):
            raise ValueError("a published figure is of an arm or of a teacher: name one")
        if self.measure in RATIOS and (self.teacher or self.against):
            raise ValueError(f"{self.measure} is of an arm, against its student alone and its teacher")
        if self.split == "heldout" and self.measure != "accuracy":
            raise ValueError("of held-out images only the accuracy is kept")
        return self

    def fits(self, arm: str, pair: str | None, values: Mapping[str, object]) -> bool:
        """Whether the figure speaks of this cell; its configuration must be the one that was reported."""
        same = all(values.get(path) == value for path, value in self.at.items())
        return arm == self.arm and self.pair in (None, pair) and same


class Cost(Described):
    """What the full form takes, so that nobody starts it unawares."""

    hours: float = Field(gt=0, description="from the first run to the page")
    hardware: str = Field(description="on which it takes so long, and whether that was measured")

    def sentence(self) -> str:
        return f"{self.hours:g} hours on {self.hardware}"


class Study(Described):
    """A question, and everything that is decided before the first result is seen."""

    name: str
    question: str = Field(min_length=1, description="in words; the page answers it")
    base: Description = Field(
        default={}, description="run fields of every arm and teacher; `student` is the same as `model`"
    )
    every_run: Description = Field(
        default={},
        description="run fields over everything, teachers too: what a reduced form shortens all by. "
        "Only what that form says of a teacher itself stands above them",
    )
    teachers: dict[str, Teacher] = Field(default={}, description="those that are more than a bare network name")
    arms: dict[str, Arm] = Field(min_length=1, description="ways of training, by name; `alone` is the usual control")
    pairs: tuple[Pair, ...] = Field(default=(), description="teachers and students that the arms are crossed with")
    seeds: Seeds = Field(default=Seeds(), description="those that choose, and those that are reported")
    protocol: Literal["heldout", "literature"] = Field(
        default="heldout",
        description="heldout: choose on held-out images; literature: train on everything, choose nothing, report all",
    )
    report: Which = Field(
        default="final", description="epoch whose score counts: the last, or the best on held-out images"
    )
    choose_by: str = Field(default="accuracy", description="the measure of held-out images that chooses")
    ship: bool = Field(
        default=False,
        description="at the end, export a network of each arm as it would ship (ONNX), and measure its file: bytes, milliseconds",
    )
    search: Search = Field(default=Search(), description="what each arm that searches may spend, all of them the same")
    compare: tuple[Hypothesis, ...] = Field(default=(), description="default: every other arm against `alone`")
    changes: tuple[str, ...] = Field(default=(), description="computed, of a reduced form: all that it changes")
    published: tuple[Published, ...] = Field(default=(), description="figures of publications, to stand beside ours")
    notes: Annotated[tuple[str, ...], BeforeValidator(_alone_or_many)] = Field(
        default=(), description="what differs from the publication"
    )
    cost: Cost | None = Field(default=None, description="of the full form")
    reduced: Description | None = Field(
        default=None,
        description="what the small form changes: base, every_run, teachers, arms, pairs, seeds; `differs` says it in words",
    )
    differs: str = Field(default="", description="of a reduced form: how it differs from the full one")

    @field_validator("base", "every_run", mode="before")
    @classmethod
    def _run_fields(cls, given: Any) -> Any:
        return merge_fields({}, fields_and_rest({} if given is None else given, ())["fields"])

    @field_validator("choose_by")
    @classmethod
    def _chooses(cls, measure: str) -> str:
        known = [one.name for one in MEASURES.values() if one.chooses]
        if measure not in known:
            why = "cannot choose: held-out images do not judge it" if measure in MEASURES else "is not measured"
            raise ValueError(f"'{measure}' {why}.{suggest(measure, known)} There are {', '.join(known)}")
        return measure

    @property
    def select_seeds(self) -> tuple[int, ...]:
        if self.protocol == "literature":
            return ()
        return SELECT_SEEDS if self.seeds.select is None else self.seeds.select
