"""All that only a GPU can tell, in one command: two whole trainings, what a step launches, equal bits, speeds, slots.

    python benchmarks/gpu.py --out DIR --data-dir FOLDER_OF_CIFAR10      # on the machine that has one; 25 minutes
    python benchmarks/gpu.py --device cpu --tiny --out DIR               # to try this script: its figures mean nothing

What is most worth knowing comes first, and each part is a process of its own with an end of its own: one that hangs, fails
or takes too long costs its own time and no other part's. Each writes <part>.md and <part>.json into DIR after every figure.

runs     ResNet-34 on CIFAR-10 for 100 epochs (goal: 150 s), its words on all views that are needed, and one MobileNetV2
         taught for 200 epochs at batch 128 (goal: 120 s once they are remembered), with their accuracies
same     a run broken off and taken up again, made twice, taught with an empty and with a full memory: equal bits?
steps    kernels, waits and the share of the time in which the GPU is busy, a step, of three taught students
speeds   images/s of three pairs: the reference, the strong reference, memory empty and full, student alone
slots    1, 2, 4, 8 runs at once on one GPU
tests    the tests that need a GPU
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

# Of the time that is left when a part begins; the last one may take all of it.
SHARES = {"runs": 0.6, "same": 0.3, "steps": 0.3, "speeds": 0.6, "slots": 0.6, "tests": 1.0}
SOON = 15.0  # seconds before its end, in which a part that is asked to stop may write what it has
HERE = Path(__file__).resolve().parent


def part(name: str, options: list[str], seconds: float, log: Path) -> str:
    """What became of it. It is asked to end, and after a while made to; this process itself gets no signal."""
    started = time.monotonic()
    command = [sys.executable, str(HERE / "gpu_parts.py"), name, "--seconds", f"{seconds:.0f}", *options]
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            process.wait(max(1.0, seconds - SOON))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SOON)
            return f"stopped after {time.monotonic() - started:.0f} s: its time was up"
        finally:
            _end(process)
    took = f"{time.monotonic() - started:.0f} s"
    if process.returncode == 0:
        return f"finished in {took}"
    last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["without a word"]
    return f"failed after {took} with code {process.returncode}: {last[0][:300]}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """With all that it began; also where this process is asked to end itself."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def state_of_the_gpu(file: Path) -> None:
    """Clocks, power, memory and who else is there; a machine without the tool has none."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return
    with file.open("wb") as said:
        for arguments in ((), ("-q", "-d", "CLOCK,POWER,PERFORMANCE,ECC")):
            subprocess.run([tool, *arguments], stdout=said, stderr=subprocess.STDOUT, timeout=60, check=False)


def chosen(parts: str) -> list[str]:
    named = [name.strip() for name in parts.split(",")]
    if unknown := [name for name in named if name not in SHARES]:
        raise typer.BadParameter(f"{unknown[0]}: there is {', '.join(SHARES)}", param_hint="--parts")
    return [name for name in SHARES if name in named]


def main(
    out: Annotated[Path, typer.Option("--out", help="folder of the results; made if need be")],
    parts: Annotated[str, typer.Option("--parts", help="with commas")] = ",".join(SHARES),
    minutes: Annotated[float, typer.Option("--minutes", help="that all of it may take")] = 25.0,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="folder of CIFAR-10")] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda")] = "auto",
    tiny: Annotated[bool, typer.Option("--tiny", help="seconds of work, to try this script")] = False,
) -> None:
    deadline = time.monotonic() + 60 * minutes
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that the part ends as well
    out = out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    state_of_the_gpu(out / "nvidia-smi.txt")
    options = ["--out", str(out), "--device", device, *(["--tiny"] if tiny else [])]
    options += ["--data-dir", str(data_dir.absolute())] if data_dir else []
    became = []
    names = chosen(parts)
    for name in names:
        left = deadline - time.monotonic()
        share = 1.0 if name == names[-1] else SHARES[name]
        how = part(name, options, share * left, out / f"{name}.log") if left > SOON else "not begun: no time was left"
        became.append(f"- {name}: {how}")
        print(became[-1], flush=True)
        if (found := out / f"{name}.md").exists():
            print(f"\n{found.read_text()}", flush=True)
        (out / "summary.md").write_text("\n".join(["# On a GPU", "", *became, ""]))


if __name__ == "__main__":
    typer.run(main)
