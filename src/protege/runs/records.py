"""What each record of a run may hold: checked when it is read, so that who uses one need not ask again.

A record is a plain dictionary. Fields that are not named here pass unread, so that later versions may add some.
"""

from __future__ import annotations

import functools
import json
from datetime import datetime
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from protege.data.fields import MOST_THREADS
from protege.errors import quoted

Count = Annotated[int, Field(ge=0, lt=2**53)]
Share = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[float, Field(ge=-1e40, le=1e40)]  # what fp32 can hold; of larger ones no mean could be taken
Seconds = Annotated[float, Field(ge=0, lt=1e11)]
Accuracy = Share | None
Three = Annotated[list[Number], Field(min_length=3, max_length=3)]
Environment = dict[str, str | int | None]
DEEPEST = 60  # levels
MOST_VALUES = 6_000_000  # of a record; a pack of a million files has four
MOST_WRONG = 1000  # mistakes that are looked at: of each pydantic makes a dictionary
LONGEST_NAME = 200  # bytes, of a folder


class CutShort(ValueError):
    """Text that ends before its value does."""


class _Part(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow", strict=True)  # type: ignore[misc]


class Named(_Part):
    name: str


class Epochs(_Part):
    epochs: Count


class Described(_Part):
    """The description, as far as a table shows it; all of it is checked as any description is."""

    model: Named
    method: Named
    optim: Epochs
    seed: Count


class DataRecord(_Part):
    """What the run saw of its data."""

    name: str
    fingerprint: str
    content: str
    classes: Annotated[list[str], Field(min_length=1, max_length=100_000)]
    mean: Three
    std: Three
    train: Count
    heldout: Count
    test: Count
    image_size: Annotated[int, Field(ge=1, le=1 << 14)]
    images: Count


def _identity(name: str) -> str:
    if name.count(":") < 2:
        raise ValueError("is not `run:ID:WEIGHTS` or `file:DIGEST:MODEL`")
    kind, _, rest = name.partition(":")
    run_id = rest.rpartition(":")[0]
    if kind == "run" and (run_id in ("", ".", "..") or "/" in run_id or len(run_id.encode()) > LONGEST_NAME):
        raise ValueError("names no folder of a run")
    return name


Identity = Annotated[str, AfterValidator(_identity)]


class SeenRecord(_Part):
    """Sets of images that the run and all that it learned from were trained on, its own first; and what nobody knows."""

    sets: list[Annotated[str, Field(pattern="^[0-9a-f]{16}$")]]
    unknown: list[str]


class RunRecord(_Part):
    """run.json"""

    id: str
    config: Described
    data: DataRecord
    teachers: list[Identity]
    device: str
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)]
    processes: NotRequired[Annotated[int, Field(ge=1, le=1 << 16)]]
    command: str
    environment: Environment
    code: NotRequired[str]
    seen: NotRequired[SeenRecord]


class PrunedRecord(_Part):
    """pruned.json: what was asked for, what it came to, and which channels of which layers stay."""

    asked: Share
    share: Share
    multiply_adds: Count
    multiply_adds_before: Count
    kept: dict[str, list[Count]]


class Best(_Part):
    epoch: Count
    heldout_accuracy: Share


class Result(_Part):
    """result.json"""

    epochs: Count
    parameters: Count
    heldout_accuracy: Accuracy
    seconds: Seconds
    best: NotRequired[Best | None]


class Norms(_Part):
    mean: Number
    largest: Number


class Epoch(_Part):
    """A line of metrics.jsonl."""

    epoch: Count
    terms: dict[str, Number]
    train_accuracy: Share
    lr: Number
    heldout_accuracy: NotRequired[Accuracy]
    heldout_nll: NotRequired[Number | None]
    gradient_norm: NotRequired[Norms]


class Times(_Part):
    """A line of times.jsonl."""

    epoch: Count
    seconds: Seconds
    images_per_second: Seconds


class Bin(_Part):
    confidence: Number
    accuracy: Share
    images: Count


class Scaled(_Part):
    temperature: Annotated[float, Field(gt=0, lt=1e6)]
    ece: Number


class Nearness(_Part):
    agreement: Share
    kl_t1: Number
    kl_t4: Number


class ScoresRecord(_Part):
    """Of one network on one set of images."""

    images: Count
    accuracy: Share
    top5: NotRequired[Accuracy]
    nll: Number
    brier: Number
    ece: Number
    per_class: NotRequired[list[Share]]
    confusion: NotRequired[list[list[Count]]]
    bins: NotRequired[list[Bin]]
    scaled: NotRequired[Scaled]
    fidelity: NotRequired[Nearness]


def _square(scores: Any) -> Any:
    """A row and a column for each class."""
    confusion, per_class = scores.get("confusion", []), scores.get("per_class", [])
    if any(len(row) != len(confusion) for row in confusion) or len(per_class) != len(confusion):
        raise ValueError("rows and columns for the same classes are needed")
    return scores


Judged = Annotated[ScoresRecord, AfterValidator(_square)]


class Evaluation(_Part):
    """evaluations/heldout.json and test.json"""

    run: str
    split: Literal["heldout", "test"]
    images: Count
    teachers: list[str]
    final: Judged
    teacher: NotRequired[Judged]
    best: NotRequired[Judged]


class Prices(_Part):
    """Of one network where it runs; who measured more may keep more."""

    bytes: NotRequired[Count]
    parameters: NotRequired[Count | None]
    multiply_adds: NotRequired[Count | None]
    latency_ms: NotRequired[Seconds]
    latency_low_ms: NotRequired[Seconds]
    latency_high_ms: NotRequired[Seconds]
    latency_p95_ms: NotRequired[Seconds]
    rounds: NotRequired[Count]
    runtime: NotRequired[str]


class MeasuredRecord(_Part):
    """measured.json"""

    final: NotRequired[Prices]
    best: NotRequired[Prices]


def _moment(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("names no time zone")
    return text


Moment = Annotated[str, AfterValidator(_moment)]


class Reading(_Part):
    """A line of ledger.jsonl: a test set was read."""

    run: str
    time: Moment
    weights: NotRequired[str]
    data: NotRequired[str]
    test: NotRequired[str]  # digest of which images were read; `data` covers the other parts too
    images: NotRequired[Count]
    user: NotRequired[str]
    command: NotRequired[str]


class Divergence(_Part):
    """diverged.json"""

    message: str


class Choices(_Part):
    """choices.json of a study"""

    time: Moment
    question: NotRequired[str]
    notes: NotRequired[list[str]]


Tracked = dict[str, Count]  # tracker -> epochs that it was told of, and one more with the result


class Trials(_Part):
    """What a search asked for: the values of each trial, those of a round together."""

    rounds: Annotated[list[Annotated[list[dict[str, Any]], Field(max_length=100)]], Field(max_length=1000)]


class MemoryRecord(_Part):
    """about.json of what a teacher said."""

    images: Count
    views: Count | None
    about: dict[str, Any]


class Commands(_Part):
    """Of findings.json: what made them so far."""

    commands: list[str]


class Conduct(_Part):
    """Of conduct.json: the last command of a study, and the jobs that failed under it, each with a line."""

    command: str
    failed: dict[str, str]


class Known(_Part):
    id: str


class Counted(_Part):
    """Of findings.json: which runs a study counts."""

    runs: list[Known]


class Begun(_Part):
    """Where a job of a cluster began last."""

    job: NotRequired[str]
    node: NotRequired[str]
    time: NotRequired[Seconds]


class PackedFile(_Part):
    """A file of a pack, by its path from the folder of the runs."""

    name: Annotated[str, Field(min_length=1, max_length=250)]
    size: Count
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Pack(_Part):
    """pack.json, the first member of a pack."""

    format: Literal[1]
    runs: Annotated[list[str], Field(min_length=1, max_length=10_000)]
    files: Annotated[list[PackedFile], Field(max_length=1_000_000)]
    ledger: list[Reading]


PUSHED = r"^((run|result|pruned|evaluations/heldout)\.json|seen/[0-9a-f]{16}\.u64)$"


class PushedRun(_Part):
    format: Literal[1]
    files: Annotated[list[Annotated[str, Field(pattern=PUSHED)]], Field(max_length=1000)]


class Pushed(_Part):
    """config.json of a run in a repository of a hub: what is there beside its weights."""

    protege: PushedRun


class Pictures(_Part):
    """How timm's images are normalised."""

    mean: NotRequired[Three]
    std: NotRequired[Annotated[list[Annotated[Number, Field(gt=0)]], Field(min_length=3, max_length=3)]]


class TimmConfig(_Part):
    """config.json as timm writes it."""

    architecture: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,100}$")]
    model_args: NotRequired[dict[str, Any] | None]
    pretrained_cfg: NotRequired[Pictures]


class Header(_Part):
    """Of a weights file of ours."""

    sha256: str
    about: dict[str, Any]


@functools.cache
def _reader(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def record_of(content: bytes, kind: Any) -> Any:
    """The record in this JSON; a `ValueError` in a few words for anything else."""
    try:
        value = json.loads(content.decode(), parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise CutShort("not JSON") from error
    except UnicodeDecodeError as error:
        raise CutShort("not text in UTF-8") from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    _refuse_bombs(value)
    try:
        return _reader(kind).validate_python(value)
    except ValidationError as error:
        raise ValueError(_first_of(error)) from error


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _refuse_bombs(value: Any) -> None:
    """Level by level, before any of it is checked: so many mistakes may cost more than a machine has."""
    level, count = [value], 0
    for _ in range(DEEPEST):
        level = [
            below
            for one in level
            if isinstance(one, dict | list)
            for below in (one.values() if isinstance(one, dict) else one)
        ]
        count += len(level)
        if count > MOST_VALUES:
            raise ValueError(f"it holds more than {MOST_VALUES:,} values")
        if not level:
            return
    raise ValueError("it is nested too deep")


def _first_of(error: ValidationError) -> str:
    if error.error_count() > MOST_WRONG:
        return f"{error.error_count():,} of its values are wrong"
    first = error.errors(include_url=False)[0]
    place = ".".join(str(step) for step in first["loc"] if not str(step).isidentifier() or str(step)[0].islower())
    value = "" if isinstance(first["input"], dict) else f", not {quoted(first['input'], 40)}"
    return f"{place[:80] + ': ' if place else ''}{first['msg'][:120]}{value}"
