"""The pages keep their word: what they show is what the code says, and what they tell to type works as typed."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from rich.console import Console

import protege
from protege.cli import app, known, main, tables
from protege.cli import train as train_verb
from protege.cli.options import describe
from protege.cli.runs import comparing, keeping, listing, look, remember
from protege.errors import suggest
from protege.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [DOCS / "how-to.md", DOCS / "methods.md"]
HOW_TO = (DOCS / "how-to.md").read_text()
BLOCK = re.compile(r"^(?:<!-- (?P<mark>.*?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)


def blocks(mark: str) -> list[str]:
    """The code blocks of the how-to page under this mark."""
    return [found["text"] for found in BLOCK.finditer(HOW_TO) if found["mark"] == mark]


def block(mark: str) -> str:
    (text,) = blocks(mark)
    return text


def commands(page: Path) -> list[list[str]]:
    """Every `protege` command that a page tells to type, split as a shell would."""
    lines = [
        line
        for found in BLOCK.finditer(page.read_text())
        if found["language"] == "sh"
        for line in found["text"].splitlines()
    ]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("protege ")]


@functools.cache
def write_page(name: str = "methods") -> Any:
    """The script that writes this page, as a module."""
    spec = importlib.util.spec_from_file_location(f"write_{name}_page", ROOT / "scripts" / f"write_{name}_page.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own that has one core, so that a run takes one thread."""
    core = min(os.sched_getaffinity(0))
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **variables},
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


# ---- docs/studies.md ----

STUDY_FIELDS = [
    (part, *field) for part in write_page("studies").PARTS for field in write_page("studies").own_fields(part)
]


def test_the_page_of_studies_is_what_its_script_writes() -> None:
    """After a change to a field of a study or of a run: python scripts/write_studies_page.py"""
    assert write_page("studies").page() == (DOCS / "studies.md").read_text()


@pytest.mark.parametrize(("part", "name", "info"), STUDY_FIELDS, ids=lambda given: getattr(given, "__name__", None))
def test_every_field_of_a_study_has_a_meaning_and_an_example_that_is_read(part: Any, name: str, info: Any) -> None:
    from protege.study.question.load import study_of

    script = write_page("studies")
    example = yaml.safe_load(script.PARTS[part][1][name])
    assert info.description
    assert f"{name}" in str(example)
    study_of("example", {**yaml.safe_load(script.STUDY), **example})


def test_run_fields_stand_in_examples_that_are_read() -> None:
    from protege.study.question.load import study_of

    script = write_page("studies")
    for example in script.RUN_FIELDS.values():
        study_of("example", {**yaml.safe_load(script.STUDY), **yaml.safe_load(example)})


# ---- docs/choosing.md ----


def test_the_page_of_choosing_is_what_its_script_writes() -> None:
    """After a change to a method or a figure: python scripts/write_choosing_page.py"""
    assert write_page("choosing").page() == (DOCS / "choosing.md").read_text()


def test_gains_over_kd_are_of_pairs_that_both_published() -> None:
    """One like pair and one unlike pair without a figure each, counted by hand."""
    pairs = ["resnet56 -> resnet20", "resnet110 -> resnet20", "vgg13 -> mobilenet_v2_half", "resnet50 -> vgg8"]
    over = write_page("choosing").over
    assert over([71.0, None, 70.0, 72.5], [70.0, 71.0, 69.5, 72.0], pairs, alike=True) == "+1.00 (1)"
    assert over([71.0, None, 70.0, 72.5], [70.0, 71.0, 69.5, 72.0], pairs, alike=False) == "+0.50 (2)"
    assert over([None] * 4, [70.0] * 4, pairs, alike=True) == "-"


def test_methods_that_the_page_of_choosing_names_exist() -> None:
    situations = (DOCS / "choosing.md").read_text().partition("## What was gained")[0]
    rows = [line.split("|")[2:4] for line in situations.splitlines() if line.startswith("| ")][1:]
    named = {name for cells in rows for cell in cells for name in re.findall(r"`([a-z]+)`", cell)}
    assert len(named) > 15
    assert named <= set(METHODS)


# ---- docs/methods.md ----


def test_the_methods_page_is_what_its_script_writes() -> None:
    """After a change to a method, a published figure or a measured one: python scripts/write_methods_page.py"""
    assert write_page().page() == (DOCS / "methods.md").read_text()


def test_formulas_name_fields_of_their_method() -> None:
    formulas = yaml.safe_load((DOCS / "formulas.yaml").read_text())
    assert list(formulas) == list(METHODS)
    for name, formula in formulas.items():
        named = set(re.findall(r"@(\w+)@", formula))
        assert named <= set(METHODS[name].model_fields), name
        weights = {field for field in METHODS[name].model_fields if field.endswith("_weight")}
        assert weights - named <= {"ce_weight"}, name


def test_the_methods_page_has_every_method_once() -> None:
    headings = re.findall(r"^### (\S+)$", (DOCS / "methods.md").read_text(), re.M)
    assert sorted(headings) == sorted(METHODS)


def test_published_figures_are_of_known_methods_and_of_all_pairs() -> None:
    published = yaml.safe_load((DOCS / "published-cifar100.yaml").read_text())
    rows = {name: row for source in published["sources"] for name, row in source["accuracy"].items()}
    assert set(rows) | set(published["elsewhere"]) <= set(METHODS)
    for row in [*rows.values(), published["teacher"], published["alone"]]:
        assert len(row) == len(published["pairs"]) == 13
        assert all(value is None or 55 < value < 80 for value in row)


def test_a_measured_figure_stands_beside_the_settings_it_was_made_with() -> None:
    table = {
        "pair": "resnet20 -> resnet8", "data": "2,000 images", "budget": "4 epochs", "machine": "one core", "made": "today",
        "teacher": {"accuracy": 0.5},
        "rows": [
            {"method": "supervised", "accuracy": [0.1, 0.14], "settings": {}},
            {"method": "dkd", "accuracy": [0.15, 0.17], "settings": {"others_weight": 2.0, "warmup_epochs": 0}},
        ],
    }  # fmt: skip
    lines = list(write_page().ours(table))
    assert "| [dkd](#dkd) | 16.00 | 15.00, 17.00 | +4.00 | `others_weight 2, warmup_epochs 0` |" in lines
    assert "| [supervised](#supervised) | 12.00 | 10.00, 14.00 | +0.00 | - |" in lines


def test_measured_settings_are_of_the_method_and_not_its_defaults() -> None:
    """Else a figure would be read as that of another run than the one that was made."""
    rows = json.loads((ROOT / "results" / "methods" / "reduced.json").read_text())["rows"]
    for row in rows:
        fields = METHODS[row["method"]].model_fields
        assert all(value != fields[name].default for name, value in row["settings"].items()), row["method"]
    settings = {row["method"]: row["settings"] for row in rows}
    assert settings["dkd"] == {"others_weight": 2, "warmup_epochs": 0}
    assert settings["fsp"] == {"flow_weight": 50, "pretraining_epochs": 0}


def test_every_published_figure_of_ttm_is_shown() -> None:
    section = (DOCS / "methods.md").read_text().partition("### ttm\n")[2].partition("\n### ")[0]
    rows = [line for line in section.splitlines() if line.count("|") == 6]
    assert rows[0] == "| published, CIFAR-100 % | teacher | alone | TTM | WTTM |"
    assert "| resnet32x4 -> resnet8x4 | 79.42 | 72.50 | 76.17 | 76.06 |" in rows
    assert len(rows) == 2 + 13 and not any(" - |" in row for row in rows)


def test_the_table_of_methods_leads_to_their_parts() -> None:
    overview = (DOCS / "methods.md").read_text().partition("## All methods")[2].partition("\n## ")[0]
    linked = re.findall(r"\]\(#([^)]+)\)", overview)
    assert linked == list(METHODS)


# ---- every command is one that exists ----


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_pages_name_exist(page: Path) -> None:
    """Also of commands that need data or time, and of options named in a sentence."""
    for command in commands(page):
        if command[0] == "train" and ".py:" not in " ".join(command):  # the files are written where they are typed
            begun = command.index("--init") if "--init" in command else len(command)
            given = command[1:begun] + command[begun + 2 :]
            options = [token for token in given if token not in ("--quiet", "--json")]
            place = options.index("--recipe") if "--recipe" in options else len(options)
            describe(None, options[:place] + options[place + 2 :], [], *options[place + 1 : place + 2])
    known = {f"--{path.replace('_', '-')}" for path in _fields()} | _options()
    for option in re.findall(r"`(?:protege \w+ )?(?:RUN )?(--[\w.-]+)", page.read_text()):
        assert option.startswith(OPEN) or option in known, f"{option}{suggest(option, known)}"


OPEN = ("--method.", "--model.args.", "--model.stages.")  # what there is below is the method's or the network's affair


def _fields() -> list[str]:
    from protege.runs.config import RunConfig, known_paths

    return known_paths(RunConfig)


def _options() -> set[str]:
    """Of all verbs."""
    verbs: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
    return {
        option
        for verb in verbs.values()
        for parameter in verb.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }


# ---- docs/how-to.md, typed in ----


def typed(command: list[str], patch: pytest.MonkeyPatch) -> None:
    """As in a shell, in this process: a traceback or an exit code other than 0 is a failure."""
    patch.setattr(sys, "argv", ["protege", *command])
    try:
        main()
    except SystemExit as end:
        assert not end.code, shlex.join(command)


THEIRS = """
from protege.models import ModelConfig, build

def resnet8():
    return build(ModelConfig(name="resnet8"), 10)
"""


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every block marked `try` was typed, in the order of the page, and what was said, in `said`.

    Photographs and a foreign teacher are what a user brings.
    """
    import torch

    from protege.models import build
    from protege.models.config import ModelConfig

    folder = tmp_path_factory.mktemp("how-to")
    paint_photos(folder / "photos")
    torch.save(build(ModelConfig(name="resnet20"), 10).state_dict(), folder / "weights.pth")
    (folder / "my_method.py").write_text(block("my_method.py"))
    for own in ("my_nets.py", "my_data.py"):
        (folder / own).write_text(block(own))
    (folder / "theirs.py").write_text(THEIRS)
    theirs = torch.nn.DataParallel(build(ModelConfig(name="resnet8"), 10)).state_dict()
    torch.save({"state_dict": theirs, "best_prec1": 10.0}, folder / "resnet8.th")
    photographs = ModelConfig(name="resnet18", stem="imagenet")
    torch.save(build(photographs, 1000).state_dict(), folder / "imagenet.pth")
    with pytest.MonkeyPatch.context() as patch, (folder / "said").open("w") as said:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr(os, "sched_getaffinity", lambda process: {0})
        console = Console(file=said, width=200)
        for shown in (comparing, keeping, known, listing, look, remember, tables, train_verb):
            patch.setattr(shown, "out", console)
        for line in "".join(blocks("try")).splitlines():
            typed(shlex.split(line)[1:], patch)
    return folder


def test_the_how_to_page_works_as_typed(followed: Path) -> None:
    said = (followed / "said").read_text()
    assert "direction_weight * mean of (1 - cos(P f_s, f_t))" in said  # protege methods my_method.py:Mine
    assert "resnet8-Mine" in said
    assert "2,000 test images" in said


def test_only_the_command_with_test_in_it_opened_the_test_set(followed: Path) -> None:
    (line,) = (followed / "runs" / "ledger.jsonl").read_text().splitlines()
    assert "resnet8-Mine --test" in line


SEARCHES = re.findall(r"^protege (study run best-rates.yaml.*|train .* --search .*)$", HOW_TO, re.M)


def test_commands_of_a_search_are_found() -> None:
    assert len(SEARCHES) == 3


@pytest.mark.parametrize("command", SEARCHES)
def test_a_search_is_begun_as_the_page_says(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read and planned whole; for a run, trained with less. (All trials of the page would take minutes.)"""
    pytest.importorskip("optuna")
    if "--log tensorboard" in command:
        pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    Path("best-rates.yaml").write_text(block("search"))
    less = "--dry-run" if command.startswith("study") else "--optim.epochs 1 --data.limit 60 --trials 2 --quiet"
    typed(shlex.split(f"{command} {less}"), monkeypatch)


def test_the_log_of_a_run_is_where_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the trackers of that command that are installed."""
    (command,) = re.findall(r"^protege (train .* --log .*)$", HOW_TO, re.M)
    pytest.importorskip("tensorboard")
    if importlib.util.find_spec("wandb") is None:
        command = command.replace(" --log wandb", "")
    monkeypatch.chdir(tmp_path)
    typed(shlex.split(f"{command} --optim.epochs 1 --data.limit 60 --quiet"), monkeypatch)
    assert list(Path("runs").glob("*/tensorboard/events*"))


def paint_photos(root: Path) -> None:
    """Twenty images of each of two classes, none like another."""
    from PIL import Image

    for name, red in (("cat", 255), ("dog", 0)):
        (root / name).mkdir(parents=True)
        for number in range(20):
            Image.new("RGB", (40, 32), (red, 10 * number, number)).save(root / name / f"{number}.png")


@pytest.mark.parametrize("script", ["stripes.py", "generations.py"])
def test_the_how_to_pages_scripts_run(script: str, tmp_path: Path) -> None:
    (tmp_path / script).write_text(block(script))
    done = run([sys.executable, script], tmp_path)
    if script == "stripes.py":
        assert float(done.stdout.splitlines()[-1]) > 0.8  # held-out accuracy: stripes are easy


def test_a_method_takes_fewer_than_sixty_lines() -> None:
    assert len(block("my_method.py").splitlines()) < 60


def test_a_method_enters_the_package_as_the_page_says(followed: Path, tmp_path: Path) -> None:
    """A copy of the package gets the file and the two lines; its command line then trains by the method's name."""
    package = tmp_path / "protege"
    shutil.copytree(Path(protege.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    imported, named = block("methods/mine.py: also").split("\n\n")
    file = block("my_method.py").replace(
        "from typing import ClassVar", imported.replace("import ", "import ClassVar, ")
    )
    (package / "methods" / "mine.py").write_text(re.sub(r"(?=^    direction_weight)", named, file, flags=re.M))
    first, second = block("methods/__init__.py: also").split("\n\n")
    catalogue = (package / "methods" / "__init__.py").read_text()
    head = "METHODS |= {\n"
    assert head in catalogue
    (package / "methods" / "__init__.py").write_text(catalogue.replace(head, f"{first}\n\n{head}{second}"))
    teacher = next((followed / "runs").glob("resnet14-supervised-*"))
    options = "--data cifar10-mini --data.limit 300 --model resnet8 --optim.epochs 1 --method mine --teacher"
    command = [sys.executable, "-m", "protege.cli", "train", *options.split(), str(teacher)]
    run(command, tmp_path, PYTHONPATH=str(tmp_path))
    (made,) = (tmp_path / "runs").glob("resnet8-*")
    assert made.name.startswith("resnet8-mine-")
