"""The kinds of run that a study has, each tried once on this machine: a few steps tell time and memory."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from protege import runs
from protege.errors import RunError
from protege.launch.jobs import STAND_IN, Job, Reply
from protege.launch.probe import Probe
from protege.models.config import ModelConfig
from protege.runs.config import Place, RunConfig, TeacherConfig, canonical
from protege.runs.hardware import device_of
from protege.study.question.plan import Plan, PlannedRun

CACHE = "probes.json"


def threads_of_a_slot(slots: int, threads: int | None) -> int:
    from protege.runs import cores

    return threads or max(1, cores() // slots)


def kinds(plan: Plan, left: Sequence[PlannedRun], threads: int) -> dict[str, Job]:
    """A probe for each kind of run among those left, by the kind's name."""
    machine = machine_of(plan.place)
    found: dict[str, Job] = {}
    for run in left:
        name = kind_of(run, machine, threads)
        if name not in found:
            found[name] = _probing(run, name, plan.place, threads)
    return found


def machine_of(place: Place) -> list[object]:
    known = runs.environment()
    return [known["processor"], known["gpu"], known["torch"], str(device_of(place))]


def kind_of(run: PlannedRun, machine: Sequence[object], threads: int) -> str:
    """Everything that changes the price of a step: of a weight or a temperature, only whether there is one."""
    config = run.config
    optim = config.optim.model_dump(include={"batch_size", "accumulate", "optimizer", "clip_norm", "ema", "precision"})
    images = config.data.model_dump(include={"name", "image_size", "classes", "labels"})
    described = [
        config.model.model_dump(mode="json", exclude={"weights"}),
        *([config.compress.model_dump(mode="json", include={"weights", "activations"})] if config.compress else []),
        {
            name: bool(value) if isinstance(value, float) else value
            for name, value in config.method.model_dump().items()
        },
        config.views.model_dump(mode="json", exclude={"seed"}),
        optim,
        images,
        [one.model_dump(mode="json") for one in _stand_ins(run)],
        [one.model_dump(mode="json") for one in _given(run)],
        list(machine),
        threads,
    ]
    name = re.sub(r"[^\w.:+-]+", "_", f"{config.model.name}-{config.method.name}")  # files of one's own have places
    return f"{name}-{hashlib.sha256(canonical(described).encode()).hexdigest()[:12]}"


def _stand_ins(run: PlannedRun) -> tuple[ModelConfig, ...]:
    return tuple(tutor.run.config.model for tutor in run.tutors if tutor.run)


def _given(run: PlannedRun) -> tuple[TeacherConfig, ...]:
    return tuple(tutor.config for tutor in run.tutors if tutor.run is None)


def _probing(run: PlannedRun, name: str, place: Place, threads: int) -> Job:
    """Teachers of the study are not trained yet: untrained networks stand in for them."""
    tutors = tuple(TeacherConfig(source=STAND_IN) if tutor.run else tutor.config for tutor in run.tutors)
    return Job(
        verb="probe",
        run=name,
        config=without_its_start(run).model_copy(update={"teacher": tutors}),
        place=place.model_copy(update={"threads": threads, "quiet": True}),
        stand_ins=_stand_ins(run),
        label=f"{run.config.model.name} {run.config.method.name}",
    )


def without_its_start(run: PlannedRun) -> RunConfig:
    """Where that is a run of the study: it is not trained yet, and what is pruned of it takes less than the whole."""
    if run.start is None:
        return run.config
    model = run.config.model.model_copy(update={"weights": None})
    compress = run.config.compress
    rounded = compress.model_copy(update={"prune": None}) if compress and compress.rounds else None
    return run.config.model_copy(update={"model": model, "compress": rounded})


def known_probes(root: Path) -> dict[str, Probe]:
    file = root / CACHE
    try:
        return TypeAdapter(dict[str, Probe]).validate_python(runs.read_json(file)) if file.exists() else {}
    except ValidationError as error:
        raise RunError(f"{file} is damaged. Remove it: what runs take is tried again.") from error


def keep_probe(root: Path, name: str, found: Mapping[str, object]) -> None:
    known = {name: one.model_dump() for name, one in known_probes(root).items()}
    runs.write_json(root / CACHE, {**known, name: dict(found)})


def untried(plan: Plan, left: Sequence[PlannedRun], threads: int) -> dict[str, Job]:
    """Kinds of run that nobody knows the price of here yet."""
    known = known_probes(plan.place.runs)
    return {name: job for name, job in kinds(plan, left, threads).items() if name not in known}


def probe_all(plan: Plan, left: Sequence[PlannedRun], threads: int, ask: Callable[[Job], Reply]) -> dict[str, str]:
    """Probe what is not known yet; returns what could not be, and why."""
    failed = {}
    for name, job in untried(plan, left, threads).items():
        reply = ask(job)
        if reply.outcome == "finished":
            keep_probe(plan.place.runs, name, reply.found)
        else:
            failed[name] = reply.message
    return failed
