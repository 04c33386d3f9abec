"""Runs that no study planned: which differ in seed alone, who taught whom, and what to call them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protege.errors import ConfigError, RunError
from protege.report.page.table import last, plain
from protege.runs import Run
from protege.runs.config import RunConfig, by_path, canonical

MOST_VALUES = 4  # in a name


@dataclass(frozen=True)
class Member:
    """One run, read."""

    run: Run
    record: Mapping[str, Any]
    config: RunConfig

    @property
    def teachers(self) -> tuple[str, ...]:
        """Identities: `run:<id>:<weights>`, or `file:...`."""
        return tuple(self.record["teachers"])


@dataclass(frozen=True)
class Group:
    """Runs that differ in seed alone (their own, or their teachers')."""

    digest: str
    members: tuple[Member, ...]  # by seed
    taught_by: tuple[str, ...]  # digests of groups, or identities of teachers that are not here

    @property
    def first(self) -> Member:
        return self.members[0]

    @property
    def method(self) -> str:
        return self.first.config.method.name

    @property
    def model(self) -> str:
        return self.first.config.model.name

    @property
    def tested(self) -> bool:
        return any(one.run.finished and (one.run.evaluations / "test.json").exists() for one in self.members)


def members(found: Iterable[Run], root: Path) -> tuple[list[Member], list[str]]:
    """The runs that can be read, with the teachers that they had from the same folder; and what was wrong with the others."""
    known: dict[str, Member] = {}
    unread = []
    waiting = list(found)
    while waiting:
        run = waiting.pop(0)
        if run.id in known:
            continue
        try:
            known[run.id] = _member(run)
        except (RunError, ConfigError) as error:
            unread.append(f"{run.id} is left out, as it cannot be read: {' '.join(str(error).split())}")
            continue
        teachers = [Run(root / taught) for name in known[run.id].teachers if (taught := run_of(name))]
        waiting += [run for run in teachers if run.record_file.exists()]
    return list(known.values()), unread


def _member(run: Run) -> Member:
    """All of its records, so that one that is damaged hides no other run."""
    if run.finished:
        run.result()
    for split in ("heldout", "test"):
        if (run.evaluations / f"{split}.json").exists():
            run.evaluation(split)
    run.metrics()
    return Member(run, run.record(), run.config())


def run_of(identity: str) -> str | None:
    kind, _, rest = identity.partition(":")
    return rest.rpartition(":")[0] if kind == "run" else None


def groups(known: Sequence[Member]) -> list[Group]:
    """In the order of the runs."""
    by_id = {one.run.id: one for one in known}
    digests: dict[str, str] = {}

    def digest(one: Member) -> str:
        if one.run.id not in digests:
            digests[one.run.id] = hashlib.sha256(canonical(_described(one, taught_by(one))).encode()).hexdigest()
        return digests[one.run.id]

    def taught_by(one: Member) -> list[str]:
        named = [(identity, by_id.get(run_of(identity) or "")) for identity in one.teachers]
        return [digest(taught) if taught is not None else identity for identity, taught in named]

    gathered: dict[str, list[Member]] = {}
    for one in known:
        gathered.setdefault(digest(one), []).append(one)
    return [
        Group(name, tuple(sorted(those, key=lambda one: (one.config.seed, one.run.id))), tuple(taught_by(those[0])))
        for name, those in gathered.items()
    ]


def _described(one: Member, teachers: Sequence[str]) -> dict[str, Any]:
    config = one.config.model_dump(mode="json", exclude={"seed": True, "data": True, "teacher": True})
    weights = [teacher.weights for teacher in one.config.teacher]
    return {"config": config, "data": one.record["data"]["fingerprint"], "teachers": list(teachers), "weights": weights}


# ---- roles ----


def is_teacher(group: Group, known: Sequence[Group]) -> bool:
    return any(group.digest in other.taught_by for other in known)


def is_cell(group: Group, known: Sequence[Group]) -> bool:
    """A student: taught, or of use to nobody else, or what a taught one is naturally compared with."""
    return bool(group.taught_by) or not is_teacher(group, known) or any(control_of(one, [group]) for one in known)


def control_of(group: Group, known: Sequence[Group]) -> Group | None:
    """The same network on the same data and views with the same optimiser, without a teacher."""
    if not group.taught_by:
        return None
    same = [one for one in known if not one.taught_by and _setting(one) == _setting(group)]
    return next((one for one in same if one.method == "supervised"), same[0] if same else None)


def _setting(group: Group) -> str:
    config = group.first.config.model_dump(mode="json", exclude={"seed": True, "method": True, "teacher": True})
    return canonical({**config, "data": group.first.record["data"]["fingerprint"]})


def judged_by(group: Group) -> str:
    """Equal where the test images are the same, so that accuracies compare."""
    data = group.first.config.data.model_dump(mode="json", include={"labels", "classes", "resplit", "image_size"})
    about = group.first.record["data"]
    return canonical([about["name"], about["content"], about["test"], data])


# ---- names ----


def names(known: Sequence[Group], short: Mapping[str, str]) -> dict[str, str]:
    """digest -> name: `short`, with the fields in which groups of one name differ, and part of the digest if nothing else does."""
    named: dict[str, str] = {}
    for base in dict.fromkeys(short[one.digest] for one in known):
        those = [one for one in known if short[one.digest] == base]
        fields = {one.digest: by_path(_readable(one, short)) for one in those}
        differing = list(_differing(list(fields.values())))
        for one in those:
            values = [f"{last(path)} {plain(fields[one.digest].get(path, '-'))}" for path in differing[:MOST_VALUES]]
            named[one.digest] = f"{base} ({', '.join(values)})" if values else base
    for name in {name for name in named.values() if list(named.values()).count(name) > 1}:
        for digest in [digest for digest, other in named.items() if other == name]:
            named[digest] = f"{name} [{digest[:6]}]"
    return named


def _readable(group: Group, short: Mapping[str, str]) -> dict[str, Any]:
    config = group.first.config.model_dump(mode="json", exclude={"seed": True, "teacher": True})
    taught = " + ".join(short.get(one, one.partition(":")[0]) for one in group.taught_by)
    return {**config, "teacher": taught}


def _differing(several: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The method's own fields first: they are what people vary."""
    paths = dict.fromkeys(path for fields in several for path in fields)
    differing = [path for path in paths if len({canonical(fields.get(path)) for fields in several}) > 1]
    yield from sorted(differing, key=lambda path: not path.startswith("method."))
