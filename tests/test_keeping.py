"""Runs are found, compared, moved and removed; none is lost by mistake, and nothing that is here is overwritten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hostile_world import command
from record_cases import result_record, run_record

from protege import runs as room
from protege.errors import RunError
from protege.runs.keeping.archive import pack, unpack
from protege.runs.keeping.belonging import studies_of

TEACHER = "resnet14-supervised-aaaaaaaaaaaa"
KD = [f"resnet8-kd-{number:012x}" for number in range(3)]
ALONE = [f"resnet8-supervised-{number:012x}" for number in range(3)]


def made(root: Path, name: str, method: str, seed: int, heldout: float, **others: Any) -> None:
    record = run_record(name, **others)
    taught = [{"source": "somewhere/good.pth"}] if others.get("teachers") else []
    record["config"] |= {"method": {"name": method}, "seed": seed, "teacher": taught}
    run = room.start(root, name, record)
    room.write_json(run.result_file, result_record(heldout))
    run.weights_file().write_bytes(b"w" * 1000)


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs: a teacher, three students of it, three alone, and a study that counts one of those."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "runs"
    made(root, TEACHER, "supervised", 0, 0.8)
    for seed, name in enumerate(KD):
        made(root, name, "kd", seed, 0.70 + 0.02 * seed**2 / 4, teachers=[f"run:{TEACHER}:final"])
    for seed, name in enumerate(ALONE):
        made(root, name, "supervised", seed, 0.60 + 0.01 * seed)
    room.write_json(root / "studies" / "quick-1" / "findings.json", {"runs": [{"id": ALONE[0]}]})
    return root


def listed(*arguments: str) -> list[str]:
    said = command(["list", "--json", *arguments])
    assert said.code == 0, said.err
    return [row["id"] for row in json.loads(said.out)]


# ---- list ----


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("method=kd accuracy>0.703", KD[1:]),
        ("accuracy>=72%", [TEACHER, KD[2]]),
        ("method!=supervised seed<=1", KD[:2]),
        (f"teacher={TEACHER} seed=2", [KD[2]]),
        ("model~RESNET optim.epochs=1 accuracy<0.605", [ALONE[0]]),
        ("study=quick-1", [ALONE[0]]),
        ("optim.epochs>1", []),
    ],
)
def test_conditions_choose_runs(full: Path, where: str, found: list[str]) -> None:
    assert sorted(listed("--where", where)) == sorted(found)


def test_runs_are_sorted_and_cut(full: Path) -> None:
    assert listed("--sort", "-accuracy", "--limit", "2") == [TEACHER, KD[2]]
    assert listed("--sort", "accuracy", "--limit", "1") == [ALONE[0]]
    assert listed("--limit", "1") == [room.every(full)[-1].id]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--where", "methd=kd"], "No run here has a field 'methd'. Did you mean 'method'?"),
        (["--where", "kd"], "'kd' is no condition"),
        (["--where", "seed>few"], "seed>few wants a number"),
        (["--where", "'"], "No closing quotation"),
        (["--sort", "acuracy"], "Did you mean 'accuracy'?"),
        (["--columns", "id,nothing"], "No run here has a field 'nothing'"),
    ],
)
def test_a_mistyped_wish_is_said(full: Path, arguments: list[str], complaint: str) -> None:
    said = command(["list", *arguments])
    assert said.code == 2
    assert complaint in said.err


def test_the_table_has_the_columns_asked_for_and_a_part_for_each_study(full: Path) -> None:
    out = command(["list", "--columns", "id,optim.epochs,size"]).out
    assert "optim.epochs" in out.splitlines()[1]
    assert out.index("study quick-1") < out.index(ALONE[0])
    assert out.index(ALONE[1]) < out.index("study quick-1")
    assert "study quick-1" not in command(["list", "--sort", "id"]).out


def test_a_teacher_from_a_file_is_called_by_the_file(full: Path) -> None:
    made(full, "resnet8-kd-bbbbbbbbbbbb", "kd", 9, 0.5, teachers=["file:0123456789abcdef:{}"])
    (row,) = json.loads(command(["list", "--json", "--where", "seed=9"]).out)
    assert row["teachers"] == ["good.pth"]
    assert row["bytes"] >= 1000


# ---- remove ----


def test_what_taught_others_or_counts_in_a_study_stays(full: Path) -> None:
    said = command(["remove", TEACHER, ALONE[0], "--yes"])
    assert said.code == 2
    assert f"{KD[0]} was taught by it" in said.err
    assert "the study quick-1 counts it" in said.err
    assert len(room.every(full)) == 7


def test_a_teacher_goes_together_with_its_students(full: Path) -> None:
    assert command(["remove", TEACHER, *KD, "--yes"]).code == 0
    assert sorted(run.id for run in room.every(full)) == ALONE
    assert not [path for path in full.iterdir() if path.name.startswith(".")]


def test_nobody_is_taken_for_a_yes(full: Path) -> None:
    said = command(["remove", KD[0]])
    assert said.code == 2 and "Give --yes" in said.err
    assert command(["remove", "nobody", "--yes"]).code == 2
    assert len(room.every(full)) == 7


def test_a_run_that_a_process_works_on_is_not_removed(full: Path) -> None:
    with room.locked(room.find(full, KD[0]), wait=False):
        assert command(["remove", KD[1], KD[0], "--yes"]).code == 2
    assert len(room.every(full)) == 7


def test_a_folder_elsewhere_that_is_no_run_by_its_name_is_left_alone(full: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    room.write_json(home / "run.json", run_record("another-name"))
    (home / "thesis.tex").write_text("all of it")
    assert command(["remove", str(home), "--yes"]).code == 2
    assert (home / "thesis.tex").exists()


def test_a_link_to_a_run_is_removed_and_not_what_it_leads_to(full: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / KD[0]
    elsewhere.parent.mkdir()
    (full / KD[0]).rename(elsewhere)
    (full / KD[0]).symlink_to(elsewhere)
    assert command(["remove", KD[0], "--yes"]).code == 0
    assert (elsewhere / "run.json").exists() and not (full / KD[0]).exists()


# ---- compare ----


def test_two_groups_are_compared_in_the_sentence_of_studies(full: Path) -> None:
    said = command(["compare", "resnet8-kd", "--with", "resnet8-supervised"])
    assert said.code == 0, said.err
    assert "A is higher than B: +" in said.out
    assert "3 pairs of seeds" in said.out
    told = json.loads(command(["compare", *KD, "--with", *ALONE, "--json"]).out)
    assert told["outcome"] == "higher"
    assert told["A"]["runs"] == KD and told["B"]["seeds"] == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["resnet8-kd"], "protege compare A... --with B..."),
        (["--with", "resnet8-kd"], "protege compare A... --with B..."),
        (["resnet8", "--with", TEACHER], "differ in more than their seeds"),
        ([KD[0], ALONE[0], "--with", TEACHER], "Seed 0 is twice"),
        (["nobody", "--with", TEACHER], "no run 'nobody'"),
        (["resnet8-kd", "--wiht", "x", "--with", TEACHER], "There is no option --wiht"),
    ],
)
def test_what_cannot_be_compared_is_said(full: Path, arguments: list[str], complaint: str) -> None:
    said = command(["compare", *arguments])
    assert said.code == 2
    assert complaint in said.err


def test_other_images_are_warned_of(full: Path) -> None:
    made(full, "vgg8-supervised-cccccccccccc", "supervised", 0, 0.5, data={"fingerprint": "other"})
    told = json.loads(command(["compare", "vgg8", "--with", KD[0], "--json"]).out)
    assert "different images" in told["warning"]


# ---- pack and unpack ----


def test_packed_runs_arrive_whole_with_their_teachers_and_the_ledger(full: Path, tmp_path: Path) -> None:
    room.write_ledger(full, {"run": KD[0], "data": "f"})
    room.write_ledger(full, {"run": ALONE[0], "data": "f"})
    assert command(["pack", KD[0], "-o", "some.tar"]).code == 0
    assert command(["unpack", "some.tar", "--runs", "there"]).code == 0
    for name in (TEACHER, KD[0]):
        ours, theirs = full / name, tmp_path / "there" / name
        files = sorted(path.relative_to(ours) for path in ours.rglob("*") if path.is_file() and path.name != "lock")
        assert files == sorted(path.relative_to(theirs) for path in theirs.rglob("*") if path.is_file())
        assert all((ours / file).read_bytes() == (theirs / file).read_bytes() for file in files)
    assert [line["run"] for line in room.read_ledger(tmp_path / "there")[0]] == [KD[0]]
    assert not [path for path in (tmp_path / "there").iterdir() if path.name.startswith(".")]


def test_what_is_there_stays_as_it_is(full: Path, tmp_path: Path) -> None:
    pack([room.find(full, name) for name in (TEACHER, *KD)], full, tmp_path / "some.tar")
    there = tmp_path / "there"
    made(there, KD[0], "kd", 0, 0.1)
    new, before = unpack(tmp_path / "some.tar", there)
    assert (new, before) == ([TEACHER, *KD[1:]], [KD[0]])
    assert room.find(there, KD[0]).result()["heldout_accuracy"] == 0.1
    with pytest.raises(RunError, match="is there already"):
        pack([room.find(full, KD[0])], full, tmp_path / "some.tar")


def test_a_damaged_pack_leaves_nothing(full: Path, tmp_path: Path) -> None:
    pack([room.find(full, KD[0])], full, tmp_path / "some.tar")
    content = bytearray((tmp_path / "some.tar").read_bytes())
    content[content.rindex(b"w" * 1000) + 5] = 0
    (tmp_path / "some.tar").write_bytes(content)
    with pytest.raises(RunError, match=r"model\.safetensors is damaged\. Nothing was unpacked"):
        unpack(tmp_path / "some.tar", tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []


def test_an_unpacked_run_counts_as_done_and_wants_the_same_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hostile_world import _photos

    monkeypatch.chdir(tmp_path)
    _photos(tmp_path / "photos")
    tiny = [
        "--data.image-size",
        "32",
        "--data.heldout",
        "0.3",
        "--model",
        "resnet8",
        "--optim.epochs",
        "1",
        "--quiet",
        "--json",
    ]
    teacher = json.loads(command(["train", "--data", "folder:photos", *tiny]).out)
    taught = json.loads(command(["train", "--data", "folder:photos", *tiny, "--teacher", teacher["id"]]).out)
    assert command(["pack", taught["id"], "-o", "some.tar"]).code == 0
    assert command(["unpack", "some.tar", "--runs", "there"]).code == 0
    (tmp_path / "photos").rename("moved")
    there = ["--runs", "there"]
    again = json.loads(command(["train", "--data", "folder:moved", *tiny, "--teacher", teacher["id"], *there]).out)
    assert {**again, "path": ""} == {**taught, "path": ""}
    assert command(["evaluate", taught["id"], *there]).code == 2
    assert command(["evaluate", taught["id"], "--data", "folder:moved", *there]).code == 0
    next(Path("moved/cat").iterdir()).unlink()
    assert "has changed" in command(["evaluate", taught["id"], "--data", "folder:moved", *there]).err


def test_damaged_findings_count_nothing(full: Path) -> None:
    (full / "studies" / "quick-1" / "findings.json").write_text("[]")
    assert studies_of(full) == {}
    assert command(["list"]).code == 0


# ---- the shell ----


def offered(words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What bash would offer for the last word."""
    from protege.cli import main

    monkeypatch.setattr("sys.argv", ["protege"])
    for name, value in {
        "_PROTEGE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        main()
    return capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("protege unp", ["unpack"]),
        ("protege train --model resnet8x", ["resnet8x4"]),
        ("protege train --model resnet8 --optim.optimizer ", ["sgd", "adamw"]),
        ("protege train --method dkd --method.oth", ["--method.others-weight"]),
        ("protege train --optim.nest", ["--optim.nesterov"]),
        ("protege train --memory-d", ["--memory-dir"]),
        ("protege show resnet8-kd-", KD),
        ("protege train --teacher resnet14", [TEACHER]),
        ("protege remove --runs nowhere resnet", []),
    ],
)
def test_a_shell_is_offered_what_fits(
    full: Path, words: str, expected: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sorted(offered(words, monkeypatch, capsys)) == sorted(expected)
