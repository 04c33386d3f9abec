"""What is compared: two networks, the ways to train them, and the one factor in which each way differs from another."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from protege.data.config import DataConfig
from protege.runs.config import Described
from protege.train.arithmetic import Execution

What = Literal["alone", "kd", "feature", "reviewkd", "slots"]
Taught = Literal["supervised", "kd", "feature", "reviewkd"]
Precision = Literal["fp32", "bf16"]
WORDS: dict[What, str] = {
    "alone": "student alone",
    "kd": "logit-KD",
    "feature": "Feature-KD",
    "reviewkd": "ReviewKD",
    "slots": "logit-KD remembered, in slots",
}
REFERENCE = "reference"
STRONG = "reference, strong"


class Pair(Described):
    """Who teaches whom, with how many images a step."""

    teacher: str = Field(description="a network's name: what it has learned does not matter for speed")
    student: str
    batch_size: int = Field(ge=2)

    @property
    def label(self) -> str:
        return f"{self.teacher} -> {self.student}, batch {self.batch_size}"


class Setting(Described):
    """Where and with what all of it is measured."""

    folder: Path = Field(default=Path(), description="for files that are thrown away afterwards")
    data: DataConfig = Field(default_factory=lambda: DataConfig(name="cifar10-mini"))
    data_dir: Path | None = None
    device: str = "cpu"
    threads: int = Field(ge=1)
    compile: bool | None = Field(
        default=None, description="students by torch.compile; None: where it pays in a long run"
    )
    loader_workers: int = Field(default=2, ge=0, description="processes that prepare the reference's batches")

    @property
    def device_kind(self) -> str:
        return self.device.partition(":")[0]


class Arithmetic(Described):
    """In what student and teacher compute; weights are fp32 throughout."""

    student: Precision = "fp32"
    teacher: Precision = "fp32"


class Variant(Described):
    """One way to train. `adds` names the only thing in which it differs from the variant `to`."""

    name: str
    role: Literal["reference", "ours"] = "ours"
    method: Taught
    adds: str = ""
    to: str = ""
    allocator: bool = Field(default=True, description="freed memory is kept for the next step; ours always does")
    channels_last: bool = True
    arithmetic: Arithmetic = Arithmetic()
    execution: Execution = "eager"
    known: float = Field(default=0.0, ge=0, le=1, description="share of the images whose views the teacher has seen")
    in_asks: bool = Field(
        default=False, description="epochs in which the teacher is asked about whole batches of its own"
    )
    slots: int = Field(default=1, ge=1)

    @property
    def precision(self) -> str:
        """For people."""
        student, teacher = self.arithmetic.student, self.arithmetic.teacher
        return student if self.method == "supervised" or student == teacher else f"{student}, teacher {teacher}"

    @property
    def asks(self) -> float:
        """Share of the images that the teacher has to look at."""
        if self.method == "supervised":
            return 0.0
        return 1.0 if self.role == "reference" or self.method in ("feature", "reviewkd") else 1 - self.known

    def images(self, batch_size: int, asked_together: int) -> int:
        """Of a pass of ours on a CPU: a step's, or so many that the teacher's batch is full and not filled up."""
        if not self.in_asks:
            return batch_size
        return asked_together if self.known == 1 else round(asked_together / (1 - self.known))


def variants(
    what: What, arithmetic: Arithmetic, slots: tuple[int, ...] = (1, 2, 4), execution: Execution = "eager"
) -> list[Variant]:
    """The first is what the others are compared with."""
    if what == "alone":
        return [*_references("supervised"), *_ladder("supervised", arithmetic, execution)]
    if what == "kd":
        return [*_references("kd"), *_ladder("kd", arithmetic, execution), *_remembered(arithmetic, execution)]
    if what in ("feature", "reviewkd"):
        return [*_references(what), *_ladder(what, arithmetic, execution)]
    return _slots(arithmetic, slots)


def _references(method: Taught) -> list[Variant]:
    """As anyone would run it; and strong, with the three lines that a careful user adds."""
    plain = Variant(name=REFERENCE, role="reference", method=method, allocator=False, channels_last=False)
    kept = plain.model_copy(
        update={"name": f"{REFERENCE} + allocator", "allocator": True, "adds": "allocator", "to": REFERENCE}
    )
    lower = Arithmetic(student="bf16", teacher="bf16")
    strong = {"name": STRONG, "channels_last": True, "arithmetic": lower, "adds": "bf16 and layout", "to": kept.name}
    return [plain, kept, kept.model_copy(update=strong)]


def _ladder(method: Taught, arithmetic: Arithmetic, execution: Execution) -> list[Variant]:
    """Ours, as plain as it can be, and then one thing more at a time; the last is what protege does by itself."""
    base = Variant(name="ours, plain", method=method, channels_last=False, in_asks=method == "kd")
    steps = [base.model_copy(update={"adds": "loop", "to": f"{REFERENCE} + allocator"})]

    def add(adds: str, **more: object) -> None:
        last = steps[-1]
        steps.append(last.model_copy(update={"name": f"{last.name} + {adds}", "adds": adds, "to": last.name, **more}))

    add("layout", channels_last=True)
    if arithmetic.student != "fp32" or (method != "supervised" and arithmetic.teacher != "fp32"):
        add("precision", arithmetic=arithmetic)
    if execution != "eager":
        add("compile", execution=execution)
    steps[-1] = steps[-1].model_copy(update={"name": "ours"})
    return steps


def _ours(
    method: Literal["supervised", "kd"], arithmetic: Arithmetic, execution: Execution = "eager", **more: object
) -> Variant:
    fields = {"name": "ours", "method": method, "arithmetic": arithmetic, "execution": execution, "in_asks": True}
    return Variant.model_validate(fields | more)


def _remembered(arithmetic: Arithmetic, execution: Execution) -> list[Variant]:
    half = {"name": "ours, half remembered", "known": 0.5}
    whole = {"name": "ours, remembered", "known": 1.0, "adds": "memory", "to": "ours"}
    return [
        _ours("kd", arithmetic, execution, **half),
        _ours("kd", arithmetic, execution, **whole),
        _ours("supervised", arithmetic, execution, name="ours, student alone"),
    ]


def _slots(arithmetic: Arithmetic, numbers: tuple[int, ...]) -> list[Variant]:
    """Some runs at once share out the cores; one compiled student at a time is trouble enough, so none is."""
    found = [
        _ours(
            "kd", arithmetic, known=1.0, slots=number, name=_slot_name(number), adds=f"{number} slots", to=_slot_name(1)
        )
        for number in numbers
    ]
    return [found[0].model_copy(update={"adds": "", "to": ""}), *found[1:]]


def _slot_name(number: int) -> str:
    return f"{number} slot{'' if number == 1 else 's'}"
