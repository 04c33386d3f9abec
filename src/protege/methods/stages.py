"""Which stages of two networks are compared, and what makes their maps comparable."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager

from protege.errors import ShapeMismatch
from protege.lazy import F, Tensor, torch
from protege.methods.base import Classifier, Outputs, Shapes, at_least_float32

Described = Shapes | Outputs


def stage_names(network: Described, suffix: str = "") -> list[str]:
    """Names of the stages, shallowest first; with suffix "_pre", of their pre-activations."""
    return sorted(_numbered(network.features, suffix), key=lambda name: int(name[5:].removesuffix(suffix)))


def _numbered(names: Iterable[str], suffix: str) -> list[str]:
    return [
        name
        for name in names
        if name.startswith("stage") and name.endswith(suffix) and name[5:].removesuffix(suffix).isdigit()
    ]


def matched_stages(student: Described, teacher: Described, suffix: str = "") -> list[tuple[str, str]]:
    """Stages to compare, shallowest first: the deepest with the deepest, and so back as far as both have any."""
    mine, theirs = stage_names(student, suffix), stage_names(teacher, suffix)
    both = min(len(mine), len(theirs))
    if both == 0:
        missing = "pre-activation maps" if suffix else "stage maps"
        silent = "the student" if not mine else "the teacher"
        raise ShapeMismatch(
            f"This method compares {missing}, and {silent} has none. "
            "Choose a method that reads logits or pooled features."
        )
    return list(zip(mine[-both:], theirs[-both:], strict=True))


def chosen_pair(student: Described, teacher: Described, stage: int, suffix: str = "") -> tuple[str, str]:
    """One of the matched stages: 1 is the shallowest, -1 the deepest."""
    pairs = matched_stages(student, teacher, suffix)
    if stage == 0 or not -len(pairs) <= stage <= len(pairs):
        raise ShapeMismatch(
            f"stage {stage}: these networks match in {len(pairs)} stages. "
            f"Choose 1 to {len(pairs)}, or -1 for the deepest."
        )
    return pairs[stage - 1 if stage > 0 else stage]


def last_map(network: Described) -> str:
    """Name of the map whose mean the classifier reads: "last" where the network names it, else its deepest stage."""
    return "last" if "last" in network.features else stage_names(network)[-1]


def stage_maps(student: Outputs, teacher: Outputs, suffix: str = "") -> list[tuple[Tensor, Tensor]]:
    """Maps of the matched stages, shallowest first; the teacher's carry no gradient."""
    return [pair_of(student, teacher, *names) for names in matched_stages(student, teacher, suffix)]


def pair_of(student: Outputs, teacher: Outputs, mine: str, theirs: str) -> tuple[Tensor, Tensor]:
    """One feature of each, in float32 at least; the teacher's carries no gradient."""
    return at_least_float32(student.features[mine]), at_least_float32(teacher.features[theirs].detach())


def pooled_vectors(student: Outputs, teacher: Outputs) -> tuple[Tensor, Tensor]:
    """What goes into the two classifiers, [B, D] each; the teacher's carries no gradient."""
    return pair_of(student, teacher, "pooled", "pooled")


def pooled_to(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps averaged down to `size`. Whole ratios take the pooling whose gradient is the same on every run."""
    height, width = maps.shape[-2:]
    if (height, width) == size:
        return maps
    if height % size[0] == 0 and width % size[1] == 0:
        return F.avg_pool2d(maps, (height // size[0], width // size[1]))
    return F.adaptive_avg_pool2d(maps, size)


def same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """The larger of two maps averaged down to the smaller."""
    size = smaller_size(tuple(student.shape), tuple(teacher.shape))
    return pooled_to(student, size), pooled_to(teacher, size)


def smaller_size(student: tuple[int, ...], teacher: tuple[int, ...]) -> tuple[int, int]:
    """Height and width that both maps can be averaged down to."""
    return min(student[-2], teacher[-2]), min(student[-1], teacher[-1])


def full_precision(values: Tensor) -> AbstractContextManager[object]:
    """Where products keep the precision of their factors, although the step around them is mixed."""
    return torch.autocast(values.device.type, enabled=False)


def classifier_over(network: Described, width: int, owner: str) -> Classifier:
    """The last linear layer; an error where it does not read `width` features."""
    classifier = network.classifier
    if classifier is None:
        raise ShapeMismatch(
            f"This method uses the {owner}'s classifier, and its last layer is not linear. "
            "Choose another network or method."
        )
    if classifier.weight.shape[1] != width:
        raise ShapeMismatch(
            f"This method puts the {owner}'s classifier on its last features, but those are {width} wide and the "
            f"classifier reads {classifier.weight.shape[1]}. Name the map that is pooled into it as the last stage, under "
            "`stages:` of the model's configuration, or choose another network."
        )
    return classifier
