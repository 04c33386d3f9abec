"""The page about shipping shows what can be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from ship_cases import photo, trained
from typer.testing import CliRunner

from protege.cli import app
from protege.runs import Run
from protege.ship.figures import turns

PAGE = Path(__file__).parents[1] / "docs" / "shipping.md"


README = PAGE.parents[1] / "README.md"
SMALL = [
    "--data.limit",
    "64",
    "--data.heldout",
    "64",
    "--optim.epochs",
    "1",
    "--optim.batch-size",
    "32",
    "--device",
    "cpu",
]


def lines(mark: str) -> list[list[str]]:
    found = re.search(rf"<!-- {mark} -->\n```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, mark
    return commands(found.group(1))


def commands(block: str) -> list[list[str]]:
    return [shlex.split(line, comments=True)[1:] for line in block.splitlines()]


def of_the_readme() -> list[list[str]]:
    """With a small network and the bundled images in place of those that it names."""
    block = README.read_text().partition("Out of the door")[2].partition("```\n")[2].partition("```")[0]
    return commands(block.replace("mobilenet_v2", "resnet8").replace("cifar100", "cifar10-mini"))


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of the name that the README uses, among other runs."""
    runs = tmp_path_factory.mktemp("typed") / "runs"
    return trained(runs, teacher=trained(runs, model="resnet14").path, method="kd")


@pytest.fixture(scope="module")
def folder(taught: Run) -> Iterator[Path]:
    """One's own, with photos and runs."""
    place = taught.path.parents[1]
    (place / "photos").mkdir()
    photo(place / "photos" / "one.jpg")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(turns, "FEWEST", 2)
        patch.setattr(turns, "MOST", 2)
        yield place


def typed(command: list[str]) -> None:
    """As it stands on the page, but small, and on however slow a machine."""
    more = {"train": [*SMALL, "--quiet"], "export": ["--accept-loss", "100"], "choose": ["--max-ms", "1e6"]}
    done = CliRunner().invoke(app, [*command, *more.get(command[0], [])])
    assert done.exit_code == 0, f"{shlex.join(command)}: {done.output} {done.exception!r}"


@pytest.mark.parametrize("command", lines("fewer channels"), ids=lambda command: " ".join(command[7:]))
def test_channels_are_taken_away_as_the_page_types_it(tmp_path: Path, command: list[str]) -> None:
    full = trained(tmp_path)
    typed = [full.id if word == "RUN" else word for word in command]
    small = ["--data.limit", "64", "--data.heldout", "64", "--optim.epochs", "1", "--runs", str(tmp_path)]
    done = CliRunner().invoke(app, [*typed, *small, "--optim.batch-size", "32", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    asked = typed[typed.index("--compress.prune") + 1]
    assert f"asked for {asked}" in done.output


def test_choosing_is_typed_as_the_page_has_it(tmp_path: Path) -> None:
    """A run and its file: the file fits where the run does not."""
    run = trained(tmp_path)
    where = ["--runs", str(tmp_path)]
    exported = CliRunner().invoke(app, ["export", run.id, "--precision", "int8", "--accept-loss", "100", *where])
    assert exported.exit_code == 0, exported.output
    file = run.path / "export" / "onnx-int8" / "model.onnx"
    (command,) = lines("choose")
    typed = [{"RUN": run.id, "FILE": str(file), "1": "1000"}.get(word, word) for word in command]
    done = CliRunner().invoke(app, [*typed, *where])
    assert done.exit_code == 0, done.output
    assert "Ship " in done.output and "model.onnx" in done.output.split("Ship ")[1].split(":")[0]


@pytest.mark.parametrize("command", lines("five lines"), ids=lambda command: command[0])
def test_the_five_lines_of_the_page_are_typed(command: list[str], folder: Path) -> None:
    typed(command)


def test_the_python_of_the_page_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(r"<!-- python -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    made = next((folder / "runs").glob("resnet8-supervised-*/export/*/model.onnx"))
    monkeypatch.chdir(made.parent)
    photo(made.parent / "photo.jpg")
    exec(compile(found.group(1), str(PAGE), "exec"), {})


@pytest.mark.parametrize("command", of_the_readme(), ids=lambda command: command[0])
def test_what_the_readme_says_of_shipping_is_typed(command: list[str], folder: Path) -> None:
    typed(command)


@pytest.mark.parametrize("command", lines("few bits"), ids=lambda command: " ".join(command[-4:]))
def test_training_in_few_bits_is_typed(command: list[str], folder: Path, taught: Run) -> None:
    typed([taught.id if word == "RUN" else word for word in command])
