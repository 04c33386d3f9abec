"""Values that are no mistake, but that somebody who trains networks would ask about: said once, before the first step."""

from __future__ import annotations

from collections.abc import Iterator

from protege.runs.config import RunConfig

LARGE = 96  # pixels: from here on the habits of 32 px are dear or without effect
TWO_STEMS = {"resnet18", "resnet34", "resnet50", "resnet101"}


def hints(config: RunConfig, image_size: int) -> Iterator[str]:
    optim, views = config.optim, config.views
    if image_size >= LARGE and config.model.name in TWO_STEMS and config.model.stem != "imagenet":
        yield (
            f"{config.model.name} looks at {image_size} px through the stem for 32 px, "
            "which takes some 16 times the arithmetic of --model.stem imagenet"
        )
    if image_size >= LARGE and views.crop == "pad" and 0 < views.padding < image_size // 16:
        yield (
            f"a border of {views.padding} px hardly moves images of {image_size} px: --views.padding {image_size // 8} "
            "does as much as 4 for 32 px, and --views.crop resized is usual for photographs"
        )
    late = [milestone for milestone in optim.milestones if milestone >= optim.epochs]
    if optim.schedule == "multistep" and late:
        yield f"the learning rate never falls at milestones {', '.join(map(str, late))}: there are {optim.epochs} epochs"
