"""What is measured of a finished network: a measure is one field of `Scores`, and everything else follows from it.

Findings, tables, comparisons and charts go through `MEASURES`. One that older findings lack needs the default None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """A part of the findings: frozen, and complete JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Measure(Part):
    """How to read one measured quantity."""

    name: str = Field(description="key in scores, summaries and effects: accuracy, nll, ...")
    label: str = Field(description="for people: accuracy, expected calibration error, ...")
    unit: str = Field(description="'%' or '' of a value")
    difference_unit: str = Field(description="'points' or 'units' of a difference")
    higher_is_better: bool | None = Field(description="None: neither is better in itself")
    needs_teacher: bool = Field(description="compares with a teacher")


@dataclass(frozen=True)
class _Kind:
    """What a field of `Scores` says of itself."""

    label: str
    unit: str
    difference_unit: str
    higher_is_better: bool | None
    needs_teacher: bool


def _percent(label: str, higher: bool | None, teacher: bool = False) -> _Kind:
    """Of what an evaluation keeps as a fraction of 1."""
    return _Kind(label, "%", "points", higher, teacher)


def _plain(label: str, teacher: bool = False) -> _Kind:
    return _Kind(label, "", "units", False, teacher)


class Scores(Part):
    """Of one network on one set of images. Percent where the measure says so."""

    accuracy: Annotated[float, _percent("accuracy", True)]
    top5: Annotated[float | None, _percent("top-5 accuracy", True)] = Field(
        description="None with five classes or fewer"
    )
    nll: Annotated[float, _plain("negative log-likelihood")]
    brier: Annotated[float, _plain("Brier score")]
    ece: Annotated[float, _percent("expected calibration error", False)]
    temperature: float | None = Field(description="fitted on held-out images; None where there are none")
    scaled_nll: Annotated[float | None, _plain("negative log-likelihood, temperature fitted")] = Field(
        description="with that temperature"
    )
    scaled_ece: Annotated[float | None, _percent("expected calibration error, temperature fitted", False)] = Field(
        description="with that temperature"
    )
    agreement: Annotated[float | None, _percent("agreement with the teacher", None, teacher=True)] = Field(
        description="share of images with the reference teacher's first choice; None without a teacher"
    )
    kl_t1: Annotated[float | None, _plain("KL from the teacher at temperature 1", teacher=True)] = Field(
        description="KL(teacher || student) at temperature 1"
    )
    kl_t4: Annotated[float | None, _plain("KL from the teacher at temperature 4", teacher=True)] = Field(
        description="KL(teacher || student) at temperature 4, no T^2"
    )


MEASURES: dict[str, Measure] = {
    name: Measure(name=name, **asdict(kind))
    for name, field in Scores.model_fields.items()
    for kind in field.metadata
    if isinstance(kind, _Kind)
}


RATIOS = ("gap_recovered", "error_reduction", "teacher_recovered")  # what publications make of accuracies, in percent


def ratios(taught: float, alone: float, teacher: float) -> dict[str, float | None]:
    """Of accuracies in percent. The gap is None where the teacher is no better than the student alone."""
    gain = taught - alone
    return {
        "gap_recovered": 100 * gain / (teacher - alone) if teacher > alone else None,
        "error_reduction": 100 * gain / (100 - alone) if alone < 100 else None,
        "teacher_recovered": 100 * taught / teacher if teacher else None,
    }


def scores(found: Mapping[str, Any], fidelity: Mapping[str, float] | None = None) -> Scores:
    """From an evaluation's record, in fractions of 1, to percent. With a fitted temperature, keys begin with `scaled_`."""
    scaled = found.get("scaled") or {}
    known = {
        **found,
        "temperature": scaled.get("temperature"),
        **{f"scaled_{name}": value for name, value in scaled.items()},
        **{name: (fidelity or {}).get(name) for name, measure in MEASURES.items() if measure.needs_teacher},
    }
    return Scores.model_validate({name: in_unit(name, known.get(name)) for name in Scores.model_fields})


def in_unit(name: str, value: float | None) -> float | None:
    """A fraction of 1 as percent, where the measure is in percent."""
    if value is None or name not in MEASURES or MEASURES[name].unit != "%":
        return value
    return 100 * value
