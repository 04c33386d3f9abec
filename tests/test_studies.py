"""Every file in studies/ can be run in both forms, and says what that costs."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import yaml
from PIL import Image
from study_cases import FILES, FOLDER, SCALES, planned, study
from study_costs import all_runs, counts, hours_on_a_gpu, minutes_on_two_cores

from protege.study.conduct.jobs import known_runs
from protege.study.question.arms import cells
from protege.study.question.load import study_of
from protege.study.question.schema import Scale

OWN = ("quick", "how-small")  # ask nothing that was published
NAMES = pytest.mark.parametrize("name", FILES)
BOTH_FORMS = pytest.mark.parametrize(("name", "scale"), [(name, scale) for name in FILES for scale in SCALES])


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the folder `images` that one study asks its user for: ten classes."""
    place = tmp_path_factory.mktemp("pictures")
    for label in range(10):
        kind = place / "images" / f"kind{label}"
        kind.mkdir(parents=True)
        for number in range(30):
            Image.new("RGB", (8, 8), (20 * label, 8 * number, 0)).save(kind / f"{number}.png")
    return place


@pytest.fixture(autouse=True)
def _beside_the_pictures(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pictures)


@BOTH_FORMS
def test_every_study_can_be_planned_before_anything_is_there(name: str, scale: Scale) -> None:
    """Neither the official images nor a finished run is needed for it."""
    plan = planned(name, scale)
    assert known_runs(plan) and plan.study.question.endswith("?")
    assert len({cell.key for cell in plan.cells}) == len(plan.cells)


@BOTH_FORMS
def test_a_run_that_is_named_twice_is_the_same_run(name: str, scale: Scale) -> None:
    """And one that is described once has one name."""
    runs = all_runs(planned(name, scale))
    described = [run.config.model_dump_json() for run in runs]
    assert len(dict(zip([run.id for run in runs], described, strict=True))) == len(set(described))


@BOTH_FORMS
def test_arms_share_the_runs_of_their_teacher(name: str, scale: Scale) -> None:
    plan = planned(name, scale)
    wanted = {run.id for run in plan.teacher_runs()}
    taught = [run for run in all_runs(plan) if run.tutors]
    assert {tutor.run.id for run in taught for tutor in run.tutors if tutor.run} <= wanted
    trained = sum(len(teacher.seeds) for teacher in plan.study.teachers.values())
    assert len(wanted) == trained  # however many arms listen to them


@BOTH_FORMS
def test_some_arm_learns_from_the_labels_alone(name: str, scale: Scale) -> None:
    assert any(cell.alone for cell in planned(name, scale).cells)


@NAMES
def test_the_reduced_form_takes_less_than_twenty_minutes_on_two_cores(name: str) -> None:
    assert minutes_on_two_cores(planned(name, "reduced")) < 20


@NAMES
def test_the_reduced_form_is_of_real_images_and_smaller_in_every_run(name: str) -> None:
    full, small = planned(name), planned(name, "reduced")
    largest = max(run.config.optim.epochs * counts(run.config).train for run in all_runs(full))
    assert all(run.config.optim.epochs * counts(run.config).train <= largest for run in all_runs(small))
    of_set = [{run.config.data.name.removesuffix("-mini") for run in all_runs(plan)} for plan in (full, small)]
    assert of_set[0] == of_set[1]
    assert len(all_runs(small)) < len(all_runs(full))


@NAMES
def test_the_reduced_form_says_its_networks_images_epochs_and_seeds(name: str) -> None:
    """In the words that are the first line of its page, wherever they are not those of the full form."""
    full, small = planned(name), planned(name, "reduced")
    said = small.study.differs
    before, after = ([run.config for run in all_runs(plan)] for plan in (full, small))
    seeds = [len(plan.study.seeds.report) for plan in (full, small)]
    assert f"{seeds[1]} seeds instead of {seeds[0]}" in said
    for model in {one.model.name for one in after} - {one.model.name for one in before}:
        assert re.search(rf"\b{model}\b", said), model
    if (epochs := after[-1].optim.epochs) != before[-1].optim.epochs:
        assert f"{epochs} epochs" in said
    if (limit := after[-1].data.limit) != before[-1].data.limit:
        assert f"{limit:,} images" in said
    if (size := after[-1].data.image_size) != before[-1].data.image_size:
        assert f"{size} x {size} pixels" in said
    if (classes := after[-1].data.classes) != before[-1].data.classes:
        assert classes and {5: "five classes", 10: "ten classes"}[len(classes)] in said


@NAMES
def test_the_head_of_a_file_says_what_it_takes_and_how_to_run_it(name: str) -> None:
    head = [line for line in FILES[name].read_text().splitlines() if line.startswith("# ")]
    assert head[0].endswith("?")
    full, small = planned(name), planned(name, "reduced")
    said = re.search(
        r"full: (\d+) runs, about ([\d.]+) (hours|minutes) .*reduced: (\d+) runs, about (\d+) minute", head[1]
    )
    assert said, head[1]
    assert (int(said[1]), int(said[4])) == (len(all_runs(full)), len(all_runs(small)))
    takes = hours_on_a_gpu(full) if said[3] == "hours" else minutes_on_two_cores(full)
    assert math.isclose(float(said[2]), takes, rel_tol=0.2, abs_tol=0.05)
    assert math.isclose(int(said[5]), minutes_on_two_cores(small), rel_tol=0.15, abs_tol=0.5)
    assert "estimated" in head[1]
    assert any(line.startswith(f"# protege study run studies/{name}.yaml") for line in head)


@NAMES
def test_the_cost_that_the_program_prints_is_that_of_the_head(name: str) -> None:
    cost = study(name).cost
    assert cost and "estimated" in cost.hardware
    takes = minutes_on_two_cores(planned(name)) / 60 if "CPU" in cost.hardware else hours_on_a_gpu(planned(name))
    assert math.isclose(cost.hours, takes, rel_tol=0.2, abs_tol=0.05)


@NAMES
def test_what_is_compared_is_named_in_advance(name: str) -> None:
    compared = study(name).compare
    assert compared and (
        any(one.primary for one in compared) or all(not one.among and not one.than for one in compared)
    )


@NAMES
def test_published_studies_carry_their_figures_and_say_what_differs(name: str) -> None:
    if name not in OWN:
        assert study(name).published and len(study(name).notes) >= 2


@NAMES
def test_no_weight_is_called_alpha(name: str) -> None:
    """Two of the publications weigh the labels with it, three the teacher."""
    text = yaml.safe_load(FILES[name].read_text())
    assert "alpha" not in str({key: value for key, value in text.items() if key != "notes"})


def test_the_page_of_the_folder_lists_every_file_with_its_cost() -> None:
    page = (FOLDER / "README.md").read_text()
    listed = dict(
        re.findall(r"^\| \[([\w-]+)\.yaml\]\(\1\.yaml\) \|.*\| ([\d.]+ (?:h|min)) \| \d+ min \|$", page, re.M)
    )
    assert set(listed) == set(FILES)
    for name, said in listed.items():
        head = FILES[name].read_text().splitlines()[1]
        number, unit = said.split()
        assert f"about {number} {'hours' if unit == 'h' else 'minutes'}" in head, name


def test_the_question_of_your_own_on_that_page_is_a_study() -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", (FOLDER / "README.md").read_text(), re.S)
    found = study_of("mine", yaml.safe_load(shown))
    assert [len(cell.configurations) for cell in cells(found)] == [1, 6]
