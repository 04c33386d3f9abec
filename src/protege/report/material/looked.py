"""What teacher, control and treatment of the first primary comparison see in the same held-out images: a run of each.

Networks are asked once: what they said is kept in the study's folder, and the page is made from that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from protege.errors import ProtegeError
from protege.report.look.kept import keep, kept
from protege.report.look.seen import Looked, Seen
from protege.report.look.wanted import Wanted, looked_at
from protege.report.material.pictures import there
from protege.report.material.subjects import Subject
from protege.runs import Run
from protege.runs.config import Place
from protege.study.findings import Findings, RunRow

IMAGES = 200  # pages and waiting stay short
FILE = "look.safetensors"


@dataclass(frozen=True)
class OneEach:
    """Of the comparison that the answer speaks of."""

    control: RunRow
    treatment: RunRow
    seen: Looked


def looked(
    findings: Findings, treatment: Subject, control: Subject, root: Path, data_dir: Path | None, moved: str | None
) -> OneEach | str | None:
    """Or why it is left out; None where both have no finished run."""
    chosen = one_each(control.rows, treatment.rows)
    if chosen is None:
        return None
    file, of = root / findings.folder / FILE, [*(row.id for row in chosen), str(IMAGES)]
    seen = kept(file, of)
    if seen is None:
        try:
            seen = _asked([Run(root / row.path) for row in chosen], root, data_dir, moved)
        except (ProtegeError, OSError, RuntimeError) as error:  # of torch too: a page is not lost for its pictures
            return f"What the networks see in the same images is left out: {' '.join(str(error).split())}"
        if file.parent.is_dir():
            with contextlib.suppress(ProtegeError):  # where nothing can be written they are asked again
                keep(seen, of, file)
    students = [_named(*one) for one in zip(seen.students, (control, treatment), strict=True)]
    return OneEach(*chosen, replace(seen, students=students))


def one_each(control: Sequence[RunRow], treatment: Sequence[RunRow]) -> tuple[RunRow, RunRow] | None:
    """Of the first seed that both have; their first ones where they share none."""
    controls, treatments = ({row.seed: row for row in rows if row.state == "finished"} for rows in (control, treatment))
    common = [seed for seed in treatments if seed in controls]
    if not controls or not treatments:
        return None
    return controls[(common or list(controls))[0]], treatments[(common or list(treatments))[0]]


def _asked(both: list[Run], root: Path, data_dir: Path | None, moved: str | None) -> Looked:
    control, treatment = both
    wanted = Wanted(treatment, beside=(control,), images=IMAGES, moved=moved)
    splits = there(treatment.config().data.under(moved), data_dir)
    return looked_at(wanted, splits, Place(runs=root, data_dir=data_dir, quiet=True))


def _named(seen: Seen, subject: Subject) -> Seen:
    """As everywhere on the page."""
    return replace(seen, name=subject.label, short=subject.short)
