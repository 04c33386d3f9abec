"""What the runs that are left will take: time, disk and memory; and whether there is as much."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from protege import data
from protege.errors import NotEnoughSpace
from protege.launch.probe import Probe
from protege.runs.config import Place, RunConfig, canonical
from protege.runs.hardware import device_of, free_memory
from protege.study.conduct.probing import kind_of, known_probes, machine_of
from protege.study.question.plan import Plan, PlannedRun
from protege.views import Views

KEPT_FREE = 0.1  # of the memory


@dataclass(frozen=True)
class Estimate:
    """Of the runs that are left. A probe is short, so times are within some tens of percent."""

    seconds: float  # of all, one after another
    disk: int  # bytes: what is kept, what teachers said, and the checkpoints of as many runs as there are slots
    memory: int  # bytes at the peak of the greediest run
    by_run: Mapping[str, float]  # seconds


@dataclass(frozen=True)
class _Counts:
    train: int
    heldout: int
    test: int
    classes: int
    all: int  # images of the full training set
    size: int


@dataclass
class _Said:
    """What runs with the same teacher and views ask it about, together: each view of an image once."""

    counts: _Counts
    views: int | None  # None: a stream, which runs of one seed share
    price: float  # seconds per image asked
    voices: int
    row: int  # bytes
    epochs: list[int] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)

    def distinct(self) -> float:
        """Views of an image that will have been seen."""
        if self.views is None:
            return max(self.epochs)
        return self.views * (1 - (1 - 1 / self.views) ** sum(self.epochs))

    def seconds(self) -> float:
        return self.distinct() * self.counts.train * self.price

    def bytes(self) -> int:
        places = 4 * self.counts.all * (self.views or max(self.epochs))
        return round(self.voices * (places + self.distinct() * self.counts.train * self.row))


def estimate(plan: Plan, left: Sequence[PlannedRun], threads: int, slots: int) -> Estimate | None:
    """None where a kind of run has not been probed."""
    return _Sum(plan, threads).of(left, slots)


@final
class _Sum:
    def __init__(self, plan: Plan, threads: int) -> None:
        self._place, self._threads = plan.place, threads
        self._probes, self._machine = known_probes(plan.place.runs), machine_of(plan.place)
        self._counted: dict[str, _Counts] = {}

    def of(self, left: Sequence[PlannedRun], slots: int) -> Estimate | None:
        seconds: dict[str, float] = {}
        said: dict[str, _Said] = {}
        kept, checkpoints, memory = 0, [0], [0]
        for run in left:
            probe = self._probes.get(kind_of(run, self._machine, self._threads))
            if probe is None:
                return None
            counts = self._counts(run.config)
            seconds[run.id] = _alone(run.config, counts, probe)
            if run.tutors:
                self._listen(run, counts, probe, seconds, said)
            kept += _kept(run, counts, probe)
            checkpoints.append(2 * probe.weights * _copies(run.config, bool(counts.heldout)))
            memory.append(probe.memory)
        for one in said.values():
            for run_id in one.runs:
                seconds[run_id] += one.seconds() / len(one.runs)
        disk = kept + sum(sorted(checkpoints)[-slots:]) + sum(one.bytes() for one in said.values())
        return Estimate(sum(seconds.values()), disk, max(memory), seconds)

    def _counts(self, config: RunConfig) -> _Counts:
        described = config.data.model_dump_json()
        if described not in self._counted:
            splits = data.load(config.data, self._place.data_dir)
            heldout = len(splits.heldout) if splits.heldout else 0
            self._counted[described] = _Counts(
                len(splits.train),
                heldout,
                len(splits.test),
                len(splits.classes),
                splits.images,
                splits.train.pixels.shape[-1],
            )
        return self._counted[described]

    def _listen(
        self, run: PlannedRun, counts: _Counts, probe: Probe, seconds: dict[str, float], said: dict[str, _Said]
    ) -> None:
        config = run.config
        if config.remember == "none" or set(config.method.wants()) != {"logits"}:
            seconds[run.id] += config.optim.epochs * counts.train * probe.seconds_per_asked
            return
        views = Views(config.views, counts.size)
        shared = [[tutor.identity for tutor in run.tutors], views.identity(config.seed), config.data.model_dump()]
        words = counts.classes if config.remember == "fp32" else -(-counts.classes // 2)
        price, voices = probe.seconds_per_asked, len(run.tutors)
        one = said.setdefault(canonical(shared), _Said(counts, views.count, price, voices, 4 * (words + 1)))
        one.epochs.append(config.optim.epochs)
        one.runs.append(run.id)


def _alone(config: RunConfig, counts: _Counts, probe: Probe) -> float:
    """Without the teacher's part."""
    epochs = config.optim.epochs
    looks = -(-epochs // config.evaluate_every) if counts.heldout else 0
    return epochs * counts.train * probe.seconds_per_image + looks * counts.heldout * probe.seconds_per_look


def _kept(run: PlannedRun, counts: _Counts, probe: Probe) -> int:
    """Weights of the last and of the best epoch, and logits of the test images from each."""
    versions = 2 if counts.heldout else 1
    return versions * (probe.weights + (0 if run.role == "select" else 4 * counts.test * counts.classes))


def _copies(config: RunConfig, heldout: bool) -> int:
    """Of the weights in a checkpoint: themselves, the optimiser's memory, the best epoch, the running mean."""
    return 1 + (2 if config.optim.optimizer == "adamw" else 1) + heldout + (config.optim.ema is not None)


# ---- what there is ----


def refuse_what_does_not_fit(found: Estimate, place: Place, slots: int, devices: Sequence[str]) -> None:
    """Better now, with figures, than in the middle of the night."""
    place.runs.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(place.runs).free
    if found.disk > free:
        raise NotEnoughSpace(
            f"The runs will take {_size(found.disk)} in {place.runs}, where {_size(free)} are free. Free some, or choose another --runs."
        )
    together = -(-slots // len(devices))
    there = _free_memory(place, devices[0])
    if there is not None and together * found.memory > (1 - KEPT_FREE) * there:
        fitting = int((1 - KEPT_FREE) * there // found.memory) * len(devices)
        advice = f"Use --slots {fitting}." if fitting else "Not even one fits: use a smaller optim.batch_size."
        raise NotEnoughSpace(
            f"{slots} slots need {_size(slots * found.memory)} ({_size(found.memory)} each), and {_size(there)} are free. {advice}"
        )


def _free_memory(place: Place, device: str) -> int | None:
    """Bytes that new processes can have: on the device, or of this machine."""
    where = device_of(place.model_copy(update={"device": device}))
    if where.type == "cuda":
        import torch

        return torch.cuda.mem_get_info(where)[0]
    return free_memory()


def _size(amount: float) -> str:
    """In decimal units, as disks are sold."""
    return f"{amount / 1e9:,.1f} GB" if amount >= 1e9 else f"{amount / 1e6:,.0f} MB"
