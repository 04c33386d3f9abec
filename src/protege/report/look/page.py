"""The page: whom it is about, what it answers, and its sections."""

from __future__ import annotations

import time

from protege import data
from protege.report.look.drawn import sections
from protege.report.look.seen import Looked
from protege.report.look.wanted import Wanted, looked_at, refuse_unfinished
from protege.report.page.blocks import Page
from protege.runs.config import Place


def look(wanted: Wanted, place: Place) -> Page:
    """Only held-out images are looked at, so it may be done as often as one likes."""
    refuse_unfinished(wanted.run)
    splits = data.load(wanted.run.config().data.under(wanted.moved), place.data_dir)
    return _page(wanted, looked_at(wanted, splits, place))


def _page(wanted: Wanted, looked: Looked) -> Page:
    run = wanted.run
    facts = [
        ("run", run.id),
        ("images", f"the first {len(looked.images)} held-out ones of {run.record()['data']['name']}"),
    ]
    facts += [("networks", ", ".join(one.name for one in looked.everybody))]
    one_each = "Each network is one training: what is seen here need not be so with another seed."
    return Page(
        title=f"look {run.id}",
        first_line="",
        question="What do they see in the same images?",
        answer=_answer(looked),
        picture=None,
        facts=facts,
        warnings=[one_each],
        sections=list(sections(looked, wanted.way)),
        made=time.strftime("%Y-%m-%d %H:%M"),
    )


def _answer(looked: Looked) -> str:
    """In figures, of the student that was asked about."""
    student = looked.students[-1]
    count = len(looked.images)
    if looked.teacher is None:
        right = int((student.choices == looked.labels).sum())
        return (
            f"{student.name} is right of {right} of {count} held-out images; no teacher was named to compare it with."
        )
    found = looked.followed(student)
    wrong = sum(found.count(kind) for kind in ("follows", "mends", "own mistake"))
    return (
        f"Of {count} held-out images the teacher mistakes {wrong}: {student.name} follows it into {found.count('follows')} of these "
        f"mistakes, mends {found.count('mends')} and is wrong in its own way in {found.count('own mistake')}. "
        f"It loses {found.count('loses')} that the teacher has right."
    )
