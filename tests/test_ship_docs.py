"""The page about shipping shows what can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from ship_cases import trained
from typer.testing import CliRunner

from protege.cli import app

PAGE = Path(__file__).parents[1] / "docs" / "shipping.md"


def lines(mark: str) -> list[list[str]]:
    found = re.search(rf"<!-- {mark} -->\n```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, mark
    return [shlex.split(line, comments=True)[1:] for line in found.group(1).splitlines()]


def test_training_goes_on_from_a_run_by_its_name(tmp_path: Path) -> None:
    """The page's own command, of fewer images."""
    full = trained(tmp_path)
    command = [full.id if word == "RUN" else word for word in lines("few bits")[2]]
    small = ["--data.limit", "64", "--data.heldout", "64", "--optim.epochs", "1", "--runs", str(tmp_path), "--quiet"]
    done = CliRunner().invoke(app, [*command, *small, "--optim.batch-size", "32", "--device", "cpu"])
    assert done.exit_code == 0, done.output


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
def test_every_verb_of_the_page_is_one(command: list[str]) -> None:
    done = CliRunner().invoke(app, [command[0], "--help"], env={"PROTEGE_NO_PAGER": "1"})
    assert done.exit_code == 0
    options = {word for word in command if word.startswith("--") and "." not in word}
    assert options - {"--data", "--model"} <= set(re.findall(r"--[\w-]+", done.output))
