"""Runs go to a hub and come back; what is fetched is whole, is what it says, and runs no code. The hub is a small one on this machine."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import shlex
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from hostile_world import FEW, LONGEST, WHERE, Said, command
from hub_cases import TOKEN, Hub

from protege import runs
from protege.evaluate import evaluate
from protege.runs.config import Place, TeacherConfig
from protege.ship.push import without_folders
from protege.teacher.sources import identify

TINY = [*FEW, *WHERE]
TAUGHT = ["train", *TINY, "--model", "resnet8", "--method", "kd"]


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    """The run that goes to the hub, evaluated, among runs of its owner."""
    root = tmp_path_factory.mktemp("theirs") / "runs"
    said = command(["train", *TINY, "--model", "resnet8", "--seed", "3", "--runs", str(root), "--json"])
    assert said.code == 0, said.err
    (run,) = runs.every(root)
    evaluate(run, Place(runs=root, device="cpu"))
    return run


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Empty, with a user who is logged in and has fetched nothing yet."""
    from huggingface_hub import constants

    with Hub() as running:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between the tries of the library
        monkeypatch.chdir(tmp_path)
        yield running


def push(run: runs.Run, *options: str, to: str = "hub:ada/tiny") -> Said:
    return command(["push", run.id, to, "--runs", str(run.path.parent), *options])


def teach(*options: str, teacher: str = "hub:ada/tiny") -> runs.Run:
    said = command([*TAUGHT, "--teacher", teacher, "--json", *options])
    assert said.code == 0, said.err
    return runs.Run(Path(json.loads(said.out.splitlines()[-1])["path"]))


def identity(teacher: str) -> str:
    return identify([TeacherConfig(source=teacher)], Path("runs"))[0].identity


def refused(*arguments: str) -> str:
    """The one line that a mistake is told in."""
    said = command([*arguments])
    assert (said.code, said.crash) == (2, ""), (said.code, said.crash, said.err)
    (line,) = said.err.splitlines()
    assert len(line) <= LONGEST
    assert TOKEN not in line
    return line


# ---- there and back ----


def test_a_pushed_run_teaches_elsewhere_with_the_very_weights_that_were_pushed(pushed: runs.Run, hub: Hub) -> None:
    assert push(pushed).code == 0
    student = teach()
    (source,) = student.config().teacher
    (found,) = identify([source], student.path.parent)
    ours, _ = runs.read_weights(pushed.weights_file())
    theirs, _ = runs.read_weights(found.file)
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)
    assert student.record()["teachers"] == [found.identity]


def test_it_is_the_same_teacher_by_its_branch_its_commit_and_after_a_word_in_its_readme(
    pushed: runs.Run, hub: Hub
) -> None:
    push(pushed)
    (sha, files) = hub.commits["ada/tiny"][-1]
    by_branch = teach()
    assert teach(teacher=f"hub:ada/tiny@{sha}").id == by_branch.id
    hub.put("ada/tiny", files | {"README.md": b"Better words."})
    assert teach().id == by_branch.id
    assert by_branch.config().teacher[0].source == f"hub:ada/tiny@{sha}"


def test_a_branch_that_moved_to_other_weights_is_another_teacher(pushed: runs.Run, hub: Hub) -> None:
    push(pushed)
    before = identity("hub:ada/tiny")
    sha, files = hub.commits["ada/tiny"][-1]
    tensors, about = runs.read_weights(pushed.weights_file())
    runs.write_weights(other := Path("other.safetensors"), {name: 2 * one for name, one in tensors.items()}, about)
    hub.put("ada/tiny", files | {"model.safetensors": other.read_bytes()})
    assert identity("hub:ada/tiny") != before
    assert identity(f"hub:ada/tiny@{sha}") == before


def test_after_the_first_time_no_network_is_needed(
    pushed: runs.Run, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    push(pushed)
    before = identity("hub:ada/tiny")
    hub.__exit__()
    assert identity("hub:ada/tiny") == before
    assert "out of reach: hub:ada/tiny is taken as it was last seen" in caplog.text


def test_predict_and_init_take_a_repository_too(pushed: runs.Run, hub: Hub) -> None:
    from PIL import Image

    push(pushed)
    Image.new("RGB", (40, 50), (200, 30, 30)).save("photo.png")
    there = command(["predict", "hub:ada/tiny", "photo.png", "--json"])
    here = command(["predict", str(pushed.path), "photo.png", "--json"])
    assert there.code == here.code == 0, there.err
    assert json.loads(there.out) == json.loads(here.out)
    assert json.loads(there.out)["calibrated"]
    said = command(["train", *TINY, "--model", "resnet8", "--init", "hub:ada/tiny", "--json"])
    assert said.code == 0, said.err
    (begun,) = runs.every(Path("runs"))
    assert begun.record()["seen"]["unknown"] == []
    assert set(pushed.record()["seen"]["sets"]) <= set(begun.record()["seen"]["sets"])


def test_a_card_tells_its_scores_in_the_hubs_own_form(pushed: runs.Run, hub: Hub) -> None:
    from huggingface_hub import ModelCard, ModelCardData

    push(pushed, "--license", "mit")
    card = ModelCard(hub.commits["ada/tiny"][-1][1]["README.md"].decode())
    told = card.data
    assert isinstance(told, ModelCardData)
    assert (told.license, told.library_name, told.pipeline_tag) == ("mit", "protege", "image-classification")
    scores = {one.metric_type: one for one in told.eval_results or ()}
    heldout = pushed.evaluation("heldout")["final"]
    assert scores["accuracy"].metric_value == pytest.approx(heldout["accuracy"])
    assert scores["accuracy"].dataset_split == "validation"
    assert 'load("hub:ada/tiny")' in card.text


def test_what_is_sent_says_nothing_of_this_machine(hub: Hub, tmp_path: Path) -> None:
    from PIL import Image

    for name in ("cat", "dog"):
        (folder := tmp_path / "secret place" / "photos" / name).mkdir(parents=True)
        for number in range(12):
            Image.new("RGB", (32, 32), (20 * number, 100 if name == "cat" else 0, number)).save(
                folder / f"{number}.png"
            )
    options = [
        "--data",
        f"folder:{folder.parent}",
        "--data.image-size",
        "32",
        "--optim.epochs",
        "1",
        "--quiet",
        "--data.heldout",
        "0.3",
    ]
    assert command(["train", *options, "--model", "resnet8", "--threads", "1"]).code == 0
    (first,) = runs.every(Path("runs"))
    began = ["--init", str(first.path.absolute()), "--seed", "1", "--threads", "1"]
    assert command(["train", *options, "--model", "resnet8", *began]).code == 0
    (run,) = (one for one in runs.every(Path("runs")) if one.id != first.id)
    assert push(run).code == 0
    for content in hub.commits["ada/tiny"][-1][1].values():
        assert b"secret" not in content
        assert str(tmp_path).encode() not in content
    assert json.loads(hub.commits["ada/tiny"][-1][1]["run.json"])["data"]["name"] == "folder:photos"


def test_names_of_classes_are_sent_as_they_are() -> None:
    told = {
        "source": "/home/ada lovelace/weights.pth",
        "name": "folder:/home/ada/photos/",
        "classes": ["on/off", "hub:a/b"],
    }
    assert without_folders(told) == told | {"source": "weights.pth", "name": "folder:photos"}


def test_a_second_push_takes_the_place_of_the_first_and_leaves_what_others_added(pushed: runs.Run, hub: Hub) -> None:
    push(pushed)
    _, files = hub.commits["ada/tiny"][-1]
    hub.put("ada/tiny", files | {"export/onnx-fp32/model.onnx": b"old", "notes.txt": b"ours"})
    assert push(pushed).code == 0
    _, files = hub.commits["ada/tiny"][-1]
    assert "notes.txt" in files
    assert "export/onnx-fp32/model.onnx" not in files


def test_a_private_repository_is_open_to_its_owner_alone(
    pushed: runs.Run, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert push(pushed, "--private").code == 0
    assert hub.private == {"ada/tiny"}
    identity("hub:ada/tiny")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert "There is no repository hub:ada/other" in refused(*TAUGHT, "--teacher", "hub:ada/other")


def test_a_dry_run_shows_the_card_and_sends_nothing(
    pushed: runs.Run, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.console import Console

    from protege.cli.ship import push as verb

    said = io.StringIO()
    monkeypatch.setattr(verb, "out", Console(file=said, width=200))
    assert push(pushed, "--dry-run").code == 0
    assert not hub.commits
    assert "model.safetensors" in said.getvalue()
    head = said.getvalue().split("---\n")[1]
    assert yaml.safe_load(head)["model-index"][0]["name"] == "tiny"


def test_exported_files_go_along_with_their_cards(pushed: runs.Run, hub: Hub) -> None:
    run = runs.Run(Path("runs") / pushed.id)
    shutil.copytree(pushed.path, run.path)
    shutil.copytree(pushed.path.parent / "seen", run.path.parent / "seen")
    exported = run.path / "export" / "onnx-int8"
    runs.write_json(
        exported / "card.json",
        {"file": "model.onnx", "format": "onnx", "precision": "int8", "bytes": 4, "environment": {"host": "here"}},
    )
    for name in ("model.onnx", "card.md", "check.py"):
        (exported / name).write_bytes(b"some")
    assert push(run).code == 0
    _, files = hub.commits["ada/tiny"][-1]
    assert files["export/onnx-int8/model.onnx"] == b"some"
    assert json.loads(files["export/onnx-int8/card.json"])["environment"] == {}
    assert "`export/onnx-int8/model.onnx`: onnx int8, 4 bytes" in files["README.md"].decode()
    assert push(run, "--no-exports").code == 0
    assert not [name for name in hub.commits["ada/tiny"][-1][1] if name.startswith("export")]


# ---- what was seen ----


def test_what_a_pushed_run_has_seen_judges_no_student_of_it(pushed: runs.Run, hub: Hub) -> None:
    push(pushed)
    line = refused(*TAUGHT, "--data.heldout", "0.9", "--teacher", "hub:ada/tiny")
    assert "The teacher hub:ada/tiny@" in line
    assert "held-out images that judge this run" in line


def test_a_list_of_images_that_was_changed_on_the_way_is_refused(pushed: runs.Run, hub: Hub) -> None:
    push(pushed)
    _, files = hub.commits["ada/tiny"][-1]
    (marks,) = (name for name in files if name.startswith("seen/"))
    hub.put("ada/tiny", files | {marks: files[marks][:-8]})
    assert "is not the list of images that it is named for" in refused(*TAUGHT, "--teacher", "hub:ada/tiny")


# ---- what goes wrong on the way ----


def test_what_cannot_be_reached_is_one_line(pushed: runs.Run, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "There is no repository hub:ada/nothing" in refused(*TAUGHT, "--teacher", "hub:ada/nothing")
    push(pushed)
    assert "has no such revision" in refused(*TAUGHT, "--teacher", "hub:ada/tiny@v9")
    assert "names no repository" in refused(*TAUGHT, "--teacher", "hub:tiny")
    assert "names no repository" in refused(*TAUGHT, "--teacher", "hub:../../etc/passwd")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "does not know the token" in refused(*TAUGHT, "--teacher", "hub:ada/tiny")
    assert "does not know the token" in refused("push", str(pushed.path), "hub:ada/tiny")
    hub.status = 503
    assert "out of reach, or the line broke (status 503)" in refused(*TAUGHT, "--teacher", "hub:ada/tiny")
    hub.__exit__()
    assert "out of reach, or the line broke (Conn" in refused(*TAUGHT, "--teacher", "hub:ada/tiny")
    assert not Path("runs").exists()


def test_a_push_that_is_not_allowed_is_one_line(pushed: runs.Run, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    where = ["--runs", str(pushed.path.parent)]
    assert "the token may not do that there" in refused("push", pushed.id, "hub:others/tiny", *where)
    assert "goes to the main branch" in refused("push", pushed.id, "hub:ada/tiny@v1", *where)
    assert "names no repository" in refused("push", pushed.id, "ada/tiny", *where)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "nobody is logged in" in refused("push", pushed.id, "hub:ada/tiny", *where)


@pytest.mark.parametrize("name", ["model.safetensors", "run.json", "result.json"])
def test_a_line_that_breaks_leaves_nothing_half_and_the_same_command_then_works(
    pushed: runs.Run, hub: Hub, name: str
) -> None:
    push(pushed)
    hub.cut[name] = 100
    assert "out of reach, or the line broke" in refused(*TAUGHT, "--teacher", "hub:ada/tiny")
    hub.cut.clear()
    whole = identity("hub:ada/tiny")
    push(pushed, to="hub:ada/again")
    assert identity("hub:ada/again") == whole


def test_a_line_that_breaks_once_is_taken_up_where_it_broke(pushed: runs.Run, hub: Hub) -> None:
    push(pushed)
    hub.cut["model.safetensors"] = 5000

    class Once(dict[str, int]):
        def __getitem__(self, name: str) -> int:
            return self.pop(name)

    hub.cut = Once(hub.cut)
    identity("hub:ada/tiny")
    assert hub.asked.count("model.safetensors") == 2


def test_weights_that_changed_on_the_way_are_refused(pushed: runs.Run, hub: Hub) -> None:
    push(pushed)
    hub.spoiled.add("model.safetensors")
    line = refused(*TAUGHT, "--teacher", "hub:ada/tiny")
    assert "is damaged" in line
    assert "Remove it, and give the same command again" in line
    hub.spoiled.clear()
    next(Path("cache").rglob("blobs/" + "?" * 64)).unlink()
    identity("hub:ada/tiny")


def test_a_file_that_is_missing_is_named(pushed: runs.Run, hub: Hub) -> None:
    push(pushed)
    _, files = hub.commits["ada/tiny"][-1]
    hub.put("ada/tiny", {name: one for name, one in files.items() if name != "run.json"})
    assert "lacks a file that it lists" in refused(*TAUGHT, "--teacher", "hub:ada/tiny")
    hub.put("ada/tiny", {name: one for name, one in files.items() if name != "model.safetensors"})
    assert "has no weights as safetensors" in refused(*TAUGHT, "--teacher", "hub:ada/tiny")


# ---- repositories that mean harm ----


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path("ran").touch, ()


def header(text: bytes, size: int | None = None) -> bytes:
    """A safetensors file of nothing but this."""
    return struct.pack("<Q", len(text) if size is None else size) + text


OF_RUN = {"protege": {"format": 1, "files": ["run.json", "result.json"]}}
TENSOR = b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
HOSTILE: dict[str, tuple[dict[str, bytes], str]] = {
    "pickle only": ({"pytorch_model.bin": pickle.dumps(Bomb())}, "'pytorch_model.bin' is a pickle, which can run code"),
    "pickle under another name": ({"config.json": json.dumps(OF_RUN).encode(), "model.safetensors": pickle.dumps(Bomb())}, "lacks a file"),
    "nothing": ({}, "has no weights as safetensors (model.safetensors)."),
    "no network": ({"model.safetensors": header(b"{}")}, "does not say which network it is"),
    "junk": ({"config.json": b"\x80\x04junk", "model.safetensors": b""}, "its config.json is not"),
    "a list": ({"config.json": b"[1, 2]", "model.safetensors": b""}, "its config.json is"),
    "deep": ({"config.json": b'{"a":' * 90000 + b"1" + b"}" * 90000, "model.safetensors": b""}, "nested too deep"),
    "a way up": (
        {"config.json": json.dumps({"protege": {"format": 1, "files": ["seen/../../../../ran"]}}).encode(), "model.safetensors": b""},
        "its config.json is wrong",
    ),
    "not timm's": ({"config.json": b'{"architecture": "../ran"}', "model.safetensors": header(b"{}")}, "its config.json is wrong"),
    "a spread of nothing": (
        {"config.json": b'{"architecture": "x", "pretrained_cfg": {"std": [0, 0, 0]}}', "model.safetensors": header(b"{}")},
        "its config.json is wrong",
    ),
    "with arguments": ({"config.json": b'{"architecture": "x", "model_args": {"a": 1}}', "model.safetensors": b""}, "model_args"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_repository_that_means_harm_is_refused_in_one_line(hub: Hub, kind: str) -> None:
    files, sentence = HOSTILE[kind]
    hub.put("eve/trap", files)
    assert sentence in refused(*TAUGHT, "--teacher", "hub:eve/trap")
    assert not any("ran" in path.name for path in Path().rglob("*"))
    assert not {name for name in hub.asked if name not in ("config.json", "model.safetensors", "run.json")}


@pytest.mark.parametrize(
    "weights", [header(b"{}", 1 << 60), header(TENSOR), header(b"{}"), b"", pickle.dumps(Bomb())],
    ids=["a huge header", "tensors that are not there", "no tensors", "nothing", "a pickle"],
)  # fmt: skip
def test_weights_that_lie_are_refused_in_one_line(pushed: runs.Run, hub: Hub, weights: bytes) -> None:
    push(pushed)
    _, files = hub.commits["ada/tiny"][-1]
    hub.put("ada/tiny", files | {"model.safetensors": weights})
    for teacher in (["--teacher", "hub:ada/tiny"], ["--teacher", "hub:ada/tiny", "--teacher.model", "resnet8"]):
        assert "model.safetensors" in refused(*TAUGHT, *teacher)
    assert not Path("ran").exists()


def test_a_network_that_is_somebodys_code_is_not_run(hub: Hub, pushed: runs.Run) -> None:
    push(pushed)
    _, files = hub.commits["ada/tiny"][-1]
    record = json.loads(files["run.json"])
    record["config"]["model"]["name"] = "trap.py:Net"
    Path("trap.py").write_text("open('ran', 'w')\n")
    hub.put("ada/tiny", files | {"run.json": json.dumps(record).encode()})
    refused(*TAUGHT, "--teacher", "hub:ada/tiny")
    refused("predict", "hub:ada/tiny", "photo.png")
    assert not Path("ran").exists()


# ---- weights of others ----


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for timm: one network, whose usual weights are on the hub."""
    from protege.models import ModelConfig, build

    module = ModuleType("timm")
    made = {"tiny": lambda classes: build(ModelConfig(name="resnet8"), classes)}
    module.list_models = lambda: list(made)  # pyright: ignore[reportAttributeAccessIssue]
    module.create_model = lambda name, pretrained, num_classes: made[name](num_classes)  # pyright: ignore[reportAttributeAccessIssue]
    found = SimpleNamespace(hf_hub_id="timm/tiny.in1k")
    module.get_pretrained_cfg = lambda name: found  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "timm", module)


@pytest.mark.usefixtures("timm")
def test_weights_in_timms_form_teach_and_nobody_knows_what_they_saw(
    pushed: runs.Run, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    from safetensors.torch import save_file

    tensors, _ = runs.read_weights(pushed.weights_file())
    save_file(tensors, "plain.safetensors")
    config = {"architecture": "tiny", "pretrained_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.2]}}
    sha = hub.put(
        "timm/tiny.in1k",
        {"config.json": json.dumps(config).encode(), "model.safetensors": Path("plain.safetensors").read_bytes()},
    )
    student = teach(teacher="timm:tiny")
    (teacher,) = student.config().teacher
    assert (teacher.source, teacher.mean) == (f"hub:timm/tiny.in1k@{sha}", (0.4, 0.5, 0.6))
    assert student.record()["seen"]["unknown"] == [f"what hub:timm/tiny.in1k@{sha} was trained on"]
    assert "Nobody knows what hub:timm/tiny.in1k" in caplog.text
    assert teach(teacher="hub:timm/tiny.in1k").id == student.id


@pytest.mark.usefixtures("timm")
def test_pretrained_weights_without_a_network_are_one_clear_line(hub: Hub) -> None:
    hub.__exit__()
    assert "hub:timm/tiny.in1k: the hub is out of reach" in refused(*TAUGHT, "--teacher", "timm:tiny")


def test_a_command_of_its_own_reaches_the_hub_that_the_environment_names(hub: Hub) -> None:
    """Where nothing else has loaded the library before."""
    told = {"HF_ENDPOINT": hub.address, "HF_HOME": "home", "HF_TOKEN": TOKEN, "PYTHONPATH": os.pathsep.join(sys.path)}
    Path("photo.png").touch()
    verb = [sys.executable, "-m", "protege", "predict", "hub:ada/nothing", "photo.png"]
    said = subprocess.run(verb, capture_output=True, text=True, env={**os.environ, **told}, check=False)
    assert (said.returncode, said.stderr.count("\n")) == (2, 1), said.stderr
    assert "There is no repository hub:ada/nothing" in said.stderr


def test_without_the_library_one_is_told_what_to_install(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'protege[hub]'" in refused(*TAUGHT, "--teacher", "hub:ada/tiny")


def test_what_cannot_be_built_elsewhere_is_not_pushed(hub: Hub, pushed: runs.Run) -> None:
    unfinished = runs.start(Path("runs"), pushed.id, pushed.record())
    assert "is not finished" in refused("push", unfinished.id, "hub:ada/tiny")
    runs.write_json(unfinished.result_file, pushed.result())
    unfinished.adapters_file().write_bytes(b"")
    assert "cannot be built without its teacher" in refused("push", unfinished.id, "hub:ada/tiny")
    assert not hub.commits


# ---- docs/how-to.md, typed in ----


def test_the_commands_of_the_how_to_work_as_typed(hub: Hub) -> None:
    from PIL import Image

    page = (Path(__file__).parents[1] / "docs" / "how-to.md").read_text()
    found = re.search(r"<!-- hub -->\n```sh\n(.*?)```", page, re.DOTALL)
    assert found
    (photos := Path("photos/cat")).mkdir(parents=True)
    Image.new("RGB", (40, 32), (200, 30, 30)).save(photos / "1.png")
    first = "protege train --data cifar10-mini --data.limit 300 --model resnet14 --optim.epochs 1"
    for line in [first, *found[1].splitlines()]:
        said = command(shlex.split(line)[1:])
        assert (said.code, said.crash) == (0, ""), (line, said.err)
    (student,) = (run for run in runs.every(Path("runs")) if run.id.startswith("resnet8-kd"))
    assert student.config().teacher[0].source.startswith("hub:ada/small@")
