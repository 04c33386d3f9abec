"""The contract between a method and the training loop.

A method never calls a network: it receives what student and teacher said of one batch, and returns named, weighted
terms whose sum is the loss. So remembering the teacher, mixed precision, compilation and several teachers live once,
elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict, Field

from protege.data.fields import Fields
from protege.lazy import F, Tensor, nn, torch


@dataclass(frozen=True)
class Classifier:
    """The last linear layer, for methods that project onto its classes."""

    weight: Tensor  # [C, D]
    bias: Tensor | None = None  # [C]


@dataclass
class Outputs:
    """What one network said of a batch.

    Of several teachers, `logits` is the log of their mean probability and `members` holds each. Of a student that
    learns among peers, `members` holds each peer, the student itself first.
    """

    logits: Tensor  # [B, C]
    features: Mapping[str, Tensor] = field(
        default_factory=dict
    )  # "stage1".. [B, C, H, W], "stage1_pre".., "pooled" [B, D]
    classifier: Classifier | None = None
    members: tuple[Outputs, ...] = ()


@dataclass
class Batch:
    """The right answers, and where the images stand in the dataset. Mixed images have a second label, `partners`."""

    labels: Tensor  # [B]
    indices: Tensor  # [B], position in the full training set
    partners: Tensor | None = None  # [B], labels of the images mixed in (mixup, CutMix)
    share: Tensor | None = None  # [B], how much of each image is its own; 1 - share is the partner's


@dataclass(frozen=True)
class Shapes:
    """What a network's outputs look like, without the batch: enough to build adapters before the first step."""

    classes: int
    features: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # "stage1": (C, H, W), "pooled": (D,)
    images: int = 0  # of the full training set, for memory banks
    classifier: Classifier | None = None  # detached copies
    # "stage1_pre": weight and bias [C] of the batch norm that feeds it, before any folding; empty where there is none
    norms: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def stages(self) -> list[str]:
        """Names of the stage maps, shallowest first."""
        return [name for name in self.features if name.startswith("stage") and not name.endswith("_pre")]


@dataclass(frozen=True)
class Progress:
    """How far training is, for methods that warm up."""

    epoch: int  # from 0
    epochs: int

    def shortened(self, epochs: int) -> int:
        """Epochs of a first phase or warm-up: as wanted, but at most half of the run, so that short runs learn too."""
        return min(epochs, self.epochs // 2)

    def warmed(self, epochs: int) -> float:
        """Reached of a linear warm-up over `epochs`, shortened as above: 1 from the last of them on."""
        epochs = self.shortened(epochs)
        return min((self.epoch + 1) / epochs, 1.0) if epochs else 1.0


class Method(Fields):
    """A method is its hyper-parameters: hashed, validated, swept and printed from this one declaration.

    The loop asks `wants()`, `wants_teacher()`, `added()` and `cohort` of the instance, for one sum of methods differs
    from the next. A method that wants no teacher is handed `nobody()` and `Shapes(0)` in its place.
    """

    # Schemas are built at first use: forty of them at import would slow the command line down.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    # Which outputs `terms` looks at: "logits", "pooled", "stages", "preactivations", "classifier".
    reads: ClassVar[tuple[str, ...]] = ("logits",)
    needs_teacher: ClassVar[bool] = True
    family: ClassVar[str] = ""  # logits, features, relations, uncertainty, many, none
    paper: ClassVar[str] = ""  # authors year, title. arXiv id; else what its file begins with
    formula: ClassVar[str] = ""  # in words and symbols, one or two lines
    source: ClassVar[str] = ""  # where the defaults come from
    adds: ClassVar[str] = "nothing"  # to the student that is deployed
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # "resnet56 -> resnet20": {"others_weight": 2}
    # Presets of another form of the method, which an option turns on: "standardised": presets
    variants: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {}

    if TYPE_CHECKING:
        name: Any  # each method narrows it to its one word, which the checker forbids of a plain str
    else:
        name: str
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="probability spread over all classes in the label term"
    )

    @property
    def cohort(self) -> int:
        """How many students learn together; each peer starts from its own weights, and the first is the one kept."""
        return 1

    def wants(self) -> tuple[str, ...]:
        """Which outputs this instance reads."""
        return type(self).reads

    def wants_teacher(self) -> bool:
        """Whether this instance needs a teacher."""
        return type(self).needs_teacher

    def added(self) -> str:
        """What this instance adds to the student that is deployed."""
        return type(self).adds

    def prepares(self, progress: Progress) -> bool:
        """Whether the student is only prepared in this epoch, without the labels; in a `sum`, other parts wait for it."""
        return False

    def adapters(self, student: Shapes, teacher: Shapes) -> nn.Module:
        """Trainable parts and memory banks; optimised, clipped, saved and resumed with the student."""
        return nn.Module()

    def terms(
        self, student: Outputs, teacher: Outputs, batch: Batch, adapters: nn.Module, progress: Progress
    ) -> dict[str, Tensor]:
        """The weighted parts of the loss by name. The one called "labels" compares with the right answers."""
        raise NotImplementedError

    def predict(self, student: Outputs, adapters: nn.Module) -> Tensor:
        """The deployed student's logits; other than its own only where a method says so in `adds`."""
        return student.logits

    def label_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return label_loss(logits, batch, self.label_smoothing)


def nobody() -> Outputs:
    """The teacher of a method that needs none; comparing with it fails loudly."""
    return Outputs(logits=torch.empty(0))


def at_least_float32(tensor: Tensor) -> Tensor:
    """Half precision loses what softmax and its differences live on; float32 and float64 stay what they are."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def over_labels(batch: Batch, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """`loss(labels)` of each example, [B]; where images were mixed, shared between its own and its partner's label."""
    own = loss(batch.labels)
    if batch.partners is None or batch.share is None:
        return own
    return batch.share * own + (1 - batch.share) * loss(batch.partners)


def label_loss(logits: Tensor, batch: Batch, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with the labels, shared with the partners' where images were mixed. In float32 at least."""
    logits = at_least_float32(logits)
    return over_labels(
        batch, lambda labels: F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    ).mean()


def divergence(student: Tensor, teacher: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """KL(teacher || student at `temperature`) of each example, [B], times T^2 so that gradients keep their scale.

    `student` is logits, `teacher` the log of probabilities that are softened already, as `softened_teacher` gives them.
    """
    softened = F.log_softmax(at_least_float32(student) / temperature, dim=1)
    return F.kl_div(softened, teacher, reduction="none", log_target=True).sum(1) * temperature**2


def softened_kl(student: Tensor, teacher: Tensor, temperature: float | Tensor) -> Tensor:
    """KL(teacher || student) at `temperature`, times T^2; summed over classes, mean over the batch. Both are logits."""
    return divergence(student, softened_teacher(Outputs(teacher), temperature), temperature).mean()


def softened_members(teacher: Outputs, temperature: float | Tensor) -> Tensor:
    """Log of each teacher's probabilities at `temperature`, [K, B, C]; a single teacher is its own only member."""
    members = teacher.members or (teacher,)
    return torch.stack([F.log_softmax(at_least_float32(one.logits.detach()) / temperature, dim=1) for one in members])


def softened_teacher(teacher: Outputs, temperature: float | Tensor) -> Tensor:
    """Log of the teacher's probabilities at `temperature`, [B, C]; of several teachers, of the mean of theirs."""
    softened = softened_members(teacher, temperature)
    return softened[0] if len(softened) == 1 else softened.logsumexp(0) - math.log(len(softened))
