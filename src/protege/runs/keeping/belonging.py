"""What runs belong to: studies that count them, runs that they taught, or that begin from their weights."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from protege.data.files import is_file, is_folder
from protege.errors import ProtegeError, RunError
from protege.runs.files import read_json
from protege.runs.folder import Run, every, locked
from protege.runs.records import Counted

FINDINGS = "findings.json"


def studies_of(root: Path) -> dict[str, list[str]]:
    """Names of the studies that count a run, by its id. Findings that are damaged count nothing."""
    found: dict[str, list[str]] = {}
    for folder in _folders(root / "studies"):
        with contextlib.suppress(RunError):
            for run in read_json(folder / FINDINGS, Counted)["runs"] if is_file(folder / FINDINGS) else ():
                found.setdefault(run["id"], []).append(folder.name)
    return found


def _folders(root: Path) -> list[Path]:
    if not is_folder(root):
        return []
    try:
        return sorted(path for path in root.iterdir() if path.is_dir())
    except OSError:
        return []


def teachers_of(run: Run) -> list[str]:
    """Ids of the runs that it was taught by."""
    return [parts[1] for parts in (name.split(":") for name in run.record()["teachers"]) if parts[0] == "run"]


def needed_by(runs: Sequence[Run], root: Path) -> dict[str, list[str]]:
    """Of each run why it must stay, in words: runs that stay were taught by it, or begin from it, or a study counts it."""
    going = {run.id for run in runs}
    studies = studies_of(root)
    reasons = {run.id: [f"the study {name} counts it" for name in studies.get(run.id, [])] for run in runs}
    for other in every(root):
        if other.id in going:
            continue
        with contextlib.suppress(ProtegeError):
            for teacher in set(teachers_of(other)) & going:
                reasons[teacher].append(f"{other.id} was taught by it")
            weights = other.config().model.weights
            begun = Path(weights).expanduser().parent.name if weights and not other.finished else ""
            if begun in going:
                reasons[begun].append(f"{other.id} begins from its weights")
    return {name: why for name, why in reasons.items() if why}


def removed(runs: Iterable[Run], root: Path) -> None:
    """Their folders go, one after another; nothing goes while a process works on one of them."""
    chosen = list(runs)
    for run in chosen:
        _refuse_what_is_no_run(run, root)
    with contextlib.ExitStack() as held:
        for run in chosen:
            held.enter_context(locked(run, wait=False))
        for run in chosen:
            _gone(run.path)


def _refuse_what_is_no_run(run: Run, root: Path) -> None:
    """A folder elsewhere that happens to hold a run.json may hold anything else too."""
    if run.path.is_symlink() or run.path.resolve().parent == root.resolve():
        return
    if run.record()["id"] != run.id:
        raise RunError(f"{run.path} is not the folder of a run by its name: remove it by hand.")


def _gone(folder: Path) -> None:
    """Under another name first, so that what is left of it is no run."""
    try:
        if folder.is_symlink():
            folder.unlink()
            return
        going = folder.with_name(f".{folder.name}.removed")
        folder.rename(going)
        shutil.rmtree(going)
    except OSError as error:
        raise RunError(f"{folder} cannot be removed: {error.strerror}.") from error
