# ruff: noqa: E501, PLR0911 (tables of inputs, a line each)
"""Damaged and hostile inputs, drawn by a seed: of every kind of file that is read, and of every option.

A `World` is a folder with good runs in it. A case spoils one thing in a copy of it and gives one command; `verdict` says what
was wrong with the answer: a traceback, a hang, code that ran, a message that is no line, a terminal code, a good run that was lost.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

LONGEST = 500  # characters of a line of a message
SECONDS = 20.0  # of processor time
WORKER = "WORKER"  # in place of a verb: a job's file, and that of its reply
NOBODY = 65534
HOLE = 1 << 40  # bytes of a file that takes no room, and hours to read
WAITS = 300.0  # seconds for something that is waited for without end, on a busy machine
FEW = ["--data", "cifar10-mini", "--data.limit", "40", "--data.heldout", "20", "--optim.epochs", "1"]
TINY = [*FEW, "--model", "resnet8"]
WHERE = ["--threads", "1", "--quiet"]
UNFINISHED = [*FEW[:6], "--optim.epochs", "3", "--model", "resnet8", "--seed", "11"]


class Hang(BaseException):
    """More processor time than any case may take."""


@dataclass
class Said:
    """What one command did."""

    code: int | None
    out: str
    err: str
    crash: str = ""


def command(arguments: list[str]) -> Said:
    """The command line in this process, its time limited."""
    from protege.cli import main

    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["protege", *arguments]
    if arguments[:1] == [WORKER]:
        from protege.launch.worker import main

        sys.argv = ["worker", "--job", arguments[1], "--reply", arguments[2]]
    code: int | None = None
    crash = ""
    try:
        with _limited(), _written_to(out, err):
            try:
                main()
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except Hang as hang:
        crash = f"hang: {_place(hang)}"
    except BaseException as error:
        crash = f"{type(error).__name__}: {str(error)[:150]} at {_place(error)}"
    finally:
        sys.argv = before
    return Said(code, out.getvalue(), err.getvalue(), crash)


def typed(arguments: list[str]) -> Said:
    """The same in a process of its own, as a shell would start it; here where a shell could not type it."""
    verb = ["protege", *arguments]
    if arguments[:1] == [WORKER]:
        verb = ["protege.launch.worker", "--job", arguments[1], "--reply", arguments[2]]
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", *verb],
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=WAITS,
        )
    except (ValueError, OSError):
        return command(arguments)
    except subprocess.TimeoutExpired:
        return Said(None, "", "", "hang")
    out, err = (stream.decode(errors="replace") for stream in (ended.stdout, ended.stderr))
    return Said(ended.returncode, out, err)


def _place(error: BaseException) -> str:
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "protege" in frame.filename]
    return " < ".join(f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in reversed(ours[-3:]))


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def too_long(number: int, frame: object) -> None:
        raise Hang

    kept = [signal.signal(number, too_long) for number in (signal.SIGVTALRM, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WAITS)
    try:
        yield
    finally:
        for timer in (signal.ITIMER_VIRTUAL, signal.ITIMER_REAL):
            signal.setitimer(timer, 0)
        for number, handler in zip((signal.SIGVTALRM, signal.SIGALRM), kept, strict=True):
            signal.signal(number, handler)


@contextlib.contextmanager
def _written_to(out: io.StringIO, err: io.StringIO) -> Iterator[None]:
    """Consoles find these streams at each print."""
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield


# ---- the good world ----


@dataclass
class World:
    """A folder with good runs, the ids of which are known."""

    folder: Path
    teacher: str = ""
    student: str = ""
    unfinished: str = ""
    study: str = "kept-00000000"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def canary(self) -> Path:
        return self.folder / "CANARY"


def good_world(folder: Path) -> World:
    """A teacher and its student, evaluated, with findings of both, a memory, a photo or two and a study."""
    folder.mkdir(parents=True)
    world = World(folder)
    where = [*WHERE, "--runs", str(world.runs)]
    world.teacher = json.loads(_done("train", *TINY, *where, "--json").out)["id"]
    taught = ["--teacher", world.teacher, "--method", "kd"]
    world.student = json.loads(_done("train", *TINY, *taught, *where, "--json").out)["id"]
    for split in ([], ["--test"]):
        _done("evaluate", world.student, *split, "--runs", str(world.runs), "--threads", "1")
    from protege.report.loose.findings import findings_of
    from protege.runs import every, write_json

    found = findings_of(every(world.runs), world.runs).model_dump(mode="json")
    home = world.runs / "studies" / world.study
    write_json(home / "findings.json", {**found, "folder": f"studies/{world.study}"})
    write_json(home / "choices.json", {"time": "2026-01-01T00:00:00+0000", "chosen": {}})
    _photos(folder / "photos")
    _done("export", world.student, "--out", str(folder / "exported"), "--quiet", "--runs", str(world.runs))
    shutil.move(folder / "exported" / "model.onnx", folder / "model.onnx")
    (folder / "run.yaml").write_text(json.dumps(RUN))
    (folder / "study.yaml").write_text(json.dumps(STUDY))
    (folder / "done.yaml").write_text(json.dumps(DONE))
    _done("study", "run", str(folder / "done.yaml"), "--no-probe", "--runs", str(world.runs))
    world.unfinished = _rested(world.runs)
    return world


def _rested(root: Path) -> str:
    """A run that was left after its first epoch, as parts of searches are."""
    from protege.cli.options import describe
    from protege.runs.config import Place
    from protege.train.loop import train

    return train(describe(None, UNFINISHED, []), Place(runs=root, threads=1, quiet=True, until=1)).id


def _done(*arguments: str) -> Said:
    said = command(list(arguments))
    assert said.code == 0 and not said.crash, (said.crash, said.err)
    return said


def _photos(folder: Path) -> None:
    from PIL import Image

    for label, name in enumerate(("cat", "dog")):
        (folder / name).mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (16, 16), (90 * label, 20 * number, 40)).save(folder / name / f"{number}.png")


def copied(world: World, folder: Path) -> World:
    shutil.copytree(world.folder, folder, symlinks=True)
    return replace(world, folder=folder)


RUN: dict[str, Any] = {
    "data": {"name": "cifar10-mini", "limit": 40, "heldout": 20},
    "model": {"name": "resnet8"},
    "views": {"crop": "pad", "padding": 2},
    "optim": {"epochs": 1, "lr": 0.1, "milestones": [1, 2], "betas": [0.9, 0.99]},
    "method": {"name": "ls", "smoothing": 0.1},
    "seed": 3,
}
STUDY: dict[str, Any] = {
    "question": "does it help?",
    "base": {"data": {"name": "cifar10-mini", "limit": 40, "heldout": 20}, "model": "resnet8", "optim": {"epochs": 1}},
    "teachers": {"big": {"model": "resnet14", "seeds": [0, 1]}},
    "arms": {
        "alone": {"method": "supervised"},
        "kd": {"method": {"name": "kd"}, "teacher": "big", "vary": {"method.temperature": [1, 4]}},
    },
    "seeds": {"select": [100], "report": 2},
    "compare": [{"treatment": "kd", "control": "alone", "primary": True}],
    "published": [{"arm": "kd", "value": 70.0}],
}

DONE: dict[str, Any] = {  # whose runs are the teacher and the student that there are
    **{key: STUDY[key] for key in ("question", "base", "compare")},
    "teachers": {"small": {"model": "resnet8", "seeds": [0]}},
    "arms": {"alone": {"method": "supervised"}, "kd": {"method": "kd", "teacher": "small"}},
    "seeds": {"report": [0]},
}

# ---- values that somebody might write ----

WORDS = [
    "", " ", "x", "-", "--", "nan", "inf", "1e999", "null", "~", "true", "[/red]", "[bold]x[/bold]", ":smile:", "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07", "a\nb", "a\rb", "\u202egpj.exe", "é" * 3, "日本", "../../etc/passwd", "/dev/zero", "/dev/stdin", "/proc/self/mem",
    "folder:", "folder:/dev/zero", "folder:.", "run:x", "run:x:final", "file:::", "timm:", "torchvision:x", "x" * 5000, "a:b:c", "{}", "[]",
    "canary.py:M", "canary:M", "antigravity:x", "os:system", "..:x", ".py:x", ":", ":x", "x:", "a..b:c", "../../etc/passwd:x", "=1+1", "@x", "%s%n", "{0}",
    "cuda:99", "mps", "meta", "cpu:5", "2024-13-45", "2024-01-01", "0x10", "1_000", "1:30", "0o17", "1e400", "9" * 400, "-1", "1.5", "0",
    "!!python/object/apply:os.system [touch CANARY]", "&a *a", "[[[[", "*x", "? x", "!!int x", "!!bool x", "!!float x", "!!timestamp x",
    "!!binary x", "!!set {a}", "!!omap [a: 1]", "[" * 3000, "{a: " * 500, "- " * 1000, "'", '"', "|", ">", "%YAML 9.9", "\ud800", "\udcff",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2, 10, 255, 2**31, 2**53, 2**63, 2**64, 10**30, 10**400, -(10**400), 0.5, -0.5, 1e-320, 1e300, 1.5,
    [], {}, [[]], [{}], {"": 1}, {"name": None}, {"name": []}, [1, 2, 3], ["a"], [None], {"a": {"b": {"c": 1}}}, "not", *WORDS,
]  # fmt: skip
RAW: list[bytes] = [
    b"", b" ", b"\0" * 100, b"{", b"[", b"nul", b"null", b"[]", b"{}", b"3", b'"x"', b"true", b"NaN", b"[NaN]", b"-Infinity", b"1e999", b"9" * 5000,
    b"\xff\xfe{\0}\0", b"\xef\xbb\xbf{}", b"\xe9t\xe9", b"[" * 100_000, b'{"a":' * 50_000, b'{"id": "\\ud800"}', b'{"a": 1, "a": 2}', b"{}\n{}\n", b"\n" * 1000,
    b"garbage \x1b[31m", b"{'a': 1}", b"\x80\x04\x95", b"PK\x03\x04", b"--- \n...", b"\r\n\r\n",
]  # fmt: skip
THINGS = ("folder", "pipe", "dangling", "itself", "device", "nothing", "full folder")


def put_thing(path: Path, thing: str) -> None:
    """Something that is no file, where one is expected."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if thing == "folder":
        path.mkdir()
    elif thing == "full folder":
        path.mkdir()
        (path / "x").write_text("x")
    elif thing == "pipe":
        os.mkfifo(path)
    elif thing in ("dangling", "itself", "device"):
        path.symlink_to({"dangling": "nowhere", "itself": path.name, "device": "/dev/zero"}[thing])


def spoil_bytes(draw: random.Random, path: Path) -> str:
    """Another content, or a part of it, or a few other bytes."""
    if path.is_dir():
        put_thing(path, thing := draw.choice(THINGS))
        return thing
    content = path.read_bytes() if path.is_file() else b"{}"
    how = draw.choice(["raw", "raw", "cut", "cut", "flip", "flip", "twice", "begin", "thing", "hole"])
    if how == "thing":
        thing = draw.choice(THINGS)
        put_thing(path, thing)
        return thing
    if how == "hole":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.truncate(path, HOLE)
        return how
    if how == "raw":
        content = draw.choice(RAW)
    elif how == "cut":
        content = content[: draw.randrange(max(1, len(content)))]
    elif how == "twice":
        content += content
    elif how == "begin":
        content = draw.choice(RAW) + content
    else:
        changed = bytearray(content or b"x")
        for _ in range(draw.randint(1, 8)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        content = bytes(changed)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return f"{how} {content[:30]!r}"


def spoil_json(draw: random.Random, path: Path) -> str:
    """One value of a record is another, is gone, or is many."""
    text = path.read_text()
    lines = path.suffix == ".jsonl"
    value = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
    said = spoil_value(draw, value)
    dumped = [json.dumps(one) for one in value] if lines else [json.dumps(value, indent=1)]
    path.write_text("\n".join(dumped) + "\n")
    return said


def spoil_tensors(draw: random.Random, path: Path) -> str:
    """The header of a safetensors file says something else."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    said = spoil_value(draw, header)
    if draw.random() < 0.3 and isinstance(header.get("__metadata__"), dict):
        header["__metadata__"] = {
            "protege": draw.choice(["", "{}", "[]", "null", '{"sha256": 3}', '{"sha256": "x", "about": 3}', "[" * 5000])
        }
    dumped = json.dumps(header).encode()
    size = draw.choice([len(dumped), len(dumped), len(dumped), 2**63, 2**40, 0])
    path.write_bytes(struct.pack("<Q", size) + dumped + content[8 + length :])
    return said


def spoil_value(draw: random.Random, value: Any, odd: list[Any] | None = None) -> str:
    """Some place in it holds something else."""
    places = list(_places(value))
    if not places:
        return "nothing to spoil"
    holder, key = draw.choice(places)
    how = draw.choice(["other", "other", "other", "gone", "added", "wrapped"])
    if how == "other":
        holder[key] = draw.choice(odd or VALUES)
    elif how == "gone":
        del holder[key]
    elif how == "wrapped":
        holder[key] = draw.choice(
            [[holder[key]], {"x": holder[key]}, [holder[key]] * 50, {str(holder[key])[:20]: holder[key]}]
        )
    elif isinstance(holder, dict):
        holder[draw.choice(WORDS)] = draw.choice(odd or VALUES)
    else:
        holder.append(draw.choice(odd or VALUES))
    return f"{how} {str(key)[:30]}: {str(holder.get(key, '') if isinstance(holder, dict) else '')[:40]!r}"


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield value, key
            yield from _places(below)
    elif isinstance(value, list):
        for number, below in enumerate(value[:6]):
            yield value, number
            yield from _places(below)


# ---- cases ----


@dataclass
class Case:
    """What was spoilt, and the command that met it."""

    kind: str
    said: str
    arguments: list[str]
    surroundings: dict[str, str] = field(default_factory=dict)  # of the environment
    largest_file: int | None = None  # bytes, after which the disk is full
    as_nobody: bool = False  # without the rights of whoever owns all files
    meanwhile: Callable[[int], None] | None = None  # done again and again while the command runs
    moving: str = ""  # the name of the file that it changes


Maker = Callable[[random.Random, World], Case]


def precious(case: Case, world: World) -> dict[Path, bytes]:
    """Files that the command has no business to change, with their contents."""
    verb, student = case.arguments[:1], world.runs / world.student
    held = [world.runs / world.teacher, world.folder / "photos"]
    if verb not in (["remove"], ["train"], ["remember"], [WORKER]):
        held.append(student)
    found = [path for folder in held for path in folder.rglob("*") if "evaluations" not in path.parts]
    found += [world.folder / name for name in ("run.yaml", "study.yaml", "model.onnx")]
    return {path: path.read_bytes() for path in found if _is_kept(path) and path.name != case.moving}


def _is_kept(path: Path) -> bool:
    whole = path.is_file() and not path.is_symlink() and path.name != "lock"
    return whole and path.stat().st_size < HOLE


def changed(before: dict[Path, bytes]) -> str:
    """The first of these files that is not what it was."""
    for path, content in before.items():
        if not path.is_file() or path.read_bytes() != content:
            return f"{path.parent.name}/{path.name} is not what it was"
    return ""


def verdict(case: Case, said: Said, world: World) -> str:
    """What is wrong with the answer; nothing where all is well."""
    if world.canary.exists():
        return "code ran"
    if said.crash:
        return said.crash
    if "mistake in protege itself" in said.err:
        return said.err.strip()[-400:]
    if "Traceback" in said.err:
        return "a traceback was printed"
    for stream in (said.out, said.err):
        if any(one in stream for one in "\x1b\x07\x9b\b\r\u202e"):
            return "a terminal code was printed"
    if said.code not in (0, 1, 2):
        return f"exit code {said.code}"
    lines = [line for line in said.err.splitlines() if line.strip()]
    if any(len(line) > LONGEST for line in lines):
        return f"a line of {max(map(len, lines))} characters"
    if (
        said.code == 2
        and not any(line.startswith("protege: ") for line in lines)
        and "Usage" not in said.out + said.err
    ):
        return "no message"
    if said.code == 2:
        told = [number for number, line in enumerate(lines) if line.startswith("protege: ")]
        if told and any(not line.startswith("  ") for line in lines[told[-1] + 1 :]):
            return f"a message of several lines: {lines[told[-1] + 1][:60]!r}"
    return _lost(world)


@contextlib.contextmanager
def surrounded(case: Case) -> Iterator[None]:
    """The machine as the case has it, and as it was again afterwards."""
    before, (soft, hard) = dict(os.environ), resource.getrlimit(resource.RLIMIT_FSIZE)
    ended = threading.Event()
    restless = threading.Thread(target=_meanwhile, args=(case.meanwhile, ended), daemon=True)
    os.environ.update(case.surroundings)
    if case.largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (case.largest_file, hard))
    if case.meanwhile:
        restless.start()
    if case.as_nobody:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if case.as_nobody:
            os.seteuid(0)
        ended.set()
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        os.environ.clear()
        os.environ.update(before)
        if case.meanwhile:
            restless.join()


def python_is_everybodys() -> bool:
    """Whether others than root can import what was not imported yet."""
    return all(
        folder.stat().st_mode & 0o005 == 0o005 for folder in (Path(os.__file__).parent, *Path(os.__file__).parents)
    )


def _meanwhile(change: Callable[[int], None] | None, ended: threading.Event) -> None:
    number = 0
    while change is not None and not ended.wait(0.002):
        change(number := number + 1)
    if change is not None:
        change(0)


def _lost(world: World) -> str:
    """The teacher's run was not touched."""
    said = command(["list", "--json", "--runs", str(world.runs)])
    if said.crash or said.code != 0:
        return f"list after it: {said.crash or said.err[:200]}"
    states = {row["id"]: row["state"] for row in json.loads(said.out)}
    return "" if states.get(world.teacher) == "finished" else f"the good run is {states.get(world.teacher)}"
