"""A run is described completely, checked at once, and named by what it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from protege.errors import ConfigError
from protege.runs.config import OptimConfig, RunConfig, check_run, merge, read_yaml
from protege.runs.identity import run_id


def identity(description: dict[str, object], fingerprint: str = "data", teachers: tuple[str, ...] = ()) -> str:
    return run_id(check_run(description), fingerprint, teachers, Path("nowhere"))


def test_plain_names_stand_for_sections() -> None:
    short = check_run({"data": "cifar10-mini", "model": "resnet8", "method": "supervised"})
    long = check_run({"data": {"name": "cifar10-mini"}, "model": {"name": "resnet8"}, "method": {"name": "supervised"}})
    assert short == long


def test_a_teacher_without_a_method_means_kd() -> None:
    assert check_run({"teacher": "somewhere"}).method.name == "kd"
    assert check_run({}).method.name == "supervised"


def test_all_mistakes_are_told_at_once_with_suggestions() -> None:
    wrong = {
        "modle": "resnet8",
        "optim": {"epohcs": 3, "batch_size": -1},
        "method": {"name": "supervised", "label_smothing": 0.1},
    }
    with pytest.raises(ConfigError) as caught:
        check_run(wrong, "my.yaml")
    message = str(caught.value)
    assert "my.yaml has 4 mistakes" in message
    assert "Did you mean 'model'?" in message
    assert "Did you mean 'optim.epochs'?" in message
    assert "optim.batch_size" in message and "-1" in message
    assert "Did you mean 'method.label_smoothing'?" in message


def test_a_mistyped_method_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="supervised"):
        check_run({"method": "supervisd"})


def test_a_method_that_listens_needs_a_teacher() -> None:
    with pytest.raises(ConfigError, match="as `teacher`"):
        check_run({"method": "kd"})
    with pytest.raises(ConfigError, match="listens to no teacher"):
        check_run({"method": "supervised", "teacher": "somewhere"})


def test_naming_another_method_keeps_nothing_of_the_first() -> None:
    from_file = {"method": {"name": "kd", "temperature": 8.0}, "teacher": "t"}
    changed = merge(from_file, "method", "supervised")
    assert changed["method"] == "supervised"


def test_a_dotted_path_refines_a_plain_name() -> None:
    assert merge({"data": "cifar100"}, "data.heldout", 500) == {"data": {"name": "cifar100", "heldout": 500}}
    assert merge({"teacher": "run-1"}, "teacher.weights", "best") == {"teacher": {"source": "run-1", "weights": "best"}}
    assert merge({}, "method.kd-weight", 0.5) == {"method": {"kd_weight": 0.5}}


def test_the_id_is_the_same_however_the_run_is_spelt() -> None:
    spelt = {
        "data": {"name": "cifar10-mini", "heldout": 0.1},
        "model": {"name": "resnet20"},
        "optim": {"lr": 0.1},
        "seed": 0,
    }
    assert identity(spelt) == identity({"data": "cifar10-mini"})


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"optim": {"lr": 0.2}},
        {"model": "resnet8"},
        {"views": "none"},
        {"method": {"name": "supervised", "label_smoothing": 0.1}},
    ],
)
def test_whatever_changes_the_outcome_changes_the_id(changed: dict[str, object]) -> None:
    assert identity(changed) != identity({})


def test_data_and_teachers_are_in_the_id_by_what_they_are() -> None:
    taught: dict[str, object] = {"teacher": "runs/a"}
    assert identity({}, "data") != identity({}, "other data")
    assert identity(taught, teachers=("run:a:final",)) != identity(taught, teachers=("run:b:final",))
    assert identity(taught, teachers=("run:a:final",)) == identity(
        {"teacher": "elsewhere/a"}, teachers=("run:a:final",)
    )


@pytest.mark.parametrize(
    ("field", "typed", "meant"),
    [
        ("optim.milestones", "150,180", (150, 180)),
        ("optim.milestones", 150, (150,)),
        ("optim.betas", "0.9,0.95", (0.9, 0.95)),
        ("views.scale", "0.2, 1", (0.2, 1.0)),
        ("views.ratio", [1, 2], (1.0, 2.0)),
    ],
)
def test_lists_are_read_as_people_type_them(field: str, typed: object, meant: object) -> None:
    section, name = field.split(".")
    assert getattr(getattr(check_run(merge({}, field, typed)), section), name) == meant


def test_what_is_not_given_fits_the_optimiser_and_the_length() -> None:
    def optim(**given: object) -> OptimConfig:
        return check_run({"optim": given}).optim

    assert (optim(optimizer="adamw").weight_decay, optim().weight_decay) == (0.05, 5e-4)
    assert optim(optimizer="adamw", weight_decay=0.01).weight_decay == 0.01
    assert optim(schedule="multistep", epochs=240).milestones == (150, 180, 210)
    assert optim(schedule="multistep", epochs=30).milestones == (19, 22, 26)
    assert optim(schedule="multistep", epochs=30, milestones=[10]).milestones == (10,)
    assert optim(epochs=30).milestones == OptimConfig().milestones  # not looked at, and so not moved


def test_adamw_has_a_rate_of_its_own() -> None:
    assert check_run({"optim": {"optimizer": "adamw"}}).optim.lr == 1e-3
    assert check_run({"optim": {"optimizer": "adamw", "lr": 0.01}}).optim.lr == 0.01
    assert check_run({}).optim.lr == 0.1


@pytest.mark.parametrize(
    ("optim", "said"),
    [
        ({"floor_lr": 0.5, "lr": 0.1}, "floor_lr 0.5"),
        ({"warmup_epochs": 5, "epochs": 5}, "warmup_epochs 5"),
        ({"nesterov": True, "momentum": 0}, "nesterov"),
        ({"epochs": 0}, "optim.epochs"),
        ({"lr": float("nan")}, "optim.lr"),
        ({"ema": 1.0}, "optim.ema"),
    ],
)
def test_values_that_do_not_fit_together_are_named(optim: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_run({"optim": optim})


@pytest.mark.parametrize(("text", "said"), [("- a\n- b\n", "list"), ("a: [", "not YAML"), ("\tx: 1", "not YAML")])
def test_a_file_that_is_no_description_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        read_yaml(file)
    assert "run.yaml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        read_yaml(tmp_path / "nowhere.yaml")


def test_a_description_survives_being_written_and_read() -> None:
    config = check_run({"teacher": "t", "method": {"name": "kd", "temperature": 2}, "views": {"mix": "cutmix"}})
    assert check_run(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("protege.cli", ["torch", "numpy", "scipy", "matplotlib", "protege.methods"]),
        ("protege.runs.config", ["torch", "numpy", "scipy"]),
    ],
)
def test_what_the_command_line_needs_comes_without_what_is_slow(modules: str, absent: list[str]) -> None:
    code = f"import sys, {modules}; sys.exit(' '.join(name for name in {absent} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert not done.stderr.strip()


def test_a_frozen_description_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RunConfig().seed = 3  # type: ignore[misc]
