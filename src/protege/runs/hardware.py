"""What a run is made on: its device, the memory that is free, and what its figures should be read with."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protege.errors import ConfigError
from protege.runs.config import Place

if TYPE_CHECKING:
    import torch


def device_of(place: Place) -> torch.device:
    import torch

    try:
        device = torch.device(_quickest_kind() if place.device == "auto" else place.device)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"--device {place.device}: give auto, cpu, cuda or cuda:0.") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {place.device}: protege trains on cpu and cuda. Leave --device out, or give cpu.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {place.device}: this machine has no usable GPU. Use --device cpu.")
    if device.type == "cuda" and (device.index or 0) >= (there := torch.cuda.device_count()):
        raise ConfigError(f"--device {place.device}: this machine has {there} GPU(s), from cuda:0.")
    if device.type == "cuda":
        refuse_one_without_kernels(device)
    return device


def _quickest_kind() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def refuse_one_without_kernels(device: torch.device) -> None:
    """A GPU older than this PyTorch was built for is seen by it, and fails at its first operation in words that help nobody."""
    import torch

    known = [int(name.removeprefix("sm_")) for name in torch.cuda.get_arch_list() if name.removeprefix("sm_").isdigit()]
    major, minor = torch.cuda.get_device_capability(device)
    if known and 10 * major + minor < min(known):
        raise ConfigError(
            f"This PyTorch ({torch.__version__}) has no code for {torch.cuda.get_device_name(device)} (sm_{major}{minor}), only for "
            f"sm_{min(known)} and later. Install PyTorch's build for CUDA 12.6 (cu126), which knows older GPUs, or use --device cpu."
        )


def fp32_on(device: torch.device) -> str:
    """What fp32 is there: it differs between kinds of GPUs, so what one said in it is not what another would say."""
    import torch

    if device.type != "cuda":
        return device.type
    major, minor = torch.cuda.get_device_capability(device)
    return f"cuda {major}.{minor}" + (", convolutions in tf32" if major >= 8 else "")


def environment(device: torch.device | None = None) -> dict[str, Any]:
    """Versions, hardware and revision that a number should be read with; the GPU is `device`, else the first."""
    import platform

    import numpy
    import torch

    from protege import __version__

    return {
        "protege": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": cores(),
        "gpu": torch.cuda.get_device_name(device if device and device.type == "cuda" else None)
        if torch.cuda.is_available()
        else None,
        "host": platform.node(),
        "git": _git_revision(),
    }


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        import platform

        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _git_revision() -> str | None:
    """Of the checkout that this code runs from; None for an installed package."""
    import subprocess

    here = Path(__file__).resolve().parent
    if not any((parent / ".git").exists() for parent in here.parents):
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def free_memory() -> int | None:
    """Bytes that new processes can have of this machine, or of the container that we are in; None where nothing tells."""
    amounts = [amount for amount in (_available(), left_in_container()) if amount is not None]
    return min(amounts, default=None)


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def left_in_container(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Page cache counts as used there, but is given back when it is wanted."""
    try:
        limit = (root / "memory.max").read_text().strip()
        used = int((root / "memory.current").read_text())
        cache = next(
            int(line.split()[1]) for line in (root / "memory.stat").read_text().splitlines() if line.startswith("file ")
        )
    except (OSError, ValueError, StopIteration):
        return None
    return None if limit == "max" else int(limit) - used + cache


def peak_memory() -> int:
    """Bytes that this process had at most."""
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts in bytes, Linux in kB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
