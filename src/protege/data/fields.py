"""Fields of a description, whatever they describe: what no number may be is refused in one place."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, SerializerFunctionWrapHandler, ValidationInfo, field_validator, model_serializer

LARGEST_FLOAT = 1e9  # float32, in which networks count, ends at 3e38: squares and products need room
LARGEST_INT = 2**31


class Fields(BaseModel):
    """A `true` is not the number 1, and a number must be one that networks can count with.

    Fields that `came_later` are written only where they are not their defaults: so a description that has nothing of them is
    written, and named by its hash, as it was before there were such fields.
    """

    came_later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unused = {name for name in self.came_later if getattr(self, name) == type(self).model_fields[name].default}
        return {name: value for name, value in write(self).items() if name not in unused}

    @field_validator("*", mode="before")
    @classmethod
    def _a_number_that_counts(cls, value: Any, about: ValidationInfo) -> Any:
        if isinstance(value, int | float | list | tuple) and about.field_name is not None:
            takes = cls.model_fields[about.field_name].annotation
            for one in value if isinstance(value, list | tuple) else (value,):
                _refuse(one, takes, "seed" in about.field_name)
        return value


def _refuse(value: Any, takes: Any, seed: bool) -> None:
    if isinstance(value, bool):
        if not _among(bool, takes) and (_among(int, takes) or _among(float, takes)):
            raise ValueError("a number is needed, not true or false")
    elif isinstance(value, float) and abs(value) > LARGEST_FLOAT:
        raise ValueError(f"a number up to {LARGEST_FLOAT:g} is needed")
    elif isinstance(value, int) and abs(value) > LARGEST_INT and not seed:
        raise ValueError(f"a number up to {LARGEST_INT} is needed")


def _among(kind: type, annotation: Any) -> bool:
    return annotation is kind or any(_among(kind, inside) for inside in getattr(annotation, "__args__", ()))
