"""Thousands of damaged and hostile inputs, drawn by seeds, against the command line: what is wrong with the answers, by kind.

python benchmarks/hostile.py --cases 3000 --seed 0 --out results/hostile.json
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--cases", type=int, default=3000)
    given.add_argument("--seed", type=int, default=0, help="number of the first case")
    given.add_argument("--only", default="", help="kinds of hostile_cases.KINDS, with commas; else all")
    given.add_argument("--minutes", type=float, default=1e9, help="no case begins later")
    given.add_argument("--out", type=Path)
    options = given.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
    with tempfile.TemporaryDirectory(prefix="protege-hostile-") as folder:
        os.environ |= {
            "XDG_CACHE_HOME": f"{folder}/cache",
            "PROTEGE_CIFAR10_URL": "nowhere",
            "PROTEGE_CIFAR100_URL": "nowhere",
            "HF_HUB_OFFLINE": "1",
        }
        found = conduct(
            Path(folder), options.seed, options.cases, options.only, time.monotonic() + 60 * options.minutes
        )
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    raise SystemExit(bool(found["wrong"]))


def conduct(folder: Path, first: int, cases: int, only: str, until: float) -> dict[str, object]:
    from hostile_cases import tried
    from hostile_world import good_world

    good = good_world(folder / "good")
    met: Counter[str] = Counter()
    wrong: list[dict[str, object]] = []
    started, slowest = time.process_time(), 0.0
    for seed in range(first, first + cases):
        if time.monotonic() > until:
            break
        begun = time.process_time()
        case, fault = tried(seed, good, folder / "case", only)
        slowest = max(slowest, time.process_time() - begun)
        met[case.kind] += 1
        if fault:
            wrong.append(
                {"seed": seed, "kind": case.kind, "spoilt": case.said, "arguments": case.arguments, "fault": fault}
            )
            print(
                f"{seed} {case.kind} [{case.said}] {' '.join(case.arguments)[:200]!r}\n    {fault}",
                file=sys.stderr,
                flush=True,
            )
    return {
        "cases": dict(met),
        "wrong": wrong,
        "processor_seconds": round(time.process_time() - started, 1),
        "slowest": round(slowest, 1),
    }


if __name__ == "__main__":
    main()
