"""Which network, from where its weights come, and which of its layers are read."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, field_validator, model_validator

from protege.data.config import separated
from protege.data.fields import Fields, not_given
from protege.data.outside.code import allow, is_own

STAGE_NAME = re.compile(r"stage\w+|pooled|last")


class ModelConfig(Fields):
    """A network, described. A bare name is enough: `resnet8` means `{name: resnet8}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        min_length=1,
        description="one of `protege models`, or timm:NAME or torchvision:NAME, or your own: path/to/file.py:NAME",
    )
    args: dict[str, JsonValue] | None = Field(
        default=None,
        exclude_if=not_given,
        description="what a class or function of your own takes: --model.args.width 0.5",
    )
    stem: Literal["cifar", "imagenet"] | None = Field(
        default=None,
        description="cifar: 3x3 first convolution, stride 1; imagenet: 7x7, stride 2, max-pool (ResNet-18 to -101). "
        "Default: cifar",
    )
    weights: str | None = Field(
        default=None,
        description="file to start from: .safetensors, .pth or .pt, whose classifier has as many classes as the data",
    )
    head: Literal["new"] | None = Field(
        default=None,
        exclude_if=not_given,
        description="new: all of the weights file but the classifier, which begins afresh, for weights of other classes",
    )
    frozen: Annotated[tuple[str, ...], BeforeValidator(separated)] | None = Field(
        default=None,
        exclude_if=not_given,
        description="what stays as it is: stages by name, each with all before it, or modules by path; stage1,stage2",
    )
    dirac: bool = Field(
        default=False,
        exclude_if=not_given,
        description="convolutions begin by passing on what they get, as far as their channels go",
    )
    whiten: bool = Field(
        default=False,
        exclude_if=not_given,
        description="the first convolution is fixed to the main directions of patches of training images, each as strong as the others",
    )
    stages: dict[str, str] | None = Field(
        default=None,
        description="what methods read, shallowest first: {stage1: layer1, stage2: layer2}. A path is a module's name: "
        "what leaves it, or with `:input` what enters it. `stage1_pre` is stage1 before its activation; `pooled` "
        "replaces the classifier's input. Default: the network's own stages",
    )
    classifier: str | None = Field(
        default=None, description="module path of the last linear layer, e.g. fc. Default: the network's own"
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("name")
    @classmethod
    def _may_run(cls, name: str) -> str:
        if is_own(name):
            allow(name)
        return name

    @model_validator(mode="after")
    def _args_are_of_ones_own(self) -> Self:
        if self.args and not is_own(self.name):
            raise ValueError(f"args are for a network of your own (path/to/file.py:NAME); '{self.name}' takes none")
        return self

    @field_validator("stages")
    @classmethod
    def _stage_names(cls, stages: dict[str, str] | None) -> dict[str, str] | None:
        for name in stages or {}:
            if not STAGE_NAME.fullmatch(name):
                raise ValueError(f"'{name}' cannot name a stage; use stage1, stage2, ..., stage1_pre, ..., pooled")
        return stages
