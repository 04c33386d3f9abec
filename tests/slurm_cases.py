"""A SLURM that runs nothing: its commands in a folder of PATH, which note that they were called and answer from a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, final

from protege.launch.jobs import Job
from protege.runs.config import Place, check_run

COMMANDS = """#!{python} -SE
import json, os, re, sys
state = {state!r}
with open(state) as file:
    known = json.load(file)
name, asked = os.path.basename(sys.argv[0]), sys.argv[1:]
known["calls"].append([name, *asked])
if known["silent"]:
    if known["silent"] is not True:  # for so many questions
        with open(state, "w") as file:
            json.dump(known | {{"silent": known["silent"] - 1}}, file)
    sys.exit("slurm_load_jobs error: Unable to contact slurm controller")
if name == "sbatch":
    text = open(asked[-1]).read()
    number = known["next"]
    known["next"] += 1
    tasks = re.search(r"--array=0-(\\d+)", text)
    called = re.search(r"--job-name=(\\S+)", text).group(1)
    for task in range(int(tasks.group(1)) + 1 if tasks else 1):
        known["jobs"].append([str(number), str(number), str(task), called, "PENDING", "0:00", "", "Resources"])
    if known["deaf"]:
        with open(state, "w") as file:
            json.dump(known | {{"deaf": False}}, file)
        sys.exit("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
    print(number)
elif name == "squeue" and "--format=%F" in asked:
    print("\\n".join(job[1] for job in known["jobs"] if "--name=" + job[3] in asked))
elif name == "squeue":
    print("77|77|N/A|another|RUNNING|1:00|n9|None")
    for job in known["jobs"]:
        print("|".join(job))
elif name == "scancel":
    for job in known["jobs"]:
        job[4] = "CANCELLED" if job[1] in asked else job[4]
elif name == "sacct":
    for job, state_ in known["accounts"].items():
        print(job + "|" + state_)
with open(state, "w") as file:
    json.dump(known, file)
"""


@final
class FakeSlurm:
    """What it knows lies in a file, which tests change as time would."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.bin, self._state = folder, folder / "state.json"
        self._state.write_text(
            json.dumps({"calls": [], "silent": False, "deaf": False, "next": 41, "jobs": [], "accounts": {}})
        )
        for name in ("sbatch", "squeue", "scancel", "scontrol", "sacct"):
            (folder / name).write_text(COMMANDS.format(python=sys.executable, state=str(self._state)))
            (folder / name).chmod(0o755)

    def known(self) -> dict[str, Any]:
        return json.loads(self._state.read_text())

    def change(self, **fields: Any) -> None:
        self._state.write_text(json.dumps(self.known() | fields))

    def calls(self, command: str) -> list[list[str]]:
        return [call[1:] for call in self.known()["calls"] if call[0] == command]

    def becomes(self, state: str, number: str = "") -> None:
        """Of all jobs, or of one array."""
        self.change(
            jobs=[[*job[:4], state if number in ("", job[1]) else job[4], *job[5:]] for job in self.known()["jobs"]]
        )

    def forgets(self) -> None:
        self.change(jobs=[])


TINY = {
    "data": {"name": "cifar10-mini", "limit": 128, "heldout": 100},
    "model": "resnet8",
    "optim": {"epochs": 1, "batch_size": 64},
}


def job_of(runs: Path, run: str, wave: str = "report", needs: tuple[str, ...] = (), **changes: Any) -> Job:
    """One that need not be possible: most tests never train it."""
    place = Place(runs=runs, quiet=True, wait=True)
    return Job(verb="train", run=run, config=check_run(TINY | changes), place=place, label=run, wave=wave, needs=needs)
