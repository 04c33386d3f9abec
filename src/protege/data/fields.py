"""Fields of a description, whatever they describe: what no number may be is refused in one place."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationInfo, field_validator

LARGEST_FLOAT = 1e9  # float32, in which networks count, ends at 3e38: squares and products need room
LARGEST_INT = 2**31
MOST_THREADS = (
    1024  # of one process: where OpenMP cannot begin as many as it is told, it ends the process without a word of ours
)


def not_given(value: object) -> bool:
    """Fields that came later are not in the description of a run that does not use them: it keeps its id."""
    return value is None or value is False


class Fields(BaseModel):
    """A `true` is not the number 1, and a number must be one that networks can count with."""

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
