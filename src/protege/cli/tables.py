"""Runs, scores, methods and datasets as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from protege.runs.display import headed, out, table_of

if TYPE_CHECKING:
    from protege.data import Description
    from protege.methods.catalogue import Card
    from protege.models.measure import Description as Counts


def scores_table(name: str, scores: Mapping[str, Any]) -> Table:
    split = "test" if scores["split"] == "test" else "held-out"
    columns = [which for which in ("final", "best", "teacher") if which in scores]
    table = table_of(f"{name}: {scores['images']:,} {split} images", "", *columns)
    rows = [
        ("accuracy", "accuracy", 100, "%"),
        ("top-5", "top5", 100, "%"),
        ("NLL", "nll", 1, ""),
        ("Brier", "brier", 1, ""),
        ("ECE", "ece", 100, "%"),
    ]
    for label, key, times, unit in rows:
        values = [scores[which].get(key) for which in columns]
        if any(value is not None for value in values):
            table.add_row(label, *(_number(value, times, unit) for value in values))
    for label, key, times, unit in [
        ("agreement with the teacher", "agreement", 100, "%"),
        ("KL from the teacher, T 1", "kl_t1", 1, ""),
        ("KL from the teacher, T 4", "kl_t4", 1, ""),
    ]:
        values = [scores[which].get("fidelity", {}).get(key) for which in columns]
        if any(value is not None for value in values):
            table.add_row(label, *(_number(value, times, unit) for value in values))
    scaled = [scores[which].get("scaled", {}) for which in columns]
    if any(scaled):
        table.add_row("temperature fitted on held-out", *(_number(one.get("temperature"), 1, "") for one in scaled))
        table.add_row("ECE with it", *(_number(one.get("ece"), 100, "%") for one in scaled))
    return table


def _number(value: float | None, times: float, unit: str) -> str:
    if value is None:
        return "-"
    return f"{times * value:.2f} {unit}".strip() if times > 1 else f"{value:.4f}"


def curve(metrics: list[dict[str, Any]]) -> Table:
    """At most twelve epochs, the last among them."""
    terms = list(metrics[0]["terms"])
    table = table_of("curve", "epoch", *terms, "train %", "held-out %", "rate")
    step = -(-len(metrics) // 12)
    for line in [*metrics[:-1][::step], metrics[-1]]:
        heldout = line.get("heldout_accuracy")
        table.add_row(
            str(line["epoch"] + 1),
            *(f"{line['terms'].get(name, float('nan')):.4f}" for name in terms),
            f"{100 * line['train_accuracy']:.2f}",
            "-" if heldout is None else f"{100 * heldout:.2f}",
            f"{line['lr']:.4g}",
        )
    return table


def show_networks(rows: Sequence[Counts], classes: int, image_size: int) -> None:
    table = table_of(
        f"networks, for {classes} classes and {image_size} x {image_size} pixels",
        "name", "parameters", "multiply-adds", "stages", "what it is",
    )  # fmt: skip
    for row in rows:
        adds = f"{row['multiply_adds'] / 1e6:,.1f} M"
        table.add_row(row["name"], f"{row['parameters']:,}", adds, str(len(row["stages"])), row["summary"])
    out.print(table)
    out.print(
        "Others: timm:NAME and torchvision:NAME, after `pip install 'protege[timm]'`; your own: path/to/file.py:NAME.",
        style="dim",
    )


def show_network(row: Counts, classes: int, image_size: int) -> None:
    out.print(headed(row["name"], f": {row['summary']}"), soft_wrap=True)
    out.print(f"  for {classes} classes and {image_size} x {image_size} pixels")
    out.print(f"  parameters: {row['parameters']:,}; multiply-adds: {row['multiply_adds'] / 1e6:,.1f} M")
    out.print(f"  classifier: {row['classifier']}")
    table = table_of("stages", "name", "read at", "shape")
    for name, shape in row["stages"].items():
        table.add_row(name, row["paths"][name], " x ".join(map(str, shape)))
    out.print(table)


def show_methods(cards: list[Card]) -> None:
    from protege.methods.catalogue import REFERENCE

    table = table_of("methods", "name", "family", "reads", "trains beside", "what it does", "paper")
    for card in cards:
        beside = f"{card['trained_beside']:,}" if card["trained_beside"] else "-"
        table.add_row(card["name"], card["family"], ", ".join(card["reads"]), beside, card["summary"], card["paper"])
    out.print(table)
    out.print(
        f"trains beside: parameters for {REFERENCE} of 100 classes; thrown away after, but for simkd's", style="dim"
    )
    out.print("More: protege methods NAME", style="dim")


def show_method(card: Card) -> None:
    from protege.methods.catalogue import REFERENCE, listed, plain

    out.print(headed(card["name"], f"  {card['summary']} {card['details']}".rstrip()))
    for label in ("paper", "formula", "source"):
        if card[label]:
            out.print(f"  {label}: {card[label]}")
    out.print(f"  reads: {', '.join(card['reads'])}; {'needs' if card['needs_teacher'] else 'needs no'} teacher")
    out.print(f"  costs: {card['costs']}")
    if card["trained_beside"]:
        out.print(f"  trains beside the student: {card['trained_beside']:,} parameters for {REFERENCE} of 100 classes")
    out.print(f"  adds to the deployed student: {card['adds']}")
    table = table_of("fields", "option", "default", "meaning")
    for field, about in card["fields"].items():
        default = "must be given" if about.get("required") else plain(about["default"])
        table.add_row(f"--method.{field.replace('_', '-')}", default, about["meaning"] or "")
    out.print(table)
    for pair, values in card["presets"].items():
        out.print(f"  preset for {pair}: {listed(values)}")
    for form, presets in card["variants"].items():
        for pair, values in presets.items():
            out.print(f"  preset for {pair}, {form}: {listed(values)}")


def show_dataset(found: Description) -> None:
    known = found.identity
    rounded = [", ".join(f"{value:.4f}" for value in values) for values in (known.mean, known.std)]
    out.print(
        headed(known.name, f": {len(known.classes)} classes, {known.size} x {known.size} pixels, in {found.place}"),
        soft_wrap=True,
    )
    out.print(f"normalisation: mean {rounded[0]}; deviation {rounded[1]}")
    out.print(f"fingerprint: {known.fingerprint}")
    repeats = [f"{count} in {part}" for part, count in found.repeats.items() if count]
    out.print(f"images that repeat an earlier one: {', '.join(repeats) or 'none'}")
    table = table_of("images", "class", *found.counts)
    table.add_row("all", *(f"{sum(counts):,}" for counts in found.counts.values()), style="bold")
    for number, name in enumerate(known.classes):
        table.add_row(name, *(f"{counts[number]:,}" for counts in found.counts.values()))
    out.print(table)
