"""From a YAML file to a checked study: its two forms, the teachers that it implies, and names that must meet."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from protege.data.files import is_there
from protege.data.outside.consent import named_in
from protege.errors import ConfigError, quoted, suggest, visible
from protege.models import MODELS, is_network
from protege.runs.config import Description, mistakes, problems_of, read_yaml
from protege.study.question.arms import cells, problems_of_arms, teacher_config, teacher_keys
from protege.study.question.fields import RUN_FIELDS, aliased, fields_and_rest, merge_fields
from protege.study.question.forms import differences
from protege.study.question.schema import Hypothesis, Pair, Scale, Study, Teacher
from protege.study.question.search import Search

MOST_CONFIGURATIONS, MOST_RUNS = 2000, 50_000
REDUCIBLE = ("base", "every_run", "teachers", "arms", "pairs", "seeds", "search")
JUDGES = ("name", "labels", "classes", "heldout", "heldout_seed", "resplit")  # of data: what decides which images judge


def load(path: Path, scale: Scale = "full") -> Study:
    """The study of a YAML file in its full or reduced form; one `ConfigError` lists everything wrong with either."""
    with named_in(str(path)):
        return study_of(visible(path.stem), read_yaml(path), scale, str(path))


def study_of(name: str, raw: Description, scale: Scale = "full", origin: str = "the study") -> Study:
    """The same from a description already read."""
    if scale == "reduced" and not raw.get("reduced"):
        raise ConfigError(f"{origin} has no reduced form: give it a section `reduced`, or run it with --scale full.")
    problems = ["differs: say it in the section `reduced`, whose form it describes."] if "differs" in raw else []
    problems += ["changes: is computed from the two forms. Leave it out."] if "changes" in raw else []
    problems += [*_overruled(raw), *_overruled(raw.get("reduced") or {}, "reduced.")]
    full = _checked(name, raw, problems)
    reduced = _checked(name, _reduced(raw, problems), problems) if raw.get("reduced") and full else None
    if problems:
        raise mistakes(problems, origin)
    assert full is not None
    return (
        full
        if reduced is None or scale == "full"
        else reduced.model_copy(update={"changes": differences(full, reduced)})
    )


def _checked(name: str, raw: Description, problems: list[str]) -> Study | None:
    """The study, or None and what is wrong with it in `problems`."""
    try:
        study = with_implied_teachers(Study.model_validate({"name": name, **raw}))
    except ValidationError as error:
        found = list(problems_of(error, Study))
    else:
        found = list(_too_many(study)) or [*_problems_of_names(study), *problems_of_arms(study)]
        found = found or list(_problems_of_protocol(study))
        if not found:
            return study
    problems += [problem for problem in found if problem not in problems]
    return None


def _too_many(study: Study) -> Iterator[str]:
    """More than a plan can name in seconds, before any of it is made."""
    searched = study.search.most if study.search.minutes is None else study.search.at_once
    tried = (searched if arm.search else len(arm.vary) or 1 for arm in study.arms.values())
    configurations = len(study.pairs or (None,)) * sum(tried)
    crossed = math.prod(len(one.seeds) for one in study.teachers.values() if one.assign == "cross")
    runs = configurations * (len(study.select_seeds) + len(study.seeds.report)) * crossed
    if configurations > MOST_CONFIGURATIONS or runs > MOST_RUNS:
        yield (
            f"{configurations:,} configurations and {runs:,} runs are too many for one study: "
            f"up to {MOST_CONFIGURATIONS:,} and {MOST_RUNS:,} are planned. Vary less, or take fewer seeds."
        )


# ---- the reduced form ----


def _reduced(raw: Description, problems: list[str]) -> Description:
    """The file with its section `reduced` over it. Arms given as null are left out, and hypotheses about them with them."""
    over, small = raw["reduced"], {key: value for key, value in raw.items() if key not in ("reduced", "differs")}
    if not isinstance(over, Mapping):
        problems.append(f"reduced: {quoted(over)} is not a mapping of fields")
        return small
    for section, change in over.items():
        if section == "differs":
            small["differs"] = _in_words(change, problems)
        elif section not in REDUCIBLE:
            known = [*REDUCIBLE, "differs"]
            problems.append(f"reduced.{section}: there is no such field.{suggest(str(section), known)}")
        elif section == "pairs":
            small["pairs"] = _named_pairs(small.get("pairs") or [], change, problems)
        else:
            small[section] = _section_over(section, small.get(section), change, problems)
    _keep_what_teachers_say(small, over)
    small["compare"] = [one for one in small.get("compare") or [] if _still_there(one, small)]
    small["published"] = [one for one in small.get("published") or [] if _still_there(one, small)]
    return small


def _keep_what_teachers_say(small: Description, over: Mapping[str, Any]) -> None:
    """What the reduced form says of a teacher itself is not overruled by what it says of every run."""
    for name, change in (over.get("teachers") or {}).items():
        if isinstance(change, Mapping) and isinstance(described := (small.get("teachers") or {}).get(name), Mapping):
            own = {path: value for path, value in change.items() if aliased(str(path).partition(".")[0]) in RUN_FIELDS}
            small["teachers"] = {**small["teachers"], name: {**described, "over_every_run": own}}


def _overruled(raw: Description, place: str = "") -> Iterator[str]:
    """Fields of arms and pairs that `every_run` of the same form sets as well."""
    shortened = set(_paths(raw.get("every_run")))
    given = [("arms", name, one) for name, one in _items(raw.get("arms"))]
    given += [("pairs", _name_of(one), one) for one in raw.get("pairs") or [] if isinstance(one, Mapping)]
    given += [] if place else [("teachers", name, one) for name, one in _items(raw.get("teachers"))]
    for section, name, one in given:
        tried = [one.get(name) for name in ("vary", "search")] if isinstance(one, Mapping) else []
        for path in sorted(shortened & {path for of in (one, *tried) for path in _paths(of)}):
            yield f"{place}{section}.{name}: every_run sets {path} too, and would overrule it. Leave one of them out."


def _items(section: Any) -> Iterable[tuple[str, Any]]:
    return section.items() if isinstance(section, Mapping) else ()


def _paths(fields: Any, before: str = "") -> Iterator[str]:
    """Dotted paths of all that a mapping sets."""
    for path, value in _items(fields):
        here = f"{before}{path}" if before else aliased(str(path))
        if isinstance(value, Mapping):
            yield from _paths(value, f"{here}.")
        else:
            yield here


def _in_words(differs: Any, problems: list[str]) -> str:
    """On one line, without the full stop that the sentence around it has."""
    if not isinstance(differs, str) or not differs.strip():
        problems.append(
            f"reduced.differs: {quoted(differs)} is no text. Say in words how this form differs from the full one."
        )
        return ""
    return " ".join(differs.split()).removesuffix(".")


def _still_there(one: Any, small: Description) -> bool:
    """Whether a hypothesis or a published figure still has its arms and its pair in the reduced form."""
    if not isinstance(one, Mapping):
        return True  # which is said when it is checked
    other = one["than"] if isinstance(one.get("than"), Mapping) else {}
    among = one.get("among") or ()
    named = {one.get(key) for key in ("arm", "against", "treatment")} | {other.get("treatment"), other.get("control")}
    named |= {one.get("control", "alone" if "treatment" in one else None)}
    named |= {among} if isinstance(among, str) else set(among)
    pairs = {_name_of(pair) for pair in small.get("pairs") or []}
    return (
        named - {None} <= set(small.get("arms") or {})
        and {one.get("pair"), one.get("control_pair"), other.get("pair")} - {None} <= pairs
    )


def _section_over(section: str, full: Any, change: Any, problems: list[str]) -> Any:
    if not isinstance(change, Mapping):
        problems.append(f"reduced.{section}: {quoted(change)} is not a mapping of fields")
        return full
    if section in ("seeds", "search"):
        return {**(full or {}), **change}
    if section in ("base", "every_run"):
        return _merged(f"reduced.{section}", full or {}, change, problems)
    found = dict(full or {})
    for name, one in change.items():
        if name not in found:
            problems.append(f"reduced.{section}.{name}: the study has no such name.{suggest(str(name), list(found))}")
        elif one is None:
            del found[name]
        else:
            found[name] = _merged(f"reduced.{section}.{name}", found[name], one, problems)
    return found


def _merged(place: str, full: Any, change: Any, problems: list[str]) -> Any:
    """Run fields merged, the study's own fields of an arm or a teacher replaced."""
    own = ("vary", "search", "init", "from", "weights", "mean", "std", "seeds", "assign")
    try:
        below = fields_and_rest({"model": full} if isinstance(full, str) else full or {}, own)
        above = fields_and_rest(change, own)
    except ValueError as error:
        problems.append(f"{place}: {error}")
        return full
    rest = {key: value for key, value in {**below, **above}.items() if key != "fields"}
    return {**rest, **merge_fields(below["fields"], above["fields"])}


def _named_pairs(pairs: list[Any], kept: Any, problems: list[str]) -> list[Any]:
    """`pairs` of a reduced form lists the names of those that it keeps, and pairs of its own in full."""
    known = {_name_of(pair): pair for pair in pairs}
    found: list[Any] = []
    for one in kept if isinstance(kept, list) else [kept]:
        if isinstance(one, Mapping):
            found.append(one)
        elif one in known:
            found.append(known[one])
        else:
            problems.append(f"reduced.pairs: there is no pair '{one}'.{suggest(str(one), list(map(str, known)))}")
    return found


def _name_of(pair: Any) -> str | None:
    """What a pair is called; nothing where its description is no pair, which is said when it is checked."""
    try:
        return Pair.model_validate(pair).name
    except ValidationError:
        return None


# ---- teachers named where they are needed ----


def with_implied_teachers(study: Study) -> Study:
    """A bare network name as `teacher` is a network to train first; another name is a run or a weights file."""
    teachers = dict(study.teachers)
    for given in _teachers_named(study):
        for key in teacher_keys(given):
            if key not in teachers:
                described = dict(given) if isinstance(given, Mapping) else {}
                described["from"] = described.pop("source", key)
                trained = is_network(key)
                teachers[key] = Teacher.model_validate({"model": key} if trained else described)
    return study.model_copy(update={"teachers": teachers})


def _teachers_named(study: Study) -> Iterator[Any]:
    fields = [study.base, *(arm.fields for arm in study.arms.values()), *(pair.fields for pair in study.pairs)]
    fields += [point for arm in study.arms.values() for point in arm.vary]
    fields += [over for pair in study.pairs for over in pair.arms.values()]
    fields += [teacher.fields for teacher in study.teachers.values()]
    for one in fields:
        given = one.get("teacher")
        yield from given if isinstance(given, list | tuple) else [given]


# ---- names that must meet, and what a protocol allows ----


def _problems_of_names(study: Study) -> Iterator[str]:
    arms, pairs, teachers = list(study.arms), [pair.name for pair in study.pairs], list(study.teachers)
    for name in sorted({name for name in pairs if pairs.count(name) > 1}):
        yield f"pairs: two are called '{name}'; give one another `name`."
    for pair in study.pairs:
        yield from _unknown(f"pairs.{pair.name}.arms", pair.arms, arms)
    if study.pairs:
        for name in (name for name, arm in study.arms.items() if "model" in arm.fields):
            yield f"arms.{name}: names a student, but the pairs name theirs. Leave one of them out."
    yield from _problems_of_hypotheses(study, arms, pairs)
    for number, figure in enumerate(study.published, 1):
        yield from _unknown(f"published {number}: arm", [figure.arm, figure.against], arms)
        yield from _unknown(f"published {number}: teacher", [figure.teacher], teachers)
        yield from _unknown(f"published {number}: pair", [figure.pair], pairs)
    if any(isinstance(given, Mapping) and "source" not in given for given in _teachers_named(study)):
        yield "teacher: describe a teacher under `teachers`, with a name of your choice, and give that name here."
    yield from _mistyped_teachers(study)
    yield from _circles(study)
    yield from _problems_of_starts(study)


def _problems_of_hypotheses(study: Study, arms: list[str], pairs: list[str]) -> Iterator[str]:
    asked = [hypothesis.asked for hypothesis in study.compare]
    for number, hypothesis in enumerate(study.compare, 1):
        control = None if hypothesis.among else hypothesis.control
        yield from _unknown(f"compare {number}: treatment", [hypothesis.treatment], arms)
        yield from _unknown(f"compare {number}: control", [control], arms)
        yield from _unknown(f"compare {number}: among", hypothesis.among, arms)
        yield from _unknown(f"compare {number}: pair", [hypothesis.pair, hypothesis.control_pair], pairs)
        if (other := hypothesis.than) is not None:
            yield from _unknown(f"compare {number}: than", [other.treatment, other.control], arms)
            yield from _unknown(f"compare {number}: than.pair", [other.pair], pairs)
            if other.pair and not hypothesis.pair:
                yield f"compare {number}: than names a pair, so name `pair` of the first difference too."
        same = control and hypothesis.treatment == control and hypothesis.control_pair in (None, hypothesis.pair)
        if same and hypothesis.at == hypothesis.control_at == {}:
            yield f"compare {number}: {hypothesis.treatment} is compared with itself."
        if (first := asked.index(hypothesis.asked) + 1) < number:
            yield f"compare {number}: asks the same as compare {first}. Keep one, with its margin and `primary`."
        for earlier, other in enumerate(study.compare[: number - 1], 1):
            if _within(other, hypothesis) or _within(hypothesis, other):
                yield f"compare {number}: compare {earlier} asks the same, one of all pairs and one of a single one. Keep one of them."


def _within(one: Hypothesis, all_pairs: Hypothesis) -> bool:
    """Whether the same is asked of one pair and of all."""
    return one.pair is not None and all_pairs.pair is None and {**one.asked, "pair": None} == all_pairs.asked


def _unknown(place: str, names: Iterable[str | None], known: list[str]) -> Iterator[str]:
    for name in names:
        if name is not None and name not in known:
            there = f" There are {', '.join(known)}." if known else " There are none."
            yield f"{place}: there is no '{name}'.{suggest(name, known) or there}"


def _mistyped_teachers(study: Study) -> Iterator[str]:
    """A word that is nearly a network's or a teacher's name, and neither a path nor an id."""
    for key, teacher in study.teachers.items():
        for source in teacher.source:
            known = [*(name for name in study.teachers if name != key), *MODELS]
            near = "" if any(mark in source for mark in "/.-") or is_there(Path(source)) else suggest(source, known)
            if near:
                yield f"teacher: '{source}' is no teacher of this study, no network and no file.{near}"


def _circles(study: Study) -> Iterator[str]:
    for key in study.teachers:
        seen, ahead = {key}, list(_taught_by(study, key))
        while ahead:
            one = ahead.pop()
            if one == key:
                yield f"teachers.{key}: it is taught by itself."
                break
            if one not in seen:
                seen.add(one)
                ahead += _taught_by(study, one)


def _problems_of_starts(study: Study) -> Iterator[str]:
    """An arm starts from another that has one configuration, and in the end from none."""
    for name, arm in study.arms.items():
        seen, ahead = [name], arm.init
        yield from _unknown(f"arms.{name}.init", [ahead], list(study.arms))
        if ahead in study.arms and (study.arms[ahead].vary or study.arms[ahead].search):
            yield f"arms.{name}.init: {ahead} varies, so it is not known from which of its runs to start. Name an arm without `vary`."
        while ahead in study.arms and ahead not in seen:
            seen.append(ahead)
            ahead = study.arms[ahead].init
        if ahead == name:
            yield f"arms.{name}.init: it starts from itself."


def _taught_by(study: Study, key: str) -> tuple[str, ...]:
    return teacher_keys(study.teachers[key].fields.get("teacher")) if key in study.teachers else ()


def _problems_of_protocol(study: Study) -> Iterator[str]:
    yield from _problems_of_figures(study)
    yield from _problems_of_many(study)
    tried = [(cell, one) for cell in cells(study) for one in cell.configurations]
    kept_apart = {_kept_apart(one.config.data) for _, one in tried}
    trained = [key for key, teacher in study.teachers.items() if not teacher.source]
    kept_apart |= {_kept_apart(teacher_config(study, key).data) for key in trained}
    yield from _problems_of_search(study)
    if study.protocol == "literature":
        if study.seeds.select:
            yield "seeds.select: the literature protocol chooses nothing, so no seed selects. Leave it out, or use `protocol: heldout`."
        if study.report == "best" or any(
            teacher.weights == "best" and not teacher.source for teacher in study.teachers.values()
        ):
            yield "report: the literature protocol holds no images out, so there is no best epoch; the final one is reported."
        if study.choose_by != "accuracy":
            yield "choose_by: the literature protocol chooses nothing. Leave it out, or use `protocol: heldout`."
        if any(kept_apart):
            yield "data: the literature protocol trains on everything; leave data.heldout out (or give data.resplit nothing held out)."
    elif not all(kept_apart):
        yield "data: no images are held out, so there is nothing to choose on. Leave data.heldout above 0, or use `protocol: literature`."
    for cell, one in tried[1:]:
        differing = [
            name for name in JUDGES if getattr(one.config.data, name) != getattr(tried[0][1].config.data, name)
        ]
        if differing:
            yield f"arms.{cell.key}: data.{differing[0]} differs from the other arms', so other images would judge it."


def _problems_of_search(study: Study) -> Iterator[str]:
    searching = {name: arm.search for name, arm in study.arms.items() if arm.search}
    if study.search != Search() and not searching:
        yield "search: no arm searches. Give one a `search` of its own, such as {optim.lr: 0.01 0.5 log}."
    for name, space in searching.items():
        points = math.prod(axis.points for axis in space.values())
        if study.protocol == "literature":
            yield f"arms.{name}.search: the literature protocol chooses nothing. Use `protocol: heldout`."
        elif study.search.stop == "halving" and study.choose_by != "accuracy":
            yield f"search.stop: halving goes by accuracy, and choose_by by {study.choose_by}, known at the end alone. Leave one out."
        elif points <= study.search.most:
            yield f"arms.{name}.search: there are {points:g} configurations for {study.search.budget()}. Try them all with `vary`."
    for cell in cells(study):
        config = cell.configurations[0].config
        halves = study.search.stop == "halving" and cell.space
        if halves and not study.search.looks(config.optim.epochs, config.evaluate_every):
            yield f"search.stop: halving looks at trials before their end, which {cell.key} is too short for. Give it more epochs."


def _problems_of_many(study: Study) -> Iterator[str]:
    """Hypotheses that would find nothing to compare."""
    known = cells(study)
    for number, one in enumerate(study.compare, 1):
        of_arms = [cell for cell in known if one.pair in (None, cell.pair)]
        if one.among and max(Counter(cell.pair for cell in of_arms if cell.arm in one.among).values(), default=0) < 2:
            named = ", ".join(one.among)
            yield f"compare {number}: {named} is one cell. Name several arms, or report every configuration with `protocol: literature`."
        for arm, at in ((one.treatment, one.at), (one.control, one.control_at)):
            values = [cell.configurations[0].values for cell in known if cell.arm == arm]
            if at and not any(all(value.get(path) == wanted for path, wanted in at.items()) for value in values):
                yield f"compare {number}: {arm} has no configuration {dict(at)}. `at` needs `protocol: literature` and varied values."


def _problems_of_figures(study: Study) -> Iterator[str]:
    """In the literature protocol every configuration is a cell of its own, and a figure speaks of one."""
    known = [(cell.arm, cell.pair, cell.configurations[0].values) for cell in cells(study)]
    for number, figure in enumerate(study.published, 1):
        fitting = [one for one in known if study.protocol == "heldout" or figure.fits(*one)]
        fitting = [one for one in fitting if one[0] == figure.arm and figure.pair in (None, one[1])]
        if figure.arm and len(fitting) != 1:
            yield f"published {number}: {figure.arm} stands for {len(fitting)} cells of the study; say which with `pair` and `at`."


def _kept_apart(data: BaseModel) -> bool:
    resplit = getattr(data, "resplit", None)
    return bool(resplit[1] if resplit else getattr(data, "heldout"))  # noqa: B009
