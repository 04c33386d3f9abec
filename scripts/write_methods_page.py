"""Write the generated part of `docs/methods.md`: what the code says of each method, beside what was published and measured.

    python scripts/write_methods_page.py

The guide above the marker is written by hand and kept. Published figures are data in `docs/published-cifar100.yaml`,
our own are the JSON files that `benchmarks/methods.py` leaves in `results/methods/`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from generated import below

from protege.methods.catalogue import REFERENCE, Card, cards, listed, plain

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "methods.md"
FORMULAS = ROOT / "docs" / "formulas.yaml"
PUBLISHED = ROOT / "docs" / "published-cifar100.yaml"
MEASURED = ROOT / "results" / "methods"
FAMILIES = {
    "logits": "What the teacher says",
    "uncertainty": "What the teacher is sure of",
    "features": "What the teacher sees on the way",
    "relations": "How examples stand to each other",
    "many": "Several teachers, or several methods",
    "none": "No teacher",
}

Published = Mapping[str, Any]
Measured = Sequence[Mapping[str, Any]]


def main() -> None:
    PAGE.write_text(page())


def page() -> str:
    """The whole page: the guide as it stands, and everything below the marker anew."""
    published = yaml.safe_load(PUBLISHED.read_text())
    measured = [json.loads(file.read_text()) for file in sorted(MEASURED.glob("*.json"))]
    measured = [table for table in measured if table["scale"] != "tiny"]  # whose figures mean nothing
    formulas = yaml.safe_load(FORMULAS.read_text())
    return below(PAGE, "write_methods_page.py", generated(cards(), formulas, published, measured))


def generated(
    found: Sequence[Card], formulas: Mapping[str, str], published: Published, measured: Measured
) -> Iterator[str]:
    yield from overview(found)
    for table in measured:
        yield from ours(table)
    for family, title in FAMILIES.items():
        yield f"## {title}\n"
        for card in found:
            if card["family"] == family:
                yield from section(card, formulas[card["name"]], published)
    yield from sources(published)


def overview(found: Sequence[Card]) -> Iterator[str]:
    yield "## All methods\n"
    yield f"*Trains beside*: parameters of projectors, exits and peers for {REFERENCE} of 100 classes.\n"
    yield "| name | reads | teacher | trains beside | what it does |"
    yield "|---|---|---|---:|---|"
    for card in found:
        teacher = "yes" if card["needs_teacher"] else "no"
        beside = f"{card['trained_beside']:,}" if card["trained_beside"] else "-"
        yield f"| [{card['name']}](#{card['name']}) | {', '.join(card['reads'])} | {teacher} | {beside} | {card['summary']} |"
    yield ""


def section(card: Card, formula: str, published: Published) -> Iterator[str]:
    yield f"### {card['name']}\n"
    yield " ".join([card["summary"], card["details"]]).strip() + "\n"
    yield f"```math\n{typeset(formula)}\n```\n"
    yield f"- **In words**: `{card['formula']}`"
    yield f"- **Paper**: {linked(card['paper'])}"
    yield f"- **Costs**: {card['costs']}"
    if card["adds"] != "nothing":
        yield f"- **Adds to the deployed student**: {card['adds']}"
    yield f"- **Defaults** from: {card['source']}"
    yield ""
    yield from fields(card)
    yield from presets(card)
    yield from figures(card["name"], published)


def typeset(formula: str) -> str:
    """The names of fields, `@kd_weight@`, as they are typed."""
    return re.sub(r"@(\w+)@", lambda found: r"\texttt{" + found[1].replace("_", r"\_") + "}", formula)


def linked(paper: str) -> str:
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", paper)


def presets(card: Card) -> Iterator[str]:
    """A row for each pair, a column for each form of the method that has settings of its own."""
    forms = {"published settings, to be set by hand": card["presets"], **card["variants"]}
    forms = {form: settings for form, settings in forms.items() if settings}
    if forms:
        yield f"| pair | {' | '.join(forms)} |"
        yield "|---|" + "---|" * len(forms)
        for pair in dict.fromkeys(pair for settings in forms.values() for pair in settings):
            cells = [f"`{listed(settings[pair])}`" if pair in settings else "-" for settings in forms.values()]
            yield f"| {pair} | {' | '.join(cells)} |"
        yield ""


def fields(card: Card) -> Iterator[str]:
    yield "| option | default | meaning |"
    yield "|---|---|---|"
    for field, about in card["fields"].items():
        if field == "label_smoothing":  # of every method
            continue
        default = "must be given" if about.get("required") else f"`{plain(about['default'])}`"
        yield f"| `--method.{field.replace('_', '-')}` | {default} | {about['meaning']} |"
    yield ""


def figures(name: str, published: Published) -> Iterator[str]:
    """Published accuracies of the pairs on which somebody listed the method; a column for each source."""
    rows = {source["name"]: source["accuracy"][name] for source in published["sources"] if name in source["accuracy"]}
    if rows:
        yield f"| published, CIFAR-100 % | teacher | alone | {' | '.join(rows)} |"
        yield "|---|---:|---:|" + "---:|" * len(rows)
        for place, pair in enumerate(published["pairs"]):
            values = [row[place] for row in rows.values()]
            if any(value is not None for value in values):
                shown = [percent(value) for value in (published["teacher"][place], published["alone"][place], *values)]
                yield f"| {pair} | {' | '.join(shown)} |"
        yield ""
    if name in published["notes"]:
        yield f"{published['notes'][name]}.\n"
    if name in published["elsewhere"]:
        yield f"Published elsewhere: {published['elsewhere'][name]}.\n"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def ours(table: Mapping[str, Any]) -> Iterator[str]:
    """One measured table: mean and every seed, for a mean of so few runs says little, and what is not a default."""
    rows = {row["method"]: row for row in table["rows"]}
    alone = mean(rows["supervised"]["accuracy"])
    yield f"## Measured: {table['pair']}, {table['data']}, {table['budget']}\n"
    yield f"Held-out accuracy in % of runs made alike, one for each seed, {table['machine']}, {table['made']}. Nothing was tuned."
    yield f"The teacher has {100 * table['teacher']['accuracy']:.2f}. So short a run says that a method works, not how good it is.\n"
    yield "| method | accuracy | each seed | over alone | settings other than the defaults of today |"
    yield "|---|---:|---|---:|---|"
    for name, row in rows.items():
        found = row["accuracy"]
        settings = f"`{listed(row['settings'])}`" if row["settings"] else "-"
        over = f"{100 * (mean(found) - alone):+.2f}"
        yield f"| [{name}](#{name}) | {100 * mean(found):.2f} | {each(found)} | {over} | {settings} |"
    yield ""


def each(values: Sequence[float]) -> str:
    return ", ".join(f"{100 * value:.2f}" for value in values)


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def sources(published: Published) -> Iterator[str]:
    yield "## Where the published figures come from\n"
    yield from (f"- **{source['name']}**: {source['says']}." for source in published["sources"])
    yield ""


if __name__ == "__main__":
    main()
