"""A report of runs that no study planned: what differs in seed only is one arm, and nothing is concluded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from protege import runs as folders
from protege.errors import ConfigError
from protege.evaluate import evaluate
from protege.report.loose.findings import findings_of
from protege.report.material import collect
from protege.report.page.formats import markdown_page
from protege.report.page.html import html
from protege.report.sections import page_of
from protege.runs.config import Place, check_run
from protege.study.findings import Findings
from protege.train import train

TINY: dict[str, Any] = {
    "data": {"name": "cifar10-mini", "limit": 60, "heldout": 40, "classes": [0, 1, 2]},
    "model": "resnet8",
    "optim": {"epochs": 1, "batch_size": 30},
}


def trained(root: Path, **fields: Any) -> folders.Run:
    return train(check_run(TINY | fields), Place(runs=root, threads=1, quiet=True))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of two seeds, each of which taught one student; two students alone; all evaluated, and one not."""
    root = tmp_path_factory.mktemp("loose") / "runs"
    place = Place(runs=root, threads=1, quiet=True)
    kd = {"name": "kd", "temperature": 2.0}
    for seed in (0, 1):
        teacher = trained(root, model="resnet14", seed=seed)
        alone = trained(root, seed=seed)
        taught = trained(root, seed=seed, teacher=teacher.id, method=kd)
        for run in (teacher, alone, taught):
            evaluate(run, place, test=True, teachers=())
    trained(root, seed=0, method={"name": "tfkd"})
    return root


@pytest.fixture(scope="module")
def found(made: Path) -> Findings:
    return findings_of(folders.every(made), made)


def test_runs_that_differ_in_seed_only_are_one_arm(found: Findings) -> None:
    """The seeds of their teachers may differ too, as where each student seed has a teacher of its own."""
    assert {cell.key: cell.seeds for cell in found.cells} == {"alone": (0, 1), "kd": (0, 1), "tfkd": (0,)}
    assert [(one.key, one.seeds) for one in found.teachers] == [("resnet14", (0, 1))]
    assert found.cell("kd").teacher == "resnet14"


def test_nothing_was_named_in_advance_and_the_report_says_so(found: Findings, made: Path) -> None:
    assert found.answer.startswith("No hypothesis was named in advance, so nothing is concluded; exploring, ")
    assert not any(effect.primary for effect in found.effects)
    page = page_of(collect(found, made))
    assert page.first_line.startswith("These runs belong to no study")
    assert "none: these runs belong to no study" in dict(page.facts)["protocol"]
    assert markdown_page(page).startswith("**These runs belong to no study")


def test_the_taught_are_compared_with_the_same_network_alone(found: Findings) -> None:
    """Two pairs of seeds: the difference is that of the means."""
    (effect,) = found.effects
    assert (effect.treatment, effect.control, effect.named, effect.seeds) == ("kd", "alone", "teachers", (0, 1))
    means = [found.cell(name).test["final"]["accuracy"].mean for name in ("kd", "alone")]
    assert effect.difference == pytest.approx(means[0] - means[1])
    assert effect.bootstrap is not None
    assert effect.bootstrap.images == found.data.test == 600


def test_students_alone_are_compared_with_the_teacher_that_they_did_without(found: Findings) -> None:
    assert found.cell("alone").reference == "resnet14"
    assert found.cell("alone").test["final"]["agreement"].n == 2
    assert found.cell("kd").test["final"]["kl_t1"].mean > 0


def test_a_run_whose_test_set_was_not_opened_stays_sealed(found: Findings, made: Path) -> None:
    assert found.cell("tfkd").test == {}
    assert any("was not opened for tfkd" in warning for warning in found.warnings)
    assert len(folders.read_lines(made / folders.LEDGER)) == 6  # the report itself has read nothing


def test_the_page_of_real_runs_has_every_section_and_pictures(found: Findings, made: Path) -> None:
    source = html(page_of(collect(found, made)))
    for anchor in ("effects", "results", "curves", "fidelity", "calibration", "classes", "costs", "protocol", "runs"):
        assert f'<section id="{anchor}"' in source
    assert source.count('src="data:image/png;base64,') >= 3
    assert "Reliability of alone" in source


def test_pictures_can_be_left_out_and_are_where_the_data_are_gone(
    found: Findings, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "data:image" not in html(page_of(collect(found, made, with_pictures=False)))
    copy = tmp_path / "runs"
    shutil.copytree(made, copy)
    for run in folders.every(copy):  # the same runs, of a data set that would have to be downloaded
        record = run.record()
        record["config"]["data"] |= {"name": "cifar10"}
        run.record_file.write_text(json.dumps(record))
    monkeypatch.setenv("PROTEGE_DATA", str(tmp_path / "nothing"))
    source = html(page_of(collect(found, copy)))
    assert "the data set is not on this machine" in source
    assert not (tmp_path / "nothing").exists()


def test_teachers_of_the_runs_that_were_named_are_taken_in(made: Path) -> None:
    taught = [run for run in folders.every(made) if run.id.startswith("resnet8-kd")]
    found = findings_of(taught, made)
    assert [one.key for one in found.teachers] == ["resnet14"]
    assert [cell.key for cell in found.cells] == ["kd"]
    assert found.answer.endswith("there is nothing to compare.")


def test_runs_on_other_images_are_kept_apart(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    shutil.copytree(made, root)
    trained(root, data={**TINY["data"], "classes": [3, 4]})
    found = findings_of(folders.every(root), root)
    assert {cell.pair for cell in found.cells} == {"cifar10-mini 1", "cifar10-mini 2"}
    assert any("different test images" in warning for warning in found.warnings)
    assert len(found.effects) == 1


def test_unfinished_and_unreadable_runs_are_said_and_count_for_nothing(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    shutil.copytree(made, root)
    alone = next(run for run in folders.every(root) if run.id.startswith("resnet8-supervised"))
    alone.result_file.unlink()
    (root / "broken").mkdir()
    (root / "broken" / "run.json").write_text("{")
    found = findings_of(folders.every(root), root)
    assert not found.complete
    assert len(found.cell("alone").seeds) == 1
    assert any("1 run(s) are not finished" in warning for warning in found.warnings)
    assert any(warning.startswith("broken is left out") for warning in found.warnings)
    assert [len(effect.seeds) for effect in found.effects] == [1]  # the other's student alone is not finished
    assert "<svg" in html(page_of(collect(found, root)))


def test_a_folder_without_runs_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no runs to report in .*protege demo"):
        findings_of([], tmp_path)


def test_arms_of_one_name_are_told_apart_by_what_differs(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    shutil.copytree(made, root)
    teacher = next(run for run in folders.every(root) if run.id.startswith("resnet14"))
    trained(root, teacher=teacher.id, method={"name": "kd", "temperature": 4.0})
    keys = [cell.key for cell in findings_of(folders.every(root), root).cells]
    assert sorted(keys) == ["alone", "kd (temperature 2)", "kd (temperature 4)", "tfkd"]


def test_a_chain_of_students_is_both_taught_and_teaching(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    shutil.copytree(made, root)
    first = next(run for run in folders.every(root) if run.id.startswith("resnet8-kd"))
    trained(root, teacher=first.id, method={"name": "kd", "temperature": 2.0})
    found = findings_of(folders.every(root), root)
    assert sorted(one.key for one in found.teachers) == ["resnet14", "resnet8"]
    assert len([cell for cell in found.cells if cell.arm.startswith("kd")]) == 2
    assert next(one for one in found.teachers if one.key == "resnet8").student_of == ("resnet14",)


def test_a_teacher_that_was_brought_along_is_known_by_what_its_students_evaluation_says(
    made: Path, tmp_path: Path
) -> None:
    """A file of weights: the same network as the run that it was taken from, so the same accuracy."""
    teacher = next(run for run in folders.every(made) if run.id.startswith("resnet14"))
    root = tmp_path / "runs"
    source = {"source": str(teacher.weights_file()), "model": {"name": "resnet14"}}
    taught = trained(root, teacher=source, method={"name": "kd"})
    evaluate(taught, Place(runs=root, threads=1, quiet=True), test=True)
    found = findings_of([taught], root)
    (one,) = found.teachers
    measured = next(row for row in findings_of([teacher], made).runs if row.id == teacher.id)
    assert one.given and one.key.startswith("file:")
    assert one.network.parameters == teacher.result()["parameters"]
    assert one.test["final"]["accuracy"].mean == pytest.approx(measured.test["final"]["accuracy"])
    assert found.cell("kd").teacher == one.key
    assert f"teacher {one.key}" in html(page_of(collect(found, root)))
