"""An id names the outcome: what cannot change it is not in it, and runs of an earlier rule are found again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from protege import runs
from protege.runs.config import check_run
from protege.runs.identity import run_id

METHOD = """
from protege.methods import Method

class Mine(Method):
    needs_teacher = False
    strength: float = 1.0

    def terms(self, student, teacher, batch, adapters, progress):
        return {"labels": self.strength * self.label_loss(student.logits, batch)}
"""


def identity(description: dict[str, Any], root: Path = Path("nowhere")) -> str:
    return run_id(check_run(description), "data", ["run:a:final"] if "teacher" in description else [], root)


@pytest.mark.parametrize(
    "section",
    [
        {"optim": {"milestones": [3]}},
        {"optim": {"schedule_every": "epoch", "schedule": "constant", "floor_lr": 0.01}, "_": {"optim": {"schedule": "constant"}}},
        {"optim": {"weight_decay": 0, "decay_norms": False}, "_": {"optim": {"weight_decay": 0}}},
        {"optim": {"betas": [0.8, 0.9], "step_epochs": 3, "decay_factor": 0.5}},
        {"optim": {"optimizer": "adamw", "momentum": 0.5}, "_": {"optim": {"optimizer": "adamw"}}},
        {"remember": "none"},
        {"teacher": "t", "method": "feature", "remember": "fp32", "_": {"teacher": "t", "method": "feature"}},
        {"views": {"policy_ops": 3, "scale": [0.5, 1], "mix_concentration": 3}},
        {"views": {"crop": "none", "padding": 2}, "_": {"views": {"crop": "none"}}},
        {"views": {"seed": 0}},
        {"model": {"name": "resnet18", "stem": "cifar"}, "_": {"model": "resnet18"}},
    ],
    ids=str,
)  # fmt: skip
def test_a_field_that_is_not_looked_at_is_not_in_the_id(section: dict[str, Any]) -> None:
    without = section.get("_", {})
    assert identity({key: value for key, value in section.items() if key != "_"}) == identity(without)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"schedule": "multistep", "milestones": [3]}, {"schedule": "multistep"}),
        ({"schedule": "step", "step_epochs": 3}, {"schedule": "step"}),
        ({"schedule_every": "epoch"}, {}),
        ({"optimizer": "adamw", "betas": [0.8, 0.9]}, {"optimizer": "adamw"}),
        ({"nesterov": True}, {}),
        ({"floor_lr": 0.01}, {}),
    ],
    ids=str,
)
def test_the_same_field_is_in_it_where_it_is_looked_at(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert identity({"optim": one}) != identity({"optim": other})


def test_a_method_is_its_class_and_its_code_wherever_the_file_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(METHOD)
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(tmp_path / "mine.py", tmp_path / "elsewhere" / "moved.py")
    monkeypatch.chdir(tmp_path)
    spelt = ["mine.py:Mine", "./mine.py:Mine", f"{tmp_path}/mine.py:Mine", "elsewhere/moved.py:Mine"]
    (one,) = {identity({"method": name}) for name in spelt}
    assert one.startswith("resnet20-Mine-")
    (tmp_path / "mine.py").write_text(METHOD.replace("1.0", "2.0"))
    assert identity({"method": "mine.py:Mine"}) != one


def test_an_ordinary_run_keeps_the_id_that_it_has_always_had() -> None:
    """Made by the version before unused fields were left out."""
    assert identity({"optim": {"precision": "fp32"}}) == "resnet20-supervised-843fded1997d"  # the default of its time
    assert identity({"optim": {"milestones": [3]}}) == identity({})


def test_a_run_of_the_earlier_rule_is_found_under_its_id(tmp_path: Path) -> None:
    odd, plain = {"optim": {"milestones": [3], "precision": "fp32"}}, {"optim": {"precision": "fp32"}}
    runs.start(tmp_path, "resnet20-supervised-9465c95a5b80", {"id": "resnet20-supervised-9465c95a5b80"})
    assert identity(odd, tmp_path) == "resnet20-supervised-9465c95a5b80"
    runs.start(tmp_path, identity(plain), {"id": identity(plain)})
    assert identity(odd, tmp_path) == identity(plain)
