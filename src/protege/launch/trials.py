"""What works here, found out by doing it: a folder's file system, the networks' libraries, devices, processes, schedulers, extras.

Each finding says what was found and what that means for who trains here. Nothing stays behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import mmap
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from protege.runs.hardware import cores, free_memory
from protege.runs.locking import flock

Works = Literal["yes", "in part", "no", "absent"]  # "no" is of what is needed
SLOW = 0.1  # seconds to make a small file whole: a study makes thousands
LITTLE = 2 * 10**9  # bytes: checkpoints, and what teachers say
ANSWER = 10.0  # seconds in which a scheduler should answer
SHARED = {
    "nfs",
    "nfs4",
    "lustre",
    "gpfs",
    "beegfs",
    "cephfs",
    "ceph",
    "cifs",
    "smb3",
    "9p",
    "fuse.sshfs",
    "afs",
    "panfs",
}
ON_ONE_NODE = {"localflock", "nolock", "local_lock=flock", "local_lock=all"}  # options of mounts
EXTRAS = {  # of pyproject.toml: what each brings, and what for
    "timm": (("timm", "torchvision"), "networks named timm:NAME and torchvision:NAME"),
    "export": (("onnx", "onnxruntime", "onnxscript"), "`protege export` to ONNX"),
    "executorch": (("executorch",), "`protege export` to ExecuTorch"),
    "openvino": (("openvino",), "`protege export` to OpenVINO"),
    "hub": (("huggingface_hub",), "`protege push`, and runs named hub:USER/NAME"),
    "bench": (("matplotlib",), "pictures of the benchmarks"),
    "ray": (("ray",), "studies on a Ray cluster"),
    "search": (("optuna",), "`--search`: settings that are looked for"),
    "tsne": (("scikit-learn",), "maps of features by t-SNE"),
    "tensorboard": (("tensorboard",), "`--log tensorboard`"),
    "wandb": (("wandb",), "`--log wandb`"),
}


@dataclass(frozen=True)
class Finding:
    what: str
    works: Works
    found: str
    means: str


def examined(folder: Path) -> Iterator[Finding]:
    """Everything, a finding at a time."""
    yield from of_torch()
    yield of_machine()
    yield from of_folder(folder)
    yield of_slurm()
    yield from of_extras()


# ---- the folder of the runs ----


def of_folder(folder: Path) -> Iterator[Finding]:
    """What is tried is tried where the runs are to be, or in the nearest folder above that there is."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    try:
        room = Path(tempfile.mkdtemp(prefix=".protege-doctor-", dir=there))
    except OSError as error:
        yield Finding(
            "folder", "no", f"{there}: {error.strerror}", "Nothing can be written: choose another with --runs."
        )
        return
    try:
        yield _kind(there)
        yield _space(there)
        yield _whole_files(room)
        yield _locks(room, _mount(there)[1])
        yield _links(room)
        yield _mapping(room)
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _kind(folder: Path) -> Finding:
    kind, _ = _mount(folder)
    if kind in SHARED:
        return Finding("folder", "yes", f"{folder}, {kind}", "Other nodes may see it: runs and memories can be shared.")
    return Finding(
        "folder", "yes", f"{folder}, {kind}", "On this machine. Jobs on other nodes need a folder that all see."
    )


def _mount(folder: Path) -> tuple[str, set[str]]:
    """Kind and options of the file system that holds it."""
    found = ("an unknown file system", set[str]())
    deepest = -1
    with contextlib.suppress(OSError):
        for line in Path("/proc/mounts").read_text().splitlines():
            _, point, kind, options = line.split()[:4]
            if folder.resolve().is_relative_to(point) and len(point) >= deepest:
                deepest, found = len(point), (kind, set(options.split(",")))
    return found


def _space(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    amount = f"{free / 1e9:.1f} GB free"
    if free < LITTLE:
        return Finding(
            "disk", "in part", amount, "Checkpoints may fit, what teachers say hardly: free some, or --memory-dir."
        )
    return Finding("disk", "yes", amount, "What teachers say may take a tenth of it (--memory-limit).")


def _whole_files(room: Path) -> Finding:
    """Written, brought to the disk, and put in the place of another, as each record is."""
    path, partial = room / "record", room / "record.partial"
    try:
        path.write_text("before")
        started = time.perf_counter()
        with partial.open("w") as file:
            file.write("after")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        seconds = time.perf_counter() - started
        same = path.read_text() == "after"
    except OSError as error:
        return Finding(
            "files appear whole", "no", str(error.strerror), "No run can be kept here: choose another --runs."
        )
    if not same:
        return Finding(
            "files appear whole", "no", "the old file is seen", "No run can be kept here: choose another --runs."
        )
    if seconds > SLOW:
        return Finding(
            "files appear whole",
            "in part",
            f"{1000 * seconds:.0f} ms each",
            "Slow: give --checkpoint-seconds 300 or more.",
        )
    return Finding("files appear whole", "yes", f"{1000 * seconds:.1f} ms each", "A kill or a full disk loses no run.")


def _locks(room: Path, options: set[str]) -> Finding:
    with (room / "lock").open("w") as one, (room / "lock").open("w") as other:
        try:
            if not flock(one.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB):
                return Finding(
                    "locks", "in part", "none (flock is not offered)",
                    "A file says who trains a run, and may outlive a killed process: the message names it. Two that fill one memory "
                    "at once may ask the teacher some images twice.",
                )  # fmt: skip
            fcntl.flock(other.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if options & ON_ONE_NODE:
                named = ", ".join(sorted(options & ON_ONE_NODE))
                means = "They hold on one node only: never give the same run to two nodes at once."
                return Finding("locks", "in part", f"flock, mounted with {named}", means)
            return Finding("locks", "yes", "flock", "Two commands never train one run at once.")
        except OSError as error:
            return Finding("locks", "no", str(error.strerror), "Runs cannot be locked here: choose another --runs.")
    return Finding("locks", "no", "a lock was given twice", "Two commands could train one run: choose another --runs.")


def _links(room: Path) -> Finding:
    (room / "linked").write_text("")
    try:
        os.link(room / "linked", room / "link")
    except OSError as error:
        means = "For a moment at each checkpoint there is only the one before."
        return Finding("hard links", "in part", f"none ({error.strerror})", means)
    return Finding("hard links", "yes", "there are", "The checkpoint before the last is kept at no cost.")


def _mapping(room: Path) -> Finding:
    """What one process writes through a map, another reads from the file, and the reverse."""
    path = room / "mapped"
    path.write_bytes(bytes(mmap.PAGESIZE))
    try:
        with path.open("r+b", buffering=0) as file, mmap.mmap(file.fileno(), 0) as mapped:
            mapped[0] = 1
            seen = os.pread(file.fileno(), 1, 0) == b"\1"
            os.pwrite(file.fileno(), b"\2", 1)
            seen = seen and mapped[1] == 2
    except OSError as error:
        means = "What teachers say cannot be remembered here: give --memory-dir a folder on another disk."
        return Finding("mapped files", "in part", str(error.strerror), means)
    if not seen:
        means = "Processes may not see each other's rows of a memory, and ask the teacher again: better a --memory-dir elsewhere."
        return Finding("mapped files", "in part", "writes are seen late", means)
    return Finding("mapped files", "yes", "writes are seen at once", "Runs on this machine share what teachers say.")


# ---- torch, devices, processes ----


def of_torch() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:  # a broken library says so in many ways
        means = "Nothing can be trained. Install PyTorch 2.11 or later."
        yield Finding("PyTorch", "no", " ".join(str(error).split())[:100], means)
        return
    yield _version(torch.__version__)
    yield from _gpus()
    yield _processes()


def _version(version: str) -> Finding:
    known = re.match(r"(\d+)\.(\d+)", version)
    if known and (int(known[1]), int(known[2])) < (2, 11):
        return Finding("PyTorch", "no", version, "Install 2.11 or later.")
    return Finding("PyTorch", "yes", version, "Networks can be trained.")


def _gpus() -> Iterator[Finding]:
    import torch

    from protege.errors import ConfigError
    from protege.runs.hardware import refuse_one_without_kernels

    if not torch.cuda.is_available():
        yield Finding("GPU", "absent", "none that PyTorch sees", "Runs compute on the CPU.")
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        device = torch.device("cuda", number)
        try:
            refuse_one_without_kernels(device)
            product = torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)
            right = bool((product == 64).all())
            memory = torch.cuda.get_device_properties(device).total_memory / 1e9
            found = f"{torch.cuda.get_device_name(device)}, {memory:.0f} GB"
        except (ConfigError, RuntimeError) as error:
            yield Finding(
                f"GPU {number}", "no", " ".join(str(error).split())[:150], "Leave it out: --device cpu, or another."
            )
            continue
        means = f"--device cuda:{number}" if right else "It computes wrongly: leave it out."
        yield Finding(f"GPU {number}", "yes" if right else "no", found, means)


def _processes() -> Finding:
    """A group of one asks of the machine what a group of several does: an address of its own, and a port."""
    import torch.distributed as dist

    what, means = "several processes", "`torchrun --nproc-per-node N -m protege train ...` makes one run of N."
    if not dist.is_available():
        return Finding(what, "absent", "PyTorch without torch.distributed", "Runs are made by one process each.")
    try:
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # pyright: ignore[reportPrivateImportUsage]
        dist.destroy_process_group()
    except (RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())[:100]
        return Finding(what, "in part", f"gloo: {said}", "Set GLOO_SOCKET_IFNAME to a network of this machine.")
    libraries = ["gloo", *(["nccl"] if dist.is_nccl_available() else [])]
    return Finding(what, "yes", " and ".join(libraries), means)


def of_machine() -> Finding:
    memory = free_memory()
    amount = "" if memory is None else f", {memory / 1e9:.0f} GB of memory free"
    return Finding(
        "processor",
        "yes",
        f"{cores()} cores for this process{amount}",
        "A run takes one thread a core, unless --threads says otherwise.",
    )


# ---- schedulers and extras ----


def of_slurm(
    answer: Callable[[list[str]], str | None] | None = None, environment: Mapping[str, str] = os.environ
) -> Finding:
    """`answer`: what a command prints; None where it is not there or fails."""
    answer = answer or _answer
    if shutil.which("sbatch") is None and answer is _answer:
        return Finding("SLURM", "absent", "no sbatch in the PATH", "Runs are made on this machine.")
    partitions = answer(["sinfo", "--noheader", "--format=%P"])
    if partitions is None:
        return Finding(
            "SLURM", "in part", "sbatch, but sinfo has no answer", "Ask whether slurmctld is up; until then, local."
        )
    names = ", ".join(sorted({name.strip("*") for name in partitions.split()})) or "none"
    counted = answer(["sacct", "--noheader", "--starttime=now-1minutes"]) is not None
    how_jobs_end = "sacct tells how jobs ended" if counted else "no accounting: files alone tell how jobs ended"
    job = environment.get("SLURM_JOB_ID")
    inside = f"; inside job {job}" if job else ""
    return Finding("SLURM", "yes", f"partitions {names}{inside}; {how_jobs_end}", "Jobs can be submitted from here.")


def _answer(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def of_extras() -> Iterator[Finding]:
    for extra, (packages, gives) in EXTRAS.items():
        versions = {package: _version_of(package) for package in packages}
        if missing := [package for package, version in versions.items() if version is None]:
            means = f"No {gives}: pip install 'protege[{extra}]'"
            yield Finding(f"[{extra}]", "absent", f"without {', '.join(missing)}", means)
        else:
            found = ", ".join(f"{package} {version}" for package, version in versions.items())
            yield Finding(f"[{extra}]", "yes", found, gives[0].upper() + gives[1:])


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
