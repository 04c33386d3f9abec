"""Damaged and hostile inputs, drawn by seeds: no traceback, no hang, no code that runs, no good run lost, messages of one line."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_cases import KINDS, tried
from hostile_files import POSTSCRIPT
from hostile_world import HOLE, TINY, WHERE, WORKER, World, command, copied, good_world
from PIL import EpsImagePlugin
from safetensors.torch import save_file

from protege import runs
from protege.cli.app import what_failed
from protege.errors import ModelError, RunError
from protege.launch.slurm.folder import Folder
from protege.models import ModelConfig, build
from protege.models.weights import read_weights
from protege.runs.locking import held_by
from protege.runs.tuning import _alone

CASES = 8  # of each kind


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> World:
    return good_world(tmp_path_factory.mktemp("hostile") / "good")


@pytest.fixture
def world(good: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A copy to spoil, in which commands are given."""
    own = copied(good, tmp_path / "world")
    monkeypatch.chdir(own.folder)
    return own


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept from one test to the next, and nothing is fetched."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("CIFAR10", "CIFAR100"):
        monkeypatch.setenv(f"PROTEGE_{name}_URL", "nowhere")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_spoilt_the_answer_is_a_line_and_nothing_is_lost(kind: str, good: World, tmp_path: Path) -> None:
    wrong = []
    for seed in range(CASES):
        case, fault = tried(seed, good, tmp_path / "case", kind)
        if fault:
            wrong.append(f"{seed} {case.said} {case.arguments}: {fault}")
    assert not wrong


METHOD = """
from pathlib import Path
from protege.methods import Method
Path("RAN").touch()
class Mine(Method):
    def terms(self, student, teacher, batch, adapters, progress):
        return {"labels": self.label_loss(student.logits, batch)}
"""


def naming(world: World, method: str, code: str | None = None) -> None:
    """The student's record says that it was made by this method."""
    path = world.runs / world.student / "run.json"
    record = json.loads(path.read_text())
    record["config"]["method"] = {"name": method}
    del record["code"]
    path.write_text(json.dumps(record | ({"code": code} if code else {})))


@pytest.mark.parametrize("verb", ["list", "show", "report"])
@pytest.mark.parametrize("method", ["mine.py:Mine", "mine:Mine", "antigravity:x"])
def test_looking_at_a_strangers_run_runs_nothing_of_theirs(world: World, verb: str, method: str) -> None:
    Path("mine.py").write_text(METHOD)
    naming(world, method)
    names = [world.student] if verb != "list" else []
    said = command([verb, *names, "--runs", str(world.runs)])
    assert said.code == 0, said.err
    assert not Path("RAN").exists()


def test_code_that_was_never_run_here_needs_consent_and_then_no_more(world: World) -> None:
    Path("mine.py").write_text(METHOD)
    naming(world, "mine.py:Mine")
    evaluate = ["evaluate", world.student, "--runs", str(world.runs)]
    said = command(evaluate)
    assert said.code == 2
    assert "--trust-code" in said.err
    assert not Path("RAN").exists()
    assert command(["methods", "mine.py:Mine"]).code == 0  # typed: its user's own word
    assert Path("RAN").exists()
    assert command(evaluate).code == 0


def test_a_method_that_is_another_file_now_is_not_run(world: World) -> None:
    Path("mine.py").write_text(METHOD)
    assert command(["methods", "mine.py:Mine"]).code == 0
    naming(world, "mine.py:Mine", code="0" * 64)
    said = command(["evaluate", world.student, "--runs", str(world.runs)])
    assert said.code == 2
    assert "another file now" in said.err


def test_a_run_is_judged_by_its_copy_of_a_method_s_file_where_that_is_gone(world: World) -> None:
    Path("mine.py").write_text(METHOD.replace("class Mine(Method):", "class Mine(Method):\n    needs_teacher = False"))
    made = command(["train", *TINY, "--method", "mine.py:Mine", *WHERE, "--runs", str(world.runs), "--json"])
    run = json.loads(made.out)["id"]
    evaluate = ["evaluate", run, "--runs", str(world.runs)]
    Path("mine.py").unlink()
    assert command(evaluate).code == 0
    kept = world.runs / run / "code" / "methods" / "mine.py"
    kept.write_text(kept.read_text() + "\n")
    said = command(evaluate)
    assert (said.code, "another file now" in said.err) == (2, True), said.err


def test_a_method_in_somebodys_description_needs_consent(world: World) -> None:
    Path("mine.py").write_text(METHOD.replace('"RAN"', '"RAN2"'))
    Path("theirs.yaml").write_text(
        "{data: {name: cifar10-mini, limit: 40}, model: resnet8, optim: {epochs: 1}, method: mine.py:Mine}"
    )
    said = command(["train", "theirs.yaml", "--quiet"])
    assert said.code == 2
    assert "theirs.yaml names it" in said.err
    assert not Path("RAN2").exists()


def test_runs_moved_without_their_photos_are_evaluated_where_the_photos_are(world: World) -> None:
    where = ["--runs", str(world.runs), "--quiet"]
    made = command(["train", "--data", "folder:photos", "--model", "resnet8", "--optim.epochs", "1", *where, "--json"])
    run = json.loads(made.out)["id"]
    shutil.move("photos", "elsewhere")
    assert command(["evaluate", run, "--runs", str(world.runs)]).code == 2
    assert command(["evaluate", run, "--runs", str(world.runs), "--data", "folder:elsewhere"]).code == 0
    next(Path("elsewhere/cat").iterdir()).unlink()
    said = command(["evaluate", run, "--runs", str(world.runs), "--data", "folder:elsewhere"])
    assert "has changed" in said.err


def test_a_teacher_that_is_refused_leaves_no_run_behind(world: World) -> None:
    torch.save({"w": torch.zeros(3)}, "teacher.pth")
    before = sorted(world.runs.iterdir())
    said = command(
        ["train", "--data", "cifar10-mini", "--data.limit", "40", "--model", "resnet8", "--teacher", "teacher.pth",
         "--teacher.model", "resnet14", "--runs", str(world.runs), "--quiet"]
    )  # fmt: skip
    assert said.code == 2
    assert sorted(world.runs.iterdir()) == before


def test_a_device_that_is_not_there_is_told_before_anything_is_made(world: World) -> None:
    said = command(["demo", "--device", "cuda:77", "--runs", "demo"])
    assert said.code == 2
    assert "--device cuda:77" in said.err
    assert not Path("demo").exists()


def test_a_mistyped_weights_file_is_said_to_be_no_file(world: World) -> None:
    said = command(["train", "--teacher", "typo.pth", "--teacher.model", "resnet8", "--runs", str(world.runs)])
    assert "There is no file typo.pth" in said.err


@pytest.mark.parametrize("name", ["w.pth", "w.th", "w.bin", "w.ckpt"])
@pytest.mark.parametrize("wrapper", ["model", "model_ema", "net", "state_dict"])
@pytest.mark.parametrize("legacy", [True, False])
def test_checkpoints_as_other_tools_write_them_load(tmp_path: Path, name: str, wrapper: str, legacy: bool) -> None:
    weights = build(ModelConfig(name="resnet8"), 10).state_dict()
    beside = {"args": argparse.Namespace(lr=0.1, out=Path("x")), "best": np.float64(0.5), "epoch": 3}
    torch.save({wrapper: weights, **beside}, tmp_path / name, _use_new_zipfile_serialization=not legacy)
    found = read_weights(tmp_path / name)
    assert all(torch.equal(found[key], value) for key, value in weights.items())


def test_a_whole_pickled_model_is_called_so(tmp_path: Path) -> None:
    torch.save(build(ModelConfig(name="resnet8"), 10), tmp_path / "whole.pth")
    with pytest.raises(ModelError, match="whole pickled model"):
        read_weights(tmp_path / "whole.pth")


def test_a_machine_that_is_at_its_end_is_told_in_a_line() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "runs/x.json")
    assert "runs/x.json: No space left" in what_failed(full)
    assert "not enough memory" in what_failed(MemoryError())
    assert "not enough memory" in what_failed(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))


def test_a_mistake_of_ours_is_a_line_too_and_says_how_to_see_all_of_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise KeyError("\x1b[31m" + "x" * 5000)

    monkeypatch.setattr(runs, "every", breaks)
    said = command(["list", "--runs", str(world.runs)])
    assert (said.code, said.err.count("\n"), len(said.err) < 520) == (2, 1, True)
    assert "test_hostile.py" in said.err
    monkeypatch.setenv("PROTEGE_DEBUG", "1")
    assert "KeyError" in command(["list", "--runs", str(world.runs)]).crash


@pytest.mark.parametrize(
    ("file", "verb"),
    [
        ("runs/memory/*/places.bin", ["remember", "list"]),
        ("runs/memory/*/places.bin", ["remember", "warm", *TINY, "--teacher", "TEACHER", *WHERE]),
        ("photos/cat/0.png", ["data", "folder:photos"]),
        ("photos/cat/0.png", ["predict", "STUDENT", "photos/cat/0.png"]),
        ("weights.pth", ["train", *TINY, "--teacher", "weights.pth", "--teacher.model", "resnet8", *WHERE]),
    ],
)
def test_a_hole_of_a_terabyte_is_not_read(file: str, verb: list[str], world: World) -> None:
    Path("weights.pth").touch()
    os.truncate(next(Path().glob(file)), HOLE)
    verb = [{"TEACHER": world.teacher, "STUDENT": world.student}.get(one, one) for one in verb]
    said = command([*verb, *([] if verb[0] == "data" else ["--runs", str(world.runs)])])
    assert not said.crash
    assert said.code in (0, 2)


def test_weights_whose_header_is_nested_without_end_are_a_line(world: World) -> None:
    save_file(build(ModelConfig(name="resnet8"), 10).state_dict(), "w.safetensors", {"protege": "[" * 5000})
    runs = ["--runs", str(world.runs)]
    for given in (["--teacher", "w.safetensors", "--teacher.model", "resnet8"], ["--model.weights", "w.safetensors"]):
        said = command(["train", *TINY, *given, *WHERE, *runs])
        assert "mistake in protege itself" not in said.err


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-", "2>/dev/full"])
def test_streams_that_are_closed_or_full_are_no_mistake(closed: str, tmp_path: Path) -> None:
    """An id that is not there: 2, whoever reads it."""
    said = subprocess.run(
        f"{sys.executable} -m protege show nope --runs {tmp_path} {closed}",
        check=False,
        shell=True,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 2
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("verb", [["remove", "", "--yes"], ["remember", "drop", ""], ["pack", "", "--out", "x.tar"]])
def test_an_empty_name_is_not_every_name(verb: list[str], world: World) -> None:
    """As a variable of the shell that was never set would make it."""
    shutil.rmtree(world.runs / world.student)
    memories = sorted((world.runs / "memory").iterdir())
    assert command([*verb, "--runs", str(world.runs)]).code == 2
    assert (world.runs / world.teacher / "model.safetensors").is_file()
    assert sorted((world.runs / "memory").iterdir()) == memories


ODD_TERMS = {
    "student.logits.sum()": "gives a Tensor",
    "{'a': student.logits}": r"not one real number",
    "{'a': student.logits.sum().detach()}": "nothing can be learned",
    "{'a\\n': student.logits.sum()}": "no table can show",
    "1 / 0": r"ZeroDivisionError: division by zero at mine.py:6",
}


@pytest.mark.parametrize("terms", ODD_TERMS)
def test_what_is_wrong_in_somebodys_method_is_a_line_that_names_its_place(terms: str, world: World) -> None:
    Path("mine.py").write_text(
        "from protege.methods import Method\n\nclass Mine(Method):\n    needs_teacher = False\n"
        f"    def terms(self, student, teacher, batch, adapters, progress):\n        return {terms}\n"
    )
    said = command(["train", *TINY, "--method", "mine.py:Mine", *WHERE, "--runs", str(world.runs)])
    assert said.code == 2
    assert re.search(f"The method mine.py:Mine fails: .*{ODD_TERMS[terms]}", said.err), said.err


@pytest.mark.parametrize(
    "line", ["reads = 3", "reads = 'stages'", "needs_teacher = 'no'", "presets = [1]", "adds = None"]
)
def test_what_a_method_says_of_itself_is_checked_before_it_is_used(line: str, world: World) -> None:
    Path("mine.py").write_text(
        f"from protege.methods import Method\n\nclass Mine(Method):\n    {line}\n"
        "    def terms(self, student, teacher, batch, adapters, progress):\n        return {}\n"
    )
    said = command(["train", *TINY, "--method", "mine.py:Mine", *WHERE, "--runs", str(world.runs)])
    name, value = line.split(" = ")
    assert (said.code, f"Mine in mine.py has {name} = {value}; write {name} = " in said.err) == (2, True), said.err


ODD_IMAGES = {
    "async def read(): pass": "'read' in mine.py is async",
    "from protege.cli import main as read": "RuntimeError: protege is at work here already",
}


@pytest.mark.parametrize("code", ODD_IMAGES)
def test_what_cannot_be_called_for_images_is_said_in_a_line(code: str, world: World) -> None:
    Path("mine.py").write_text(f"{code}\n")
    said = command(["data", "mine.py:read"])
    assert (said.code, said.err.count("\n"), ODD_IMAGES[code] in said.err) == (2, 1, True), said.err


@pytest.mark.parametrize(
    "verb", [["evaluate", "STUDENT"], ["train", *TINY], ["predict", "STUDENT", "photos"], ["demo"]]
)
def test_more_threads_than_a_process_can_have_are_refused_before_openmp_ends_it(verb: list[str], world: World) -> None:
    verb = [world.student if one == "STUDENT" else one for one in verb]
    said = command([*verb, "--threads", "2147483647", "--runs", str(world.runs)])
    assert (said.code, "--threads" in said.err and "1024" in said.err) == (2, True), said.err


def test_a_program_that_is_named_as_a_photograph_is_not_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a picture that tells how it is drawn, Pillow would ask Ghostscript."""
    Path("bin").mkdir()
    Path("bin/gs").write_text(f"#!/bin/sh\ntouch {world.canary}\n")
    Path("bin/gs").chmod(0o755)
    monkeypatch.setenv("PATH", "bin", prepend=":")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    Path("photos/cat/x.jpg").write_bytes(POSTSCRIPT)
    command(["data", "folder:photos"])
    command(["predict", "model.onnx", "photos/cat/x.jpg"])
    assert not world.canary.exists()


@pytest.mark.parametrize("verb", [["data"], ["models"], ["methods"]])
def test_a_script_that_ends_as_it_is_imported_ends_nothing_else(verb: list[str], world: World) -> None:
    Path("script.py").write_text("import argparse\nargparse.ArgumentParser().parse_args(['--nothing'])\n")
    said = command([*verb, "script.py:main"])
    assert said.code == 2
    assert "cannot import script.py: SystemExit" in said.err


def test_a_worker_says_what_is_wrong_with_the_files_of_its_job(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "job.json")
    said = command([WORKER, str(tmp_path / "job.json"), str(tmp_path / "reply.json")])
    assert said.code == 2
    assert "holds no job" in said.err


def test_what_is_no_file_among_the_files_of_a_cluster_is_not_waited_for(tmp_path: Path) -> None:
    folder = Folder(tmp_path, "study")
    folder.make()
    os.mkfifo(tmp_path / "report.runs")
    with pytest.raises(RunError, match="a pipe"):
        folder.batch("report")
    for content in ("[]", '{"time": "soon"}', "{"):
        (folder.begun / "train-x.json").write_text(content)
        assert folder.where("train-x") == {}
    os.mkfifo(folder.begun / "train-y.json")
    assert folder.where("train-y") == {}


def test_nobody_waits_for_a_pipe_in_place_of_a_lock(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    assert held_by(tmp_path) is None
    with _alone(tmp_path / "lock"):
        """Each run chooses for itself."""
