"""What the user named -> findings: of a study, or of any set of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from protege import runs
from protege.data.files import is_file
from protege.errors import ConfigError, RunError, suggest
from protege.study.findings import Findings, read

FILE = "findings.json"


@dataclass(frozen=True)
class Found:
    """Findings, the folder of the runs that they speak of, and where a report of them belongs."""

    findings: Findings
    root: Path
    folder: Path


def find(names: Sequence[str], root: Path, every_run: bool = False) -> Found:
    """A study by its name, file or folder; runs by their ids; without a name the only study there is, else all runs."""
    if every_run:
        if names:
            raise ConfigError("--all takes every run; leave the names out, or leave --all out.")
        return _of_runs(runs.every(root), root)
    if not names:
        return _without_a_name(root)
    if len(names) == 1 and (study := _study(names[0], root)) is not None:
        return of_study(study)
    return _of_runs([_run(name, root) for name in names], root)


def _without_a_name(root: Path) -> Found:
    known = studies(root)
    if not known:
        return _of_runs(runs.every(root), root)
    if len(known) == 1:
        return of_study(known[0])
    listed = ", ".join(path.parent.name for path in known)
    raise ConfigError(f"There are {len(known)} studies in {root}: {listed}. Name one, or give --all for every run.")


def studies(root: Path) -> list[Path]:
    """The findings that there are, oldest first."""
    return sorted((root / "studies").glob(f"*/{FILE}"), key=lambda path: (path.stat().st_mtime_ns, path))


def _study(name: str, root: Path) -> Path | None:
    """The findings of the study of this folder, file or name; None for something else."""
    path = Path(name)
    if (path / FILE).is_file():
        return path / FILE
    if path.is_file() and path.suffix == ".json":
        return path
    wanted = path.stem if path.suffix in (".yaml", ".yml") else name
    known = studies(root)
    exact = [one for one in known if one.parent.name in (wanted, name)]
    fitting = exact or [one for one in known if one.parent.name.startswith(f"{wanted}-")]
    if len(fitting) > 1:
        listed = ", ".join(one.parent.name for one in fitting)
        raise ConfigError(f"'{name}' fits {len(fitting)} studies of {root}: {listed}. Name one in full.")
    if not fitting and path.suffix in (".yaml", ".yml"):
        if not is_file(path):
            raise ConfigError(f"There is no file {name}, and no study of that name in {root}.")
        raise ConfigError(f"{name} has no findings in {root} yet. `protege study run {name}` makes them.")
    return fitting[0] if fitting else None


def of_study(file: Path) -> Found:
    """`folder` of the findings says how deep below the runs they lie, wherever all of it was moved."""
    findings = read(file)
    folder = file.absolute().parent
    inside = (parent for parent in folder.parents if folder.is_relative_to(parent / findings.folder))
    return Found(findings, next(inside, folder), folder if folder.name == "report" else folder / "report")


def _run(name: str, root: Path) -> runs.Run:
    try:
        return runs.find(root, name)
    except RunError as error:
        near = suggest(name, [path.parent.name for path in studies(root)])
        raise RunError(f"{error} No study is called so either.{near}") from error


def _of_runs(found: Sequence[runs.Run], root: Path) -> Found:
    from protege.report.loose.findings import findings_of

    return Found(findings_of(found, root), root, root / "report")
