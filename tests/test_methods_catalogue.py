"""What the catalogue says of a method is so: counted on real networks, and the same on the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from method_cases import example
from typer.testing import CliRunner

from protege.cli import app
from protege.methods import METHODS
from protege.methods.base import Shapes
from protege.methods.catalogue import (
    COSTS,
    REFERENCE,
    REFERENCE_CLASSES,
    REFERENCE_IMAGES,
    REMEMBERED,
    card,
    cards,
    plain,
)
from protege.models import build
from protege.models.config import ModelConfig
from protege.models.network import wrap
from protege.teacher.speaking import shapes_of


@pytest.fixture(scope="module")
def pair() -> tuple[Shapes, Shapes, int]:
    """Shapes of the reference's student and teacher, and the student's parameters."""
    teacher, student = (
        wrap(build(config, REFERENCE_CLASSES), config)
        for config in (ModelConfig(name=name) for name in REFERENCE.split(" -> "))
    )
    count = sum(parameter.numel() for parameter in student.parameters())
    return shapes_of(student, 32, REFERENCE_IMAGES), shapes_of(teacher, 32), count


@pytest.mark.parametrize("name", METHODS)
def test_what_trains_beside_the_student_is_counted_right(name: str, pair: tuple[Shapes, Shapes, int]) -> None:
    """A method with adapters needs a line in `TRAINED_BESIDE`; this says which number belongs there."""
    student, teacher, parameters = pair
    method = example(name)
    adapters = method.adapters(student, teacher)
    beside = sum(weight.numel() for weight in adapters.parameters() if weight.requires_grad)
    beside += (method.cohort - 1) * parameters
    assert card(name)["trained_beside"] == (0 if name == "sum" else beside)
    banks = sum(bank.numel() for bank in adapters.buffers() if bank.ndim > 1 and len(bank) == REFERENCE_IMAGES)
    assert card(name)["remembered"] == banks


def test_costs_are_of_methods_that_exist() -> None:
    assert {*COSTS, *REMEMBERED} <= set(METHODS)


@pytest.mark.parametrize(
    ("name", "asked"),
    [("kd", "or nothing where its logits are remembered"), ("at", "in every step"), ("tfkd", "nothing")],
)
def test_what_a_teacher_costs_follows_from_what_is_read(name: str, asked: str) -> None:
    assert asked in card(name)["costs"]


def test_every_card_is_json_and_says_what_a_reader_needs() -> None:
    assert [one["name"] for one in json.loads(json.dumps(cards()))] == list(METHODS)
    for one in cards():
        assert one["summary"].endswith(".") and one["paper"] and one["formula"] and one["source"] and one["costs"], one[
            "name"
        ]


def test_settings_are_written_as_people_write_them() -> None:
    assert [plain(value) for value in (4.0, 1 / 3, 1e-5, False, (2.0, 3.0), None)] == [
        "4",
        "0.333333",
        "1e-05",
        "False",
        "(2.0, 3.0)",
        "None",
    ]


def test_the_command_line_shows_one_method_in_full() -> None:
    said = CliRunner().invoke(app, ["methods", "dkd"]).output
    for part in (
        "arXiv:2203.08679",
        "others_weight",
        "preset for resnet56 -> resnet20: others_weight 2",
        "--method.warmup-epochs",
    ):
        assert part in said
    assert "must be given" in CliRunner().invoke(app, ["methods", "sum"]).output


def test_the_command_line_lists_all_and_gives_json() -> None:
    said = CliRunner().invoke(app, ["methods"]).output
    assert all(f"\n{name} " in said for name in METHODS)
    assert json.loads(CliRunner().invoke(app, ["methods", "--json"]).output) == json.loads(json.dumps(cards()))
    assert (
        json.loads(CliRunner().invoke(app, ["methods", "kd", "--json"]).output)["fields"]["temperature"]["default"] == 4
    )


def test_an_unknown_method_gets_a_suggestion() -> None:
    with pytest.raises(ValueError, match=r"no method 'fitnett'\. Did you mean 'fitnet'"):
        card("fitnett")


def test_the_catalogue_costs_no_torch() -> None:
    code = "import sys; from protege.methods.catalogue import cards; cards(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fsp", "-b 50 multiplies nothing"),
        ("byot", ".03 belongs to another quantity"),
        ("srrl", "project the map and pool"),
        ("tfkd", "kd_weight 2 pulls about as hard"),
        ("cc", "Knowledge-Distillation-Zoo"),
        ("ft", "where the authors take the absolute one"),
        ("dkd", "LSKD authors' log files"),
    ],
)
def test_a_source_says_what_is_not_the_authors(name: str, said: str) -> None:
    assert said in card(name)["source"]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("crd", ("log(h+ / (h+ + K/N))", "K = negatives", "N = training images", "Z = N * mean of exp")),
        ("dkd", ("w = min(1, epoch / warmup_epochs)", "t and s the probabilities at T")),
    ],
)
def test_a_formula_defines_its_letters(name: str, parts: tuple[str, ...]) -> None:
    assert all(part in card(name)["formula"] for part in parts)


def test_the_command_line_shows_the_presets_of_other_forms() -> None:
    said = CliRunner().invoke(app, ["methods", "dkd"]).output
    wanted = "resnet32x4 -> resnet8x4, standardised: standardise True, temperature 2, target_weight 9, others_weight 72"
    assert wanted in " ".join(said.split())
