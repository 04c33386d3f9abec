"""What was taken away from a network that ships: channels, and bits of its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from protege.data.outside.consent import recorded
from protege.models import build
from protege.models.measure import multiply_adds
from protege.runs import Run, read_weights

if TYPE_CHECKING:
    from protege.ship.export import Exported
    from protege.ship.formats.build import Wanted


def channels(run: Run, which: str, network: nn.Module, size: int) -> dict[str, Any] | None:
    """Beside the network of that name as it is built, however many runs the pruning took; none where nothing was pruned."""
    if read_weights(run.weights_file(which))[1].get("pruned") is not True:
        return None
    record = run.record()
    with recorded(str(run.record_file), record.get("code")):
        whole = build(run.network(), len(record["data"]["classes"]))
    before, after = widths(whole), widths(network)
    cost, whole_cost = multiply_adds(network, size), multiply_adds(whole, size)
    return {
        "multiply_adds_before": whole_cost,
        "share": cost / whole_cost,
        "channels": sum(after.values()),
        "channels_before": sum(before.values()),
        "layers": {path: [after[path], width] for path, width in before.items() if after[path] != width},
    }


def widths(network: nn.Module) -> dict[str, int]:
    """Channels that each convolution makes."""
    return {path: part.out_channels for path, part in network.named_modules() if isinstance(part, nn.Conv2d)}


def bits(run: Run, wanted: Wanted, made: Exported) -> dict[str, Any] | None:
    """Of weights and activations, and whether they were trained so; none of a file that has all of its bits."""
    if not made.bits:
        return None
    compress = run.config().compress
    trained = compress is not None and compress.rounds
    activations = compress.activations if compress is not None and trained else 8
    images = None if trained else min(wanted.calibration_images, run.record()["data"]["train"])
    return {"weights": made.bits, "activations": activations, "trained": trained, "calibration_images": images}


def channels_said(found: dict[str, Any] | None) -> str:
    if found is None:
        return "as the network is built"
    return (
        f"pruned: {found['channels']:,} of {found['channels_before']:,}, which leaves {100 * found['share']:.1f} % of "
        f"{found['multiply_adds_before'] / 1e6:.1f} M multiply-adds"
    )


def bits_said(found: dict[str, Any] | None, precision: str) -> str:
    if found is None:
        stored = {"fp16": "stored in 16 bits, computed with in 32"}
        return stored.get(precision, "32 bits")
    weights = " and ".join(map(str, found["weights"]))
    how = (
        "trained so"
        if found["trained"]
        else f"after training, ranges from {found['calibration_images']} training images"
    )
    return f"weights of {weights}, activations of {found['activations'] or 32}, {how}"
