"""Write the generated table of `docs/choosing.md`: what each method gained in publications and in our own runs, and what it costs.

    python scripts/write_choosing_page.py

The text around the table is written by hand and kept. Figures come from `docs/published-cifar100.yaml` and `results/methods/reduced.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from protege.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "choosing.md"
PUBLISHED = ROOT / "docs" / "published-cifar100.yaml"
MEASURED = ROOT / "results" / "methods" / "reduced.json"
BEGIN, END = "<!-- table: scripts/write_choosing_page.py -->", "<!-- end of table -->"


def main() -> None:
    PAGE.write_text(page())


def page() -> str:
    """The whole page: its text as it stands, and the table anew."""
    before, begin, rest = PAGE.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE} has lost its marks: {BEGIN} and {END}")
    rows = table(yaml.safe_load(PUBLISHED.read_text()), json.loads(MEASURED.read_text())["rows"])
    return f"{before}{begin}\n" + "\n".join(rows) + f"\n{end}{after}"


def table(published: Mapping[str, Any], measured: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A row for each method and publication of it, in the order of the catalogue."""
    pairs = published["pairs"]
    kd = next(source["accuracy"]["kd"] for source in published["sources"] if "kd" in source["accuracy"])
    ours = {row["method"]: row for row in measured}
    yield "| method | teacher is asked | time, kd = 1 | our short run, over alone | published by | over `kd`: like pairs | unlike pairs |"
    yield "|---|---|---:|---:|---|---:|---:|"
    for name in METHODS:
        if name == "supervised":
            continue
        own = f"| [{name}](methods.md#{name}) | {asked(name)} | {time_of(ours.get(name))} | {short_run(name, ours)} |"
        sources = [source for source in published["sources"] if name in source["accuracy"]]
        for source in sources:
            like, unlike = (over(source["accuracy"][name], kd, pairs, alike) for alike in (True, False))
            yield f"{own} {source['name']} | {like} | {unlike} |"
        if not sources:
            yield f"{own} - | - | - |"


def asked(name: str) -> str:
    method = METHODS[name]
    if name == "sum":
        return "as its parts want"
    if not method.needs_teacher:
        return "never"
    return "once" if method.reads == ("logits",) else "in every step"


def time_of(row: Mapping[str, Any] | None) -> str:
    return f"{row['times_kd']:.1f}" if row else "-"


def short_run(name: str, ours: Mapping[str, Mapping[str, Any]]) -> str:
    """In points; a star where it was not run with its defaults of today."""
    if name not in ours:
        return "-"
    gained = round(100 * (fmean(ours[name]["accuracy"]) - fmean(ours["supervised"]["accuracy"])), 1) + 0.0
    return f"{gained:+.1f}{'*' if ours[name]['settings'] else ''}"


def over(accuracy: Sequence[float | None], kd: Sequence[float], pairs: Sequence[str], alike: bool) -> str:
    """Mean difference from `kd` over the pairs of this kind on which both were published, and how many those are."""
    found = [
        value - other
        for value, other, pair in zip(accuracy, kd, pairs, strict=True)
        if value is not None and are_alike(pair) == alike
    ]
    return f"{fmean(found):+.2f} ({len(found)})" if found else "-"


def are_alike(pair: str) -> bool:
    """Teacher and student of one family of networks."""
    teacher, student = (re.match("[a-z]+", network) for network in pair.split(" -> "))
    assert teacher and student
    return teacher[0] == student[0]


if __name__ == "__main__":
    main()
