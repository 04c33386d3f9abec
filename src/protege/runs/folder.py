"""The folder of a run: written atomically, locked, read, listed, resumed.

runs/<id>/
  run.json                 first: the description, identities, environment, command
  arithmetic.json          precisions that were chosen for this machine; a run that is taken up again keeps them
  pruned.json              which channels stay of the network that it started from, where some were pruned away
  metrics.jsonl            a line an epoch; what it holds is the same bits for the same seed and hardware
  times.jsonl              a line an epoch: seconds and images per second, which are not
  checkpoint.safetensors   everything needed to go on, with its own checksum; checkpoint.previous.safetensors is the one before
  model.safetensors        the student at the end, best.safetensors at its best on held-out images
  code/                    files of the user's own that network and method come from, as they were
  result.json              last: its presence means the run is finished
  evaluations/             what `protege evaluate` found
  measured.json            what `protege measure` found last: bytes, milliseconds, and where
runs/ledger.jsonl          every reading of a test set
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protege.data.files import content_of, is_file, is_folder, is_there
from protege.data.outside.code import is_own
from protege.data.outside.consent import recorded, unread
from protege.errors import RunError, suggest
from protege.methods import Method
from protege.methods.lookup import found_again
from protege.models.config import ModelConfig
from protege.runs import locking, records
from protege.runs.config import RunConfig, check_run
from protege.runs.files import Tensors, append_line, read_json, read_lines, read_weights, write_json, write_weights

LEDGER = "ledger.jsonl"
PATHS = (
    ".safetensors",
    ".pth",
    ".pt",
    ".th",
    ".bin",
    ".ckpt",
    ".yaml",
    ".yml",
    ".json",
    ".tar",
    ".onnx",
)  # no id ends so


@dataclass(frozen=True)
class Run:
    """One run's folder, and every path in it."""

    path: Path

    def __fspath__(self) -> str:
        """So that a run can be named as a teacher."""
        return str(self.path)

    @property
    def id(self) -> str:
        return self.path.name

    def _repr_html_(self) -> str:
        """For notebooks."""
        from protege.runs.keeping.rows import html_of

        return html_of(self)

    @property
    def record_file(self) -> Path:
        return self.path / "run.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def times_file(self) -> Path:
        return self.path / "times.jsonl"

    @property
    def result_file(self) -> Path:
        return self.path / "result.json"

    @property
    def checkpoint_file(self) -> Path:
        return self.path / "checkpoint.safetensors"

    @property
    def previous_checkpoint_file(self) -> Path:
        return self.path / "checkpoint.previous.safetensors"

    @property
    def arithmetic_file(self) -> Path:
        return self.path / "arithmetic.json"

    @property
    def code(self) -> Path:
        return self.path / "code"

    @property
    def pruned_file(self) -> Path:
        return self.path / "pruned.json"

    @property
    def methods(self) -> Path:
        """Files of methods of the user's own, as they were."""
        return self.code / "methods"

    @property
    def evaluations(self) -> Path:
        return self.path / "evaluations"

    def weights_file(self, which: str = "final") -> Path:
        return self.path / ("best.safetensors" if which == "best" else "model.safetensors")

    def adapters_file(self, which: str = "final") -> Path:
        """Only of a method whose deployed student needs them."""
        return self.path / f"adapters.{which}.safetensors"

    @property
    def finished(self) -> bool:
        """Whether it was trained to its end."""
        return is_there(self.result_file)

    def record(self) -> dict[str, Any]:
        """What the run is: its description, data, teachers and machine."""
        return read_json(self.record_file, records.RunRecord)

    def config(self) -> RunConfig:
        """The description. A method from outside is not imported: to run one, ask for `method`."""
        with unread():
            return check_run(_as_it_was(self.record()["config"]), str(self.record_file))

    def network(self) -> ModelConfig:
        """The network as it can be built now: one of the user's own from the copy that the run kept, and no file to start from."""
        model = self.config().model
        place, _, name = model.name.rpartition(":")
        kept = self.code / Path(place).name
        own = {"name": f"{kept}:{name}"} if is_own(model.name) and is_file(kept) else {}
        return model.model_copy(update={"weights": None, **own})

    def method(self) -> Method:
        """The method, from its file where it is one from outside, or from the copy where that is gone: imported if it is what the run
        was made with, and trusted here."""
        record = self.record()
        method = found_again(record["config"]["method"], self.methods)
        described = {"method": method, "teacher": self.config().teacher}
        with recorded(str(self.record_file), record.get("code")):
            return check_run(described, str(self.record_file)).method

    def result(self) -> dict[str, Any]:
        """What came out; only of a finished run."""
        return read_json(self.result_file, records.Result)

    def pruned(self) -> records.PrunedRecord:
        return read_json(self.pruned_file, records.PrunedRecord)

    def metrics(self) -> list[dict[str, Any]]:
        """An entry for each epoch: terms of the loss, accuracies, learning rate."""
        return read_lines(self.metrics_file, records.Epoch)

    def times(self) -> list[dict[str, Any]]:
        return read_lines(self.times_file, records.Times)

    def evaluation(self, split: str) -> dict[str, Any]:
        return read_json(self.evaluations / f"{split}.json", records.Evaluation)

    def measured(self) -> dict[str, Any]:
        """What it costs where it runs, by epoch; empty where nobody measured."""
        file = self.path / "measured.json"
        return read_json(file, records.MeasuredRecord) if is_there(file) else {}

    def keep_measured(self, which: str, found: Mapping[str, Any]) -> None:
        """Over what was measured before; values that are not measured again stay."""
        known = self.measured()
        write_json(self.path / "measured.json", {**known, which: {**known.get(which, {}), **found}})


def _as_it_was(described: Mapping[str, Any]) -> dict[str, Any]:
    """Runs from before names could decide a folder's split had it decided by position."""
    given = described.get("data")
    return {**described, "data": {"split": "position", **given}} if isinstance(given, Mapping) else dict(described)


# ---- one run ----


def start(root: Path, run_id: str, record: Mapping[str, Any]) -> Run:
    """The run's folder; its record is written the first time and kept after."""
    run = Run(root / run_id)
    try:
        run.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{run.path} cannot be made: {error.strerror}. Choose another folder with --runs.") from error
    if not is_there(run.record_file):
        write_json(run.record_file, record)
    elif run.record()["id"] != run_id:
        raise RunError(
            f"{run.record_file} describes the run {run.record()['id']}: the folder was renamed. Rename it back."
        )
    return run


def locked(run: Run, wait: bool) -> contextlib.AbstractContextManager[None]:
    """Only one process works on a run."""
    return locking.locked(run.path, wait)


def save_checkpoint(run: Run, tensors: Tensors, state: Mapping[str, Any]) -> None:
    """Replaces the checkpoint; the one before is kept beside it."""
    if run.checkpoint_file.exists():
        run.previous_checkpoint_file.unlink(missing_ok=True)
        try:
            os.link(run.checkpoint_file, run.previous_checkpoint_file)
        except OSError:  # no links here (exFAT, some network drives): for a moment there is only the one before
            run.checkpoint_file.rename(run.previous_checkpoint_file)
    write_weights(run.checkpoint_file, tensors, {**state, "run": run.id})


def load_checkpoint(run: Run) -> tuple[Tensors, dict[str, Any], str | None] | None:
    """Tensors, state, and a warning if the newest was unusable and the one before served; None where there is none."""
    problem: RunError | None = None
    for path in (run.checkpoint_file, run.previous_checkpoint_file):
        if not path.exists():
            continue
        try:
            tensors, state = read_weights(path)
            if state.get("run") != run.id:
                raise RunError(f"{path} belongs to another run ({state.get('run', 'unknown')}).")
        except RunError as error:
            problem = problem or error
            continue
        return tensors, state, f"{problem} Going on from {path.name}." if problem else None
    if problem:
        raise RunError(f"{problem} There is no earlier checkpoint: remove the file to train from the start.")
    return None


def drop_checkpoints(run: Run) -> None:
    """A finished run needs no checkpoint."""
    run.checkpoint_file.unlink(missing_ok=True)
    run.previous_checkpoint_file.unlink(missing_ok=True)


# ---- many runs ----


def every(root: Path) -> list[Run]:
    """All runs of a folder, oldest first."""
    if not is_folder(root):
        return []
    try:
        found = [Run(path) for path in root.iterdir() if is_there(path / "run.json")]
        return sorted(found, key=lambda run: (run.record_file.stat().st_mtime_ns, run.id))
    except OSError as error:
        raise RunError(f"{root} cannot be read: {error.strerror}. Choose another folder with --runs.") from error


def find(root: Path, name: str) -> Run:
    """The run of that folder, id, beginning or end of an id."""
    if not name:
        raise RunError(
            "A name is needed: an id, its beginning or its end, or a folder. An empty one would fit every run."
        )
    if is_there(Path(name) / "run.json"):
        return Run(Path(name) if Path(name).name not in ("", "..") else Path(name).resolve())
    runs = every(root)
    matches = [run for run in runs if run.id == name] or [
        run for run in runs if run.id.startswith(name) or run.id.endswith(name)
    ]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise RunError(
            f"'{name}' fits {len(matches)} runs of {root}: {', '.join(run.id for run in matches[:5])}. Say more of the id."
        )
    if name.startswith("hub:"):
        raise RunError(
            f"{name} can teach (--teacher), be begun from (--init) and predict. Here a run of {root} is needed."
        )
    if "/" in name or Path(name).suffix in PATHS:
        raise RunError(f"There is no file or folder {name}, and no run is called so in {root}.")
    near = suggest(name, [run.id for run in runs])
    raise RunError(f"There is no run '{name}' in {root}.{near or ' `protege list` shows what there is.'}")


def read_ledger(root: Path) -> tuple[list[dict[str, Any]], int]:
    """Every reading of a test set, and how many lines are damaged: those others count all the same."""
    try:
        lines = content_of(root / LEDGER).splitlines()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise RunError(f"{root / LEDGER} cannot be read: {error.strerror}.") from error
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):
            found.append(records.record_of(line, records.Reading))
    return found, len(lines) - len(found)


def write_ledger(root: Path, entry: Mapping[str, Any]) -> None:
    """Written before a test set is read: who reads which, when, and with what."""
    append_line(root / LEDGER, {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **entry})
