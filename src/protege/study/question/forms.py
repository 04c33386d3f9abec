"""Where two things that look alike differ: the two forms of a study, and the arms of one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from protege.runs.config import by_path
from protege.study.question.arms import Cell, cells, teacher_config
from protege.study.question.schema import Study

FAIR = ("data", "model", "optim.epochs")  # what arms must share, if their difference is to be that of their methods


def differences(full: Study, reduced: Study) -> tuple[str, ...]:
    """All of them, each once however many runs it concerns."""
    return (*_of_runs(full, reduced), *_of_tries(full, reduced), *_of_counts(full, reduced))


def _of_runs(full: Study, reduced: Study) -> Iterator[str]:
    before, after = dict(_described(full)), dict(_described(reduced))
    alike = [place for place in before if place in after]
    changed: dict[tuple[str, str, str], list[str]] = {}
    for place in alike:
        for path in sorted({*before[place], *after[place]}):
            one, other = before[place].get(path), after[place].get(path)
            if one != other:
                changed.setdefault((path, _shown(other), _shown(one)), []).append(place)
    for (path, now, instead), places in changed.items():
        yield f"{path} {now} instead of {instead} ({_where(places, alike)})"
    if left_out := [place for place in before if place not in after]:
        yield f"without {', '.join(left_out)}"
    if added := [place for place in after if place not in before]:
        yield f"with {', '.join(added)} besides"


def _described(study: Study) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each kind of run, with all that is settled of it."""
    for key, teacher in study.teachers.items():
        if not teacher.source:
            yield (
                f"teacher {key}",
                by_path(teacher_config(study, key).model_dump(mode="json", exclude={"seed", "teacher"})),
            )
    for cell in cells(study):
        place = f"arm {cell.arm}" + (f": {cell.pair}" if cell.pair else "")
        varied = {path for one in cell.configurations for path in one.values}
        flat = by_path(cell.configurations[0].config.model_dump(mode="json", exclude={"seed", "teacher"}))
        yield place, {path: value for path, value in flat.items() if path not in varied}


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _where(places: Sequence[str], everywhere: Sequence[str]) -> str:
    kinds = {"every teacher": "teacher ", "every arm": "arm "}
    if len(places) == len(everywhere):
        return "every run"
    said = []
    for name, start in kinds.items():
        those, all_those = ([place for place in some if place.startswith(start)] for some in (places, everywhere))
        said += [name] if those and len(those) == len(all_those) else those
    return ", ".join(said)


def _of_tries(full: Study, reduced: Study) -> Iterator[str]:
    """Configurations of an arm: fewer, or others."""
    before, after = ({name: [*map(_point, arm.vary)] for name, arm in study.arms.items()} for study in (full, reduced))
    for name, points in before.items():
        if name in after and after[name] != points:
            now = ", ".join(after[name]) or "one configuration"
            yield f"arm {name} tries {now} instead of {len(points) or 'one'}"
    searching = [{name: arm.search for name, arm in study.arms.items() if arm.search} for study in (full, reduced)]
    for name, space in searching[1].items():
        if (before_it := searching[0].get(name)) is not None and space != before_it:
            now, then = ("; ".join(f"{path} {axis.said()}" for path, axis in of.items()) for of in (space, before_it))
            yield f"arm {name} searches {now} instead of {then}"
    if searching[1] and (now := reduced.search.budget()) != (then := full.search.budget()):
        yield f"{now} of each search instead of {then}"


def _point(values: Mapping[str, Any]) -> str:
    return " with ".join(f"{path.rpartition('.')[2]} {_shown(value)}" for path, value in values.items())


def _of_counts(full: Study, reduced: Study) -> Iterator[str]:
    counts = {
        "seeds to report": (len(full.seeds.report), len(reduced.seeds.report)),
        "seeds to choose by": (len(full.select_seeds), len(reduced.select_seeds)),
        "comparisons": (len(full.compare), len(reduced.compare)),
    }
    for key, teacher in full.teachers.items():
        if key in reduced.teachers and not teacher.source:
            counts[f"seeds of teacher {key}"] = (len(teacher.seeds), len(reduced.teachers[key].seeds))
    for what, (instead, now) in counts.items():
        if now != instead:
            first, _, rest = what.partition(" ")
            yield f"{now} {first.removesuffix('s') if now == 1 else first}{rest and ' ' + rest} instead of {instead}"


# ---- arms ----


def unequal_arms(planned: Sequence[Cell]) -> Iterator[str]:
    """A sentence for each field in which arms of one pair differ though no `vary` of theirs says so."""
    said: dict[str, list[str | None]] = {}
    for pair in dict.fromkeys(cell.pair for cell in planned):
        own = [cell for cell in planned if cell.pair == pair]
        varied = {path for cell in own for one in cell.configurations for path in one.values}
        flat = {
            cell.arm: by_path(cell.configurations[0].config.model_dump(mode="json", include={"data", "model", "optim"}))
            for cell in own
        }
        for path in sorted({path for one in flat.values() for path in one}):
            if path in varied or not any(path == fair or path.startswith(f"{fair}.") for fair in FAIR):
                continue
            groups: dict[str, list[str]] = {}
            for arm, one in flat.items():
                groups.setdefault(_shown(one.get(path)), []).append(arm)
            if len(groups) > 1:
                values = "; ".join(f"{value} of {', '.join(arms)}" for value, arms in groups.items())
                said.setdefault(f"{path}: {values}", []).append(pair)
    for what, pairs in said.items():
        where = (
            ""
            if None in pairs or len(pairs) == len({cell.pair for cell in planned})
            else f" ({', '.join(map(str, pairs))})"
        )
        yield f"Arms differ in more than their method{where}: {what}. A difference may be due to that."
