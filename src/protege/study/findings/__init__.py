"""From finished runs to what may be said of them.

record      the file, `findings.json`; the names of its parts can be had from here
rows        the runs
summaries   cells, teachers and grids over their seeds
selections  what was chosen among
effects     the comparisons
published   figures of the literature beside ours
answer      the sentence
gather      all of them together; `interim` while the study is under way
"""

from protege.study.findings.record import (
    FORMAT,
    Bootstrap,
    Budget,
    Candidate,
    Cell,
    Costs,
    Effect,
    Equivalence,
    Findings,
    Grid,
    Hardware,
    Interval,
    McNemar,
    Measure,
    NetworkFacts,
    Part,
    PublishedRow,
    RunRow,
    Scores,
    Selection,
    Split,
    Summary,
    TeacherFacts,
    TTest,
    Values,
    Which,
    outcome,
    read,
    write,
)

__all__ = [
    "FORMAT",
    "Bootstrap",
    "Budget",
    "Candidate",
    "Cell",
    "Costs",
    "Effect",
    "Equivalence",
    "Findings",
    "Grid",
    "Hardware",
    "Interval",
    "McNemar",
    "Measure",
    "NetworkFacts",
    "Part",
    "PublishedRow",
    "RunRow",
    "Scores",
    "Selection",
    "Split",
    "Summary",
    "TTest",
    "TeacherFacts",
    "Values",
    "Which",
    "outcome",
    "read",
    "write",
]  # fmt: skip
