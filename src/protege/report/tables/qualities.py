"""What accuracy does not say: fidelity to the teacher, calibration, single classes, confusions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protege.report.material import Focus, Material
from protege.report.material.evaluations import Detail, class_accuracy, share_of
from protege.report.material.subjects import Panel, Subject
from protege.report.page.table import Column, Row, Table, estimate, headed, number, numbers, trimmed
from protege.report.tables.results import SPREAD
from protege.study.findings import Findings

SPLITS = {"test": "test", "heldout": "held-out"}


def fidelity(findings: Findings, known: Sequence[Subject]) -> Table:
    columns = headed([
        "student", "compared with", Column("seeds", "count"), Column("agreement %", "estimate"),
        Column("KL at T 1", "estimate", 4), Column("KL at T 4", "estimate", 4), Column("test accuracy %", "estimate"),
    ])  # fmt: skip
    rows = []
    for one in known:
        scores = one.scores(findings.score)
        near = [estimate(scores.get(name)) for name in ("agreement", "kl_t1", "kl_t4")]
        if any(value is not None for value in near):
            values = (one.label, one.reference, len(one.seeds), *near, estimate(scores.get("accuracy")))
            rows.append(Row(values, one.hardware, one.style))
    note = (
        "Agreement: share of test images with the teacher's first choice. KL(teacher || student), without T². "
        f"Students alone are compared with the teacher that they never heard. {SPREAD.partition(';')[0]}."
    )
    return trimmed(Table("fidelity", "How near students are to their teachers", columns, tuple(rows), note))


def calibration(findings: Findings, known: Sequence[Subject]) -> Table:
    columns = headed([
        "network", Column("seeds", "count"), Column("NLL", "estimate", 4), Column("Brier", "estimate", 4),
        Column("ECE %", "estimate"), Column("NLL, temperature fitted", "estimate", 4),
        Column("ECE %, temperature fitted", "estimate"),
    ])  # fmt: skip
    rows = []
    for one in known:
        scores = one.scores(findings.score)
        if scores:
            found = [estimate(scores.get(name)) for name in ("nll", "brier", "ece", "scaled_nll", "scaled_ece")]
            rows.append(Row((one.label, len(one.seeds), *found), one.hardware, one.style))
    fitted = "The temperature is fitted on held-out images. " if any(row.values[5] is not None for row in rows) else ""
    note = (
        "On test images; lower is better. ECE: expected calibration error in 15 bins of equal width. "
        f"{fitted}{SPREAD.partition(';')[0]}."
    )
    return trimmed(Table("calibration", "Likelihood and calibration", columns, tuple(rows), note))


# ---- classes ----


def per_class(panel: Panel, details: Mapping[str, Detail], name: str) -> Table | None:
    """Accuracy of each class, for every network of the panel; None where nothing of it was evaluated."""
    shown = [one for one in panel.subjects if one.id in details]
    if not shown:
        return None
    first = details[shown[0].id]
    same = [one for one in shown if details[one.id].classes == first.classes]
    columns = headed(["class", Column("images", "count"), *(Column(panel.label(one), "estimate") for one in same)])
    devices = ", ".join(dict.fromkeys(one.hardware for one in same if one.hardware))
    rows = [
        Row((label, int(first.counts[place]), *(class_accuracy(details[one.id], place) for one in same)), devices)
        for place, label in enumerate(first.classes)
    ]
    runs = numbers({panel.label(one): len(details[one.id].runs) for one in same}, "run")
    note = f"Accuracy in percent on {SPLITS[first.split]} images; {SPREAD.partition(';')[0]}; {runs}."
    title = f"Accuracy a class{f': {panel.title}' if panel.title else ''}"
    return Table(name, title, columns, tuple(rows), note)


def confused(material: Material, focus: Focus) -> Table:
    """The likeliest mistakes of the treatment, and how often the control makes them."""
    detail = material.details[focus.treatment.id]
    control = material.details.get(focus.control.id) if focus.control else None
    names = [focus.treatment.label, *([focus.control.label] if focus.control and control else [])]
    columns = headed([
        "image of", "taken for", Column("images", "count"), *(Column(f"{name}, %", "estimate") for name in names)
    ])  # fmt: skip
    rows = []
    for one in focus.confused:
        others = [share_of(control, one.label, one.said)] if control else []
        values = (
            detail.classes[one.label],
            detail.classes[one.said],
            int(detail.counts[one.label]),
            one.share,
            *others,
        )
        rows.append(Row(values, focus.treatment.hardware))
    seeds = number(len(detail.runs), "run") + (f" and {len(control.runs)} of the control" if control else "")
    note = f"Percent of the class's {SPLITS[detail.split]} images, mean ± sd over {seeds}."
    return Table("confused", "What is taken for what", columns, tuple(rows), note)
