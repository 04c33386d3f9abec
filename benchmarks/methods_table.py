"""What `methods.py` measured, as JSON, as Markdown and as a figure."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from protege.methods import METHODS
from protege.methods.catalogue import listed

Measured = dict[str, Any]  # one run
Row = dict[str, Any]  # one method over its seeds

# Times over KD's that are taken for no more than the arithmetic says: norms and activations are not in it.
SLACK = 1.5


def write_table(folder: Path, about: Mapping[str, Any], measured: Sequence[Measured]) -> list[Path]:
    """`<scale>.json`, `.md` and `.png` in this folder."""
    teacher, *runs = measured
    rows = [row_of(name, [run for run in runs if run["method"] == name]) for name in METHODS]
    rows = compared([row for row in rows if row["runs"]])
    table = {
        **about,
        "made": time.strftime("%Y-%m-%d"),
        "minutes": round(sum(run.get("process_seconds", 0) for run in measured) / 60, 1),
        "machine": machine(teacher, about["slots"]),
        "teacher": {name: teacher.get(name) for name in ("run", "accuracy", "parameters")},
        "environment": teacher["environment"],
        "rows": rows,
    }
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{about['scale']}{ending}" for ending in (".json", ".md", ".png")]
    files[0].write_text(json.dumps(table, indent=1) + "\n")
    files[1].write_text("\n".join(markdown(table)) + "\n")
    draw(table, files[2])
    return files


def machine(run: Measured, slots: int) -> str:
    found = run["environment"]
    return f"{found['gpu'] or found['processor']}, {slots} runs at a time, torch {found['torch']}"


# ---- from runs to rows ----


def row_of(name: str, runs: Sequence[Measured]) -> Row:
    """All seeds of one method. A run that diverged or failed has no figures, and is counted."""
    good = [run for run in runs if "accuracy" in run]
    return {
        "method": name,
        "settings": next((run["settings"] for run in runs), {}),
        "runs": [run["run"] for run in good],
        "lost": [run.get("diverged") or run.get("failed") for run in runs if run not in good],
        "accuracy": [run["accuracy"] for run in good],
        "agreement": [run["agreement"] for run in good if "agreement" in run],
        "seconds_per_epoch": seconds_per_epoch(good),
        "cpu_seconds_per_step": median(steps)
        if (steps := [run["cpu_step"] for run in good if "cpu_step" in run])
        else None,
        "peak_mb": [
            round(run["gpu_peak_mb"] if "gpu_peak_mb" in run else run["peak_mb"]) for run in good if "peak_mb" in run
        ],
        "gflop_per_step": next((run["gflop"] for run in good if "gflop" in run), None),
        "on_gpu": any("gpu_peak_mb" in run for run in good),
        "own_terms": own_terms(good),
    }


def seconds_per_epoch(runs: Sequence[Measured]) -> float | None:
    """Median over all epochs of all seeds but each run's first, which warms up."""
    seconds = [one for run in runs for one in run["seconds"][1:] or run["seconds"]]
    return median(seconds) if seconds else None


def own_terms(runs: Sequence[Measured]) -> list[tuple[float, float]]:
    """For each seed, all terms but the labels: where each is heard first, and where last. Of the labels' own method, the labels."""
    found = []
    for run in runs:
        names = {term for epoch in run["terms"] for term in epoch} - {"labels"} or {"labels"}
        heard = [[epoch[term] for epoch in run["terms"] if term in epoch] for term in sorted(names)]
        found.append((sum(values[0] for values in heard), sum(values[-1] for values in heard)))
    return found


def compared(rows: list[Row]) -> list[Row]:
    """Times over those of plain KD, and what is wrong with a method if anything is.

    Without a GPU times are of the processor, with one those on the clock.
    """
    time_of = "seconds_per_epoch" if any(row["on_gpu"] for row in rows) else "cpu_seconds_per_step"
    kd = next((row for row in rows if row["method"] == "kd"), None)
    for row in rows:
        row["times_kd"] = ratio(row, kd, time_of)
        row["arithmetic_times_kd"] = ratio(row, kd, "gflop_per_step")
        row["remarks"] = list(remarks(row))
    return rows


def ratio(row: Row, kd: Row | None, name: str) -> float | None:
    return row[name] / kd[name] if kd and row[name] and kd[name] else None


def remarks(row: Row) -> Iterator[str]:
    yield from (f"lost a run: {why}" for why in row["lost"])
    if any(last >= first for first, last in row["own_terms"]):
        yield "its terms do not fall"
    if (
        row["times_kd"]
        and row["arithmetic_times_kd"]
        and row["times_kd"] > SLACK * max(1.0, row["arithmetic_times_kd"])
    ):
        yield "slower than its arithmetic says"


def chance(rows: Sequence[Row]) -> float:
    """What two arms differ by through their seeds alone, 19 times of 20: from the spread within arms, all taken together."""
    arms = [row["accuracy"] for row in rows if len(row["accuracy"]) > 1]
    freedom = sum(len(arm) - 1 for arm in arms)
    if not freedom:
        return math.nan
    variance = sum((value - mean(arm)) ** 2 for arm in arms for value in arm) / freedom
    return 1.96 * math.sqrt(2 * variance / max(len(arm) for arm in arms))


# ---- Markdown ----


COLUMNS = {
    "method": "---", "accuracy %": "---:", "each seed": "---", "over alone": "---:", "agrees with teacher %": "---:", "own terms": "---",
    "s / epoch": "---:", "x KD": "---:", "arithmetic x KD": "---:", "peak MB": "---:", "remarks": "---", "settings": "---",
}  # fmt: skip


def markdown(table: Mapping[str, Any]) -> Iterator[str]:
    rows, seeds = table["rows"], ", ".join(map(str, table["seeds"]))
    alone = next(row for row in rows if row["method"] == "supervised")
    yield f"# All methods, {table['scale']}: {table['pair']}\n"
    yield f"{table['data']}; {table['budget']}; seeds {seeds}; the teacher has {percent([table['teacher']['accuracy']])} %.\n"
    yield f"`{table['command']}`\n"
    yield f"{table['made']}, {table['machine']}, {table['minutes']} minutes of processes in all."
    yield f"Held-out accuracy of the last epoch. Nothing was tuned: published defaults, presets of {table['presets']},"
    yield "and what suits so short a run; all that is not a default is under settings. Teachers are asked live in every step.\n"
    yield f"Two arms differ by up to {100 * chance(rows):.1f} points through their seeds alone, 19 times of 20, and there are {len(rows)}:"
    yield "their order means nothing, only what stands far off. Own terms are all but the labels: mean of the first epoch in which"
    yield "each is heard, and of the last.\n"
    yield f"![accuracy and time of every method]({table['scale']}.png)\n"
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"|{'|'.join(COLUMNS.values())}|"
    yield from (line(row, alone) for row in rows)
    troubled = ", ".join(row["method"] for row in rows if row["remarks"])
    yield f"\nTo look at: {troubled}." if troubled else "\nNothing diverged, and every method's terms fell."
    yield f"Slower than its arithmetic: over KD by more than {SLACK} times what its multiplications and additions are over KD's."
    yield "Seconds are on the clock; x KD compares time of the processor where there is no GPU."


def line(row: Row, alone: Row) -> str:
    over = (
        f"{100 * (mean(row['accuracy']) - mean(alone['accuracy'])):+.1f}"
        if row["accuracy"] and alone["accuracy"]
        else "-"
    )
    terms = "; ".join(f"{first:.3g} to {last:.3g}" for first, last in row["own_terms"])
    cells = [
        row["method"],
        percent(row["accuracy"]),
        ", ".join(f"{100 * value:.1f}" for value in row["accuracy"]),
        over,
        percent(row["agreement"]),
        terms,
        number(row["seconds_per_epoch"]),
        number(row["times_kd"]),
        number(row["arithmetic_times_kd"]),
        f"{max(row['peak_mb']):,}" if row["peak_mb"] else "-",
        "; ".join(row["remarks"]),
        listed(row["settings"]),
    ]
    return f"| {' | '.join(cells)} |"


def percent(values: Sequence[float]) -> str:
    return f"{100 * mean(values):.1f}" if values else "-"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


# ---- the figure ----


def draw(table: Mapping[str, Any], file: Path) -> None:
    """Left every seed's accuracy, with the student alone as a band; right the time of an epoch over KD's."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rows = sorted((row for row in table["rows"] if row["accuracy"]), key=lambda row: mean(row["accuracy"]))
    alone = next(row for row in rows if row["method"] == "supervised")["accuracy"]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 0.9 + 0.2 * len(rows)), sharey=True, width_ratios=(3, 2), layout="constrained"
    )
    half = chance(table["rows"])
    if math.isfinite(half):
        left.axvspan(100 * (mean(alone) - half), 100 * (mean(alone) + half), color="0.9")
    for height, row in enumerate(rows):
        left.plot([100 * value for value in row["accuracy"]], [height] * len(row["accuracy"]), "o", color="0.6", ms=3)
        left.plot(100 * mean(row["accuracy"]), height, "|", color="tab:blue", ms=10, mew=2)
        if row["times_kd"]:
            right.barh(height, row["times_kd"], color="tab:blue", height=0.6)
        if row["arithmetic_times_kd"]:
            right.plot(row["arithmetic_times_kd"], height, "|", color="black", ms=8)
    left.set_yticks(range(len(rows)), [row["method"] for row in rows], fontsize=8)
    left.set_xlabel("held-out accuracy %; grey: what seeds alone do to the student alone", fontsize=8)
    right.axvline(1, color="0.6", lw=0.8)
    right.set_xlabel("time of a step over KD's; line: its arithmetic", fontsize=8)
    figure.suptitle(f"{table['pair']}, {table['data']}, {table['budget']}", fontsize=9)
    figure.savefig(file, dpi=110)
    plt.close(figure)
