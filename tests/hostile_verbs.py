# ruff: noqa: E501 (tables of inputs, a line each)
"""Hostile inputs of what came later: files that ship, files of Python, jobs, searches, verbs about runs, and the machine itself."""

from __future__ import annotations

import contextlib
import json
import os
import random
from pathlib import Path
from typing import Any

from hostile_world import (
    RAW,
    RUN,
    STUDY,
    TINY,
    VALUES,
    WHERE,
    WORDS,
    Case,
    World,
    put_thing,
    python_is_everybodys,
    spoil_bytes,
    spoil_json,
    spoil_value,
)

ODD = [
    *WORDS, "\u0663", "\u0661\u0662", "1 ", " 1", "+1", "1e3", "1e-400", "0x1p-2", "-0", "1,2", ",", "1,,2", "1;2", "-h", "-q", "--=x", "---", "--runs", "=", "*", "?", "[", "(", "\\", "a'b", "a\"b", "~root", "~nobody/x",
    "1025", "65537", "2147483647", "hub:", "hub:a", "hub:a/b", "hub:../x", "hub:a/b@../..", "hub:a/b@" + "x" * 3000, "hub:\x1b[31m/x", "/", "/root", "/dev/full", "/proc/1/mem", "/proc/self/fd/0", "CON", "x" * 300, "é" * 200, "\ufeff", "\u2028", "\u0000".strip("\0") or ".", ".", "..", "runs", "photos", "photos/cat/0.png", "run.yaml", "study.yaml",
]  # fmt: skip


def word(draw: random.Random) -> str:
    return draw.choice([one for one in ODD if "\0" not in one])


def verbs(draw: random.Random, world: World) -> Case:
    """Options and arguments of verbs about runs that there are, of searches and of clusters."""
    value, other, root = word(draw), word(draw), ["--runs", str(world.runs)]
    one, two = world.teacher, world.student
    tiny = ["train", *TINY, *WHERE, *root]
    field = draw.choice(["id", "accuracy", "seed", "data", "optim.lr", "bytes", "study", "teachers", "method", value])
    relation = draw.choice(["=", "!=", "<", ">", "<=", ">=", "~", ""])
    study = str(world.folder / "study.yaml")
    verb = draw.choice([
        ["list", "--where", value, *root], ["list", "--where", f"{field}{relation}{other}", *root], ["list", "--where", f"'{field}{relation}{other}' {value}", *root], ["list", "--sort", value, *root], ["list", "--sort", f"-{field}", *root],
        ["list", "--limit", value, *root], ["list", "--columns", value, *root], ["list", "--columns", f"{field},{value}", *root], ["list", "--columns", "id,environment,data,views", *root], ["list", "--sort", "data", "--columns", f"id,{field}", *root],
        ["compare", one, "--with", two, *root], ["compare", value, "--with", other, *root], ["compare", value, *root], ["compare", "--with", *root], ["compare", one, "--with", one, "--with", two, *root], ["compare", one, one, "--with", two, *root], ["compare", "", "--with", "r", *root],
        ["remove", value, "--yes", "--runs", str(world.folder / "other")], ["remove", two, *root], ["remove", two, two, *root], ["remove", value, *root],
        ["pack", two, "--out", value, *root], ["pack", two, *root], ["pack", value, "--out", "x.tar", *root], ["pack", two, "--out", str(world.runs / one / "model.safetensors"), *root], ["pack", two, "--out", "", *root],
        ["unpack", value, *root], ["unpack", "run.yaml", "--runs", value], ["unpack", str(world.runs / one / "model.safetensors"), *root],
        ["predict", value, "photos", *root], ["predict", two, value, *root], ["predict", two, value, other, *root], ["predict", two, "photos", "--top", value, *root], ["predict", two, "photos", "--csv", value, *root],
        ["predict", two, "photos", "--threads", value, *root], ["predict", two, "photos", "--which", value, *root], ["predict", "photos/cat/0.png", "photos", *root], ["predict", "", "photos", *root], ["predict", two, "", *root],
        ["export", value, *root], ["export", two, "--out", value, *root, "--format", "x"], ["export", two, "--precision", value, *root], ["export", two, "--calibration-images", value, *root, "--format", "x"], ["export", two, "--accept-loss", value, "--format", "x", *root],
        ["measure", value, *root], ["measure", two, "--threads", value, "--which", "x", *root], ["measure", two, value, *root], ["measure", two, "--batch", value, "--which", "x", *root], ["measure", "photos/cat/0.png", *root],
        ["choose", value, *root], ["choose", two, "--max-bytes", value, "--which", "x", *root], ["choose", value, "--max-bytes", other, *root], ["choose", value, "--max-ms", other, *root], ["choose", value, "--max-multiply-adds", other, *root],
        ["look", value, *root], ["look", two, "--teacher", value, *root], ["look", two, "--beside", value, *root], ["look", two, "--images", value, *root], ["look", two, "--plane", value, *root], ["look", two, "--data", value, *root], ["look", two, "--out", "run.yaml", *root], ["look", two, "--device", value, *root],
        ["doctor", "--runs", value], ["demo", "--runs", "run.yaml"], ["demo", "--runs", value, "--device", other], ["demo", "--threads", value, "--runs", "run.yaml"], ["demo", "--device", "cuda", "--runs", value],
        ["study", "watch", value, "--once", *root], ["study", "watch", study, "--once", *root], ["study", "watch", study, "--once", "--runs", value], ["study", "watch", study, "--once", "--every", value, *root], ["study", "cancel", value, *root], ["study", "cancel", study, "--runs", value], ["study", "cancel", study, *root],
        ["study", "run", study, "--dry-run", "--scale", value, *root], ["study", "run", study, "--dry-run", "--threads", value, *root], ["study", "run", study, "--dry-run", "--on", value, *root], ["study", "run", study, "--dry-run", "--log", value, *root], ["study", "run", study, "--dry-run", "--memory-limit", value, *root],
        ["study", "run", study, "--dry-run", "--memory-dir", value, *root], ["study", "run", study, "--dry-run", value, other, *root], ["study", "run", study, "--dry-run", "--on", "slurm", f"--slurm.{draw.choice(SLURM)}", value, *root], ["study", "run", study, "--dry-run", "--on", "ray", f"--ray.{draw.choice(RAY)}", value, *root],
        [*tiny, "--on", "slurm", f"--slurm.{draw.choice(SLURM)}", value, "--device", "cuda:77"], [*tiny, "--on", "ray", f"--ray.{draw.choice(RAY)}", value, "--device", "cuda:77", "--seed", "x"], [*tiny, f"--slurm.{value}", other], [*tiny, "--detach"],
        [*tiny, "--search", value], [*tiny, "--search", "optim.lr", value, other], [*tiny, "--search", value, "1", "2"], [*tiny, "--search", "optim.lr", ".1", ".2", value], [*tiny, "--search", "optim.lr", ".1", ".2", "--trials", value], [*tiny, "--search", "optim.lr", ".1", ".2", "--search", "optim.lr", "1", "2", "--device", "cuda"],
        ["train", *TINY, *WHERE, "--runs", "run.yaml", "--recipe", value], ["train", *TINY, *WHERE, *root, "--init", value], ["train", *TINY, *WHERE, "--runs", "run.yaml", "--log", value], ["train", *TINY, *WHERE, "--runs", "run.yaml", "--trials", value], ["train", *TINY, *WHERE, "--runs", "run.yaml", value, other],
        ["train", *TINY, *WHERE, "--runs", "run.yaml", f"--{value}", other], ["train", *TINY, *WHERE, "--runs", "run.yaml", f"--method.{value}", other], ["train", *TINY, *WHERE, "--runs", "run.yaml", f"--model.args.{value}", other], ["train", *TINY, *WHERE, "--runs", "run.yaml", f"--model.stages.{value}", other], ["train", *TINY, *WHERE, "--runs", "run.yaml", "--compress.prune", value],
        ["models", value], ["models", value, "--json"], ["models", "resnet8", f"--{draw.choice(['stem', 'weights', 'head', 'frozen', 'dirac', 'whiten', 'stages', 'classifier', 'args', 'args.x'])}", value], ["models", "resnet8", value, other], ["models", "--json", "--classes", value], ["models", f"photos/{value}:x"],
        ["data", value, other], ["data", "cifar10-mini", f"--{draw.choice(['labels', 'heldout-seed', 'split', 'without', 'std', 'mean', 'classes', 'limit', 'heldout'])}", value], ["data", f"{value}.py:read"], ["data", "cifar10-mini", "--data-dir", value], ["methods", value, other],
        ["evaluate", two, "--data", value, *root], ["evaluate", value, "--runs", other], ["report", two, "--data", value, *root], ["report", two, "--out", "run.yaml", *root], ["report", two, "--data-dir", value, *root, "--json"],
        ["remember", "drop", value, other, *root], ["remember", "warm", *TINY, "--teacher", one, "--memory-limit", value, *WHERE, *root], ["remember", "warm", value, *WHERE, *root], ["study", "power", "--sd", value, "--margin", other], ["study", "power", "--sd", "1", "--effect", "0", "--power", value], ["study", "power", value],
        ["push", two, value, *root], ["push", value, "hub:a/b", *root], ["push", two, "hub:a/b", "--license", value, *root], ["train", *TINY, *WHERE, *root, "--teacher", "hub:a/b@" + value],
        ["--version", value], ["--trust-code", value], ["--install-completion", value], ["--show-completion", value], ["--help", value], [value, other],
    ])  # fmt: skip
    return Case("verb", "", verb)


SLURM = ("partition", "account", "time", "gres", "cpus", "mem", "runs-per-job", "at-once", "throttle", "queued", "array", "setup", "more", "before-end", "look-every", "conductor-time", "teachers.time", "teachers.cpus", "x")  # fmt: skip
RAY = ("address", "cpus-per-run", "gpus-per-run", "cpus-per-teacher", "retries", "x")


def machine(draw: random.Random, world: World) -> Case:
    """Folders that are none or may not be written to, a disk that is full, variables that mean nothing."""
    value, root = word(draw), ["--runs", str(world.runs)]
    case = Case("machine", "", [])
    how = draw.choice(["variable", "variable", "closed", "closed", "full", "full", "runs", "cache"])
    if how == "closed" and os.geteuid() == 0 and not python_is_everybodys():
        how = "full"  # for whoever may read everything nothing is closed
    if how == "variable":
        name = draw.choice(["XDG_CACHE_HOME", "PROTEGE_DATA", "HOME", "COLUMNS", "LINES", "TERM", "TMPDIR", "NO_COLOR", "PROTEGE_NO_PAGER", "USER", "CUDA_VISIBLE_DEVICES", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "WANDB_MODE", "OMP_NUM_THREADS",
                            "SLURM_JOB_ID", "MASTER_ADDR", "PROTEGE_CIFAR10_URL", "GOMP_SPINCOUNT", "LANG", "PATH"])  # fmt: skip
        case.surroundings, how = {name: value}, f"{name} {value[:40]!r}"
    elif how == "closed":
        case.as_nobody = os.geteuid() == 0
        for place in draw.sample([world.runs, world.runs / world.student, world.folder / "photos" / "cat", world.runs / "memory", world.folder / "run.yaml", world.runs / world.student / "run.json", world.folder], 2):  # fmt: skip
            place.chmod(draw.choice([0o000, 0o555, 0o444, 0o111]) if place != world.folder else 0o555)
            how += f" {place.name}"
    elif how == "full":
        case.largest_file = draw.choice([0, 1, 100, 5000, 100_000])
    elif how == "runs":
        put_thing(
            world.folder / "odd",
            thing := draw.choice(["folder", "pipe", "dangling", "itself", "device", "nothing", "full folder"]),
        )
        root, how = ["--runs", str(world.folder / "odd" / draw.choice(["", "", "below", "a/b/c"]))], f"runs {thing}"
    else:
        put_thing(world.folder / "cache" / draw.choice(["", "protege", "protege/images", "protege/trusted-code", "protege/tuning.json"]), thing := draw.choice(["pipe", "dangling", "itself", "device", "folder"]))  # fmt: skip
        case.surroundings, how = {"XDG_CACHE_HOME": str(world.folder / "cache")}, f"cache {thing}"
    taught = ["--teacher", world.teacher, "--method", "kd"]
    case.arguments = draw.choice([
        ["list", *root], ["show", world.student, *root], ["evaluate", world.student, *root, "--threads", "1"], ["evaluate", world.student, "--test", *root, "--threads", "1"], ["report", "--all", *root], ["report", world.student, *root, "--out", "page"],
        ["train", *TINY, "--seed", "4", *WHERE, *root], ["train", *TINY, "--seed", "4", *taught, *WHERE, *root], ["train", "--data", "folder:photos", "--data.image-size", "16", "--model", "resnet8", "--optim.epochs", "1", *WHERE, *root], ["train", "run.yaml", *WHERE, *root],
        ["data", "folder:photos"], ["data", "cifar10"], ["remember", "warm", *TINY, *taught, "--seed", "5", *WHERE, *root], ["remember", "drop", "--all", "--force", *root], ["remember", "list", *root], ["pack", world.student, "--out", "p.tar", *root], ["remove", world.student, "--yes", *root],
        ["predict", world.student, "photos", *root, "--csv", "out.csv"], ["predict", str(world.folder / "model.onnx"), "photos"], ["study", "run", "study.yaml", "--dry-run", *root], ["study", "show", "study.yaml", *root], ["doctor", *root], ["methods"], ["models"], ["data"], ["--help"], ["train", "--help"],
    ])  # fmt: skip
    case.said = how
    return case


def shipped(draw: random.Random, world: World) -> Case:
    """Exported files: damaged, of other shapes, with other words about themselves, or no such files at all."""
    path = world.folder / draw.choice(
        ["model.onnx", "model.onnx", "other.onnx", "x.pt2", "x.xml", "x.bin", "\x1b[31m.onnx"]
    )
    how = draw.choice(["bytes", "about", "about", "shape", "thing"])
    if how == "bytes":
        if path.name != "model.onnx":
            path.write_bytes((world.folder / "model.onnx").read_bytes())
        how = spoil_bytes(draw, path)
    elif how == "thing":
        put_thing(path, how := draw.choice(["folder", "pipe", "dangling", "itself", "device", "nothing"]))
    else:
        how = _other_onnx(draw, world.folder / "model.onnx", path, how)
    root = ["--runs", str(world.runs)]
    verb = draw.choice([["predict", str(path), "photos"], ["predict", str(path), "photos", "--json"], ["predict", str(path), "photos/cat/0.png", "--csv", "x.csv"], ["measure", str(path), "--which", "best", *root]][: 4 if "about" not in how else 3])  # fmt: skip
    return Case("shipped", f"{path.name!r} {how}", verb)


def _other_onnx(draw: random.Random, good: Path, path: Path, how: str) -> str:
    import onnx

    model: Any = onnx.load(good)
    if how == "about":
        entry = draw.choice(model.metadata_props)
        said = f"about {entry.key}"
        entry.value = draw.choice([str(one) for one in VALUES if one != "\ud800" and one != "\udcff"])
        if draw.random() < 0.2:
            model.metadata_props.remove(entry)
    else:
        kind = draw.choice(["input", "dimension", "name", "type", "initializer", "node", "external"])
        said = f"shape {kind}"
        graph = model.graph
        if kind == "input":
            graph.input.append(graph.input[0])
        elif kind == "dimension":
            for one in (graph.input, graph.output)[draw.randrange(2)]:
                one.type.tensor_type.shape.dim[draw.randrange(2)].dim_value = draw.choice([0, -1, 2**40, 3, 7])
        elif kind == "name":
            graph.input[0].name = draw.choice(["", "x\x1b[31m", "y"])
        elif kind == "type":
            graph.input[0].type.tensor_type.elem_type = draw.choice([0, 1, 2, 8, 11, 99])
        elif kind == "initializer" and graph.initializer:
            del graph.initializer[draw.randrange(len(graph.initializer))]
        elif kind == "external" and graph.initializer:
            one = graph.initializer[0]
            one.data_location = 1
            one.ClearField("raw_data")
            for key, value in (
                ("location", draw.choice(["/etc/passwd", "../../x", "run.yaml"])),
                ("offset", "0"),
                ("length", "99999999"),
            ):
                entry = one.external_data.add()
                entry.key, entry.value = key, value
        elif graph.node:
            draw.choice(graph.node).op_type = draw.choice(["Loop", "x", "", "If", "Relu"])
    path.write_bytes(model.SerializeToString())
    return said


def pictures(draw: random.Random, world: World) -> Case:
    """Photos that are asked about."""
    place = world.folder / draw.choice(
        [
            "photos/cat/x.png",
            "asked/x.png",
            "asked/\x1b[31m.jpg",
            "asked/" + os.fsdecode(b"\xff.png"),
            "asked/a\nb.gif",
            "asked/x",
            "asked/x.txt",
            "asked/deep/deeper/.x.png",
        ]
    )
    place.parent.mkdir(parents=True, exist_ok=True)
    how = draw.choice(["raw", "thing", "cut", "flip", "loop", "sparse"])
    good = (world.folder / "photos/cat/0.png").read_bytes()
    if how == "raw":
        place.write_bytes(draw.choice(RAW))
    elif how == "thing":
        put_thing(
            place, how := draw.choice(["folder", "pipe", "dangling", "itself", "device", "nothing", "full folder"])
        )
    elif how == "cut":
        place.write_bytes(good[: draw.randrange(len(good))])
    elif how == "loop":
        (place.parent / "again").symlink_to(place.parent)
    elif how == "sparse":
        place.write_bytes(good)
        os.truncate(place, 1 << 30)
    else:
        changed = bytearray(good)
        changed[draw.randrange(len(good))] ^= draw.randrange(1, 256)
        place.write_bytes(changed)
    asked = draw.choice([str(place), str(place.parent), "photos", str(place.parent / ".." / place.parent.name)])
    source = draw.choice([[str(world.folder / "model.onnx")], [world.student, "--runs", str(world.runs)]])
    return Case(
        "picture",
        f"{how} {place.name!r}",
        [
            "predict",
            source[0],
            asked,
            *source[1:],
            *draw.choice([[], ["--json"], ["--csv", "x.csv"], ["--top", "99999999999"]]),
        ],
    )


IMAGES = [
    "None", "3", "()", "[]", "{}", "(np.zeros((8, 8, 8, 3), np.uint8),)", "(np.zeros((8, 8, 8, 3), np.uint8), [0, 1] * 4)", "(np.zeros((40, 8, 8, 3), np.uint8), [0, 1] * 20)", "(np.zeros((40, 3, 8, 8), np.uint8), np.array([0, 1] * 20))", "(np.zeros((40, 8, 8, 3)), [0, 1] * 20)",
    "(np.full((40, 8, 8, 3), np.nan), [0, 1] * 20)", "(np.zeros((40, 8, 8), np.uint8), [0, 1] * 20)", "(np.zeros((40, 0, 0, 3), np.uint8), [0, 1] * 20)", "(np.zeros((0, 8, 8, 3), np.uint8), [])", "(np.zeros((40, 8, 9, 3), np.uint8), [0, 1] * 20)", "(np.zeros((40, 8, 8, 4), np.uint8), [0, 1] * 20)",
    "(np.zeros((40, 8, 8, 3), np.uint8), [0] * 40)", "(np.zeros((40, 8, 8, 3), np.uint8), [0, -1] * 20)", "(np.zeros((40, 8, 8, 3), np.uint8), [0, 2**70] * 20)", "(np.zeros((40, 8, 8, 3), np.uint8), [.5] * 40)", "(np.zeros((40, 8, 8, 3), np.uint8), ['a', 'b'] * 20)", "(np.zeros((40, 8, 8, 3), np.uint8), ['\\x1b[31m', 'b'] * 20)",
    "(np.zeros((40, 8, 8, 3), np.uint8), [None] * 40)", "(np.zeros((40, 8, 8, 3), np.uint8), [['a'], 'b'] * 20)", "(np.zeros((40, 8, 8, 3), np.uint8), range(40))", "(np.zeros((40, 8, 8, 3), np.uint8), {0: 1})", "(np.zeros((40, 8, 8, 3), object), [0, 1] * 20)", "(np.array(['a'] * 40), [0, 1] * 20)", "([None] * 40, [0, 1] * 20)",
    "(iter([]), iter([]))", "(np.broadcast_to(np.uint8(0), (10**7, 64, 64, 3)), np.zeros(10**7, int))", "(np.zeros((40, 8, 8, 3), np.uint8), [0, 1] * 20, ['a'])", "(np.zeros((40, 8, 8, 3), np.uint8), [0, 1] * 20, 'ab')", "(np.zeros((40, 8, 8, 3), np.uint8), [0, 1] * 20, [1, 2])", "(np.zeros((40, 8, 8, 3), np.uint8), [0, 1] * 20, [[], {}])",
    "{'train': (np.zeros((40, 8, 8, 3), np.uint8), [0, 1] * 20), 'test': None}", "{'train': (np.zeros((40, 8, 8, 3), np.uint8), [0, 1] * 20), 'tset': 3}", "{'test': (np.zeros((40, 8, 8, 3), np.uint8), [0, 1] * 20)}", "{'train': 3}", "{1: 2}", "{'train': (np.zeros((40, 8, 8, 3), np.uint8), [0, 1] * 20), 'heldout': (np.zeros((4, 9, 9, 3), np.uint8), [0, 1] * 2)}",
    "(torch.zeros(40, 3, 8, 8), torch.zeros(40))", "(torch.zeros(40, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1] * 20))", "('photos', 'photos')", "(['photos/cat/0.png'] * 40, [0, 1] * 20)", "(['/dev/zero'] * 40, [0, 1] * 20)", "(['/nowhere'] * 40, [0, 1] * 20)", "read", "1 / 0", "sys.exit(3)", "sys.exit('bye')", "exit()", "(_ for _ in ()).throw(MemoryError())", "(_ for _ in ()).throw(KeyError())", "open('nowhere')", "argparse.ArgumentParser().parse_args(['--x'])",
]  # fmt: skip
NETWORKS = [
    "None", "3", "nn.Linear(3, classes)", "nn.Identity()", "nn.Sequential()", "nn.Conv2d(3, classes, 3)", "nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))", "nn.Sequential(nn.Flatten(), nn.Linear(3072, classes))", "nn.Sequential(nn.Flatten(), nn.Linear(3072, 3))", "nn.Sequential(nn.Flatten(), nn.Linear(3072, classes)).half()",
    "nn.Sequential(nn.Flatten(), nn.Linear(3072, classes)).double()", "nn.Sequential(nn.Flatten(), nn.Linear(3072, classes)).to('meta')", "nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes), Odd())", "Odd()", "Tuples()", "Nan(classes)", "nn.Sequential", "lambda x: x", "1 / 0", "sys.exit(3)", "build(classes)",
    "nn.Sequential(nn.Flatten(), nn.Linear(3072, 10**6), nn.Linear(10**6, 10**9))", "nn.Sequential(nn.Conv2d(3, 8, 99), nn.Flatten(), nn.LazyLinear(classes))", "nn.RNN(3, classes)", "argparse.ArgumentParser().parse_args(['--x'])", "(_ for _ in ()).throw(KeyError())",
]  # fmt: skip
METHODS = [
    "None", "3", "{}", "{'labels': 3}", "{'labels': student.logits}", "{'labels': student.logits.sum() * float('nan')}", "{'labels': torch.zeros(())}", "{3: student.logits.sum()}", "{'a' * 5000: student.logits.sum()}", "{'\\x1b[31m': student.logits.sum()}", "{'labels': student.logits.sum().detach()}", "{'labels': student.logits.sum().to(torch.complex64)}",
    "student.logits.sum()", "1 / 0", "sys.exit(3)", "teacher.logits", "{'labels': student.stages['x'].sum()}", "{'labels': student.nothing}", "[student.logits.sum()]", "{'labels': student.logits.sum().double()}", "{'labels': student.logits.argmax().float()}", "{'l\\nb': student.logits.sum()}", "{'labels': batch.x}", "{'labels': None}",
]  # fmt: skip
HEAD = "import argparse, sys\nimport numpy as np, torch\nfrom torch import nn\nfrom protege.methods import Method\n"
WHOLE = [
    b"", b"\0", b"\xef\xbb\xbf", b"def read(:\n", b"\xff\xfe", b"# coding: latin-1\nname = '\xe9'\n", b"# coding: nonsense\n", b"raise SystemExit(3)", b"raise KeyboardInterrupt", b"raise Exception('\\x1b[31m' + 'x' * 5000)", b"import nowhere", b"from . import nowhere", b"from .. import x", b"import canary", b"(" * 5000, b"x = " + b"-" * 20_000 + b"1",
    b"read = None", b"class read: pass", b"read = property(1)", b"def read(x, y, z): pass", b"async def read(): pass", b"def read():\n    yield 1", b"read = type", b"read = object()", b"from protege.cli import main as read", b"1/0", b"class E(Exception):\n    def __str__(self): raise self\nraise E", b"__getattr__ = 3", b"import sys\nsys.exit()", b"import argparse\nargparse.ArgumentParser().parse_args(['--nothing'])",
]  # fmt: skip


def python_files(draw: random.Random, world: World) -> Case:
    """A file of the user's own, whose name was typed: it runs, and gives anything at all."""
    what = draw.choice(["data", "data", "network", "network", "method"])
    path = world.folder / draw.choice(
        ["mine.py", "m y.py", "torch.py", "protege.py", "class.py", "\u00e9.py", "1.py", "a.b.py"]
    )
    if draw.random() < 0.25:
        content = draw.choice(WHOLE)
    elif what == "data":
        content = f"{HEAD}def read():\n    return {draw.choice(IMAGES)}\n".encode()
        if draw.random() < 0.2:
            content = f"{HEAD}read = {draw.choice(IMAGES)}\n".encode()
    elif what == "network":
        made = draw.choice(NETWORKS)
        content = (
            f"{HEAD}class Odd(nn.Module):\n    def forward(self, x): return {draw.choice(['None', '{0: x}', 'x.sum()', 'x[0]', 'x.long()', '1 / 0', 'x.numpy()', 'self.nothing', 'x * float(chr(110) + chr(97) + chr(110))'])}\n"
            "class Tuples(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.c = nn.Conv2d(3, 10, 32)\n    def forward(self, x): return self.c(x).flatten(1), x\n"
            "class Nan(nn.Module):\n    def __init__(self, n):\n        super().__init__()\n        self.c = nn.Conv2d(3, n, 32)\n        self.c.weight.data *= float('nan')\n    def forward(self, x): return self.c(x).flatten(1)\n"
            f"def build(classes): return nn.Sequential(nn.Flatten(), nn.Linear(3072, classes))\ndef read(classes): return {made}\n"
        ).encode()
    else:
        content = f"{HEAD}class read(Method):\n    needs_teacher = False\n    {draw.choice(['x: int = 1', 'x = 1', 'pass', 'x: None', 'reads = 3', 'reads = frozenset([3])', 'name: str = 3', 'logits = 3'])}\n    def terms(self, student, teacher, batch, adapters, progress):\n        return {draw.choice(METHODS)}\n".encode()
    path.write_bytes(content)
    if draw.random() < 0.1:
        put_thing(path, draw.choice(["folder", "pipe", "dangling", "itself", "device", "nothing"]))
    name = f"{path.name}:{draw.choice(['read', 'read', 'read', 'read', 'read', 'other', '__name__', 'Method', 'np'])}"
    given, root = (
        {"data": ["--data", name, "--data.heldout", "4"], "network": ["--model", name], "method": ["--method", name]}[
            what
        ],
        ["--runs", str(world.runs)],
    )
    tiny = [
        "train",
        *(TINY[:6] if what != "data" else []),
        *(["--model", "resnet8"] if what != "network" else []),
        "--optim.epochs",
        "1",
    ]
    verb = draw.choice({"data": [["data", name], ["data", name, "--json", "--image-size", "16"]], "network": [["models", name], ["models", name, "--json", "--args.width", "3"]], "method": [["methods", name], ["methods", name, "--json"]]}[what])  # fmt: skip
    if draw.random() < 0.6:
        verb = [*tiny, *given, *WHERE, *root]
    return Case("python file", f"{what} {content[-60:]!r}", verb)


def others(draw: random.Random, world: World) -> Case:
    """Records that only some runs and folders have."""
    run, root = world.runs / world.student, ["--runs", str(world.runs)]
    home = world.runs / "studies" / world.study
    name = draw.choice(
        [
            "measured.json",
            "pruned.json",
            "seen",
            "arithmetic",
            "probes.json",
            "trials",
            "code",
            "slurm",
            "ledger",
            "tracked.json",
            "checkpoint.previous.safetensors",
            "evaluations/heldout.json",
            "memory",
            "study folder",
        ]
    )
    path = {"seen": next(iter((world.runs / "seen").iterdir()), world.runs / "seen" / "x.u64"), "arithmetic": world.runs / "arithmetic", "probes.json": world.runs / "probes.json", "trials": home / "trials" / "kd.json", "slurm": home / "slurm" / "jobs.json",
            "ledger": world.runs / "ledger.jsonl", "memory": world.runs / "memory" / "x" / "about.json", "study folder": home, "code": run / "code" / "mine.py"}.get(name, run / name)  # fmt: skip
    if name == "arithmetic" and path.is_dir():
        path = next(iter(path.iterdir()), path / "x.json")
    if name == "measured.json":
        path.write_text(json.dumps({"final": {"bytes": 5, "latency_ms": 1.5, "machine": {"processor": "x"}}}))
    if name == "pruned.json":
        path.write_text(
            json.dumps(
                {
                    "asked": 0.5,
                    "share": 0.5,
                    "multiply_adds": 3,
                    "multiply_adds_before": 6,
                    "kept": {"conv1": [0, 1, 2], "layer1": [3]},
                }
            )
        )
    if name == "trials":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"rounds": [[{"optim.lr": 0.1}]]}))
    if path.suffix == ".json" and path.is_file() and draw.random() < 0.6:
        said = spoil_json(draw, path)
    elif draw.random() < 0.3:
        put_thing(
            path, said := draw.choice(["folder", "pipe", "dangling", "itself", "device", "nothing", "full folder"])
        )
    else:
        said = spoil_bytes(draw, path)
    if name == "pruned.json" and draw.random() < 0.5:
        (run / "result.json").unlink()
    again = ["train", *TINY, "--teacher", world.teacher, "--method", "kd", *WHERE, *root]
    verb = draw.choice([
        ["list", *root], ["show", world.student, *root], ["evaluate", world.student, *root], ["report", "--all", *root], ["report", world.study, *root], ["predict", world.student, "photos", *root], again, ["train", *TINY, "--seed", "7", "--teacher", world.student, *WHERE, *root],
        ["pack", world.student, "--out", "p.tar", *root], ["remove", world.student, "--yes", *root], ["remove", world.student, "--yes", "--force", *root], ["compare", world.student, "--with", world.teacher, *root], ["study", "show", "study.yaml", *root], ["study", "watch", "study.yaml", "--once", *root], ["study", "cancel", "study.yaml", *root],
        ["train", *TINY, "--init", world.student, "--compress.prune", "0.5", "--seed", "8", *WHERE, *root], ["study", "run", "study.yaml", "--dry-run", "--no-probe", *root], ["look", world.student, "--images", "20", *root], ["list", "--columns", "id,bytes,study", *root], ["remember", "list", *root],
    ])  # fmt: skip
    return Case("other record", f"{path.name} {said}", verb)


def moving(draw: random.Random, world: World) -> Case:
    """A file that is another one each time it is looked at."""
    path = draw.choice([world.runs / world.student / "run.json", world.runs / world.student / "result.json", world.runs / world.student / "metrics.jsonl", world.runs / world.student / "model.safetensors", world.folder / "photos" / "cat" / "0.png", world.folder / "run.yaml",
                        world.folder / "study.yaml", world.folder / "model.onnx", world.runs / "ledger.jsonl", world.runs / "memory", world.runs / world.student / "evaluations" / "heldout.json"])  # fmt: skip
    good = path.read_bytes() if path.is_file() else b""
    things = [good, good[: len(good) // 2], b"", None]

    def change(number: int) -> None:
        content = things[number % len(things)]
        aside = path.with_name(f".{path.name}.aside")
        with contextlib.suppress(OSError):
            if path.is_dir():
                path.rename(aside)
            elif aside.is_dir():
                aside.rename(path)
            elif content is None:
                path.unlink(missing_ok=True)
            else:
                path.write_bytes(content)

    root = ["--runs", str(world.runs)]
    verb = draw.choice([["list", *root], ["show", world.student, *root], ["evaluate", world.student, *root], ["report", "--all", *root], ["predict", world.student, "photos", *root], ["predict", "model.onnx", "photos"], ["data", "folder:photos"], ["train", "run.yaml", *WHERE, "--runs", "study.yaml"],
                        ["study", "show", "study.yaml", *root], ["remember", "list", *root], ["pack", world.student, "--out", "p.tar", *root], ["train", *TINY, "--seed", "6", "--teacher", world.student, *WHERE, *root]])  # fmt: skip
    return Case("moving", path.name, verb, meanwhile=change, moving=path.name)


def repeated(draw: random.Random, world: World) -> Case:
    """The same field twice, a section beside its fields, keys twice in a file, merges and tags."""
    from protege.runs.config import RunConfig, known_paths

    paths = list(known_paths(RunConfig))
    one, two = draw.choice(paths), draw.choice(paths)
    blocked = ["--runs", str(world.folder / "run.yaml")]
    if draw.random() < 0.5:
        section = one.partition(".")[0]
        pairs = [
            (one, word(draw)),
            (one, word(draw)),
            (section, word(draw)),
            (two, word(draw)),
            (f"{one}.{draw.choice(['x', 'name', '0', ''])}", word(draw)),
        ]
        given = [part for path, value in draw.sample(pairs, 2) for part in (f"--{path.replace('_', '-')}", value)]
        return Case("repeated", " ".join(given)[:80], ["train", *TINY, *given, *WHERE, *blocked])
    value: dict[str, Any] = json.loads(json.dumps(draw.choice([RUN, STUDY])))
    text = json.dumps(value)
    key = draw.choice(list(value))
    added = draw.choice([
        f"\n{key}: {word(draw)}", f"\n<<: {{{key}: 1}}", f"\n? {key}\n: 3", f"\n!!str {key}: 3", f"\n{key}: !!str 3", f"\n{key}: !!null x", f"\n{key}: !!seq {{a: 1}}", f"\n{key}: !!map [a]", f"\n{key}: &a {{b: *a}}", f"\n{key}: !x y", f"\n<<: [{{{key}: 1}}, {{{key}: 2}}]", "\n<<: 3", "\n<<: [3]",
        f"\n{key}: !!python/tuple [1]", f"\n{key}: !!int '3'", f"\n{key}: !!float 1e999", f"\n{key}: 12:30:45", f"\n{key}: 0b111", f"\n{key}: .inf", f"\n{key}: yes", f"\n{key}: 1_000", f"\r\n{key}: 3\r\n", f"\n\t{key}: 3", f"\n{key}: \u2028",
    ])  # fmt: skip
    import yaml

    path = world.folder / "f.yaml"
    path.write_text(
        yaml.safe_dump(value, sort_keys=False) + added if draw.random() < 0.8 else text + added, errors="replace"
    )
    verb = (
        ["train", str(path), *WHERE, *blocked]
        if "seed" in value
        else ["study", "run", str(path), "--dry-run", "--no-probe", "--runs", str(world.runs)]
    )
    return Case("repeated", added[:60], verb)


def jobs(draw: random.Random, world: World) -> Case:
    """A job's file, as a worker reads it."""
    path = world.folder / "job.json"
    job = {
        "verb": draw.choice(["train", "evaluate", "probe"]),
        "run": world.student,
        "config": RUN,
        "place": {"runs": str(world.folder / "run.yaml"), "quiet": True},
        "command": "protege train",
    }
    path.write_text(json.dumps(job))
    said = spoil_value(draw, job)
    with contextlib.suppress(ValueError, UnicodeError):
        path.write_text(json.dumps(job))
    if draw.random() < 0.3:
        said = spoil_bytes(draw, path)
    return Case("job", said, ["WORKER", str(path), str(world.folder / "reply.json")])
