"""An outcome as Markdown: what was measured, factor by factor, and what the figures should be read with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan

from protege.train.bench.outcome import Outcome, Row, factors
from protege.train.bench.variants import WORDS, What

GROUPS: tuple[What, ...] = ("alone", "kd", "feature", "reviewkd", "slots")
GOALS: dict[What, str] = {
    "alone": "ours",
    "kd": "ours, remembered",
    "feature": "ours",
    "reviewkd": "ours",
}  # where each ladder ends
READING = """\
How to read it. Images/s are medians over the rounds, with the lowest and the highest; all ways of one table took turns,
each in a process of its own, after warming up. `ratio` is to the first row, of the medians; in brackets are the lowest and
highest of the rounds' own ratios; `over strong` is to `reference, strong`. `of the limit` is the share of what
convolutions and linear layers alone would allow, each at this machine's best measured rate for its kind or of copying,
whichever binds it, at the row's precision.

A row adds one thing to the one before: *allocator*, freed memory is kept for the next step; *loop*, views made by the
batch from images in memory, no loader processes, a fused optimiser, a teacher whose norms are folded; *layout*, channels
last; *precision*, bf16 where it is quicker, as every run chooses; *compile*, torch.compile, where it pays within 200
epochs or is asked for; *memory*, the teacher's logits are remembered. `ours` is all of these but the last: its teacher
looks at every image.

The reference is `src/protege/train/bench/reference.py`: PIL transforms image by image, two loader processes, fp32, live teacher;
strong is the same loop with bf16 autocast, channels last and the allocator's setting. For ReviewKD its loss is the method's own.
Peak memory is that of the process, the loaders' left out.

Teacher and memory are stand-ins that have learned nothing, which takes the same time. Whether a trained teacher may speak
in bf16, protege finds out from what it says."""


def markdown(outcome: Outcome) -> str:
    return "\n\n".join(_parts(outcome)) + "\n"


def _parts(outcome: Outcome) -> Iterator[str]:
    yield "\n".join(_facts(outcome))
    for pair in outcome.pairs:
        yield f"## {pair.label}"
        for what in GROUPS:
            if rows := outcome.group(pair, what):
                yield f"### {WORDS[what][0].upper()}{WORDS[what][1:]}"
                yield table(ROWS, [row_cells(row, outcome.over_strong(row)) for row in rows])
                if what in GOALS and (line := factor_line(rows, GOALS[what])):
                    yield line
    yield READING


def _facts(outcome: Outcome) -> Iterator[str]:
    about, rates = outcome.environment, outcome.rates
    hardware = about.get("gpu") or f"{about.get('cores')} cores of {about.get('processor')}"
    yield f"- command: `{outcome.command}`"
    yield f"- {outcome.date}, {outcome.minutes:.1f} minutes, {outcome.rounds} rounds wished for, {outcome.setting.data.name}"
    yield f"- {hardware}; {threads_of(outcome)}; {about.get('system')}"
    yield f"- torch {about.get('torch')}, Python {about.get('python')}, protege {about.get('protege')} at {about.get('git')}"
    yield (
        f"- at best: {rates.fp32 / 1e9:,.0f} GFLOP/s of matrix product in fp32, {rates.bf16 / 1e9:,.0f} in bf16; "
        f"{rates.fp32_3x3 / 1e9:,.0f} and {rates.bf16_3x3 / 1e9:,.0f} of 3x3 convolution, as counted; "
        f"{rates.copy_bytes / 1e9:,.1f} GB/s copied"
    )
    yield f"- load average: {outcome.load.before:.2f} before{_seen(outcome)}"


def _seen(outcome: Outcome) -> str:
    seen = outcome.load.seen
    during = f", {min(seen):.2f} to {max(seen):.2f} during" if seen else ""
    return (
        during
        if outcome.quiet
        else during + ". **The machine was not quiet: ratios are rough, absolute figures too low.**"
    )


ROWS = (
    "",
    "images/s",
    "(lowest, highest)",
    "rounds",
    "ratio",
    "(of the rounds)",
    "over strong",
    "of the limit",
    "precision",
    "peak memory",
)


def row_cells(row: Row, over_strong: float) -> list[str]:
    name, precision = row.variant.name, row.variant.precision
    if row.problem or not row.images_per_second:
        return [name, f"not measured: {row.problem}", "", "", "", "", "", "", precision, ""]
    low, high = min(row.images_per_second), max(row.images_per_second)
    ratio = spread = ""
    if row.against:
        ratio, spread = f"{row.ratio:.2f}", f"({min(row.ratios):.2f}, {max(row.ratios):.2f})"
    return [
        name,
        number(row.speed),
        f"({number(low)}, {number(high)})",
        str(len(row.images_per_second)),
        ratio,
        spread,
        "" if isnan(over_strong) else f"{over_strong:.2f}",
        f"{100 * row.fraction:.0f} %",
        precision,
        f"{row.peak_memory / 1e9:.2f} GB",
    ]


def number(value: float) -> str:
    """Three figures are as many as there are."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def factor_line(rows: Sequence[Row], goal: str) -> str:
    """`allocator x 1.30, loop x 1.21: together x 1.57`, or nothing where a step is missing."""
    found = factors(rows, goal)
    if not found:
        return ""
    together = 1.0
    for factor in found:
        together *= factor.gain
    parts = ", ".join(f"{factor.adds} x {factor.gain:.2f}" for factor in found)
    return f"Factor by factor, `{goal}` over `{rows[0].variant.name}`: {parts}; together x {together:.2f}."


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines))


def threads_of(outcome: Outcome) -> str:
    return f"{outcome.setting.threads} thread{'' if outcome.setting.threads == 1 else 's'}"
