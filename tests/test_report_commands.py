"""`protege report`: what it takes, what it says, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from report_cases import findings, write_runs
from typer.testing import CliRunner

from protege.cli.report import report
from protege.errors import ConfigError, ProtegeError, RunError
from protege.study.findings import Findings, write

app = typer.Typer()
app.command()(report)


def study(root: Path, name: str = "tiny-01234567") -> Findings:
    found = findings(folder=f"studies/{name}", name=name.rpartition("-")[0])
    if not any(root.glob("report-*")):
        write_runs(found, root)
    write(root / "studies" / name / "findings.json", found)
    return found


def asked(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_the_only_study_needs_no_name(runs: Path) -> None:
    found = study(runs)
    said = asked("--runs", runs)
    assert said.splitlines()[0] == found.answer
    assert (runs / "studies" / "tiny-01234567" / "report" / "report.html").is_file()


@pytest.mark.parametrize(
    "name",
    [
        "tiny",
        "tiny-01234567",
        "studies/tiny.yaml",
        "{runs}/studies/tiny-01234567",
        "{runs}/studies/tiny-01234567/findings.json",
    ],
)
def test_a_study_is_found_by_its_name_its_file_and_its_folder(runs: Path, name: str) -> None:
    study(runs)
    study(runs, "other-01234567")
    (runs / "studies" / "tiny-01234567" / "findings.json").touch()
    said = json.loads(asked(name.format(runs=runs), "--runs", runs, "--json"))
    assert said["page"] == str(runs / "studies" / "tiny-01234567" / "report" / "report.html")
    assert said["complete"] is True
    assert all(Path(file).is_file() for file in said["files"])


def test_runs_are_found_wherever_the_study_was_moved(runs: Path, tmp_path: Path) -> None:
    study(runs)
    moved = tmp_path / "elsewhere"
    runs.rename(moved)
    asked(moved / "studies" / "tiny-01234567", "--runs", tmp_path)
    page = moved / "studies" / "tiny-01234567" / "report" / "report.html"
    assert 'id="curves"' in page.read_text()


def test_the_report_goes_where_it_is_wanted(runs: Path, tmp_path: Path) -> None:
    study(runs)
    asked("--runs", runs, "--out", tmp_path / "results" / "tiny")
    assert (tmp_path / "results" / "tiny" / "report.md").is_file()


def test_several_studies_have_to_be_told_apart(runs: Path) -> None:
    study(runs)
    study(runs, "tiny-89abcdef")
    with pytest.raises(ConfigError, match=r"2 studies in .*tiny-01234567, tiny-89abcdef.*--all"):
        asked("--runs", runs)
    with pytest.raises(ConfigError, match=r"'tiny' fits 2 studies"):
        asked("tiny", "--runs", runs)


def test_a_wrong_name_gets_a_suggestion(runs: Path) -> None:
    study(runs)
    with pytest.raises(RunError, match=r"no run 'tiny-0123456x'.*Did you mean 'tiny-01234567'"):
        asked("tiny-0123456x", "--runs", runs)


def test_a_study_without_findings_says_what_makes_them(runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    with pytest.raises(ConfigError, match=r"There is no file .*x\.yaml"):
        asked(str(file), "--runs", runs)
    file.touch()
    with pytest.raises(ConfigError, match=r"no findings in .* `protege study run .*x\.yaml` makes them"):
        asked(str(file), "--runs", runs)


def test_mistakes_are_one_clear_error(runs: Path, tmp_path: Path) -> None:
    study(runs)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"--out .* is a file"):
        asked("--runs", runs, "--out", tmp_path / "file")
    with pytest.raises(ConfigError, match="--all takes every run"):
        asked("tiny", "--all", "--runs", runs)
    with pytest.raises(ConfigError, match="no runs to report"):
        asked("--runs", tmp_path / "nothing")


@pytest.mark.parametrize("content", ['{"format": 1}', '{"format": 2}', "[", "[1]"])
def test_findings_that_cannot_be_read_are_named(runs: Path, content: str) -> None:
    study(runs)
    file = runs / "studies" / "tiny-01234567" / "findings.json"
    file.write_text(content)
    with pytest.raises(ProtegeError, match=r"findings\.json"):
        asked("--runs", runs)


def test_findings_of_an_earlier_version_are_read(runs: Path) -> None:
    study(runs)
    file = runs / "studies" / "tiny-01234567" / "findings.json"
    old = json.loads(file.read_text())
    del old["differs"]
    for name in ("python", "numpy", "system"):
        del old["hardware"][0][name]
    for one in old["published"]:
        del one["measured_interval"]
    file.write_text(json.dumps(old))
    asked("--runs", runs)
    page = (file.parent / "report" / "report.html").read_text()
    assert "NVIDIA H200, 1 thread, torch 2.13.0: 10 runs" in page


def test_making_a_report_twice_gives_the_same_files(runs: Path, tmp_path: Path) -> None:
    study(runs)
    for name in ("a", "b"):
        asked("--runs", runs, "--out", tmp_path / name)
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*")} for name in ("a", "b"))
    assert first == second
