"""Batch scripts, as people read, edit and submit them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from protege.errors import RunError
from protege.launch.slurm.folder import Batch, Folder
from protege.launch.slurm.options import Slurm


def script_of(folder: Folder, batch: Batch, wave: str, options: Slurm) -> str:
    """One array: each of its jobs makes the runs of one line of the file `.runs`."""
    asked = options.for_wave(wave)
    runs, last = sum(map(len, batch.tasks)), len(batch.tasks) - 1
    at_once = asked.at_once or asked.runs_per_job  # in a job that is not full too: threads are the same in all
    work = [sys.executable, "-m", "protege.launch.slurm.task", str(folder.path), batch.name, "--at-once", str(at_once)]
    lines = [
        f"# {folder.title}, {batch.name}: {counted(runs, 'run')} in {counted(last + 1, 'job')}, which {batch.name}.runs lists.",
        "# Edit it, and submit it by hand if you like: protege finds it by its name. Submitted again, it goes on where it was.",
        *_directives(folder, batch.name, asked),
        f"#SBATCH --array=0-{last}%{asked.throttle}",
        _directive(f"--output={_literal(folder.logs)}/{batch.name}-%A_%a.log"),
        f"#SBATCH --signal=B:USR1@{asked.before_end}",
        "#SBATCH --kill-on-invalid-dep=yes",
    ]
    return _shell(lines, asked.setup, f"exec {shlex.join(work)}")


def conductor_of(folder: Folder, command: Sequence[str], options: Slurm) -> str:
    """The command that was typed, as a small job of its own, which is requeued before its time is over."""
    small = options.model_copy(update={"cpus": 1, "gres": None, "mem": "2G", "time": options.conductor_time})
    lines = [
        f"# {folder.title}: submits what is next, and reports. It trains nothing itself.",
        *_directives(folder, "conductor", small),
        _directive(f"--output={_literal(folder.logs)}/conductor.log"),
        "#SBATCH --signal=B:USR1@120",
    ]
    work = f"""again() {{ kill -USR1 $child; wait $child; scontrol requeue $SLURM_JOB_ID; }}
trap again USR1
{shlex.join([sys.executable, "-m", "protege", *command])} &
child=$!
wait $child"""
    return _shell(lines, options.setup, work)


def _directives(folder: Folder, name: str, asked: Slurm) -> Iterator[str]:
    given = {
        "job-name": folder.prefix + name, "partition": asked.partition, "account": asked.account, "time": asked.time,
        "chdir": Path.cwd(), "nodes": "1", "ntasks": "1", "cpus-per-task": asked.cpus, "mem": asked.mem, "gres": asked.gres,
    }  # fmt: skip
    yield from (_directive(f"--{option}={value}") for option, value in given.items() if value is not None)
    yield from map(_directive, shlex.split(asked.more))
    yield from ("#SBATCH --requeue", "#SBATCH --open-mode=append")


def _directive(option: str) -> str:
    """sbatch reads quotes as a shell does."""
    return f"#SBATCH {shlex.quote(option)}"


def _literal(folder: Path) -> str:
    """What begins with % is replaced in names of logs."""
    return str(folder).replace("%", "%%")


def _shell(lines: Sequence[str], setup: str, work: str) -> str:
    """What stands in a comment must stay in it: a name with a line break would be run."""
    if broken := next((line for line in lines if not line.isprintable()), None):
        raise RunError(f"A batch script cannot hold a name that is not printed on one line: {broken!r}. Rename it.")
    return "\n".join(["#!/bin/bash", *lines, "", *([setup, ""] if setup else []), work, ""])


def submission(folder: Folder, batches: Sequence[Batch], after: Mapping[str, str]) -> str:
    """What a dry run leaves: the batches that are known so far, in order. `after` is what each waits for."""
    lines = [
        "#!/bin/bash",
        "# Submits what is known so far; the command without --dry-run finds these jobs and goes on.",
    ]
    lines += [f"cd {shlex.quote(str(folder.path))} || exit 1"]
    for batch in batches:
        option = f" --dependency={after[batch.name]}" if batch.name in after else ""
        option = option.replace("{", "$(cat ").replace("}", ".id)")
        lines.append(f"sbatch --parsable{option} {batch.name}.sbatch | tee {batch.name}.id")
    return "\n".join([*lines, ""])


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
