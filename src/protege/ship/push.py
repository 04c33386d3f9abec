"""A finished run -> a repository of the Hugging Face hub, from which it predicts, teaches and is begun from elsewhere.

What is sent says nothing of this machine: no folders, no host, no command line.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protege import __version__
from protege.data.marks import write_marks
from protege.errors import ConfigError
from protege.runs import Run, read_json, read_weights, whole, write_json, write_weights
from protege.runs.keeping.hub import ABOUT, HUB, WEIGHTS, in_a_line, library, parsed
from protege.ship.readme import readme
from protege.teacher.seen import Seen, seen_by

OURS = ("seen/*", "export/*", "evaluations/*", "pruned.json")  # that go where the run that is pushed now has none
FOLDERS = re.compile(r"(folder:)?\S*?/(?:.*/)?", re.DOTALL)
OF_THIS_MACHINE = ("host", "git")


@dataclass(frozen=True)
class Sent:
    """Where it is now."""

    url: str
    commit: str


def repo_of(target: str) -> str:
    """USER/NAME; a push goes to the main branch."""
    repo, revision = parsed(target)
    if revision:
        raise ConfigError(f"{target}: what is pushed goes to the main branch. Leave @{revision} out.")
    return repo


def lay_out(
    run: Run,
    folder: Path,
    target: str,
    *,
    licence: str | None = None,
    exports: bool = True,
    data_dir: Path | None = None,
) -> list[Path]:
    """Everything that would be sent, in an empty folder; paths from there."""
    _refuse(run)
    tensors, about = read_weights(run.weights_file())
    write_weights(folder / WEIGHTS, tensors, without_folders(about))
    record = without_folders(run.record())
    environment = {key: value for key, value in record["environment"].items() if key not in OF_THIS_MACHINE}
    seen = seen_by(run, data_dir)
    write_json(folder / "run.json", record | {"command": "", "environment": environment, "seen": _listed(seen, folder)})
    write_json(folder / "result.json", run.result())
    if run.pruned_file.exists():
        write_json(folder / "pruned.json", run.pruned())
    if (run.evaluations / "heldout.json").exists():
        scores = without_folders(run.evaluation("heldout"))
        write_json(folder / "evaluations" / "heldout.json", scores | {"environment": environment})
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    write_json(folder / ABOUT, _about(run, [name for name in files if name != WEIGHTS]))
    for exported in sorted((run.path / "export").glob("*/model.onnx")) if exports else ():
        _copy(exported.parent, folder / "export" / exported.parent.name)
    with whole(folder / "README.md") as partial:
        partial.write_text(readme(run, folder, repo_of(target), licence))
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def _refuse(run: Run) -> None:
    if not run.finished:
        raise ConfigError(f"{run.id} is not finished: only what was trained to its end is pushed.")
    if run.adapters_file().exists():
        raise ConfigError(
            f"{run.id} answers with what {run.config().method.name} adds to its network, which cannot be built without its teacher. "
            "Export it, and upload the file: protege export."
        )


def _listed(seen: Seen, folder: Path) -> dict[str, Any]:
    """What it and all that it learned from were trained on, so that nobody judges it, or a student of it, by that."""
    for name, marks in seen.sets.items():
        write_marks(folder / "seen" / f"{name}.u64", marks)
    return {"sets": list(seen.sets), "unknown": without_folders(list(seen.unknown))}


def _about(run: Run, files: list[str]) -> dict[str, Any]:
    """config.json: for timm's own reader too, where the network is one of timm's."""
    record, model = run.record()["data"], run.config().model
    side = record["image_size"]
    return {
        "architecture": without_folders(model.name).removeprefix("timm:"),
        "num_classes": len(record["classes"]),
        "label_names": record["classes"],
        "pretrained_cfg": {"input_size": [3, side, side], "mean": record["mean"], "std": record["std"]},
        "protege": {"format": 1, "version": __version__, "run": run.id, "files": files},
    }


def _copy(exported: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in ("model.onnx", "card.md", "check.py"):
        if (exported / name).is_file():
            shutil.copyfile(exported / name, folder / name)
    card = read_json(exported / "card.json")
    kept = {key: value for key, value in card.get("environment", {}).items() if key not in OF_THIS_MACHINE}
    write_json(folder / "card.json", without_folders(card | {"environment": kept}))


def without_folders(value: Any) -> Any:
    """The same, with each path cut to its last part. Names of classes are no paths, whatever is in them."""
    if isinstance(value, dict):
        return {key: one if key == "classes" else without_folders(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(one) for one in value]
    if not isinstance(value, str) or "/" not in value or HUB in value:
        return value
    return FOLDERS.sub(r"\1", value.rstrip("/"), count=1)


def send(folder: Path, target: str, private: bool) -> Sent:
    """To the main branch of the repository, which is made where it is not there. What others added to it stays."""
    hub, repo = library(target), repo_of(target)
    if hub.get_token() is None:
        raise ConfigError(f"{target}: nobody is logged in: `hf auth login`, or HF_TOKEN with the right to write.")
    with in_a_line(target):
        api = hub.HfApi()
        api.create_repo(repo, private=private or None, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo, folder_path=folder, commit_message="Push a run of protege", delete_patterns=list(OURS)
        )
        return Sent(f"{api.endpoint}/{repo}", done.oid)
