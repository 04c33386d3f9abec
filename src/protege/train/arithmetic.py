"""How a student computes on this machine: in which precision, and whether as one compiled graph. Tried, never guessed."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, ValidationError
from torch import Tensor

from protege import runs
from protege.errors import ProtegeError, RunError
from protege.models.network import Network, Reader
from protege.runs.config import Described, Place, RunConfig
from protege.runs.process.ranks import present
from protege.runs.tuning import Choice, agreed, known, needed, quickest
from protege.teacher.speaking import Precision

Execution = Literal["eager", "compiled", "graphs"]  # graphs: compiled, and replayed by the GPU without the host
Reading = Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]  # images -> logits and the features that a method wants
Examples = tuple[Tensor, Tensor]  # images and labels of one batch
Say = Callable[[str], None]
WORTH_COMPILING = {"cpu": 1200.0, "cuda": 120.0}  # seconds that a run is to take without; on GPUs far more is gained
WORTH_TRYING = 10_000  # images that a run is to train on, for a trial of precisions takes as long as a thousand or two
CLEARLY = 0.97  # of the time of a step without
REPAID = 2.0  # times what compiling costs


class Chosen(Described):
    """How a run computes. It changes the last bits, so it is recorded, and a run that is taken up again keeps it."""

    student: Precision = "fp32"
    execution: Execution = "eager"
    teachers: tuple[Precision, ...] = ()
    seconds: dict[str, float] = Field(default={}, description="of a step in each precision that was tried")


def recorded(run: runs.Run) -> Chosen | None:
    file = run.arithmetic_file
    if not file.exists():
        return None
    try:
        return Chosen.model_validate(runs.read_json(file))
    except ValidationError as error:
        raise RunError(
            f"{file} is not of this version of protege. Remove this file alone: the run goes on and chooses anew how to compute."
        ) from error


def record(run: runs.Run, chosen: Chosen) -> None:
    runs.write_json(run.arithmetic_file, chosen.model_dump(mode="json"))


def choose(config: RunConfig, student: Network, batch: Examples, batches_ahead: int, place: Place, say: Say) -> Chosen:
    """What was asked for, and by trial what was left open: the precision once for a network and all runs of a folder."""
    worth = batches_ahead * config.optim.batch_size >= WORTH_TRYING
    precision, seconds = config.optim.precision, {}
    if precision == "auto":
        choice = _agreed_precision(config, student, batch, place, worth)
        precision, seconds = ("bf16" if choice.name == "bf16" else "fp32"), choice.seconds
    execution: Execution = "compiled" if place.compile else "eager"
    if config.method.cohort > 1 or not present().alone:
        execution = "eager"
    elif place.compile is None and worth:
        execution = quickest_execution(config, student, batch, precision, batches_ahead, say)
    return Chosen(student=precision, execution=execution, seconds=seconds)


def _agreed_precision(config: RunConfig, student: Network, batch: Examples, place: Place, worth: bool) -> Choice:
    plain = Choice("fp32", {}, {})
    what = f"{_described(config, student, batch)} {batch[0].device.type}"
    if not worth:
        return known(place.runs, what) or plain

    def trial() -> Choice:
        return plain if _begun_in_fp32(place, config) else quickest_precision(config, student, batch)

    return agreed(place.runs, what, trial)


def _begun_in_fp32(place: Place, config: RunConfig) -> bool:
    """Whether there are such runs here that are described so: arms of a study that was begun with them go on alike."""
    for run in runs.every(place.runs):
        with contextlib.suppress(ProtegeError, OSError):
            other = run.config()
            alike = other.model == config.model and other.optim.epochs == config.optim.epochs
            if alike and other.optim.precision == "fp32":
                return True
    return False


def compiled(reader: Reader, execution: Execution) -> Reading:
    """A function, not a module: what holds it must not take its weights for more of its own."""
    graph = torch.compile(reader, dynamic=False, mode="reduce-overhead" if execution == "graphs" else None)

    def forward(images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if execution == "graphs":
            torch.compiler.cudagraph_mark_step_begin()
        return graph(images)

    return forward


def quickest_precision(config: RunConfig, student: Network, batch: Examples) -> Choice:
    """fp32 or bf16, by forward and backward of copies of the student: nothing of the run is touched."""
    steps = {precision: step(student, batch, precision) for precision in ("fp32", "bf16")}
    return quickest(_described(config, student, batch), steps, batch[0].device)


def quickest_execution(
    config: RunConfig,
    student: Network,
    batch: Examples,
    precision: Precision,
    batches_ahead: int,
    say: Say,
) -> Execution:
    """Whether compiling repays its time within this run. Short runs are not worth the trial."""
    device, read = batch[0].device, config.method.wants()
    plain = step(student, batch, precision)
    plain()
    if needed(plain, device) * batches_ahead < WORTH_COMPILING[device.type]:
        return "eager"
    ways: list[Execution] = ["compiled"]
    if device.type == "cuda" and config.optim.accumulate == 1:  # replaying overwrites gradients that would be added to
        ways.append("graphs")
    what = f"{_described(config, student, batch)} {precision} reading {','.join(read)}"
    say("trying whether torch.compile makes the student quicker here")
    try:
        trials = {way: step(student, batch, precision, read, way) for way in ways}
        choice = quickest(what, {"eager": plain, **trials}, device, rounds=7)
    except Exception as error:  # no compiler, or a network that it does not understand
        say(f"torch.compile failed ({str(error).splitlines()[0]}); going on without it")
        return "eager"
    best = min(ways, key=choice.seconds.__getitem__)
    cost, gain = choice.first[best], choice.seconds["eager"] - choice.seconds[best]
    pays = choice.seconds[best] < CLEARLY * choice.seconds["eager"] and gain * batches_ahead > REPAID * cost
    share = gain / choice.seconds["eager"]
    verdict = "it pays" if pays else "it does not pay"
    say(f"compiling takes {cost:.0f} s, a step is {abs(share):.0%} {'quicker' if gain > 0 else 'slower'}: {verdict}")
    return best if pays else "eager"


def step(
    student: Network,
    batch: Examples,
    precision: str,
    read: tuple[str, ...] = ("logits",),
    execution: Execution = "eager",
) -> Callable[[], None]:
    """Forward and backward of a copy."""
    images, labels = batch
    network = copy.deepcopy(student).train()
    forward: Reading = Reader(network, read)
    if execution != "eager":
        forward = compiled(forward, execution)

    def work() -> None:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits, _ = forward(images)
        F.cross_entropy(logits.float(), labels).backward()
        network.zero_grad(set_to_none=True)

    return work


def _described(config: RunConfig, student: Network, batch: Examples) -> str:
    classes = len(student.classifier_parameters()[0])
    return f"student {config.model.model_dump_json()} {tuple(batch[0].shape)} {classes}"
