"""What an exported file says of itself: enough to feed it and to name its answers. Read without torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from protege import __version__
from protege.errors import ModelError

MOST_CLASSES = 100_000  # more are a damaged file
LARGEST_IMAGE = 4096

Three = tuple[float, float, float]


@dataclass(frozen=True)
class About:
    """A classifier's classes and what must be done to a picture before it sees it."""

    classes: tuple[str, ...]  # none where the file does not name them
    size: int  # side of the square images in pixels
    mean: Three
    std: Three
    raw: bool = False  # takes uint8 pixels and gives probabilities, rather than normalised images and logits
    temperature: float | None = None  # fitted on held-out images; none where none were
    precision: str = "fp32"
    run: str = ""

    @property
    def preprocessing(self) -> str:
        """In words, for whoever feeds the file without protege."""
        square = (
            f"the middle square of the picture, {self.size} x {self.size} (bicubic), RGB, [images, 3, height, width]"
        )
        if self.raw:
            return f"{square}, as bytes from 0 to 255"
        return f"{square}, from 0 to 1, minus mean {list(self.mean)}, divided by std {list(self.std)}, float32"

    def written(self) -> dict[str, str]:
        """As a file's metadata: text by name."""
        values = {key: value for key, value in asdict(self).items() if value is not None}
        return {
            **{key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()},
            "preprocessing": self.preprocessing,
            "protege": __version__,
        }


def read_about(metadata: Mapping[str, str], origin: str) -> About | None:
    """What the metadata of a file say, checked; None where the file is not one of ours."""
    if "protege" not in metadata:
        return None
    try:
        return About(
            classes=_classes(json.loads(metadata["classes"])),
            size=_size(json.loads(metadata["size"])),
            mean=_three(json.loads(metadata["mean"])),
            std=_spread(json.loads(metadata["std"])),
            raw=json.loads(metadata["raw"]) is True,
            temperature=_temperature(json.loads(metadata.get("temperature", "null"))),
            precision=metadata.get("precision", "fp32")[:20],
            run=metadata.get("run", "")[:200],
        )
    except KeyError as error:
        raise ModelError(
            f"{origin} says that protege wrote it, but not its {error.args[0]}: export it again."
        ) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{origin} describes itself wrongly ({error!s:.200}): export it again.") from error


def _classes(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not 0 < len(given) <= MOST_CLASSES:
        raise ValueError("classes must be a list of names")
    return tuple(str(name)[:200] for name in given)


def _size(given: Any) -> int:
    if type(given) is not int or not 0 < given <= LARGEST_IMAGE:
        raise ValueError(f"size {given!s:.20} is no side of an image")
    return given


def _three(given: Any) -> Three:
    first, second, third = (float(one) for one in given)
    if not all(math.isfinite(one) for one in (first, second, third)):
        raise ValueError("mean and std must be finite")
    return first, second, third


def _spread(given: Any) -> Three:
    spread = _three(given)
    if min(spread) <= 0:
        raise ValueError("std must be above zero")
    return spread


def _temperature(given: Any) -> float | None:
    if given is None:
        return None
    if not 0 < float(given) < 1e6:
        raise ValueError(f"temperature {given!s:.20}")
    return float(given)
