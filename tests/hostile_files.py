# ruff: noqa: E501 (tables of inputs, a line each)
"""Hostile inputs of files that lie deeper: photographs of every format, checkpoints, caches, studies that were trained, whole folders."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import struct
import zlib
from typing import Any

from hostile_world import (
    FEW,
    RAW,
    THINGS,
    TINY,
    UNFINISHED,
    WHERE,
    WORDS,
    Case,
    World,
    command,
    put_thing,
    spoil_bytes,
    spoil_json,
    spoil_tensors,
)

MODES = {"JPEG": ("RGB", "L", "CMYK"), "PNG": ("RGB", "RGBA", "LA", "P", "1", "I;16"), "GIF": ("P", "L"), "BMP": ("RGB", "1"), "WEBP": ("RGB", "RGBA"), "PPM": ("RGB", "L"), "ICO": ("RGBA",), "SGI": ("RGB",), "PCX": ("RGB", "P"), "DDS": ("RGB",), "TGA": ("RGB",), "JPEG2000": ("RGB",),
         "TIFF": ("RGB", "CMYK", "I;16", "F", "I", "1")}  # fmt: skip
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n%%EOF\n"


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(width: int, height: int, *chunks: bytes, depth: int = 8, colours: int = 2) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)) + b"".join(chunks) + _chunk(b"IEND", b"")  # fmt: skip


def _bombs() -> list[bytes]:
    """Pictures that say they are large, hold more than they say, or are no pictures but open as some."""
    packed = zlib.compress(b"\0" * (1 << 24), 9)
    return [
        _png(60_000, 60_000, _chunk(b"IDAT", packed)), _png(20_000, 20_000, _chunk(b"IDAT", packed)), _png(9_000, 9_000, _chunk(b"IDAT", packed)), _png(1, 80_000_000, _chunk(b"IDAT", packed)), _png(0, 0), _png(16, 16, _chunk(b"zTXt", b"x\0\0" + zlib.compress(b"\0" * (1 << 26)))), _png(16, 16, _chunk(b"iCCP", b"x\0\0" + packed), _chunk(b"IDAT", packed)),
        _png(16, 16, _chunk(b"IDAT", packed)), _png(16, 16, depth=16, colours=6), _png(16, 16, depth=3), _png(16, 16, _chunk(b"eXIf", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\xff\0\0\0\0\0\0\0"), _chunk(b"IDAT", zlib.compress(b"\0" * 784))), _png(16, 16, _chunk(b"acTL", struct.pack(">II", 2**31, 0)), _chunk(b"IDAT", zlib.compress(b"\0" * 784))),
        b"P6\n99999999 99999999\n255\n", b"P6\n16 16\n99999999\n" + b"\0" * 768, b"P3\n2 2\n255\n" + b"9" * 100_000, b"P5\n16 16\n-1\n", b"Pf\n16 16\n-1.0\n" + b"\0" * 1024, b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\0;", b"BM" + b"\xff" * 60, b"II*\0\x08\0\0\0" + b"\xff" * 200, b"II*\0\x08\0\0\0\0\0\x08\0\0\0", b"MM\0*\0\0\0\x08\0\x01\x01\0\0\x04\xff\xff\xff\xff\0\0\0\0\0\0\0\0",
        b"RIFF\xff\xff\xff\xffWEBPVP8 ", b"\0\0\x01\0\xff\xff" + b"\0" * 100, POSTSCRIPT, b"\xd7\xcd\xc6\x9a" + b"\0" * 100, b"SIMPLE  =                    T" + b" " * 2880, b"\x89HDF\r\n\x1a\n" + b"\0" * 100, b"GRIB" + b"\0" * 8, b"%PDF-1.4\n", b"\xff\xd8\xff\xe0" + b"\0" * 100, b"\xff\xd8" + b"\xff\xfe\0\x02" * 30_000, b"/* XPM */\n\"1 1 1 1\"",
    ]  # fmt: skip


def _picture(draw: random.Random) -> tuple[str, bytes]:
    """A good one of some format and mode, and how it was spoilt."""
    from PIL import Image, features

    kinds = [one for one in MODES if one != "JPEG2000" or features.check("jpg_2000")]
    kind = draw.choice(kinds)
    mode, out = draw.choice(MODES[kind]), io.BytesIO()
    size = (16, 16) if kind == "ICO" else draw.choice([(16, 16), (1, 1), (1, 400), (400, 1), (17, 5)])
    image = Image.frombytes("L", size, draw.randbytes(size[0] * size[1]))
    image = Image.fromarray(_grey(image, mode)) if mode in ("I;16", "F", "I") else image.convert("RGB").convert(mode)
    exif = Image.Exif()
    exif[0x0112] = draw.choice([1, 3, 6, 8, 0, 99, 65535])
    given: dict[str, Any] = {"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}
    image.save(out, kind, **given)
    content = bytearray(out.getvalue())
    how = draw.choice(["good", "cut", "flip", "flip", "begin flip", "longer", "twice"])
    if how == "cut":
        del content[draw.randrange(1, len(content)) :]
    elif "flip" in how:
        for _ in range(draw.randint(1, 12)):
            content[draw.randrange(min(len(content), 64 if "begin" in how else 10**9))] = draw.randrange(256)
    elif how == "longer":
        content += draw.choice([b"\0" * 1000, b"PK\x03\x04", b"<?php"])
    elif how == "twice":
        content *= 2
    return f"{how} {kind} {mode}", bytes(content)


def _grey(image: Any, mode: str) -> Any:
    import numpy as np

    kinds = {"I;16": np.uint16, "F": np.float32, "I": np.int32}
    return np.asarray(image).astype(kinds[mode])


def photographs(draw: random.Random, world: World) -> Case:
    """One photograph among good ones: of any format, whole or not, under any name."""
    said, content = draw.choice([_picture, _picture, lambda some: ("bomb", some.choice(_bombs()))])(draw)
    ending = draw.choice(["jpg", "png", "gif", "bmp", "webp", "tif", "ppm", "ico", "jpeg", "tga", "JPG"])
    place = world.folder / "photos" / draw.choice(["cat", "dog"]) / f"z.{ending}"
    place.write_bytes(content)
    root, asked = ["--runs", str(world.runs)], ["--data", "folder:photos"]
    verb = draw.choice([
        ["data", "folder:photos", "--image-size", draw.choice(["1", "16", "64"])], ["data", "folder:photos"], ["predict", world.student, str(place), *root], ["predict", world.student, "photos", *root], ["predict", "model.onnx", "photos", "--json"],
        ["train", *asked, "--data.image-size", "16", "--model", "resnet8", "--optim.epochs", "1", *WHERE, *root], ["look", world.student, *asked, *root, "--images", "4"],
    ])  # fmt: skip
    return Case("photograph", f"{said} {place.name}", verb, surroundings=_listens(world))


def _listens(world: World) -> dict[str, str]:
    """A program that some pictures would have run."""
    tool = world.folder / "bin" / "gs"
    tool.parent.mkdir(exist_ok=True)
    tool.write_text(f"#!/bin/sh\ntouch '{world.canary}'\n")
    tool.chmod(0o755)
    return {"PATH": f"{tool.parent}:{os.environ['PATH']}"}


def resumed(draw: random.Random, world: World) -> Case:
    """A run that rested on its way, and what it would go on from."""
    run = world.runs / world.unfinished
    name = draw.choice(["checkpoint.safetensors", "checkpoint.safetensors", "checkpoint.previous.safetensors", "metrics.jsonl", "times.jsonl", "run.json", "best.safetensors", "arithmetic.json", "lock", "result.json", "diverged.json"])  # fmt: skip
    path = run / name
    if name == "checkpoint.previous.safetensors":
        shutil.copy(run / "checkpoint.safetensors", path)
        (run / "checkpoint.safetensors").write_bytes(draw.choice(RAW))
    how = draw.random()
    if path.suffix == ".safetensors" and path.is_file() and how < 0.5:
        said = spoil_tensors(draw, path)
    elif path.suffix in (".json", ".jsonl") and path.is_file() and how < 0.6:
        said = spoil_json(draw, path)
    else:
        said = spoil_bytes(draw, path)
    root = ["--runs", str(world.runs)]
    again = ["train", *UNFINISHED, *WHERE, *root]
    verb = draw.choice([again, again, again, ["list", *root], ["show", world.unfinished, *root], ["evaluate", world.unfinished, *root], ["report", "--all", *root], ["train", *TINY, "--seed", "3", "--teacher", world.unfinished, *WHERE, *root], ["remove", world.unfinished, "--yes", *root]])  # fmt: skip
    return Case("resumed", f"{name} {said}", verb)


def caches(draw: random.Random, world: World) -> Case:
    """What an earlier command left for later ones: decoded images, marks, what is trusted, what is quickest here."""
    home = world.folder / "cache"
    surroundings = {"XDG_CACHE_HOME": str(home)}
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ.update(surroundings)
    command(["data", "folder:photos", "--image-size", "16"])
    os.environ["XDG_CACHE_HOME"] = before or ""
    (home / "protege").mkdir(parents=True, exist_ok=True)
    files = [path for path in sorted(home.rglob("*")) if path.parent != home]
    path = draw.choice([*files, home / "protege" / "tuning.json", home / "protege" / "trusted-code", home / "protege" / "data"])  # fmt: skip
    if path.suffix == ".json" and path.is_file() and draw.random() < 0.7:
        said = spoil_json(draw, path)
    elif draw.random() < 0.3:
        put_thing(path, said := draw.choice(THINGS))
    else:
        said = spoil_bytes(draw, path)
    root = ["--runs", str(world.runs)]
    photos = ["--data", "folder:photos", "--data.image-size", "16", "--model", "resnet8", "--optim.epochs", "1"]
    verb = draw.choice([["data", "folder:photos", "--image-size", "16"], ["data", "folder:photos", "--image-size", "16", "--json"], ["train", *photos, *WHERE, *root], ["data", "cifar10-mini"], ["train", *TINY, "--seed", "12", *WHERE, *root], ["data", "cifar10"], ["methods", "canary.py:M"]])  # fmt: skip
    return Case("cache", f"{path.name} {said}", verb, surroundings=surroundings)


def studies(draw: random.Random, world: World) -> Case:
    """A study whose runs are trained, with something wrong in its folder or theirs."""
    home = next((world.runs / "studies").glob("done-*"))
    files = [path for path in sorted(home.rglob("*")) if path.is_file() and "report" not in path.parts]
    path = draw.choice([*files, home, home / "conduct.json", home / "choices.json", home / "trials", home / "report", home / "report" / "tables", home / "logs", world.runs / "ledger.jsonl"])  # fmt: skip
    if path.suffix in (".json", ".jsonl") and path.is_file() and draw.random() < 0.7:
        said = spoil_json(draw, path)
    elif path.suffix == ".safetensors" and draw.random() < 0.5:
        said = spoil_tensors(draw, path)
    else:
        said = spoil_bytes(draw, path)
    root = ["--runs", str(world.runs)]
    verb = draw.choice([
        ["study", "run", "done.yaml", "--no-probe", *root], ["study", "run", "done.yaml", "--dry-run", *root], ["study", "show", "done.yaml", *root], ["study", "show", "done.yaml", "--json", *root], ["study", "watch", "done.yaml", "--once", *root], ["study", "cancel", "done.yaml", *root],
        ["report", "done.yaml", *root], ["report", home.name, *root, "--no-pictures"], ["list", "--columns", "id,study", *root], ["remove", world.student, "--yes", *root], ["show", world.student, *root],
    ])  # fmt: skip
    return Case("trained study", f"{path.name} {said}", verb)


def folders(draw: random.Random, world: World) -> Case:
    """Folders where files are expected, links in circles, and what is no run among the runs."""
    name = draw.choice(["x", "x" * 255, "\x1b[31m", "[red]", "..x", "-x", " ", "é", os.fsdecode(b"\xff"), "a\nb", "memory", "studies", "seen", "arithmetic", "probes.json", "ledger.jsonl", "lock", "study folder", "run.json", "=1+1"])  # fmt: skip
    what = draw.choice([*THINGS, "loop", "other run", "empty run", "copy", "deep", "many"])
    path = (
        world.runs / name if name != "study folder" else world.runs / "studies" / draw.choice(["x", "x-1", "\x1b[31m"])
    )
    if what in THINGS:
        put_thing(path, what)
    elif path.is_dir():
        shutil.rmtree(path)
    path.parent.mkdir(exist_ok=True)
    if what == "loop":
        path.unlink(missing_ok=True)
        path.symlink_to(draw.choice([world.runs, world.folder, path.parent / ".."]))
    elif what == "other run":
        path.unlink(missing_ok=True)
        path.symlink_to(world.runs / world.student)
    elif what in ("empty run", "copy", "deep", "many"):
        path.unlink(missing_ok=True)
        path.mkdir()
        if what == "copy":
            shutil.copytree(world.runs / world.student, path, dirs_exist_ok=True)
        elif what == "deep":
            (path / "/".join("d" * 60)).mkdir(parents=True)
        elif what == "many":
            for number in range(300):
                (path / str(number)).mkdir()
        elif draw.random() < 0.5:
            (path / "run.json").write_text(draw.choice(["{}", "[]", "", "null"]))
    root = ["--runs", str(world.runs)]
    verb = draw.choice([
        ["list", *root], ["list", "--json", *root], ["show", name, *root], ["report", "--all", *root], ["report", "--all", "--no-pictures", *root], ["remember", "list", *root], ["remember", "drop", "--all", *root], ["train", *TINY, "--seed", "13", *WHERE, *root], ["train", *TINY, "--seed", "14", "--teacher", world.student, *WHERE, *root],
        ["remove", name, "--yes", *root], ["pack", name, "--out", "p.tar", *root], ["evaluate", name, *root], ["study", "show", "done.yaml", *root], ["study", "watch", "done.yaml", "--once", *root], ["study", "run", "done.yaml", "--dry-run", *root], ["compare", world.student, "--with", name, *root], ["list", "--runs", str(world.runs / name)], ["doctor", *root],
    ])  # fmt: skip
    if "/" in name or name.startswith("-"):
        verb = verb[:1] if verb[0] == "list" else verb
    return Case("folder", f"{what} {name!r:.30}", verb)


ODD_NUMBERS = ["0", "1", "2", "-1", "0.5", "0.999999", "1e-30", "1e-9", "1e9", "1e8", "3", "7", "100", "1000", "65537", "2147483647", "-0.0", "1e-45", "0.1", ".inf", "null"]  # fmt: skip
NOT_TRIED = ("optim.epochs", "seed", "data.name", "data.limit", "model.name")  # the first would take hours, as asked
WORDY = ["x", "true", "[1, 2]", "[]", "{}", "cifar", "imagenet", "adamw", "sgd", "cosine", "linear", "multistep", "step", "constant", "bf16", "fp32", "auto", "randaugment", "mixup", "cutmix", "none", "resized", "pad", "photo", "best", "final", "channels", "0,1", "[0, 1]", "[2, 1]"]  # fmt: skip


def trained(draw: random.Random, world: World) -> Case:
    """Numbers that a field takes, and a run that is trained with them as far as it goes."""
    from protege.methods import METHODS
    from protege.runs.config import RunConfig, known_paths

    paths = [path for path in known_paths(RunConfig) if path not in NOT_TRIED and not path.startswith("teacher")]
    given = [part for path in draw.sample(paths, draw.randint(1, 3)) for part in (f"--{path.replace('_', '-')}", draw.choice([*ODD_NUMBERS, *ODD_NUMBERS, *WORDY]))]  # fmt: skip
    limit = ["--data.limit", draw.choice(["40", "40", "40", "1", "2", "3", "11"])]
    method: list[str] = []
    if draw.random() < 0.5:
        name = draw.choice(list(METHODS))
        fields = [field for field in METHODS[name].model_fields if field != "name"]
        method = ["--method", name, *(["--teacher", world.teacher] if METHODS[name].needs_teacher else [])]
        for field in draw.sample(fields, min(len(fields), draw.randint(0, 2))):
            method += [f"--method.{field.replace('_', '-')}", draw.choice([*ODD_NUMBERS, *WORDY])]
    root = ["--runs", str(world.runs)]
    return Case("trained", " ".join([*given, *method])[:80], ["train", *FEW[:2], *FEW[4:], "--model", "resnet8", *limit, *given, *method, *WHERE, *root])  # fmt: skip


def replies(draw: random.Random, world: World) -> Case:
    """What trackers and exports keep beside a run, and names that are paths."""
    run = world.runs / world.student
    name = draw.choice(
        ["tracked.json", "tensorboard", "code", "exported.json", "card.json", "measured.json", "logs", "wandb"]
    )
    path = run / name
    path.write_text(
        json.dumps(draw.choice([{}, {"tensorboard": 1}, {"csv": -1}, {"tensorboard": 2**60}, [], {"x": None}]))
    )
    said = spoil_bytes(draw, path) if draw.random() < 0.6 else "as it is"
    root = ["--runs", str(world.runs)]
    again = ["train", *TINY, "--teacher", world.teacher, "--method", "kd", *WHERE, *root]
    verb = draw.choice([[*again, "--log", "tensorboard"], [*again, "--log", draw.choice(WORDS[1:])], again, ["show", world.student, *root], ["pack", world.student, "--out", "p.tar", *root], ["export", world.student, "--out", "photos", "--quiet", *root], ["predict", world.student, "photos/cat", "--csv", "photos/cat/0.png", *root],
                        ["report", "--all", *root, "--out", "photos"], ["push", world.student, "hub:a/b", "--dry-run", *root], ["measure", world.student, *root, "--threads", "1", "--which", "x"]])  # fmt: skip
    if any("\0" in word for word in verb):
        verb = again
    return Case("reply", f"{name} {said}", verb)
