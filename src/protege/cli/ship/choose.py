"""`protege choose`: which one to ship, for a budget."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protege.cli.places import DataDirOption, JsonOption, RunsOption
from protege.cli.ship.measure import SourcesArgument, TestOption, ThreadsOption, measured, share, short, tables
from protege.cli.ship.predict import WhichOption
from protege.runs.display import out

if TYPE_CHECKING:
    from protege.ship.figures.choose import Choice
    from protege.ship.figures.measure import Measured

Amount = str | None
UNITS = {"bytes": "{:,.0f} bytes", "multiply_adds": "{:,.0f} multiply-adds", "latency_ms": "{:.3g} ms"}


def choose(
    sources: SourcesArgument,
    max_bytes: Annotated[Amount, typer.Option("--max-bytes", help="of the file: 98496, 100k, 1.5M")] = None,
    max_multiply_adds: Annotated[Amount, typer.Option("--max-multiply-adds", help="of one image: 5M")] = None,
    max_ms: Annotated[
        float | None, typer.Option("--max-ms", min=0, help="milliseconds an image, batch 1, here")
    ] = None,
    threads: ThreadsOption = 1,
    test: TestOption = False,
    which: WhichOption = "final",
    runs: RunsOption = Path("runs"),
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """The most accurate that fits, why, and what the next larger budget would buy."""
    from protege.ship.figures.choose import Budget, amount, dominated
    from protege.ship.figures.choose import choose as choose_one

    limits = [None if text is None else amount(text) for text in (max_bytes, max_multiply_adds)]
    budget = Budget(limits[0], limits[1], max_ms)
    found = measured(sources, threads, 1, test, which, runs, data_dir)
    choice, beaten = choose_one(found, budget), dominated(found)
    if as_json:
        print(json.dumps({**asdict(choice), "dominated": beaten, "measured": [asdict(one) for one in found]}))
    else:
        for table in tables(found):
            out.print(table)
        for one, by in beaten.items():
            out.print(
                f"{short(one)} is dominated by {short(by)}: no less accurate, and dearer in nothing", soft_wrap=True
            )
        for line in lines(choice):
            out.print(line, soft_wrap=True)
    if choice.best is None:
        raise typer.Exit(1)


def lines(choice: Choice) -> list[str]:
    if choice.best is None:
        said = ["Ship none of these: nothing that was judged fits the budget."]
    else:
        said = [
            f"Ship {short(choice.best.source)}: {worth(choice.best)}, the most accurate of {len(choice.fitting)} that fit."
        ]
    if choice.as_good:
        cheapest = choice.as_good[0]
        said.append(f"The images cannot tell it from {short(cheapest.source)}: {worth(cheapest)}.")
    if choice.next_larger:
        needs = ", ".join(UNITS[name].format(value) for name, value in choice.needs.items() if value is not None)
        larger = choice.next_larger
        said.append(
            f"A budget of {needs or 'what is not known'} buys {short(larger.source)}: {worth(larger)}{more(choice)}."
        )
    elif choice.best:
        said.append("No larger budget buys a better one of these.")
    return said


def more(choice: Choice) -> str:
    """How much better the next larger one is, and whether the images tell."""
    from protege.ship.figures.choose import good, overlaps

    best, larger = choice.best, choice.next_larger
    if best is None or larger is None:
        return ""
    sure = "their intervals meet" if overlaps(best, larger) else "beyond both intervals"
    return f", {100 * (good(larger) - good(best)):.2f} points more ({sure})"


def worth(one: Measured) -> str:
    return f"{share(one.accuracy)} %, {one.bytes:,} bytes, {one.latency_ms:.3f} ms"
