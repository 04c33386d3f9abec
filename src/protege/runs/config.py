"""A run described completely.

Every field here can change what comes out; what cannot (folders, device, threads, display) is in `Place`, outside.
So the id of a run (`identity.py`) is the hash of its description, with the data's fingerprint and the teachers' identities in it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, ValidationError, model_validator

from protege.data.config import DataConfig, separated
from protege.data.fields import MOST_THREADS, Fields, not_given
from protege.data.files import content_of, opened
from protege.errors import ConfigError, quoted, suggest
from protege.methods import Method, parse_method
from protege.methods.lookup import Unread
from protege.methods.supervised import Supervised
from protege.models.compression import CompressConfig
from protege.models.config import ModelConfig
from protege.runs.plain import MOST_TEXT, plain
from protege.views.config import ViewsConfig

DATA, MODEL = "cifar10-mini", "resnet20"  # unless others are named

MOST_WEIGHTS = 1 << 35  # bytes; the largest classifiers of images have a fourth of it
TrackerName = Literal["tensorboard", "wandb"]
Description = dict[str, Any]  # a run as YAML or options give it, not yet checked


class Described(Fields):
    """A part of a description: frozen, and a name that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


MILESTONES = (5 / 8, 3 / 4, 7 / 8)  # of all epochs: 150, 180 and 210 of the usual 240


class Measured(BaseModel):
    """What was found out: frozen as a description is, and of any size (bytes, operations a second)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class OptimConfig(Described):
    """How the student's weights are changed."""

    epochs: int = Field(default=200, ge=1, description="passes over the training images")
    batch_size: int = Field(default=128, ge=1, description="images a batch")
    accumulate: int = Field(default=1, ge=1, description="batches whose gradients make one step")
    optimizer: Literal["sgd", "adamw"] = Field(default="sgd", description="sgd or adamw")
    lr: float = Field(default=0.1, gt=0, description="peak learning rate (0.1 for sgd, 0.001 for adamw unless given)")
    rest_lr: float | None = Field(
        default=None,
        gt=0,
        exclude_if=not_given,
        description="peak rate of the student's layers below its classifier, of weights that know something already",
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of sgd")
    nesterov: bool = Field(default=False, description="Nesterov's momentum, of sgd")
    betas: Annotated[tuple[float, float], BeforeValidator(separated)] = Field(
        default=(0.9, 0.999), description="running means of adamw"
    )
    weight_decay: float = Field(
        default=5e-4, ge=0, description="pull of every weight towards zero (5e-4 for sgd, 0.05 for adamw unless given)"
    )
    decay_norms: bool = Field(default=True, description="decay the weights of norms and all biases as well")
    norm_bias_lr: float | None = Field(
        default=None,
        gt=0,
        exclude_if=not_given,
        description="times the learning rate, for biases of norms; what a step decays them by stays",
    )
    schedule: Literal["cosine", "multistep", "step", "linear", "constant"] = Field(
        default="cosine", description="of the learning rate"
    )
    schedule_every: Literal["step", "epoch"] = Field(default="step", description="how often the learning rate moves")
    milestones: Annotated[tuple[int, ...], BeforeValidator(separated)] = Field(
        default=(150, 180, 210),
        description="epochs at which `multistep` multiplies the rate (5/8, 3/4 and 7/8 of all unless given)",
    )
    step_epochs: int = Field(default=30, ge=1, description="epochs between the drops of `step`")
    decay_factor: float = Field(default=0.1, gt=0, le=1, description="what `multistep` and `step` multiply the rate by")
    warmup_epochs: float = Field(default=0.0, ge=0, description="epochs of linear rise from zero to the peak rate")
    floor_lr: float = Field(default=0.0, ge=0, description="rate at which cosine and linear end")
    clip_norm: float | None = Field(
        default=None, gt=0, description="largest gradient norm of student and adapters together"
    )
    ema: float | None = Field(
        default=None, gt=0, lt=1, description="decay of a running mean of the weights, which is then kept"
    )
    look_ahead: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        exclude_if=not_given,
        description="every 5 steps, and at the end, the weights go back to their running mean, which follows ever more slowly: "
        "its decay a step at the end",
    )
    precision: Literal["fp32", "bf16", "auto"] = Field(
        default="auto",
        description="of the networks' arithmetic, weights stay fp32; auto: the quicker one here, alike for all runs of a folder",
    )

    @model_validator(mode="before")
    @classmethod
    def _usual_with_the_optimizer_and_the_length(cls, given: Any) -> Any:
        """What is not given, and depends on what is."""
        if not isinstance(given, dict):
            return given
        usual: dict[str, Any] = {"lr": 1e-3, "weight_decay": 0.05} if given.get("optimizer") == "adamw" else {"lr": 0.1}
        epochs = given.get("epochs", cls.model_fields["epochs"].default)
        if given.get("schedule") == "multistep" and isinstance(epochs, int):
            usual["milestones"] = tuple(dict.fromkeys(max(1, round(share * epochs)) for share in MILESTONES))
        return given | {name: value for name, value in usual.items() if given.get(name) is None}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.floor_lr > self.lr:
            raise ValueError(f"floor_lr {self.floor_lr:g} is above the peak rate lr {self.lr:g}")
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs momentum above 0")
        if self.ema and self.look_ahead:
            raise ValueError("ema and look_ahead both keep a running mean of the weights: give one of them")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs:g} leaves nothing of {self.epochs} epochs")
        return self


OfEpoch = Annotated[Literal["final", "best"], Field(description="of a run: last epoch, or best on held-out images")]
Normalisation = Annotated[
    tuple[float, float, float] | None, Field(description="normalisation that a weights file expects")
]


class TeacherConfig(Described):
    """Who teaches: a finished run, or a file of weights with the name of its network."""

    source: str = Field(
        description="a run (id, beginning of an id, or folder), a weights file, hub:USER/NAME@REVISION, or timm:NAME with its weights"
    )
    model: ModelConfig | None = Field(default=None, description="network of a weights file")
    weights: OfEpoch = "final"
    mean: Normalisation = None
    std: Normalisation = None

    @model_validator(mode="before")
    @classmethod
    def _plain_name(cls, given: Any) -> Any:
        return {"source": os.fspath(given)} if isinstance(given, str | os.PathLike) else given


def _as_teachers(given: Any) -> Any:
    if given is None:
        return ()
    return given if isinstance(given, list | tuple) else (given,)


def _as_method(given: Any) -> Any:
    return given if isinstance(given, Method) else parse_method(given)


class RunConfig(Described):
    """One run: which data and views, which network, taught by whom and how, with which seed."""

    data: DataConfig = Field(
        default_factory=lambda: DataConfig.model_validate(DATA), description="images and their split"
    )
    views: ViewsConfig = Field(default_factory=ViewsConfig, description="augmentation")
    model: ModelConfig = Field(
        default_factory=lambda: ModelConfig.model_validate(MODEL), description="the network to train"
    )
    teacher: Annotated[tuple[TeacherConfig, ...], BeforeValidator(_as_teachers)] = Field(
        default=(), description="one or several"
    )
    method: Annotated[SerializeAsAny[Method], BeforeValidator(_as_method)] = Field(
        default_factory=Supervised, description="how the student learns (kd where a teacher is named, else supervised)"
    )
    compress: CompressConfig | None = Field(default=None, description="fewer channels or bits, trained so")
    optim: OptimConfig = Field(default_factory=OptimConfig, description="optimiser and schedule")
    remember: Literal["fp16", "fp32", "none"] = Field(
        default="fp16",
        description="keep the teacher's logits of every view for all later runs, in this precision, where logits suffice",
    )
    evaluate_every: int = Field(default=1, ge=1, description="epochs between looks at the held-out images")
    seed: int = Field(default=0, ge=0, lt=2**31, description="of initial weights, order and views")

    @model_validator(mode="before")
    @classmethod
    def _names_that_were_left_out(cls, given: Any) -> Any:
        """A teacher is there to be heard; fields of data or of the network alone refine the default one."""
        if not isinstance(given, dict):
            return given
        filled = dict(given)
        if filled.get("method") is None:
            filled["method"] = "kd" if filled.get("teacher") else "supervised"
        for section, name in (("data", DATA), ("model", MODEL)):
            if isinstance(fields := filled.get(section), dict):
                filled[section] = {"name": name, **fields}
        return filled

    @model_validator(mode="after")
    def _method_and_teacher_agree(self) -> Self:
        if isinstance(self.method, Unread):
            return self
        if self.method.wants_teacher() and not self.teacher:
            raise ValueError(
                f"method {self.method.name} listens to a teacher: name one, a run or a weights file, as `teacher`"
            )
        if self.teacher and not self.method.wants_teacher():
            raise ValueError(
                f"method {self.method.name} listens to no teacher: leave `teacher` out, or choose another method"
            )
        return self

    @model_validator(mode="after")
    def _what_is_pruned_was_trained(self) -> Self:
        if self.compress and self.compress.prune and self.model.weights is None:
            raise ValueError("compress.prune takes channels of a trained network: name its run with --init RUN")
        return self


def digest(path: Path) -> str:
    """sha256 of a file's contents: what a weights file is, wherever it lies."""
    try:
        with opened(path.expanduser()) as file:
            if os.fstat(file.fileno()).st_size > MOST_WEIGHTS:
                raise ConfigError(f"{path} holds more than {MOST_WEIGHTS:,} bytes: these are no weights of a network.")
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Give the path of a weights file.") from error


def canonical(value: Any) -> str:
    """JSON with one spelling for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


# ---- from YAML and options to a checked description ----


def merge(base: Mapping[str, Any], path: str, value: Any) -> Description:
    """`base` with `value` at the dotted `path`. A plain value replaces a whole section: another method keeps nothing of the first."""
    head, _, rest = path.partition(".")
    head = head.replace("-", "_")
    if not rest:
        return {**base, head: value}
    below = base.get(head)
    if isinstance(below, list) and len(below) == 1:
        below = below[0]
    if not isinstance(below, Mapping):
        below = {} if below is None else {"source" if head == "teacher" else "name": below}
    return {**base, head: merge(below, rest, value)}


def by_path(fields: Mapping[str, Any], before: str = "") -> Description:
    """The other way round: every plain value of a description by its dotted path."""
    found: Description = {}
    for name, value in fields.items():
        found |= by_path(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return found


def read_yaml(path: Path) -> Description:
    """A description from a file; an empty file is an empty description."""
    try:
        content = plain(content_of(path, MOST_TEXT).decode())
    except FileNotFoundError as error:
        raise ConfigError(f"There is no file {path}. Give the path of a YAML file.") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}. Give the path of a YAML file.") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not YAML that is read here: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds a {type(content).__name__}, not fields like `model: resnet20`.")
    return content


def check_run(description: Mapping[str, Any], origin: str = "the description") -> RunConfig:
    """A `RunConfig`, or one `ConfigError` that lists everything wrong with it."""
    found = examine(description)
    if isinstance(found, RunConfig):
        return found
    raise mistakes(found, origin)


def examine(description: Mapping[str, Any]) -> RunConfig | list[str]:
    """A `RunConfig`, or everything wrong with the description, a line each."""
    problems: list[str] = []
    checked = dict(description)
    named = description.get("method")
    if isinstance(named, Mapping) and "name" not in named:
        named = {"name": "kd" if description.get("teacher") else "supervised", **named}
    if named is not None and not isinstance(named, Method):
        try:
            checked["method"] = parse_method(named)
        except ValidationError as error:
            problems += list(problems_of(error, RunConfig, ("method",), parse_method_class(named)))
            checked["method"] = None
        except ValueError as error:
            problems.append(f"method: {error}")
            checked["method"] = None
    try:
        config = RunConfig.model_validate(checked)
    except ValidationError as error:
        problems += list(problems_of(error, RunConfig))
    else:
        if not problems:
            return config
    return problems


def mistakes(problems: list[str], origin: str) -> ConfigError:
    if len(problems) == 1:
        return ConfigError(f"{origin}: {problems[0]}")
    return ConfigError(f"{origin} has {len(problems)} mistakes:", *problems)


def parse_method_class(named: Any) -> type[BaseModel]:
    """The class whose fields a mistyped method field should be compared with."""
    from protege.methods import METHODS

    name = named.get("name") if isinstance(named, Mapping) else named
    return METHODS.get(str(name), Method)


def problems_of(
    error: ValidationError, model: type[BaseModel], prefix: tuple[str, ...] = (), below: type[BaseModel] | None = None
) -> Iterator[str]:
    for one in error.errors():
        if one["type"] == "default_factory_not_called":
            continue  # what is usual depends on a field that is wrong, which is said of that field
        place = [str(part) for part in (*prefix, *one["loc"])]
        dotted = ".".join(part for part in place if not part.isdigit())
        if one["type"] == "extra_forbidden":
            known = known_paths(model, below)
            yield f"{dotted}: there is no such field.{suggest(dotted, known)}"
        elif one["type"] == "missing":
            yield f"{dotted}: must be given."
        else:
            message = one["msg"].removeprefix("Value error, ")
            value = "" if isinstance(one["input"], Mapping | BaseModel) else f" (got {quoted(one['input'])})"
            yield f"{dotted}: {message}{value}" if dotted else f"{message}"


def known_paths(model: type[BaseModel], method: type[BaseModel] | None = None) -> list[str]:
    """Every dotted field below `model`; of the method's fields, those of `method`."""
    return [path for path, _, _ in fields_below(model, method)]


def fields_below(
    model: type[BaseModel], method: type[BaseModel] | None = None, prefix: str = ""
) -> Iterator[tuple[str, Any, type[BaseModel]]]:
    """(dotted path, field, declaring class) of every leaf and section, in order of declaration."""
    for name, info in model.model_fields.items():
        yield f"{prefix}{name}", info, model
        section = method if name == "method" else _section(info.annotation)
        if section is not None:
            yield from fields_below(section, None, f"{prefix}{name}.")


def _section(annotation: Any) -> type[BaseModel] | None:
    """The described part inside an annotation such as `ModelConfig | None` or `tuple[TeacherConfig, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return None if issubclass(annotation, Method) else annotation
    for inside in getattr(annotation, "__args__", ()):
        if (found := _section(inside)) is not None:
            return found
    return None


class Place(Described):
    """Where and with what a run is made: nothing here changes what it is, so nothing here enters its id."""

    runs: Path = Field(default=Path("runs"), description="folder of the runs")
    data_dir: Path | None = Field(default=None, description="folder of the data (else PROTEGE_DATA, else the cache)")
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:1")
    threads: int | None = Field(
        default=None, ge=1, le=MOST_THREADS, description="CPU threads (else all); a resumed run keeps its own"
    )
    compile: bool | None = Field(
        default=None,
        description="the student by torch.compile (else where a trial before a long run shows that it pays)",
    )
    checkpoint_seconds: float = Field(default=30.0, ge=0, description="between checkpoints")
    memory_dir: Path | None = Field(default=None, description="folder of what teachers said (else RUNS/memory)")
    memory_limit: float | None = Field(
        default=None,
        gt=0,
        description="gigabytes that this folder may grow to (else a tenth of the free disk more, but not above 20)",
    )
    until: int | None = Field(
        default=None, ge=1, description="epochs after which it rests, with a checkpoint (else it is trained to the end)"
    )
    log: tuple[TrackerName, ...] = Field(default=(), description="trackers that are told of it: tensorboard, wandb")
    wait: bool = Field(default=False, description="wait for another process on the same run instead of refusing")
    regroup: bool = Field(
        default=False,
        description="go on with another number of processes than the run began with: its last bits differ",
    )
    quiet: bool = Field(default=False, description="no progress display")

    @property
    def memory(self) -> Path:
        return self.memory_dir or self.runs / "memory"
