"""Several methods at once, each with its weight: what papers write as "KD + CRD"."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from protege.lazy import Tensor, nn, torch
from protege.methods.base import Batch, Method, Outputs, Progress, Shapes
from protege.methods.lookup import AnyMethod


class Part(BaseModel):
    """One method of a sum, and its weight."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: AnyMethod
    weight: float = Field(default=1.0, gt=0, description="times all its terms but the labels")


class Sum(Method):
    """Any methods together. The labels count once, with this method's own `ce_weight` and `label_smoothing`.

    A part that changes the deployed student (as `simkd` does) changes what all parts see as the student's logits.
    Beside `dml`, the other parts teach the first student alone. While a part prepares the student without labels (`ab`
    and `fsp` in their first epochs), the labels and the other parts wait.
    """

    family: ClassVar[str] = "many"
    paper: ClassVar[str] = "those of its parts"
    formula: ClassVar[str] = (
        "ce_weight * CE(labels) + sum over parts of weight * their terms other than the labels; "
        "while a part prepares the student, that part's terms alone"
    )
    source: ClassVar[str] = "the parts' own defaults; labels 1"

    name: Literal["sum"] = "sum"
    parts: tuple[Part, ...] = Field(description="each {method: {name: ...}, weight: ...}")
    ce_weight: float = Field(default=1.0, ge=0, description="weight of the labels, counted once")

    @model_validator(mode="after")
    def _labels_once(self) -> Self:
        if not self.parts:
            raise ValueError("a sum needs one part at least: parts: [{method: kd}, {method: {name: ...}, weight: ...}]")
        for part in self.parts:
            if part.method.name == "supervised":
                raise ValueError("part supervised has nothing but the labels; set the sum's ce_weight")
            for name in ("ce_weight", "label_smoothing"):
                known = type(part.method).model_fields.get(name)
                if known is not None and getattr(part.method, name) != known.default:
                    raise ValueError(f"{name} of part '{part.method.name}' would be ignored: set the sum's own {name}")
        if sum(_deploys(part.method) for part in self.parts) > 1:
            raise ValueError("two parts change the deployed student; a sum can hold one such method")
        return self

    @property
    def cohort(self) -> int:
        return max(part.method.cohort for part in self.parts)

    def wants(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(["logits", *(read for part in self.parts for read in part.method.wants())]))

    def wants_teacher(self) -> bool:
        return any(part.method.wants_teacher() for part in self.parts)

    def added(self) -> str:
        return next((part.method.added() for part in self.parts if _deploys(part.method)), "nothing")

    def labelled(self) -> list[tuple[str, Part]]:
        """The parts by the names their terms and adapters get: the method's, numbered where it comes again."""
        named: dict[str, Part] = {}
        for part in self.parts:
            stem = part.method.name.rpartition(":")[2]  # of a method from outside, its class
            again = 2
            label = stem
            while label in named:
                label, again = f"{stem}{again}", again + 1
            named[label] = part
        return list(named.items())

    def prepares(self, progress: Progress) -> bool:
        return any(part.method.prepares(progress) for part in self.parts)

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        return nn.ModuleDict({f"of_{label}": part.method.adapters(student, teacher) for label, part in self.labelled()})

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        student = replace(student, logits=self.predict(student, adapters))
        preparing = self.prepares(progress)
        terms = {} if preparing else {"labels": self.ce_weight * self._labels(student, batch)}
        for label, part in self.labelled():
            if preparing and not part.method.prepares(progress):
                continue
            own = part.method.terms(student, teacher, batch, adapters.get_submodule(f"of_{label}"), progress)
            terms |= {f"{label}.{term}": part.weight * value for term, value in own.items() if term != "labels"}
        return terms

    def _labels(self, student: Outputs, batch: Batch) -> Tensor:
        """Of all peers together."""
        learners = student.members or (student,)
        return torch.stack([self.label_loss(learner.logits, batch) for learner in learners]).sum()

    def predict(self, student: Outputs, adapters: nn.Module) -> Tensor:
        for label, part in self.labelled():
            if _deploys(part.method):
                return part.method.predict(student, adapters.get_submodule(f"of_{label}"))
        return student.logits


def _deploys(method: Method) -> bool:
    """Whether the method predicts with more than the student's own logits."""
    return method.added() != "nothing"
