"""What torchrun and srun tell a process of those that were started with it. Without torch, as every verb asks.

Only a run is made by several. Everything else is done once, and would be done by each.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Never

from protege.errors import ConfigError

PORTS = range(20000, 40000)  # one of them for each step of a job
UNTIL_SAID = 20.0  # seconds: an end of another process may end the first before it has spoken


@dataclass(frozen=True)
class Start:
    """How this process was started beside others."""

    own: int
    count: int
    local: int  # among those of this machine
    address: str | None  # of the first, and its port; torchrun has told the library already
    port: int | None


def started(environment: Mapping[str, str]) -> Start | None:
    """None where this process is alone. Tasks of a job that srun did not start are of no concern to each other."""
    if "WORLD_SIZE" in environment and "RANK" in environment:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        own, count, local = (_number(environment, name) for name in names)
        return Start(own, count, local, None, None) if count > 1 else None
    if _number(environment, "SLURM_STEP_NUM_TASKS", 1) == 1:
        return None
    names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_JOB_ID", "SLURM_STEP_ID")
    own, count, local, job, step = (_number(environment, name, 0) for name in names)
    address = environment.get("MASTER_ADDR") or first_node(environment.get("SLURM_STEP_NODELIST", ""))
    port = _number(environment, "MASTER_PORT", PORTS[(64 * job + step) % len(PORTS)])
    return Start(own, count, local, address, port)


def _number(environment: Mapping[str, str], name: str, otherwise: int | None = None) -> int:
    said = environment.get(name, "" if otherwise is None else str(otherwise))
    if not said.isdigit():
        raise ConfigError(
            f"{name} is '{said}' in the environment, and should be a number. Start with torchrun or srun."
        )
    return int(said)


def first_node(nodes: str) -> str:
    """`gpu[03-05,09],cpu1` -> `gpu03`."""
    parts = re.match(r"([^\[,]*)(?:\[([^\],-]+)[^\]]*\])?([^,\[]*)", nodes)
    return "".join(part or "" for part in parts.groups()) if parts else ""


def refuse_several(what: str, environment: Mapping[str, str]) -> None:
    """`what` is done by one process; an error where several were started."""
    if (start := started(environment)) is None:
        return
    alone = "without torchrun" if start.address is None else "with `srun --ntasks 1`, or without srun"
    said_once(
        start,
        f"{what} is for one process, and {start.count} were started, of which each would do all of it. Type it {alone}. "
        "Only a run is made by several: `protege train`.",
    )


def refuse_unknown_node(start: Start) -> None:
    """Otherwise all would look for the first of them until they are tired of it."""
    try:
        socket.getaddrinfo(start.address, start.port)
    except OSError:
        said_once(
            start,
            f"The node '{start.address}' of the first process has no address here. Set MASTER_ADDR to one that all nodes reach, "
            "as in `MASTER_ADDR=10.0.0.7 srun ...`.",
        )


def said_once(start: Start, mistake: str) -> Never:
    """By the first, of a mistake that all of them meet."""
    if start.own > 0:
        time.sleep(UNTIL_SAID)
        raise SystemExit(2)
    raise ConfigError(mistake)
