"""Which network, from where its weights come, and which of its layers are read."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from protege.data.fields import Fields

STAGE_NAME = re.compile(r"stage\w+|pooled|last")


class ModelConfig(Fields):
    """A network, described. A bare name is enough: `resnet8` means `{name: resnet8}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        min_length=1, description="one of `protege models`, or timm:NAME or torchvision:NAME, e.g. timm:convnext_tiny"
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

    @field_validator("stages")
    @classmethod
    def _stage_names(cls, stages: dict[str, str] | None) -> dict[str, str] | None:
        for name in stages or {}:
            if not STAGE_NAME.fullmatch(name):
                raise ValueError(f"'{name}' cannot name a stage; use stage1, stage2, ..., stage1_pre, ..., pooled")
        return stages
