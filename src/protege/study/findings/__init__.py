"""From finished runs to what may be said of them.

record      the file, `findings.json`; the names of its parts can be had from here
rows        the runs
summaries   cells, teachers and grids over their seeds
selections  what was chosen among
family      who is compared with whom
judging     the family tested, for the populations that the design lets it speak of
effects     the comparisons
contrasts   differences of differences; whether several differ at all
recoveries  gap, errors and teacher recovered
seal        what the ledger tells of readings of the test set
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
    Claim,
    Contrast,
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
    Recovery,
    RunRow,
    Scores,
    Searched,
    Selection,
    Split,
    Summary,
    TeacherFacts,
    Trial,
    TTest,
    Values,
    Which,
    outcome,
    read,
    write,
)
