"""Thousands of damaged and hostile inputs, drawn by seeds, against the command line: what is wrong with the answers, by kind.

python benchmarks/hostile.py --cases 3000 --seed 0 --out results/hostile.json

Each case has a process of its own, forked from one that has imported all: a number is the same case whatever came before it,
and what ends a process is seen. Every fiftieth is a command typed anew. Files are kept in memory, for the disk would be most of the time.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import pkgutil
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
NOWHERE = {"PROTEGE_CIFAR10_URL": "nowhere", "PROTEGE_CIFAR100_URL": "nowhere", "HF_HUB_OFFLINE": "1"}
MEMORY = 12 << 30  # bytes of addresses
SECONDS = 60  # of processor time, after which a process is ended that does not end itself
WAITS = 900  # seconds that a case may take on a busy machine


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--cases", type=int, default=3000)
    given.add_argument("--seed", type=int, default=0, help="number of the first case")
    given.add_argument("--only", default="", help="kinds of hostile_cases.KINDS, with commas; else all")
    given.add_argument("--minutes", type=float, default=1e9, help="no case begins later")
    given.add_argument("--fresh", type=int, default=50, help="every how-manieth case is a command typed anew; 0: none")
    given.add_argument("--out", type=Path)
    options = given.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ |= NOWHERE
    imported()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="protege-hostile-", dir=memory if os.access(memory, os.W_OK) else None
    ) as folder:
        found = conduct(Path(folder), options)
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    raise SystemExit(bool(found["wrong"]))


def imported() -> None:
    """All modules, so that no case pays for them again."""
    import protege

    for module in pkgutil.walk_packages(protege.__path__, "protege."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()  # what is never looked at again is never copied into a fork


def conduct(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    from hostile_world import World

    good, until = World(**_world(folder / "good")), time.monotonic() + 60 * options.minutes
    met: Counter[str] = Counter()
    fresh, wrong, slowest = 0, [], 0.0
    started = time.monotonic()
    for seed in range(options.seed, options.seed + options.cases):
        if time.monotonic() > until:
            break
        anew = bool(options.fresh) and seed % options.fresh == 0
        told = apart(lambda seed=seed, anew=anew: _case(seed, good, folder, options.only, anew))
        met[told.get("kind", "?")] += 1
        fresh, slowest = fresh + anew, max(slowest, told["processor_seconds"])
        if told["fault"]:
            wrong.append({"seed": seed, "typed_anew": anew, **told})
            print(f"{seed} {json.dumps(told)[:600]}", file=sys.stderr, flush=True)
    return {
        "cases": dict(met.most_common()),
        "typed_anew": fresh,
        "wrong": wrong,
        "seconds": round(time.monotonic() - started, 1),
        "slowest_processor_seconds": slowest,
    }


def _world(folder: Path) -> dict[str, Any]:
    from hostile_world import good_world

    def made() -> dict[str, Any]:
        os.environ["XDG_CACHE_HOME"] = str(folder.with_name("cache"))
        return vars(good_world(folder)) | {"folder": str(folder)}

    told = apart(made)
    if "folder" not in told:
        raise SystemExit(f"the good runs could not be made: {told['fault']}")
    return {name: told[name] for name in ("teacher", "student", "unfinished", "study")} | {"folder": folder}


def _case(seed: int, good: Any, folder: Path, only: str, anew: bool) -> dict[str, Any]:
    from hostile_cases import tried
    from hostile_world import command, typed

    cache = folder / "case-cache"
    shutil.rmtree(cache, ignore_errors=True)
    shutil.copytree(folder / "cache", cache)
    os.environ["XDG_CACHE_HOME"] = str(cache)
    case, fault = tried(seed, good, folder / "case", only, typed if anew else command)
    return {"kind": case.kind, "spoilt": case.said, "arguments": case.arguments, "fault": fault}


def apart(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the work says in a process of its own, or what ended it."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _answer(work, writing)
    os.close(writing)
    signal.signal(signal.SIGALRM, lambda *_: os.killpg(child, signal.SIGKILL))
    signal.alarm(WAITS)
    with os.fdopen(reading, "rb") as stream:
        said = stream.read()
    _, status, used = os.wait4(child, 0)
    signal.alarm(0)
    told = json.loads(said) if said else {"fault": f"the process ended: {os.waitstatus_to_exitcode(status)}"}
    return {**told, "processor_seconds": round(used.ru_utime + used.ru_stime, 1)}


def _answer(work: Callable[[], dict[str, Any]], writing: int) -> None:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    try:
        said = {"fault": "", **work()}
    except BaseException as error:  # a mistake of the case's own
        said = {"fault": f"no answer: {type(error).__name__}: {error}"}
    content = json.dumps(said).encode()
    while content:
        content = content[os.write(writing, content) :]
    os._exit(0)


if __name__ == "__main__":
    main()
