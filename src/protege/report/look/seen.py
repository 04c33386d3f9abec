"""What each network makes of the same images: its features, its logits, and where it looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from protege.data.base import Images, at_a_time
from protege.report.figures.tiles import data_uri
from protege.report.look.follow import Followed, follow
from protege.teacher.speaking import Voice, ask

AT_ONCE = 100  # images; maps and their gradients stay in memory together


@dataclass(frozen=True)
class Seen:
    """One network. `where` is None where its last stage has no places, as in a transformer."""

    name: str
    short: str  # for the head of a column
    pooled: Tensor  # [N, D]
    logits: Tensor  # [N, C]
    where: Tensor | None = None  # [N, h, w], at least 0: how much each place speaks for the class asked about

    @property
    def choices(self) -> Tensor:
        return self.logits.argmax(1)


@dataclass(frozen=True)
class Looked:
    """The same held-out images, seen by all: the teacher first, where there is one; then the students."""

    images: Images
    classes: Sequence[str]
    teacher: Seen | None
    students: Sequence[Seen]

    @property
    def everybody(self) -> list[Seen]:
        return [one for one in (self.teacher, *self.students) if one is not None]

    @property
    def labels(self) -> Tensor:
        return self.images.labels.cpu()

    def followed(self, student: Seen) -> Followed:
        assert self.teacher is not None
        return follow(self.teacher.choices, student.choices, self.labels)

    def picture(self, position: int) -> str:
        return data_uri(self.images.pixels[position].numpy())

    def said(self, seen: Seen, position: int) -> str:
        """How sure it is, and of what: a long name is cut, and no figure."""
        chances = seen.logits[position].softmax(0)
        return f"{100 * float(chances.max()):.0f} % {self.classes[int(chances.argmax())]}"


def see(voice: Voice, images: Images, name: str, short: str, classes: Tensor | None = None) -> Seen:
    """`classes` are those whose evidence is looked for, an image each; else the network's own first choices."""
    device = next(voice.network.parameters()).device
    last = voice.network.names(("stages",))[-1]
    step = at_a_time(AT_ONCE, images.pixels.shape[-1])
    found = [
        _part(voice, images.pixels[start : start + step].to(device), last, _of(classes, start, step, device))
        for start in range(0, len(images), step)
    ]
    pooled, logits, where = zip(*found, strict=True)
    return Seen(name, short, torch.cat(pooled), torch.cat(logits), None if where[0] is None else torch.cat(where))


def _of(classes: Tensor | None, start: int, step: int, device: torch.device) -> Tensor | None:
    return None if classes is None else classes[start : start + step].to(device)


def _part(voice: Voice, pixels: Tensor, last: str, classes: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    with torch.enable_grad():
        said = ask(voice, pixels.float().requires_grad_(), ("logits", last, "pooled"))
        maps = said.features[last]
        asked = said.logits.argmax(1) if classes is None else classes
        where = _evidence(said.logits, maps, asked).cpu() if maps.ndim == 4 else None
    return said.features["pooled"].detach().flatten(1).cpu(), said.logits.detach().cpu(), where


def _evidence(logits: Tensor, maps: Tensor, classes: Tensor) -> Tensor:
    """Channels weighed by how much the class's logit rises with them (Grad-CAM), and only what speaks for it."""
    (rise,) = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), maps)
    return (rise.mean((2, 3), keepdim=True) * maps).sum(1).relu().detach()


def agreement(one: Tensor, other: Tensor) -> Tensor:
    """Correlation over places, an image each, at the finer of both resolutions; NaN where a map is the same everywhere."""
    side = max(one.shape[-1], other.shape[-1])
    mine, theirs = (spread(where, side).flatten(1).double() for where in (one, other))
    mine, theirs = (where - where.mean(1, keepdim=True) for where in (mine, theirs))
    return (mine * theirs).sum(1) / (mine.norm(dim=1) * theirs.norm(dim=1))


def spread(where: Tensor, side: int) -> Tensor:
    """Maps as large as that, between places by straight lines."""
    if where.shape[-1] == side:
        return where
    return F.interpolate(where[:, None], size=(side, side), mode="bilinear", align_corners=False)[:, 0]


def of_own_class(seen: Seen, labels: Tensor, neighbours: int = 10) -> float:
    """Share of each image's nearest neighbours, by features, that are of its class."""
    count = min(neighbours, len(labels) - 1)
    apart = torch.cdist(seen.pooled.double(), seen.pooled.double()).fill_diagonal_(torch.inf)
    nearest = apart.topk(count, largest=False).indices
    return float((labels[nearest] == labels[:, None]).double().mean())


def most_frequent(labels: Tensor, count: int) -> Sequence[int]:
    """The classes that have most images, in the order of the classes."""
    held = torch.bincount(labels)
    return sorted(torch.argsort(held, descending=True, stable=True)[: min(count, int((held > 0).sum()))].tolist())
