"""Where a student follows its teacher, and where it does not: image by image, by first choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

KINDS: Mapping[str, str] = {
    "both right": "teacher and student are right",
    "follows": "the student follows the teacher into its mistake",
    "mends": "the teacher is wrong, the student right",
    "own mistake": "the teacher is wrong, and the student in another way",
    "loses": "the teacher is right, the student wrong",
}


@dataclass(frozen=True)
class Followed:
    """Of one student: which images are of which kind. Every image is of exactly one."""

    masks: Mapping[str, Tensor]  # bool [N]

    def count(self, kind: str) -> int:
        return int(self.masks[kind].sum())

    def some(self, kind: str, most: int) -> list[int]:
        """The first of them, in the order of the data: nobody chose them."""
        return self.masks[kind].nonzero().flatten()[:most].tolist()


def follow(teacher: Tensor, student: Tensor, labels: Tensor) -> Followed:
    """From the first choices of both."""
    taught_right, right, same = teacher == labels, student == labels, teacher == student
    return Followed(
        {
            "both right": taught_right & right,
            "follows": ~taught_right & same,
            "mends": ~taught_right & right,
            "own mistake": ~taught_right & ~right & ~same,
            "loses": taught_right & ~right,
        }
    )


def at_quartiles(values: Tensor) -> list[int]:
    """Four images from the lowest to the highest of these values, evenly: the places 0, 1/3, 2/3 and 1 of their order."""
    order = torch.argsort(values, stable=True)
    places = [round(share * (len(order) - 1) / 3) for share in range(4)]
    return list(dict.fromkeys(int(order[place]) for place in places))
