# ruff: noqa: E501 (tables of inputs, a line each)
"""Damaged and hostile inputs of every kind of file and every option, each case drawn by a seed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile_files
import hostile_verbs
from hostile_world import (
    RAW,
    RUN,
    STUDY,
    THINGS,
    TINY,
    WHERE,
    WORDS,
    Case,
    Maker,
    Said,
    World,
    changed,
    command,
    copied,
    precious,
    put_thing,
    spoil_bytes,
    spoil_json,
    spoil_tensors,
    spoil_value,
    surrounded,
    verdict,
)


def looks(draw: random.Random, world: World, run: str) -> list[str]:
    """A verb that meets this run."""
    root = ["--runs", str(world.runs)]
    resume = ["train", *TINY, *WHERE, *root]
    if run == world.student:
        resume += ["--teacher", world.teacher, "--method", "kd"]
    return draw.choice([
        ["list", *root], ["list", "--json", *root], ["show", run, *root], ["show", run, "--json", *root],
        ["evaluate", run, *root, "--threads", "1"], ["evaluate", run, "--test", *root, "--threads", "1"],
        ["report", *root, "--no-pictures", "--all"], ["report", run, *root], ["report", *root],
        resume, ["train", *TINY, "--seed", "1", "--teacher", run, *WHERE, *root],
        ["train", *TINY, "--teacher", run, "--teacher.weights", "best", "--seed", "2", *WHERE, *root],
        ["remember", "warm", *TINY, "--teacher", run, *WHERE, *root],
    ])  # fmt: skip


RECORDS = (
    "run.json",
    "result.json",
    "metrics.jsonl",
    "times.jsonl",
    "arithmetic.json",
    "evaluations/heldout.json",
    "evaluations/test.json",
)


def records(draw: random.Random, world: World) -> Case:
    path = world.runs / world.student / draw.choice(RECORDS)
    said = spoil_json(draw, path) if draw.random() < 0.7 else spoil_bytes(draw, path)
    return Case("record", f"{path.name} {said}", looks(draw, world, world.student))


def stray_files(draw: random.Random, world: World) -> Case:
    """Files of a run that need not be there."""
    name = draw.choice(
        [
            "diverged.json",
            "lock",
            "checkpoint.safetensors",
            "evaluations",
            "logs",
            "run.json",
            "result.json",
            "evaluations/test-final.safetensors",
        ]
    )
    path = world.runs / world.student / name
    said = spoil_bytes(draw, path) if name != "evaluations" else "thing"
    if name == "evaluations":
        put_thing(path, draw.choice(THINGS))
    if name == "checkpoint.safetensors":
        (world.runs / world.student / "result.json").unlink(missing_ok=True)
    return Case("stray", f"{name} {said}", looks(draw, world, world.student))


def shared_records(draw: random.Random, world: World) -> Case:
    home = world.runs / "studies" / world.study
    path = draw.choice(
        [world.runs / "ledger.jsonl", home / "findings.json", home / "choices.json", world.runs / "probes.json"]
    )
    said = spoil_json(draw, path) if draw.random() < 0.6 and path.is_file() else spoil_bytes(draw, path)
    root = ["--runs", str(world.runs)]
    verb = draw.choice([
        ["report", world.study, *root, "--no-pictures"], ["report", *root], ["report", "--all", *root], ["evaluate", world.student, "--test", *root],
        ["report", str(home), *root], ["report", str(home / "findings.json"), *root], ["report", world.study, *root, "--json"],
    ])  # fmt: skip
    return Case("shared record", f"{path.name} {said}", verb)


def memories(draw: random.Random, world: World) -> Case:
    folders = [path for path in (world.runs / "memory").iterdir() if path.is_dir()]
    path = draw.choice(folders) / draw.choice(["about.json", "places.bin", "rows.bin", "in-use"])
    if draw.random() < 0.2:
        path = world.runs / "memory" / "lock"
    elif draw.random() < 0.1:
        path = world.runs / "memory"
    said = spoil_json(draw, path) if path.name == "about.json" and draw.random() < 0.6 else ""
    if not said and path.name == "memory":
        put_thing(path, draw.choice(THINGS))
    elif not said:
        said = spoil_bytes(draw, path)
    root = ["--runs", str(world.runs)]
    taught = [*TINY, "--teacher", world.teacher, "--method", "kd"]
    verb = draw.choice([
        ["remember", "list", *root], ["remember", "list", "--json", *root], ["remember", "drop", "--all", *root], ["remember", "drop", "--all", "--force", *root],
        ["remember", "warm", *taught, *WHERE, *root], ["train", *taught, "--seed", "9", *WHERE, *root],
    ])  # fmt: skip
    return Case("memory", f"{path.name} {said}", verb)


def run_weights(draw: random.Random, world: World) -> Case:
    path = (
        world.runs
        / world.student
        / draw.choice(["model.safetensors", "best.safetensors", "evaluations/test-final.safetensors"])
    )
    said = spoil_tensors(draw, path) if draw.random() < 0.6 else spoil_bytes(draw, path)
    return Case("run weights", f"{path.name} {said}", looks(draw, world, world.student))


class Runs:
    """A pickle that would make a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.system, (f"touch {self.canary}",)


def weights(draw: random.Random, world: World) -> Case:
    import torch

    from protege.models import ModelConfig, build

    path = world.folder / draw.choice(
        ["w.pth", "w.pt", "w.bin", "w.ckpt", "w.th", "w.safetensors", "w.txt", "w", "w.tar"]
    )
    state: dict[Any, Any] = build(ModelConfig(name="resnet8"), 10).state_dict()
    how = draw.choice(
        [
            "value",
            "value",
            "bytes",
            "evil",
            "wrapped",
            "loop",
            "odd tensor",
            "names",
            "zip",
            "numpy",
            "raw pickle",
            "header",
            "header",
            "nothing",
        ]
    )
    with contextlib.suppress(Exception):
        if how == "value":
            torch.save(
                draw.choice(
                    [
                        None,
                        3,
                        [],
                        {},
                        "x",
                        [state],
                        {"a": 1},
                        {1: 2},
                        (state,),
                        {"state_dict": []},
                        {"model": {"x": None}},
                        torch.zeros(3),
                    ]
                ),
                path,
            )
        elif how == "evil":
            place = draw.choice(
                [
                    Runs(world.canary),
                    {"state_dict": state, "x": Runs(world.canary)},
                    {Runs(world.canary): 1},
                    [Runs(world.canary)],
                ]
            )
            torch.save(place, path, _use_new_zipfile_serialization=draw.random() < 0.5)
        elif how == "raw pickle":
            path.write_bytes(
                draw.choice(
                    [
                        pickle.dumps(Runs(world.canary)),
                        pickle.dumps({"a": 1}),
                        b"cos\nsystem\n(S'touch " + bytes(world.canary) + b"'\ntR.",
                        b"\x80\x02]q\x00(" * 100,
                    ]
                )
            )
        elif how == "loop":
            loop: dict[Any, Any] = {}
            loop[draw.choice(["state_dict", "model", "net", "x"])] = loop
            torch.save(loop, path)
        elif how == "odd tensor":
            name = draw.choice(list(state))
            one = state[name]
            state[name] = draw.choice([
                one.to_sparse() if one.dim() else one, one.to("meta"), one.to(torch.complex64), one.double(), one.bool(), one[None], one.reshape(-1), one * float("nan"),
                one.float() * 1e38 * 10, torch.empty(0), torch.zeros(()), torch.zeros(1).expand(10**6, 10**3), one.half(), one.to(torch.int8), 3, None, "x",
            ])  # fmt: skip
            torch.save(state, path)
        elif how == "names":
            changed = {
                draw.choice(
                    [
                        name + "x",
                        name[::-1],
                        "module." + name,
                        "x" * 10_000,
                        name.upper(),
                        "\x1b[31m" + name,
                        7,
                        None,
                        ("a",),
                        name,
                    ]
                ): value
                for name, value in state.items()
            }
            torch.save(changed, path)
        elif how == "wrapped":
            import argparse

            torch.save(
                {
                    draw.choice(["model", "model_ema", "net", "state_dict", "other"]): state,
                    "args": argparse.Namespace(x=1),
                    "epoch": 3,
                },
                path,
            )
        elif how == "numpy":
            import numpy as np

            torch.save(
                {"state_dict": {name: value.numpy() for name, value in state.items()}, "best": np.float64(3)}, path
            )
        elif how == "header":
            from safetensors.torch import save_file

            path = path.with_suffix(".safetensors")
            save_file(state, path, {"protege": "{}"})
            how += " " + spoil_tensors(draw, path)
        elif how == "zip":
            with zipfile.ZipFile(path, "w", draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
                archive.writestr(
                    draw.choice(["archive/data.pkl", "../evil", "/abs", "x"]), pickle.dumps(Runs(world.canary))
                )
                archive.writestr("archive/data/0", b"\0" * 1_000_000)
        elif not how.startswith(("nothing", "header")):
            torch.save(state, path)
    if how != "nothing" and draw.random() < 0.3:
        how += " " + spoil_bytes(draw, path)
    root = ["--runs", str(world.runs)]
    verb = draw.choice([
        ["train", *TINY, "--model.weights", str(path), "--seed", "5", *WHERE, *root],
        ["train", *TINY, "--teacher", str(path), "--teacher.model", "resnet8", "--seed", "5", *WHERE, *root],
        ["train", *TINY, "--teacher", str(path), "--seed", "5", *WHERE, *root],
        ["evaluate", world.student, "--teacher", str(path), *root],
        ["remember", "warm", *TINY, "--teacher", str(path), "--teacher.model", "resnet8", *WHERE, *root],
    ])  # fmt: skip
    return Case("weights", f"{path.name} {how}", verb)


SNIPPETS = [
    "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\nmodel: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n",
    "<<: *x", "&x\n<<: *x\n", "x: &x {<<: *x}", "model: !!python/name:os.system", "model: !!python/object/apply:os.system ['touch CANARY']", "seed: !!int x", "seed: !!float ''",
    "seed: !!int ''", "seed: !!timestamp x", "seed: !!bool x", "data: !!binary ////", "model: !!set {a, b}", "model: !!omap [a: 1]", "model: !!pairs [a: 1]", "? [a, b]\n: c", "{[a]: b}", "1: 2", "null: 3",
    "2024-01-01: x", "seed: 2024-01-01 10:00:00", "[" * 3000, "{" * 3000, "- " * 2000, "a: " * 500, "a:\n" + "".join("  " * n + "b:\n" for n in range(1, 200)), "\t", "@", "`", "%TAG ! x", "--- a\n--- b",
    "\x00", "\ufeff", "a: b: c", "'", '"\\ud800": 1', 'seed: "\\0"', "seed: " + "9" * 4000, "seed: " + "9" * 5000, "seed: 0x" + "f" * 6000, "seed: 1" + ":59" * 500, "optim: {lr: .nan}", "optim: {lr: .inf}",
    "\n".join(f"field{n}: 1" for n in range(500)), "x" * 10_000, "x" * 10_000 + ": 1", "#" * 100_000, " " * 100_000, "a: |\n" + "  x\n" * 50_000, "seeds: {report: 10000000}", "seeds: {report: 1000000000000}",
    "arms: {a: {vary: {" + ", ".join(f"optim.lr{n}: [1,2,3,4,5,6,7,8,9,10]" for n in range(9)) + "}}}", "true", "3", "[]", "- a", "~",
]  # fmt: skip


def yaml_files(draw: random.Random, world: World) -> Case:
    """A run's or a study's file: valid but for one value, or no YAML of ours at all."""
    study = draw.random() < 0.5
    path = world.folder / draw.choice(["f.yaml", "f.yml", "f", "\x1b[31mf.yaml"])
    how = draw.choice(["value", "value", "value", "snippet", "added", "bytes"])
    value = json.loads(json.dumps(STUDY if study else RUN))
    said = ""
    if how == "value":
        said = spoil_value(draw, value)
        path.write_text(_yaml(value), errors="replace")
    elif how == "added":
        key = draw.choice(list(value))
        said = draw.choice(SNIPPETS)
        value.pop(key)
        path.write_text(
            _yaml(value) + "\n" + draw.choice([said, f"{key}: {draw.choice(WORDS)}", f"{key}:\n  {said}"]),
            errors="replace",
        )
    elif how == "snippet":
        said = draw.choice(SNIPPETS)
        path.write_text(said, errors="replace")
    else:
        path.write_text(_yaml(value))
        said = spoil_bytes(draw, path)
    blocked = ["--runs", str(world.folder / "run.yaml")]  # a file: no run can begin
    plain = ["--runs", str(world.runs)]
    verb = draw.choice(
        [["study", "run", str(path), "--dry-run", "--no-probe", *plain], ["study", "show", str(path), *plain], ["report", str(path), *plain], ["study", "run", str(path), "--scale", "reduced", "--dry-run", *plain]]
        if study
        else [["train", str(path), *WHERE, *blocked], ["train", str(path), "--seed", "4", *WHERE, *blocked], ["remember", "warm", str(path), *WHERE, *blocked]]
    )  # fmt: skip
    return Case("study yaml" if study else "run yaml", f"{how} {said[:80]!r}", verb)


def _yaml(value: Any) -> str:
    import yaml

    with contextlib.suppress(Exception):
        return yaml.safe_dump(value, allow_unicode=True, sort_keys=False)
    return json.dumps(value)


def options(draw: random.Random, world: World) -> Case:
    """A field or an option of any verb with a value of any kind."""
    from protege.methods import METHODS
    from protege.runs.config import RunConfig, known_paths

    blocked = ["--runs", str(world.folder / "run.yaml")]
    paths = [f"--{path.replace('_', '-')}" for path in known_paths(RunConfig)]
    value = draw.choice([one for one in WORDS if "\0" not in one])
    plain = ["--runs", str(world.runs)]
    if draw.random() < 0.5:
        option = draw.choice(
            [
                *paths,
                "--data-dir",
                "--device",
                "--threads",
                "--checkpoint-seconds",
                "--memory-dir",
                "--memory-limit",
                "--runs",
            ]
        )
        method = draw.choice(list(METHODS))
        own = [f"--method.{name.replace('_', '-')}" for name in METHODS[method].model_fields if name != "name"]
        if draw.random() < 0.4 and own:
            option = draw.choice(own)
            given = ["--method", method, *(["--teacher", world.teacher] if METHODS[method].needs_teacher else [])]
        else:
            given = []
        runs = [] if option == "--runs" else blocked if not given else plain
        quick = ["--device", "cuda"] if given and option != "--device" else []  # refused before anything is trained
        return Case(
            "option",
            f"{option} {value[:40]!r}",
            [
                "train",
                *TINY,
                *given,
                f"{option}={value}" if draw.random() < 0.5 else option,
                value,
                *quick,
                *WHERE,
                *runs,
            ],
        )
    verb = draw.choice([
        ["list", "--runs", value], ["show", value, *plain], ["show", value, "--runs", value], ["evaluate", value, *plain], ["evaluate", world.student, "--teacher", value, *plain],
        ["evaluate", world.student, "--device", value, *plain], ["evaluate", world.student, "--threads", value, *plain], ["evaluate", world.student, "--data-dir", value, *plain],
        ["report", value, *plain], ["report", "--runs", value], ["report", "--all", "--out", value, *plain], ["report", value, value, *plain],
        ["methods", value], ["methods", value, "--json"], ["data", value], ["data", "cifar10-mini", "--limit", value], ["data", "cifar10-mini", "--heldout", value],
        ["data", "cifar10-mini", "--classes", value], ["data", "cifar10-mini", "--image-size", value], ["data", "cifar10", "--data-dir", value], ["data", "cifar10-mini", "--resplit", value],
        ["data", "cifar10-mini", "--mean", value], ["data", "cifar10-mini", "--imbalance", value], ["data", f"folder:{value}"], ["models", "--classes", value], ["models", "--image-size", value],
        ["remember", "list", "--runs", value], ["remember", "drop", value, *plain], ["remember", "drop", "--all", "--runs", value],
        ["study", "run", value, "--dry-run", *plain], ["study", "show", value, *plain], ["study", "run", str(world.folder / "study.yaml"), "--only", value, "--dry-run", "--no-probe", *plain],
        ["study", "run", str(world.folder / "study.yaml"), "--device", value, "--dry-run", "--no-probe", *plain], ["study", "run", str(world.folder / "study.yaml"), "--slots", value, "--dry-run", "--no-probe", *plain],
        ["study", "run", str(world.folder / "study.yaml"), "--dry-run", "--no-probe", "--runs", value], ["study", "power", "--sd", value, "--effect", "1"], ["study", "power", "--sd", "1", "--effect", value],
        ["study", "power", "--sd", "1", "--seeds", value], ["study", "power", "--sd", "1", "--margin", value], ["study", "power", "--sd", "1", "--effect", "1", "--power", value],
        ["study", "power", "--sd", "1", "--effect", "1", "--comparisons", value], ["study", "power", "--sd", "1", "--effect", "1", "--correlation", value],
        ["bench", "--what", value], ["bench", "--slots", value], ["bench", "--teacher", value], ["bench", "--minutes", value, "--what", "x"], ["bench", "--batch-size", value, "--what", "x"],
        [value], ["train", value, *blocked], ["train", "--help", value], ["remember", value], ["study", value],
    ])  # fmt: skip
    return Case("option", "", verb)


def foreign_code(draw: random.Random, world: World) -> Case:
    """Records and files that name code, which makes a file where it runs."""
    name = draw.choice(["canary", "sub.canary", "canary2"])
    body = f"import pathlib\npathlib.Path({str(world.canary)!r}).touch()\nfrom protege.methods import Method\nclass M(Method):\n    needs_teacher = False\n"
    places = [
        world.folder / "canary.py",
        world.runs / world.student / "m.py",
        world.folder / "sub" / "__init__.py",
        world.folder / "sub" / "canary.py",
    ]
    for place in places:
        place.parent.mkdir(exist_ok=True)
        place.write_text(body)
    method = draw.choice(
        [
            f"{places[0]}:M",
            f"{places[1]}:M",
            f"{name}:M",
            "sub:M",
            "sub.canary:M",
            "antigravity:x",
            "this:x",
            f"{places[0]}:os",
            f"runs/{world.student}/m.py:M",
            "canary.py:M",
            "canary:M",
        ]
    )
    given = draw.choice(
        [
            {"name": method},
            {"name": method, "x": 1},
            {"name": "sum", "parts": [{"method": {"name": method}, "weight": 1}]},
        ]
    )
    if draw.random() < 0.6:
        path = world.runs / world.student / "run.json"
        record = json.loads(path.read_text())
        record["config"]["method"] = given
        record["code"] = __import__("hashlib").sha256(body.encode()).hexdigest()
        path.write_text(json.dumps(record))
        return Case("foreign code", f"run.json {method}", looks(draw, world, world.student))
    path = world.folder / "f.yaml"
    if draw.random() < 0.5:
        path.write_text(_yaml({**RUN, "method": given}))
        return Case("foreign code", f"run yaml {method}", ["train", str(path), *WHERE, "--runs", str(world.runs)])
    path.write_text(_yaml({**STUDY, "arms": {"alone": {"method": "supervised"}, "x": {"method": given}}}))
    verb = draw.choice([["study", "show"], ["study", "run", "--dry-run", "--no-probe"], ["report"]])
    return Case("foreign code", f"study yaml {method}", [*verb, str(path), "--runs", str(world.runs)])


def names(draw: random.Random, world: World) -> Case:
    """What a terminal would obey, in every name that is shown."""
    word = draw.choice(
        [
            "[/red]",
            "[bold red]x",
            "\x1b[31mred",
            "\x1b]0;t\x07",
            "a\nb",
            "a\rb",
            ":boom:",
            "\u202ex",
            "x" * 3000,
            "=cmd()",
            "\x9b31m",
            "\b\b\b",
        ]
    )
    path = world.runs / world.student / "run.json"
    record = json.loads(path.read_text())
    where = draw.choice(["data", "class", "teacher", "command", "device", "environment", "model", "folder", "created"])
    if where == "data":
        record["data"]["name"] = word
    elif where == "class":
        record["data"]["classes"][0] = word
    elif where == "teacher":
        record["teachers"] = [f"run:{word}:final"]
    elif where == "model":
        record["config"]["model"]["name"] = word
    elif where == "environment":
        record["environment"]["processor"] = word
    else:
        record[where] = word
    path.write_text(json.dumps(record))
    run = world.student
    if where == "folder" and len(word) < 200:
        path.parent.rename(world.runs / word.replace("/", "_"))
        run = word.replace("/", "_")
    return Case("name", f"{where} {word[:20]!r}", looks(draw, world, run))


def photos(draw: random.Random, world: World) -> Case:
    root = world.folder / "photos"
    name = draw.choice(
        [
            "x.png",
            "x.jpg",
            "x.txt",
            "[red].png",
            "\x1b[31m.png",
            "a\nb.png",
            os.fsdecode(b"\xff\xfe.png"),
            "x.webp",
            "x.gif",
            ".png",
        ]
    )
    where = draw.choice(
        [root / "cat", root, root / draw.choice(["\x1b[31m", "[red]", os.fsdecode(b"\xff"), "new", "train", "val"])]
    )
    where.mkdir(exist_ok=True)
    how = draw.choice(["thing", "raw", "cut", "large", "good"])
    path = where / name
    if how == "thing":
        put_thing(path, draw.choice(THINGS))
    elif how == "raw":
        path.write_bytes(draw.choice(RAW))
    elif how == "large":
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
            + struct.pack(">II", draw.choice([2**31 - 1, 60_000]), 2**20)
            + b"\x08\x02\0\0\0\0\0\0\0"
        )
    else:
        content = (root / "cat" / "0.png").read_bytes()
        path.write_bytes(content if how == "good" else content[: draw.randrange(len(content))])
    verb = draw.choice(
        [
            ["data", f"folder:{root}"],
            ["data", f"folder:{root}", "--json", "--image-size", "16"],
            [
                "train",
                "--data",
                f"folder:{root}",
                "--model",
                "resnet8",
                "--optim.epochs",
                "1",
                *WHERE,
                "--runs",
                str(world.runs),
            ],
        ]
    )
    return Case("photos", f"{how} {name!r}", verb)


def cifar(draw: random.Random, world: World) -> Case:
    folder = world.folder / "official"
    batches = folder / "cifar-10-batches-py"
    batches.mkdir(parents=True)
    for name in (
        "data_batch_1",
        "data_batch_2",
        "data_batch_3",
        "data_batch_4",
        "data_batch_5",
        "test_batch",
        "batches.meta",
    ):
        path = batches / name
        path.write_bytes(
            draw.choice(
                [
                    *RAW[:12],
                    pickle.dumps(Runs(world.canary)),
                    pickle.dumps({"data": [1], "labels": [2**70]}),
                    pickle.dumps({b"data": b"x" * 3072, b"labels": [0]}),
                ]
            )
        )
        if draw.random() < 0.15:
            put_thing(path, draw.choice(THINGS))
    if draw.random() < 0.5:
        archive = folder / "cifar-10-python.tar.gz"
        archive.write_bytes(draw.choice(RAW))
        if draw.random() < 0.3:
            put_thing(archive, draw.choice(THINGS))
        shutil.rmtree(batches)
    return Case(
        "cifar",
        "",
        ["data", "cifar10", "--data-dir", str(folder)]
        if draw.random() < 0.9
        else ["data", "cifar100", "--data-dir", str(folder)],
    )


def packs(draw: random.Random, world: World) -> Case:
    """A pack of the good runs with something wrong in it, or no pack at all."""
    import tarfile

    from protege.runs import find
    from protege.runs.keeping.archive import pack

    path, runs = world.folder / "runs.tar", [find(world.runs, name) for name in (world.teacher, world.student)]
    pack(runs, world.runs, path)
    good, size = path.read_bytes(), path.stat().st_size
    what = draw.choice(
        ["cut", "flipped", "list", "link", "climbs", "absolute", "pipe", "packed", "text", "here", "long", "twice"]
    )
    listed = json.loads(good[512 : 512 + tarfile.TarInfo.frombuf(good[:512], "utf-8", "strict").size])
    if what == "cut":
        path.write_bytes(good[: draw.randrange(size)])
    elif what == "flipped":
        place = draw.randrange(size - 1024)
        path.write_bytes(good[:place] + bytes([good[place] ^ draw.randrange(1, 256)]) + good[place + 1 :])
    elif what == "here":
        pass
    elif what == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif what in ("packed", "text"):
        path.write_bytes(__import__("gzip").compress(good) if what == "packed" else b"not a tar\n" * 100)
    else:
        bad = {
            "list": {**listed, "runs": draw.choice([[], [".."], ["a/b"], [world.teacher] * 3, 7, None])},
            "climbs": {
                **listed,
                "files": [{**one, "name": f"{world.teacher}/../../CANARY"} for one in listed["files"]],
            },
            "absolute": {**listed, "files": [{**one, "name": str(world.canary)} for one in listed["files"]]},
            "long": {**listed, "files": [{**one, "size": 2**52} for one in listed["files"]]},
            "twice": {**listed, "files": listed["files"][:1] * 2},
        }.get(what, listed)
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as out:
            _member(out, "pack.json", json.dumps(bad).encode())
            for one in bad["files"]:
                member = tarfile.TarInfo(one["name"].lstrip("/"))
                if what == "link":
                    member.type, member.linkname = (
                        draw.choice([tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE]),
                        "/etc/passwd",
                    )
                    out.addfile(member)
                else:
                    _member(out, member.name, b"x")
    root = world.runs if what == "here" or draw.random() < 0.3 else world.folder / "other"
    return Case("pack", what, ["unpack", str(path), "--runs", str(root)])


def _member(out: Any, name: str, content: bytes) -> None:
    import tarfile

    member = tarfile.TarInfo(name)
    member.size = len(content)
    out.addfile(member, io.BytesIO(content))


KINDS: dict[str, tuple[Maker, int]] = {
    "records": (records, 30),
    "stray": (stray_files, 8),
    "shared": (shared_records, 10),
    "memories": (memories, 8),
    "run weights": (run_weights, 8),
    "weights": (weights, 12),
    "yaml": (yaml_files, 25),
    "options": (options, 30),
    "code": (foreign_code, 8),
    "names": (names, 8),
    "photos": (photos, 8),
    "cifar": (cifar, 4),
    "packs": (packs, 10),
    "verbs": (hostile_verbs.verbs, 40),
    "machine": (hostile_verbs.machine, 20),
    "shipped": (hostile_verbs.shipped, 10),
    "pictures": (hostile_verbs.pictures, 8),
    "python": (hostile_verbs.python_files, 20),
    "others": (hostile_verbs.others, 15),
    "moving": (hostile_verbs.moving, 8),
    "repeated": (hostile_verbs.repeated, 15),
    "jobs": (hostile_verbs.jobs, 5),
    "photographs": (hostile_files.photographs, 20),
    "resumed": (hostile_files.resumed, 15),
    "caches": (hostile_files.caches, 10),
    "studies": (hostile_files.studies, 15),
    "folders": (hostile_files.folders, 15),
    "trained": (hostile_files.trained, 25),
    "replies": (hostile_files.replies, 8),
}


def case_of(seed: int, world: World, only: str = "") -> Case:
    """The case of this number: the same world and number, the same case."""
    draw = random.Random(seed)
    kinds = only.split(",") if only else list(KINDS)
    kind = draw.choices(kinds, [KINDS[one][1] for one in kinds])[0]
    return KINDS[kind][0](draw, world)


def tried(
    seed: int, good: World, folder: Path, only: str = "", give: Callable[[list[str]], Said] = command
) -> tuple[Case, str]:
    """Make the case, give its command, judge."""
    shutil.rmtree(folder, ignore_errors=True)
    world = copied(good, folder)
    before = Path.cwd()
    os.chdir(folder)
    try:
        case = case_of(seed, world, only)
        held = precious(case, world)
        with surrounded(case):
            said = give(case.arguments)
        return case, verdict(case, said, world) or changed(held)
    finally:
        os.chdir(before)
        shutil.rmtree(folder, ignore_errors=True)
