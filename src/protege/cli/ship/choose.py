"""`protege choose`: which one to ship, for a budget."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from protege.cli.places import DataDirOption, JsonOption, RunsOption
from protege.cli.ship.measure import (
    SourcesArgument,
    TestOption,
    ThreadsOption,
    judging,
    milliseconds,
    quartiles,
    share,
    short,
    size_table,
    told,
)
from protege.cli.ship.predict import WhichOption
from protege.runs.display import out, table_of

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
    judge = judging(test, which, runs, data_dir)
    from protege.ship.figures.choose import Budget, amount, dominated, timed
    from protege.ship.figures.choose import choose as choose_one
    from protege.ship.figures.measure import weighed
    from protege.ship.figures.turns import Asked

    limits = [None if text is None else amount(text) for text in (max_bytes, max_multiply_adds)]
    budget = Budget(limits[0], limits[1], max_ms)
    asked = Asked(threads)
    with told() as say:
        found = weighed(sources, runs, asked, which, judge, say)
        known = timed(found, runs, which, asked, max_ms, say)
    choice, beaten = choose_one(found, budget), dominated(found)
    if as_json:
        print(json.dumps({**asdict(choice), "dominated": beaten, "measured": [asdict(one) for one in found]}))
    else:
        out.print(size_table(found))
        if any(one.latency_ms is not None for one in found):
            out.print(latency_table(found))
        out.print(where_from(found, known), style="dim", soft_wrap=True)
        for one, by in beaten.items():
            out.print(
                f"{short(one)} is dominated by {short(by)}: no less accurate, and dearer in nothing", soft_wrap=True
            )
        for line in lines(choice):
            out.print(line, soft_wrap=True)
    if choice.best is None:
        raise typer.Exit(1)


def latency_table(found: list[Measured]) -> Table:
    table = table_of("latency", "", "runtime", "ms", "quartiles", "rounds")
    for one in found:
        if one.latency_ms is not None:
            table.add_row(short(one.source), one.runtime, milliseconds(one.latency_ms), quartiles(one), str(one.rounds))
    return table


def where_from(found: list[Measured], known: int) -> str:
    """What was timed now, what before, and what not at all."""
    untimed = sum(one.latency_ms is None for one in found)
    said = [
        f"{known} of {len(found)} were timed on this machine before (`protege measure` does it anew)" if known else "",
        f"{untimed} were not timed, for no --max-ms asks for it" if untimed else "",
        f"{'the others' if known + untimed else 'all'} were timed until it was clear which side of --max-ms they are on"
        if known + untimed < len(found)
        else "",
    ]
    return "; ".join(filter(None, said)) + f". One image at a time, {found[0].threads} thread(s)."


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
    latency = "" if one.latency_ms is None else f", {milliseconds(one.latency_ms)} ms"
    return f"{share(one.accuracy)} %, {one.bytes:,} bytes{latency}"
