"""What is measured of a finished network: a measure is declared in one line of `MEASURES`, and everything else follows from it.

Findings, comparisons, tables, charts and the choice of a configuration go through `MEASURES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """A part of the findings: frozen, and complete JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Measure(Part):
    """How to read one measured quantity, and where its value lies."""

    name: str = Field(description="key in scores, summaries and effects: accuracy, nll, ...")
    label: str = Field(description="for people: accuracy, expected calibration error, ...")
    unit: str = Field(
        description="'%' of what is kept as a fraction of 1, '' of a plain number; another one is a price's"
    )
    difference_unit: str = Field(description="'points' or 'units' of a difference, or the price's unit")
    higher_is_better: bool | None = Field(description="None: neither is better in itself")
    needs_teacher: bool = Field(description="compares with a teacher")
    record: Literal["evaluation", "measured"] = Field(
        default="evaluation",
        description="evaluation: of images, as `protege evaluate` kept it; measured: the run's measured.json",
    )
    kept: str = Field(default="", description="dotted place in that record, of one epoch; empty: its name")
    heldout: bool = Field(default=True, description="held-out images tell it as test images do, so it may choose")

    @property
    def decimals(self) -> int:
        """With so many it is printed everywhere, differences too: points to a hundredth; likelihoods and divergences are smaller."""
        return {"": 4, "ms": 3, "bytes": 0, "parameters": 0, "multiply-adds": 0}.get(self.unit, 2)

    @property
    def chooses(self) -> bool:
        """Whether a configuration may be chosen by it."""
        of_images = self.record == "evaluation" and self.heldout
        return of_images and not self.needs_teacher and self.higher_is_better is not None


def _percent(name: str, label: str, higher: bool | None, **others: Any) -> Measure:
    return _measure(name, label, "%", "points", higher, **others)


def _plain(name: str, label: str, **others: Any) -> Measure:
    return _measure(name, label, "", "units", False, **others)


def _price(name: str, label: str, unit: str) -> Measure:
    """What a network costs where it runs; a run has it once `protege measure` was asked."""
    return _measure(name, label, unit, unit, False, record="measured")


def _measure(name: str, label: str, unit: str, difference_unit: str, higher: bool | None, **others: Any) -> Measure:
    fields = {"name": name, "label": label, "unit": unit, "difference_unit": difference_unit}
    return Measure.model_validate({**fields, "higher_is_better": higher, "needs_teacher": False, **others})


TAUGHT: dict[str, Any] = {"needs_teacher": True}
FITTED: dict[str, Any] = {"heldout": False}  # held-out images fit the temperature, so they do not judge it

MEASURES: dict[str, Measure] = {
    one.name: one
    for one in (
        _percent("accuracy", "accuracy", True),
        _percent("top5", "top-5 accuracy", True),
        _plain("nll", "negative log-likelihood"),
        _plain("brier", "Brier score"),
        _percent("ece", "expected calibration error", False),
        _plain("scaled_nll", "negative log-likelihood, temperature fitted", kept="scaled.nll", **FITTED),
        _percent("scaled_ece", "expected calibration error, temperature fitted", False, kept="scaled.ece", **FITTED),
        _percent("agreement", "agreement with the teacher", None, kept="fidelity.agreement", **TAUGHT),
        _plain("kl_t1", "KL from the teacher at temperature 1", kept="fidelity.kl_t1", **TAUGHT),
        _plain("kl_t4", "KL from the teacher at temperature 4", kept="fidelity.kl_t4", **TAUGHT),
        _price("bytes", "size", "bytes"),
        _price("parameters", "weights", "parameters"),
        _price("multiply_adds", "arithmetic", "multiply-adds"),
        _price("latency_ms", "latency", "ms"),
    )
}

Scores = dict[str, float | None]  # by measure, and the fitted `temperature`; None: not known of this network


RATIOS = ("gap_recovered", "error_reduction", "teacher_recovered")  # what publications make of accuracies, in percent


def ratios(taught: float, alone: float, teacher: float) -> dict[str, float | None]:
    """Of accuracies in percent. The gap is None where the teacher is no better than the student alone."""
    gain = taught - alone
    return {
        "gap_recovered": 100 * gain / (teacher - alone) if teacher > alone else None,
        "error_reduction": 100 * gain / (100 - alone) if alone < 100 else None,
        "teacher_recovered": 100 * taught / teacher if teacher else None,
    }


def scores(
    evaluated: Mapping[str, Any], fidelity: Mapping[str, float] | None = None, measured: Mapping[str, Any] | None = None
) -> Scores:
    """Of one network at one epoch, from the records of its run. `fidelity` stands for that of the evaluation."""
    records = {"evaluation": {**evaluated, "fidelity": fidelity}, "measured": measured or {}}
    known = {one.name: value_of(one, records[one.record]) for one in MEASURES.values() if records[one.record]}
    return {**known, "temperature": (evaluated.get("scaled") or {}).get("temperature")}


def value_of(measure: Measure, record: Mapping[str, Any]) -> float | None:
    """In the measure's unit; None where the record has no such value."""
    found: Any = record
    for step in (measure.kept or measure.name).split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    if not isinstance(found, int | float):
        return None
    return 100 * found if measure.unit == "%" else found
