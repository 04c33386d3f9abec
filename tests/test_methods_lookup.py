"""From what a user writes to a method: names, settings, mistakes, and methods of their own."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from method_cases import make_case
from pydantic import BaseModel, ValidationError

import protege.methods
from protege.methods import METHODS, AnyMethod, Method, fingerprint, parse_method, resolve
from protege.methods.kd import KD
from protege.methods.lookup import Unread


class Holder(BaseModel):
    method: AnyMethod


MINE = """
from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from protege.methods import Method, Outputs


class Mine(Method):
    \"\"\"Squared distance of the logits.\"\"\"

    paper: ClassVar[str] = "none"
    weight: float = Field(1.0, ge=0)

    def terms(self, student: Outputs, teacher: Outputs, batch, adapters, progress):
        return {
            "labels": self.label_loss(student.logits, batch),
            "squares": self.weight * (student.logits - teacher.logits.detach()).square().mean(),
        }


class Named(Method):
    name: str | None = "named"


class NoMethod:
    pass
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "my_method.py"
    path.write_text(MINE)
    return path


def test_the_catalogue_is_known_without_torch() -> None:
    """The command line prints every method's settings before it needs a tensor."""
    script = (
        "import sys; from protege.methods import METHODS; [kind.model_json_schema() for kind in METHODS.values()]; "
    )
    script += "print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_method_of_the_package_is_named_in_the_catalogue() -> None:
    modules = [
        importlib.import_module(f"protege.methods.{m.name}") for m in pkgutil.iter_modules(protege.methods.__path__)
    ]
    written = {
        kind
        for module in modules
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, Method) and kind.__module__ == module.__name__
    }
    assert written - {Method, Unread} == set(METHODS.values())


def test_a_name_alone_is_the_method_as_published() -> None:
    assert parse_method("kd") == KD() == parse_method({"name": "kd"}) == parse_method(KD())


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ("dkb", "there is no method 'dkb'. Did you mean 'dkd'?"),
        ({"name": "kd", "temprature": 2}, "method kd: it has no 'temprature'. Did you mean 'temperature'?"),
        ({"name": "kd", "temperature": -1}, "method kd: temperature = -1: Input should be greater than 0"),
        ({"name": "kd", "kd_weight": "much"}, "kd_weight = 'much': Input should be a valid number"),
        ({"name": "kd", "kd_weight": float("nan")}, "kd_weight = nan: Input should be a finite number"),
        ({"temperature": 2}, "a method is a name, or a mapping with a name"),
        (7, "a method is a name, or a mapping with a name"),
        ({"name": "sum"}, "method sum: parts is missing"),
        ("nowhere/method.py:Mine", "there is no file"),
        ("no_such_package.module:Mine", "cannot import no_such_package.module"),
        ("json:loads", "json has no class loads that extends protege.methods.Method"),
        (
            {"name": "sum", "parts": [{"method": {"name": "kd", "temprature": 2}}]},
            "method kd: it has no 'temprature'. Did you mean 'temperature'?",
        ),
    ],
)
def test_a_mistake_is_answered_about_the_method_meant_and_no_other(data: object, complaint: str) -> None:
    with pytest.raises(ValueError):
        parse_method(data)
    with pytest.raises(ValidationError) as caught:
        Holder.model_validate({"method": data})
    assert caught.value.error_count() == 1
    message = caught.value.errors()[0]["msg"]
    assert complaint in message
    assert "\n" not in message


def test_a_description_that_holds_a_method_reads_and_writes_all_its_settings() -> None:
    held = Holder.model_validate({"method": {"name": "dkd", "others_weight": 2}})
    assert held.model_dump()["method"]["others_weight"] == 2
    assert Holder.model_validate_json(held.model_dump_json()) == held
    with pytest.raises(ValidationError, match="Did you mean 'others_weight'"):
        Holder.model_validate({"method": {"name": "dkd", "other_weight": 2}})


def test_a_method_of_ones_own_is_found_in_its_file(mine: Path) -> None:
    method = parse_method({"name": f"{mine}:Mine", "weight": 3})
    case = make_case()
    expected = 3 * (case.student.logits - case.teacher.logits).square().mean()
    assert case.terms(method)["squares"].item() == pytest.approx(expected.item())
    assert method.name == f"{mine}:Mine"
    assert parse_method(method.model_dump()) == method
    assert resolve(method.name) is type(method)
    both = parse_method({"name": "sum", "parts": [{"method": method.name}, {"method": "kd"}]})
    assert set(case.terms(both)) == {"labels", "Mine.squares", "kd.teacher"}


def test_a_method_of_ones_own_is_found_in_an_installed_module(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(mine.parent))
    assert parse_method("my_method:Mine").name == "my_method:Mine"


def test_an_edited_file_is_read_again_and_has_another_fingerprint(mine: Path) -> None:
    """So that a run of the old code is never taken for a run of the new."""
    before = parse_method(f"{mine}:Mine")
    mark = fingerprint(before)
    mine.write_text(MINE.replace("square().mean()", "abs().mean()"))
    after = parse_method(f"{mine}:Mine")
    case = make_case()
    assert case.terms(after)["squares"].item() == pytest.approx(
        (case.student.logits - case.teacher.logits).abs().mean().item()
    )
    assert fingerprint(after) != mark
    assert fingerprint(parse_method({"name": "sum", "parts": [{"method": f"{mine}:Mine"}]})) == fingerprint(after)
    assert fingerprint(KD()) == ""


@pytest.mark.parametrize(
    ("attribute", "complaint"),
    [("Missing", "has no class Missing"), ("NoMethod", "has no class NoMethod"), ("Named", "leave `name` out")],
)
def test_what_is_no_method_is_refused(attribute: str, complaint: str, mine: Path) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_method(f"{mine}:{attribute}")


def test_torch_is_the_same_whether_imported_lazily_or_plainly() -> None:
    from protege.lazy import F, nn
    from protege.lazy import torch as lazily

    assert lazily.softmax is torch.softmax
    assert nn.Linear is torch.nn.Linear
    assert F.cross_entropy is torch.nn.functional.cross_entropy
