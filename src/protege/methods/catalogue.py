"""What there is to say about a method, read from its own declaration. Costs no torch.

The command line, `docs/methods.md` and the tests print the same cards. Two things cannot be read from a declaration
without torch and are kept here, each checked by a test that builds the adapters: how many parameters train beside the
student, and how many numbers are remembered.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from pydantic.fields import FieldInfo

from protege.methods import METHODS, resolve
from protege.methods.base import Method

REFERENCE = "resnet32x4 -> resnet8x4"  # 1,233,540 parameters in the student
REFERENCE_CLASSES, REFERENCE_IMAGES = 100, 50_000

# Parameters that are trained beside the student of the reference pair; a method that is not here trains none.
TRAINED_BESIDE: Mapping[str, int] = {
    "ctkd": 1,
    "feature": 86_016,
    "fitnet": 16_768,
    "vid": 258_496,
    "ft": 3_098_240,
    "ofd": 86_912,
    "reviewkd": 1_808_774,
    "semckd": 10_233_632,
    "srrl": 66_048,
    "simkd": 214_016,
    "cc": 65_792,
    "crd": 65_792,
    "byot": 130_696,
    "dml": 1_233_540,
}
# Numbers remembered about the reference's images, where a method remembers any.
REMEMBERED: Mapping[str, int] = {"crd": 2 * 128 * REFERENCE_IMAGES}

# What a step costs beyond the two networks, where that is more than a few sums over logits or maps.
COSTS: Mapping[str, str] = {
    "mlkd": "products of the batch with itself and of the classes with themselves at five temperatures; "
    "the paper shows two views of each image, twice the price of everything",
    "feature": "a 1x1 convolution at every stage",
    "fitnet": "one convolution",
    "fsp": "in its first epochs, which are epochs without labels, products of all channels of neighbouring stages, image "
    "by image; nothing after",
    "nst": "products of all pairs of channels at every stage, image by image",
    "vid": "three 1x1 convolutions at every stage",
    "ft": "in its first epochs six convolutions over the teacher's last map, while the student hears the labels alone; "
    "then three over each network's",
    "ab": "nothing after its first epochs, but those are epochs without labels",
    "ofd": "a 1x1 convolution at every stage",
    "reviewkd": "two convolutions and an attention at every stage, wider than the student",
    "semckd": "three convolutions for every pair of a student's and a teacher's stage: the dearest for its networks",
    "sdd": "both classifiers over every cell of the last maps: 21 in place of one",
    "simkd": "three convolutions over the last map, in the deployed student too",
    "sp": "one product of the batch with itself",
    "pkt": "one product of the batch with itself",
    "rkd": "angles of all triples of a batch: time and memory grow with its cube, so keep batches at 128 or below",
    "crd": "each image against `negatives` remembered ones, and two memories of `dim` numbers for every training image",
    "multi": "every teacher's forward pass, or nothing where their logits are remembered",
    "sum": "what its parts cost together; the networks run once",
    "byot": "an exit of a few convolutions on every stage but the last, forward and backward",
    "dml": "as many networks trained as there are peers, and none asked",
}


class Setting(TypedDict):
    """One hyper-parameter."""

    default: Any
    meaning: str | None
    required: NotRequired[bool]


class Card(TypedDict):
    """A method in full."""

    name: str
    summary: str  # its first sentence or two
    details: str  # what else one should know; may be empty
    family: str
    paper: str
    formula: str
    source: str
    reads: list[str]
    needs_teacher: bool
    adds: str
    costs: str
    trained_beside: int | None  # parameters, for the reference pair; None where nobody counted
    remembered: int
    presets: dict[str, dict[str, Any]]
    variants: dict[str, dict[str, dict[str, Any]]]  # presets of another form, by what it is called
    fields: dict[str, Setting]


def cards() -> list[Card]:
    """All methods that come with protege, in the order of the catalogue."""
    return [card(name) for name in METHODS]


def _above(method: type[Method]) -> str:
    """The paper, as the file of a method begins with it."""
    return _one_line((sys.modules[method.__module__].__doc__ or "").partition("\n\n")[0]).removesuffix(".")


def card(name: str) -> Card:
    """One method; of one from outside, `my_method.py:Mine`, all that its declaration says."""
    method = resolve(name)
    summary, _, details = (method.__doc__ or "").strip().partition("\n\n")
    own = name in METHODS
    return {
        "name": name,
        "summary": _one_line(summary),
        "details": _one_line(details),
        "family": method.family,
        "paper": method.paper or (_above(method) if own else ""),
        "formula": method.formula,
        "source": method.source,
        "reads": list(method.reads),
        "needs_teacher": method.needs_teacher,
        "adds": method.adds,
        "costs": costs(name, method),
        "trained_beside": TRAINED_BESIDE.get(name, 0) if own else None,
        "remembered": REMEMBERED.get(name, 0),
        "presets": {pair: dict(values) for pair, values in method.presets.items()},
        "variants": {
            form: {pair: dict(values) for pair, values in presets.items()} for form, presets in method.variants.items()
        },
        "fields": {field: _setting(info) for field, info in method.model_fields.items() if field != "name"},
    }


def costs(name: str, method: type[Method]) -> str:
    """What a step takes beyond the student's own forward and backward pass."""
    if not method.needs_teacher or method.family == "many":
        asked = ""
    elif method.reads == ("logits",):
        asked = "the teacher's forward pass, or nothing where its logits are remembered"
    else:
        asked = "the teacher's forward pass in every step, for features are not remembered"
    return "; ".join(part for part in (asked, COSTS.get(name, "")) if part) or "nothing"


def plain(value: object) -> str:
    """A setting as people write it: 4, not 4.0; a third, not sixteen digits of it."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def listed(values: Mapping[str, object]) -> str:
    """`temperature 10, kd_weight 100`."""
    return ", ".join(f"{field} {plain(value)}" for field, value in values.items())


def _setting(info: FieldInfo) -> Setting:
    if info.is_required():
        return {"default": None, "meaning": info.description, "required": True}
    return {"default": info.default, "meaning": info.description}


def _one_line(text: str) -> str:
    return " ".join(text.split())
