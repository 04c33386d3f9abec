"""Everything that a report is made from: the findings, and what only the folders of the runs hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from protege.data.files import is_folder
from protege.errors import ProtegeError
from protege.report.material.curves import Curve, curves_of
from protege.report.material.evaluations import Confused, Detail, Split, detail_of, most_confused
from protege.report.material.looked import OneEach, looked
from protege.report.material.pictures import pictures
from protege.report.material.subjects import Subject, subjects
from protege.report.page.blocks import Picture
from protege.study.findings import Effect, Findings, Measure

CONFUSED, PICTURED = 8, 6
Found = TypeVar("Found")


@dataclass(frozen=True)
class Focus:
    """The networks that the answer speaks of: what is shown where not all arms can be."""

    treatment: Subject
    control: Subject | None
    confused: tuple[Confused, ...]
    pictures: tuple[tuple[Picture, ...], ...]  # for the first of `confused`
    why_none: str  # if there are no pictures


@dataclass(frozen=True)
class Material:
    findings: Findings
    subjects: tuple[Subject, ...]
    curves: Mapping[str, Mapping[str, Curve]]  # by id of a subject, then by quantity
    details: Mapping[str, Detail]  # by id of a subject
    split: Split  # the images that `details` speak of
    focus: Focus | None
    looked: OneEach | None
    unread: tuple[str, ...]  # what could not be read, and why

    @cached_property
    def known(self) -> dict[str, Subject]:
        """By id."""
        return {one.id: one for one in self.subjects}

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """By name; none of a ratio that publications make of accuracies."""
        return {one.name: one for one in self.findings.measures}

    def measured(self, name: str) -> str:
        """What a measure is called."""
        return self.measures[name].label if name in self.measures else name

    def hardware(self, shown: Iterable[Subject]) -> str:
        """For a caption; nothing where the whole page has one, which its head names."""
        everywhere = {one.hardware for one in self.subjects if one.hardware}
        found = dict.fromkeys(one.hardware for one in shown if one.hardware)
        return f" Hardware: {'; '.join(found)}." if found and len(everywhere) > 1 else ""

    def style(self, subject: str) -> str:
        return self.known[subject].style if subject in self.known else ""


def collect(
    findings: Findings,
    root: Path,
    data_dir: Path | None = None,
    with_pictures: bool = True,
    moved: str | None = None,
) -> Material:
    """`root` is the folder of the runs, `moved` where a data set is now; what is not there any more is left out, and said."""
    known, unread = subjects(findings), list(_missing(findings, root))
    curves = {one.id: _tried(lambda one=one: curves_of(one, root), {}, unread) for one in known}
    split: Split = "test" if any(row.test for row in findings.runs) else "heldout"
    found = {one.id: _tried(lambda one=one: detail_of(one, root, split, findings.score), None, unread) for one in known}
    details = {name: detail for name, detail in found.items() if detail is not None}
    focus = _focus(findings, known, details, data_dir, with_pictures, moved)
    seen = None
    if focus and focus.control and with_pictures:
        seen = looked(findings, focus.treatment, focus.control, root, data_dir, moved)
    unread += [seen] if isinstance(seen, str) else []
    return Material(
        findings=findings,
        subjects=known,
        curves={name: curve for name, curve in curves.items() if curve},
        details=details,
        split=split,
        focus=focus,
        looked=None if isinstance(seen, str) else seen,
        unread=tuple(dict.fromkeys(unread)),
    )


def _tried(read: Callable[[], Found], instead: Found, unread: list[str]) -> Found:
    try:
        return read()
    except (ProtegeError, OSError, KeyError, ValueError, TypeError, IndexError) as error:
        unread.append(str(error) if isinstance(error, ProtegeError) else f"a record cannot be read ({error!r})")
        return instead


def _missing(findings: Findings, root: Path) -> list[str]:
    gone = {row.id for row in findings.runs if row.state == "finished" and not is_folder(root / row.path)}
    if not gone:
        return []
    which = f"{len(gone)} finished run(s) are not in {root}, {min(gone)} among them"
    return [f"The folders of {which}: their curves and diagrams are left out."]


def _focus(
    findings: Findings,
    known: Sequence[Subject],
    details: Mapping[str, Detail],
    data_dir: Path | None,
    shown: bool,
    moved: str | None,
) -> Focus | None:
    """The first primary comparison that was evaluated, else the first network that was."""
    by_key = {one.id.removeprefix("cell/"): one for one in known if one.kind != "teacher" and one.id in details}
    effect = next((one for one in _by_weight(findings.effects) if {one.treatment, one.control} <= by_key.keys()), None)
    if effect is None and not by_key:
        return None
    treatment = by_key[effect.treatment] if effect else next(iter(by_key.values()))
    detail = details[treatment.id]
    confused = most_confused(detail, CONFUSED)
    found = pictures(detail, confused[:PICTURED], data_dir, moved) if shown else ""
    return Focus(
        treatment=treatment,
        control=by_key[effect.control] if effect else None,
        confused=tuple(confused),
        pictures=() if isinstance(found, str) else tuple(tuple(one) for one in found),
        why_none=found if isinstance(found, str) else "",
    )


def _by_weight(effects: Sequence[Effect]) -> list[Effect]:
    return sorted(effects, key=lambda one: not one.primary)
