"""Which runs a study takes: all known by their ids before the first is trained, as an id needs no more than descriptions."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

from protege import data
from protege.data.files import is_there
from protege.errors import ConfigError, RunError
from protege.models.config import ModelConfig
from protege.runs import Run, read_json, write_json
from protege.runs.config import Place, RunConfig, TeacherConfig, canonical
from protege.runs.identity import known_as
from protege.runs.records import Trials
from protege.study.question.arms import Cell, Configuration, cells, configured, teacher_config
from protege.study.question.forms import unequal_arms
from protege.study.question.layout import Layout, PlannedRun, Role, Tutor
from protege.study.question.schema import Hypothesis, Scale, Study, Than, Values
from protege.teacher import sources


@final
class Plan(Layout):
    """A study at a place. Nothing here reads a pixel or a score."""

    def __init__(self, study: Study, place: Place, scale: Scale = "full") -> None:
        self.study, self.place = study, place
        self.scale: Scale = scale
        self.cells = cells(study)
        self._fingerprints: dict[str, str] = {}
        self._tutors: dict[str, tuple[Tutor, ...]] = {}
        self._trials: dict[str, Configuration] = {}
        self._runs: dict[str, list[PlannedRun]] = {}
        self._trials_files: dict[str, Path] = {}
        self.identity  # noqa: B018 (a teacher that is not there is told now)

    @cached_property
    def identity(self) -> str:
        """The same for the same runs, comparisons and protocol, however the file is worded and whatever arms and pairs are called."""
        study = self.study
        chosen_by = [] if study.choose_by == "accuracy" else [study.choose_by]
        content = {
            "format": 2,
            "protocol": [study.protocol, study.report, self.scale, *chosen_by],
            "compare": sorted(canonical(self._asked(one)) for one in study.compare),
            "cells": sorted(canonical(self._runs_of(cell)) for cell in self.cells),
        }
        return _hashed(content)

    def _asked(self, one: Hypothesis) -> dict[str, Any]:
        """A hypothesis by the runs that it compares."""
        content = one.model_dump(
            mode="json",
            exclude={"treatment", "control", "pair", "control_pair", "among", "than"},
            exclude_defaults=True,
        )
        other = one.than or Than.model_construct()
        ends = {
            "treatment": (one.treatment, one.pair),
            "control": (None if one.among else one.control, one.control_pair or one.pair),
            "than.treatment": (one.than and (other.treatment or one.treatment), other.pair or one.pair),
            "than.control": (one.than and (other.control or one.control), other.pair or one.pair),
            **{f"among.{number}": (arm, one.pair) for number, arm in enumerate(one.among)},
        }
        for name, (arm, pair) in ends.items():
            those = [cell for cell in self.cells if cell.arm == arm and pair in (None, cell.pair)]
            if arm:
                content[name] = sorted(canonical(self._runs_of(cell)) for cell in those)
        return content

    def _runs_of(self, cell: Cell) -> list[Any]:
        references = [[tutor.identity for tutor in self.tutors(key)] for key in cell.reference]
        return [references, list(self._ids(cell)), *self._searched(cell)]

    def _searched(self, cell: Cell) -> list[Any]:
        """What settles the trials of a search, and so stands for them. Nothing of other cells, whose identities are older."""
        if not cell.space:
            return []
        space = {path: axis.model_dump(mode="json") for path, axis in cell.space.items()}
        return [space, self.study.search.model_dump(mode="json"), list(self.study.select_seeds)]

    @cached_property
    def _earlier_identity(self) -> str | None:
        """By which studies were found when the names of arms and pairs were part of it; None where they could not ask this."""
        study, asked = self.study, []
        if study.choose_by != "accuracy":
            return None
        for one in study.compare:
            content = one.model_dump(mode="json")
            newer = {name: content.pop(name) for name in ("at", "control_at", "control_pair", "than", "among")}
            if any(newer.values()):
                return None
            asked.append({**content, "test": one.test or "paired"})
        content = {
            "format": 1,
            "protocol": [study.protocol, study.report, self.scale],
            "compare": asked,
            "cells": [[cell.key, list(cell.reference), list(self._ids(cell))] for cell in self.cells],
            "teachers": {key: [tutor.identity for tutor in self.tutors(key)] for key in sorted(study.teachers)},
        }
        return _hashed(content)

    def _ids(self, cell: Cell) -> Iterator[list[str]]:
        for configuration in cell.configurations:
            yield [run.id for run in (*self.select_runs(cell, configuration), *self.report_runs(cell, configuration))]

    @property
    def folder(self) -> Path:
        """That which an earlier version, or the study under another name, has made; else its own."""
        name = self.study.name if self.scale == "full" else f"{self.study.name}-{self.scale}"
        all_studies = self.place.runs / "studies"
        if (own := all_studies / f"{name}-{self.identity}").exists():
            return own
        earlier = all_studies / f"{name}-{self._earlier_identity}"
        return earlier if earlier.exists() else next(iter(sorted(all_studies.glob(f"*-{self.identity}"))), own)

    def asked(self) -> list[Hypothesis]:
        """Those of the file; else every other arm against `alone`, or against the first arm without a teacher."""
        if self.study.compare:
            return list(self.study.compare)
        arms = list(dict.fromkeys(cell.arm for cell in self.cells))
        control = "alone" if "alone" in arms else next((cell.arm for cell in self.cells if cell.alone), None)
        return [Hypothesis(treatment=arm, control=control) for arm in arms if arm != control] if control else []

    # ---- students ----

    def configurations(self, cell: Cell) -> Sequence[Configuration]:
        """Those that are tried; of a search, those that were asked for so far."""
        return [one for asked in self.rounds(cell) for one in asked] if cell.space else cell.configurations

    def rounds(self, cell: Cell) -> list[list[Configuration]]:
        """What a search has asked for, as its record says: trials of a round are asked for together."""
        file = self._trials_file(cell)
        asked = read_json(file, Trials)["rounds"] if is_there(file) else []
        return [[self._trial(cell, values) for values in together] for together in asked]

    def ask(self, cell: Cell, values: Sequence[Values]) -> None:
        """One more round. The record appears whole, before the first of its runs is begun."""
        asked = [[one.values for one in together] for together in self.rounds(cell)]
        write_json(self._trials_file(cell), {"arm": cell.key, "rounds": [*asked, list(values)]})

    def _trials_file(self, cell: Cell) -> Path:
        """Named for what is searched: two arms that search the same share their trials."""
        if cell.key not in self._trials_files:
            name = _hashed({"cell": self._runs_of(cell)})
            self._trials_files[cell.key] = self.folder / "trials" / f"{name}.json"
        return self._trials_files[cell.key]

    def _trial(self, cell: Cell, values: Values) -> Configuration:
        key = f"{cell.key} {canonical(values)}"
        if key not in self._trials:
            self._trials[key] = configured(self.study, cell, values)
        return self._trials[key]

    def select_runs(self, cell: Cell, configuration: Configuration) -> list[PlannedRun]:
        return (
            self._students(cell, configuration, "select", self.study.select_seeds) if cell.chosen_by_selection else []
        )

    def report_runs(self, cell: Cell, configuration: Configuration) -> list[PlannedRun]:
        return self._students(cell, configuration, "report", self.study.seeds.report)

    def _students(self, cell: Cell, configuration: Configuration, role: Role, seeds: Sequence[int]) -> list[PlannedRun]:
        """Made once, where they hang on no other run: they are asked for after every run that ends."""
        if configuration.init is not None:
            return self._made_students(cell, configuration, role, seeds)
        key = f"{role} {cell.key} {canonical(configuration.values)} {list(seeds)}"
        if key not in self._runs:
            self._runs[key] = self._made_students(cell, configuration, role, seeds)
        return self._runs[key]

    def _made_students(
        self, cell: Cell, configuration: Configuration, role: Role, seeds: Sequence[int]
    ) -> list[PlannedRun]:
        found = []
        for position, seed in enumerate(seeds):
            starts = self._starts(cell, configuration, role, position, seed)
            for number, lineup in enumerate(self.lineups(configuration.teachers, position)):
                start = starts[number % len(starts)] if starts else None
                config = configuration.config if start is None else self._from(configuration.config, start)
                planned = self._planned(config, seed, lineup, role, cell.key, configuration.values)
                found.append(replace(planned, start=start))
        return found

    def _starts(
        self, cell: Cell, configuration: Configuration, role: Role, position: int, seed: int
    ) -> list[PlannedRun]:
        """Runs of that seed of the arm that this one starts from; several where that has several teachers."""
        if configuration.init is None:
            return []
        first = next(other for other in self.cells if (other.arm, other.pair) == (configuration.init, cell.pair))
        (own,) = first.configurations
        padded = [seed] * (position + 1)  # the position says whose turn it is to teach
        of_seed = len(self.lineups(own.teachers, position))
        return self._students(first, own, role, padded)[-of_seed:]

    def _from(self, config: RunConfig, start: PlannedRun) -> RunConfig:
        weights = str(Run(self.place.runs / start.id).weights_file())
        return config.model_copy(update={"model": config.model.model_copy(update={"weights": weights})})

    # ---- teachers ----

    def lineups(self, keys: Sequence[str], position: int) -> list[tuple[Tutor, ...]]:
        """Who teaches the student at this position of the seeds: one lineup, or several where a teacher is crossed with the seeds."""
        offered = []
        for key in keys:
            tutors = self.tutors(key)
            offered.append(tutors if self.study.teachers[key].assign == "cross" else (tutors[position % len(tutors)],))
        return list(itertools.product(*offered))

    def tutors(self, key: str) -> tuple[Tutor, ...]:
        if key not in self._tutors:
            given = self.study.teachers[key].source
            self._tutors[key] = tuple((self._given(key, source) for source in given) if given else self._trained(key))
        return self._tutors[key]

    def _trained(self, key: str) -> Iterator[Tutor]:
        described, declared = teacher_config(self.study, key), self.study.teachers[key]
        own = tuple(one.source for one in described.teacher)
        for position, seed in enumerate(declared.seeds):
            for lineup in self.lineups(own, position):
                run = self._planned(described, seed, lineup, "teacher", key, {})
                config = TeacherConfig(source=run.id, weights=declared.weights)
                yield Tutor(key, config, sources.run_identity(run.id, declared.weights), seed, run)

    def _given(self, key: str, source: str) -> Tutor:
        declared = self.study.teachers[key]
        network = declared.fields.get("model")
        model = ModelConfig.model_validate(network) if network else None
        name = str(Path(source).absolute()) if is_there(Path(source)) else source
        config = TeacherConfig(source=name, model=model, weights=declared.weights, mean=declared.mean, std=declared.std)
        try:
            (found,) = sources.identify([config], self.place.runs)
        except RunError as error:
            raise ConfigError(
                f"Teacher '{source}' is no network, no teacher of the study, and no run: {error}"
            ) from error
        return Tutor(key, found.config, found.identity, found.run.config().seed if found.run else None, None)

    def _planned(
        self, config: RunConfig, seed: int, lineup: tuple[Tutor, ...], role: Role, place: str, values: dict[str, Any]
    ) -> PlannedRun:
        complete = config.model_copy(update={"seed": seed, "teacher": tuple(tutor.config for tutor in lineup)})
        taught_by = [tutor.identity for tutor in lineup]
        complete, identity = known_as(complete, self._fingerprint(config), taught_by, self.place.runs)
        return PlannedRun(identity, complete, role, place, values, lineup)

    def _fingerprint(self, config: RunConfig) -> str:
        described = config.data.model_dump_json()
        if described not in self._fingerprints:
            self._fingerprints[described] = data.fingerprint(config.data, self.place.data_dir)
        return self._fingerprints[described]


def _hashed(content: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(content).encode()).hexdigest()[:8]


def warnings_before(study: Study, planned: Sequence[Cell]) -> list[str]:
    """What weakens the conclusions, known before the first run."""
    found = [*_budget_warnings(study, planned), *unequal_arms(planned)]
    if not any(cell.alone for cell in planned):
        found.append("No arm trains the student alone, so nothing shows that a teacher helps.")
    if len(study.select_seeds) == 1 and any(cell.chosen_by_selection for cell in planned):
        found.append("One seed alone selects: its noise is not known.")
    if len(study.seeds.report) < 3:
        seeds = "one seed" if len(study.seeds.report) == 1 else f"{len(study.seeds.report)} seeds"
        found.append(f"Reported over {seeds}: too few to say much of any difference.")
    found += _teacher_warnings(study, planned)
    return found


def _teacher_warnings(study: Study, planned: Sequence[Cell]) -> Iterator[str]:
    """What it would take to speak of teachers, where a study speaks of those alone that it has."""
    used = {key for cell in planned for one in cell.configurations for key in one.teachers}
    seeds = len(study.seeds.report)
    counts = {key: len(teacher.source or teacher.seeds) for key, teacher in study.teachers.items() if key in used}
    few = {key: count for key, count in counts.items() if count < seeds or study.teachers[key].assign == "cross"}
    if few and seeds > 1:
        teach = " and ".join(f"{count} network{'' if count == 1 else 's'} of {key}" for key, count in few.items())
        takes = f"A teacher for each seed would take `seeds: {seeds}` of each teacher (and `assign: rotate`)"
        verb, these = ("teaches", "this teacher") if sum(few.values()) == 1 else ("teach", "these teachers")
        yield f"{teach} {verb} all {seeds} seeds: what is claimed holds for {these}, not for teachers of the kind. {takes}."


def _budget_warnings(study: Study, planned: Sequence[Cell]) -> Iterator[str]:
    """One sentence for all pairs whose arms were tuned alike."""
    if study.protocol == "literature":
        return
    pairs = list(dict.fromkeys(cell.pair for cell in planned))
    alike: dict[tuple[tuple[str, str], ...], list[str | None]] = {}
    for pair in pairs:
        tried = tuple((cell.arm, _tries(study, cell)) for cell in planned if cell.pair == pair)
        alike.setdefault(tried, []).append(pair)
    for tried, those in alike.items():
        if len({count for _, count in tried}) > 1:
            where = "" if those == pairs else f" ({', '.join(map(str, those))})"
            counts = ", ".join(f"{arm} {count}" for arm, count in tried)
            yield f"Tuning budgets differ{where}: configurations tried are {counts}. Part of a lead may be tuning alone."


def _tries(study: Study, cell: Cell) -> str:
    if not cell.space:
        return str(len(cell.configurations))
    return str(study.search.most) if study.search.minutes is None else f"as many as {study.search.budget()} take"
