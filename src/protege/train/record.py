"""What is written of a run: its description, a line an epoch, checkpoints, the weights, the result. It looks at the state from outside."""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from protege import runs
from protege.data.base import Splits
from protege.errors import visible
from protege.models.cutting import is_cut
from protege.runs.config import Place, RunConfig
from protege.runs.hardware import device_of, fp32_on
from protege.runs.identity import code_recorded
from protege.runs.process.ranks import present
from protege.teacher.sources import Source
from protege.train.lessons import Rhythm
from protege.train.state import Seen, State, Tensors


def described(
    run_id: str, config: RunConfig, sources: tuple[Source, ...], splits: Splits, place: Place
) -> dict[str, Any]:
    """The contents of run.json."""
    device = device_of(place)
    return {
        "id": run_id,
        "config": config.model_dump(mode="json"),
        "data": {
            "name": splits.name,
            "fingerprint": splits.fingerprint,
            "content": splits.content,
            "classes": list(splits.classes),
            "mean": list(splits.mean),
            "std": list(splits.std),
            "train": len(splits.train),
            "heldout": len(splits.heldout) if splits.heldout else 0,
            "test": len(splits.test),
            "image_size": splits.train.pixels.shape[-1],
            "images": splits.images,
        },
        "teachers": [source.identity for source in sources],
        "device": str(device),
        "fp32": fp32_on(device),
        "processes": present().count,
        "threads": place.threads or present().cores or runs.cores(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": visible(shlex.join(sys.argv)),
        "code": code_recorded(config),
        "environment": runs.environment(device),
    }


@dataclass
class Record:
    """Everything of a run that is on the disk after it began."""

    run: runs.Run
    config: RunConfig
    classes: tuple[str, ...]
    rhythm: Rhythm
    checkpoint_seconds: float
    saved_at: float = field(default_factory=time.perf_counter)

    # ---- what survives ----

    def is_due(self) -> bool:
        return time.perf_counter() - self.saved_at > self.checkpoint_seconds

    def save(self, state: State) -> None:
        runs.save_checkpoint(self.run, *state.packed())
        self.saved_at = time.perf_counter()

    def restore(self, state: State) -> tuple[bool, str | None]:
        """Whether there was a checkpoint, and what was wrong with the newest. Lines that it does not know are made again."""
        found = runs.load_checkpoint(self.run)
        if found is not None:
            state.unpack(*found[:2])
        runs.keep_lines(self.run.metrics_file, state.epoch)
        runs.keep_lines(self.run.times_file, state.epoch)
        self.saved_at = time.perf_counter()
        return found is not None, found[2] if found else None

    # ---- an epoch ----

    def epoch(self, state: State, rate: float, seconds: float, heldout: dict[str, float]) -> dict[str, Any]:
        """One line in each of the two files; returns the metrics."""
        metrics = self._metrics(state.history, state.epoch, rate) | heldout
        runs.append_line(self.run.metrics_file, metrics)
        speed = self.rhythm.trained(self.rhythm.batches) / seconds
        runs.append_line(self.run.times_file, {"epoch": state.epoch, "seconds": seconds, "images_per_second": speed})
        return metrics

    def _metrics(self, history: list[Seen], epoch: int, rate: float) -> dict[str, Any]:
        names = [name for name in history[0] if name != "gradient_norm"]
        fetched = torch.stack([torch.stack([seen[name] for seen in history]) for name in names]).cpu().double()
        values = dict(zip(names, fetched, strict=True))
        trained = self.rhythm.trained
        images = torch.tensor([trained(batch + 1) - trained(batch) for batch in range(len(history))])
        weights = images.double() / images.max()  # means are over images: a last, smaller batch counts for less
        accuracy = values.pop("correct").sum().item() / trained(len(history))
        means = {name: ((value * weights).sum() / weights.sum()).item() for name, value in values.items()}
        metrics: dict[str, Any] = {"epoch": epoch, "terms": means, "train_accuracy": accuracy, "lr": rate}
        norms = [seen["gradient_norm"] for seen in history if "gradient_norm" in seen]
        if norms:
            metrics["gradient_norm"] = {
                "mean": torch.stack(norms).mean().item(),
                "largest": torch.stack(norms).max().item(),
            }
        return metrics

    # ---- the end ----

    def finish(self, state: State, asked: int | None) -> None:
        """The weights, and last of all the result, which says that the run is finished. `asked`: images, since it was last taken up."""
        with state.final_weights():
            self._keep(state.weights(), "final", state.learner.student.module)
        if state.best.weights:
            self._keep(state.best.weights, "best", state.learner.student.module)
        metrics = self.run.metrics()
        best = {"epoch": state.best.epoch, "heldout_accuracy": state.best.accuracy}
        result = {
            "id": self.run.id,
            "epochs": state.epoch,
            "train_accuracy": metrics[-1]["train_accuracy"],
            "heldout_accuracy": metrics[-1].get("heldout_accuracy"),
            "best": best if state.best.weights else None,
            "parameters": sum(parameter.numel() for parameter in state.learner.student.parameters()),
            "seconds": state.seconds,
            "processes": present().count,
            "teacher_asked": asked,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        runs.write_json(self.run.result_file, result)
        runs.drop_checkpoints(self.run)

    def _keep(self, weights: Tensors, which: str, student: nn.Module) -> None:
        """The student by its module's own names; the adapters only where the deployed student needs them."""
        model = self.config.model.model_dump(mode="json")
        about = {"run": self.run.id, "model": model, "classes": list(self.classes)}
        if is_cut(student):
            about["pruned"] = True
        runs.write_weights(self.run.weights_file(which), below("student.module.", weights), about)
        if self.config.method.added() != "nothing":
            runs.write_weights(self.run.adapters_file(which), below("adapters.", weights), about)


def below(prefix: str, named: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those whose name begins so, without it."""
    return {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}
