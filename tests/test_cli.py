"""What people type: every mistake is one clear line that says what to do, and scripts written today go on working."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from protege.cli import main
from protege.cli.options import given_fields
from protege.cli.train import next_command
from protege.runs import Run

TINY = [
    "--data",
    "cifar10-mini",
    "--data.limit",
    "200",
    "--data.heldout",
    "100",
    "--model",
    "resnet8",
    "--optim.batch-size",
    "64",
]


class Said:
    """Exit code and output of one command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Command = Callable[..., Said]


@pytest.fixture
def protege(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """The command line, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["protege", *arguments])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


def test_what_to_type_next_is_short_and_can_be_typed() -> None:
    names = [next_command(Run(Path(folder) / "resnet8-kd-1")) for folder in ("runs", "my runs")]
    assert names == ["protege evaluate resnet8-kd-1", "protege evaluate resnet8-kd-1 --runs 'my runs'"]


def test_the_whole_way_from_teacher_to_test_scores(protege: Command, tmp_path: Path) -> None:
    """The shapes of commands that scripts rely on."""
    short = [*TINY, "--threads", "1", "--quiet", "--runs", "R"]
    taught_by = json.loads(protege("train", *short, "--optim.epochs", "2", "--seed", "5", "--json").out)
    assert taught_by["epochs"] == 2
    done = protege(
        "train", *short, "--optim.epochs", "1", "--teacher", taught_by["id"], "--method", "kd",
        "--method.temperature", "4", "--method.kd-weight", "0.7", "--method.ce-weight", "0.3",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "held-out accuracy" in done.out and "next: protege evaluate resnet8-kd-" in done.out

    heldout = json.loads(protege("evaluate", "resnet8-kd", "--runs", "R", "--json").out)
    assert heldout["split"] == "heldout" and heldout["images"] == 100
    assert 0 <= heldout["final"]["fidelity"]["agreement"] <= 1
    assert not Path("R/ledger.jsonl").exists()

    test = json.loads(protege("evaluate", "resnet8-kd", "--runs", "R", "--test", "--json").out)
    assert test["images"] == 2000
    (line,) = Path("R/ledger.jsonl").read_text().splitlines()
    assert json.loads(line)["run"].startswith("resnet8-kd-")

    alone = json.loads(protege("evaluate", taught_by["id"], "--teacher", taught_by["id"], "--runs", "R", "--json").out)
    assert alone["final"]["fidelity"] == {
        "agreement": 1.0,
        "kl_t1": pytest.approx(0, abs=1e-6),
        "kl_t4": pytest.approx(0, abs=1e-6),
    }

    listed = json.loads(protege("list", "--runs", "R", "--json").out)
    assert [row["state"] for row in listed] == ["finished", "finished"]
    assert listed[1]["teachers"] == [taught_by["id"]]
    shown = protege("show", "resnet8-kd", "--runs", "R")
    assert "name: kd" in shown.out and "kd_weight: 0.7" in shown.out and "held-out" in shown.out
    assert "curve" in shown.out


def test_options_go_over_the_file(protege: Command, tmp_path: Path) -> None:
    Path("run.yaml").write_text(
        "data: {name: cifar10-mini, limit: 200, heldout: 100}\nmodel: resnet8\noptim: {epochs: 9, batch_size: 64}\n"
    )
    said = protege("train", "run.yaml", "--optim.epochs", "1", "--threads", "1", "--quiet", "--json")
    assert json.loads(said.out)["epochs"] == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--modle", "resnet8"], ["--modle", "Did you mean '--model'?"]),
        (["--optim.epohs", "3"], ["Did you mean '--optim.epochs'?"]),
        (["--runz", "x"], ["Did you mean '--runs'?"]),
        (["--method.temprature", "3"], ["method.temprature: there is no such field"]),
        (["--method", "kd", "--teacher", "t", "--method.temprature", "3"], ["Did you mean '--method.temperature'?"]),
        (["--model", "resnt8"], ["Did you mean 'resnet8'?"]),
        (["--data", "cifar11"], ["cifar11", "cifar10"]),
        (["--data", "folder:nowhere"], ["nowhere"]),
        (["--data.heldout", "-5"], ["data.heldout", "-5"]),
        (["--method", "kd"], ["`--teacher`"]),
        (["--method", "kdd"], ["kdd", "kd"]),
        (["--teacher", "nobody"], ["no run 'nobody'"]),
        (["--optim.epochs", "many"], ["optim.epochs", "many"]),
        (["--optim.lr", "-1"], ["optim.lr", "-1"]),
        (["--views", "cutmx"], ["cutmx", "cutmix"]),
        (["--views.crop", "padd"], ["views.crop", "padd"]),
        (["--device", "gpu"], ["--device gpu"]),
        (["--device", "cuda"], ["no usable GPU"]),
        (["--seed", "-1"], ["seed", "-1"]),
        (["nowhere.yaml"], ["nowhere.yaml"]),
        (["--model", "timm:resnet18"], ["protege[timm]"]),
        (["--model.weights", "missing.pth"], ["missing.pth"]),
        (["stray", "words"], ["stray"]),
    ],
)
def test_a_mistake_is_said_in_words_that_name_it(protege: Command, arguments: list[str], expected: list[str]) -> None:
    import torch

    if arguments == ["--device", "cuda"] and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    if "timm:resnet18" in arguments and importlib.util.find_spec("timm"):
        pytest.skip("timm is installed")
    said = protege("train", "--threads", "1", "--quiet", *arguments)
    assert said.code == 2, said.err
    assert said.err.startswith("protege: ")
    assert "Traceback" not in said.err
    for part in expected:
        assert part in said.err
    assert not list(Path("runs").glob("*/run.json"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--teacher", "x.yaml", "--teacher.model", "resnet8", "--teacher.model.stem", "imagenet"],
            "There is no file x.yaml",
        ),
        (["--model.stem", "imagenet", "--model", "resnet8"], "--model.stem imagenet does not fit 'resnet8'"),
        (["--model", "typo.py:Net"], "--model: there is no file typo.py"),
        (["--teacher", "some/typo"], "There is no file or folder some/typo"),
        (["typo.yaml"], "There is no file typo.yaml"),
        (["run.yaml"], "run.yaml: optim.lr: "),
        (["run.yaml", "--optim.epochs", "many"], "--optim.epochs: "),
        (["run.yaml", "--optim.epochs", "many"], "  optim.lr: "),
    ],
)
def test_a_field_is_called_as_its_user_wrote_it(protege: Command, arguments: list[str], expected: str) -> None:
    """An option as an option, a field of a file by its path in it."""
    Path("run.yaml").write_text("{model: resnet8, optim: {lr: -1}}")
    said = protege("train", "--quiet", *arguments)
    assert said.code == 2
    assert expected in said.err
    assert not Path("runs").exists()


def test_a_teachers_field_is_not_called_the_students(protege: Command) -> None:
    import torch

    from protege.models import ModelConfig, build

    torch.save(build(ModelConfig(name="resnet18", stem="imagenet"), 10).state_dict(), "photos.pth")
    said = protege("train", *TINY, "--quiet", "--teacher", "photos.pth", "--teacher.model", "resnet18")
    assert "give --teacher.model.stem imagenet" in said.err
    assert not Path("runs").exists()


def test_several_mistakes_are_told_together(protege: Command) -> None:
    said = protege("train", "--optim.epohs", "3", "--modle", "x", "--nonsense", "1")
    assert said.code == 2
    assert "3 mistakes" in said.err and "--optim.epochs" in said.err and "--nonsense" in said.err


def test_a_mistyped_verb_gets_a_suggestion(protege: Command) -> None:
    said = protege("trian")
    assert said.code == 2
    assert "train" in said.err


def test_help_shows_every_field_with_its_meaning(protege: Command) -> None:
    from protege.runs.config import RunConfig, fields_below

    said = protege("train", "--help")
    assert said.code == 0
    missing = [path for path, _, _ in fields_below(RunConfig) if f"--{path.replace('_', '-')}" not in said.out]
    assert not missing
    undescribed = [path for path, info, _ in fields_below(RunConfig) if not info.description]
    assert not undescribed


def test_help_on_one_method_shows_its_fields_alone(protege: Command) -> None:
    said = protege("train", "--method", "dkd", "--help")
    assert "--method.others-weight" in said.out
    assert "--method.hint-weight" not in said.out


def test_listing_an_empty_folder_says_what_to_do(protege: Command) -> None:
    said = protege("list")
    assert said.code == 0
    assert "protege demo" in said.out
    assert json.loads(protege("list", "--json").out) == []


def test_a_damaged_run_does_not_hide_the_others(protege: Command, tmp_path: Path) -> None:
    (tmp_path / "runs" / "broken").mkdir(parents=True)
    (tmp_path / "runs" / "broken" / "run.json").write_text("{")
    (row,) = json.loads(protege("list", "--json").out)
    assert row["state"] == "damaged"


@pytest.mark.parametrize("verb", ["evaluate", "show"])
def test_an_unknown_run_is_said_with_what_there_is(protege: Command, verb: str) -> None:
    said = protege(verb, "nobody")
    assert said.code == 2
    assert "There is no run 'nobody'" in said.err and "protege list" in said.err


def test_models_as_json_have_the_published_sizes(protege: Command) -> None:
    rows = {row["name"]: row for row in json.loads(protege("models", "--json").out)}
    assert rows["mobilenet_v2"]["parameters"] == 2_236_682
    assert round(rows["mobilenet_v2"]["multiply_adds"] / 1e6, 1) == 24.5
    assert rows["resnet34"]["parameters"] == 21_282_122


def test_methods_as_json_have_fields_and_papers(protege: Command) -> None:
    cards = {card["name"]: card for card in json.loads(protege("methods", "--json").out)}
    assert cards["kd"]["fields"]["temperature"]["default"] == 4.0
    assert "1503.02531" in cards["kd"]["paper"]
    said = protege("methods", "kdd")
    assert said.code == 2 and "Did you mean 'kd'?" in said.err


def test_a_dataset_is_described(protege: Command) -> None:
    found = json.loads(protege("data", "cifar10-mini", "--json").out)
    assert sum(found["counts"]["test"]) == 2000
    assert "airplane" in protege("data", "cifar10-mini").out
    said = protege("data", "cifar10-mini", "--heldot", "5")
    assert said.code == 2 and "--heldout" in said.err


def test_the_version_is_printed(protege: Command) -> None:
    from protege import __version__

    assert protege("--version").out.strip() == __version__


@pytest.mark.parametrize(
    ("path", "typed", "meant"),
    [
        ("seed", "010", 10),
        ("teacher", "12345678", "12345678"),
        ("teacher", "012e4", "012e4"),
        ("teacher", "[a, 7b]", ["a", "7b"]),
    ],
)
def test_digits_are_what_people_mean_by_them(path: str, typed: str, meant: object) -> None:
    """YAML reads 010 as eight, and the end of an id as a number."""
    assert dict(given_fields([f"--{path}", typed], [path], [])) == {path: meant}


@pytest.mark.parametrize(("typed", "code"), [("--version", 0), ("no-such-verb", 2)])
def test_the_process_ends_at_once_but_with_all_that_has_to_be_done(typed: str, code: int) -> None:
    program = (
        f"import atexit, sys\nsys.argv = ['protege', {typed!r}]\natexit.register(print, 'last words')\n"
        "from protege.cli import command\ncommand()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout.splitlines()[-1] == "last words"


# ---- where the answer goes ----


def typed(words: str) -> tuple[int, str]:
    """As a shell does it: the exit code of `protege`, and what is said on stderr."""
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m protege {words}; exit ${{PIPESTATUS[0]}}"],
        check=False,
        stderr=subprocess.PIPE,
        text=True,
    )
    return done.returncode, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
@pytest.mark.parametrize("words", ["methods", "list --json", "--help"])
def test_an_answer_that_cannot_be_written_is_one_line(words: str) -> None:
    """Of rich, of print, and of help."""
    line = "protege: the answer could not be written to the standard output: No space left on device\n"
    assert typed(f"{words} > /dev/full") == (1, line)


def test_an_answer_to_a_closed_output_is_one_line() -> None:
    assert typed("methods >&-") == (
        1,
        "protege: the answer could not be written to the standard output: Bad file descriptor\n",
    )


def test_who_reads_a_line_and_leaves_is_no_mistake() -> None:
    _, said = typed("methods | head -1 > /dev/null")
    assert said == ""
