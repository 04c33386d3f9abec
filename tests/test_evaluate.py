"""Scores against other libraries and by hand; the test set opens only after a line in the ledger."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torchmetrics.functional.classification as oracle
from torch import Tensor

from protege import runs as folders
from protege.errors import DataError, RunError
from protege.evaluate import accuracy_and_nll, compare, evaluate, fidelity, fit_temperature, logits_of, score
from protege.runs.config import Place, TeacherConfig, check_run
from protege.train import train

SHORT: dict[str, Any] = {
    "data": {"name": "cifar10-mini", "limit": 200, "heldout": 100},
    "model": "resnet8",
    "optim": {"epochs": 1, "batch_size": 64},
}


@pytest.fixture(scope="module")
def said() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 7, (500,), generator=generator)
    logits = torch.randn(500, 7, generator=generator, dtype=torch.float64)
    logits[torch.arange(500), labels] += 1.5
    return logits, labels


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(runs=tmp_path_factory.mktemp("runs"), threads=1, quiet=True)


@pytest.fixture(scope="module")
def teacher(place: Place) -> folders.Run:
    return train(check_run(SHORT), place)


@pytest.fixture(scope="module")
def student(place: Place, teacher: folders.Run) -> folders.Run:
    return train(check_run(SHORT | {"teacher": str(teacher.path), "seed": 1}), place)


def test_scores_agree_with_torchmetrics(said: tuple[Tensor, Tensor]) -> None:
    logits, labels = said
    found = score(logits, labels)
    assert found.accuracy == pytest.approx(oracle.multiclass_accuracy(logits, labels, 7, average="micro").item())
    assert found.top5 == pytest.approx(oracle.multiclass_accuracy(logits, labels, 7, top_k=5, average="micro").item())
    assert found.ece == pytest.approx(
        oracle.multiclass_calibration_error(logits.softmax(1), labels, 7, n_bins=15).item(), abs=1e-6
    )
    assert torch.equal(torch.tensor(found.confusion), oracle.multiclass_confusion_matrix(logits, labels, 7))
    assert found.per_class == pytest.approx(oracle.multiclass_accuracy(logits, labels, 7, average="none").tolist())


def test_scores_by_hand() -> None:
    """Two images, two classes, probabilities 3/4 and 1/4."""
    logits = torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0]])
    found = score(logits, torch.tensor([0, 1]))
    assert found.accuracy == 0.5
    assert found.top5 is None
    assert found.nll == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)
    assert found.brier == pytest.approx((2 * 0.25**2 + 2 * 0.75**2) / 2)
    assert found.ece == pytest.approx(0.25)
    assert found.confusion == [[1, 0], [1, 0]]


def test_a_class_without_images_does_not_break_the_scores() -> None:
    found = score(torch.eye(3)[:2] * 5, torch.tensor([0, 1]))
    assert found.per_class == [1.0, 1.0, 0.0]


def test_fidelity_by_hand() -> None:
    """KL((3/4, 1/4) || (1/2, 1/2)) = 3/4 log(3/2) + 1/4 log(1/2)."""
    found = fidelity(torch.tensor([[0.0, -1e-9]]), torch.tensor([[math.log(3), 0.0]]))
    assert found.agreement == 1.0
    assert found.kl_t1 == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    fourth = 3**0.25 / (3**0.25 + 1)
    assert found.kl_t4 == pytest.approx(fourth * math.log(2 * fourth) + (1 - fourth) * math.log(2 * (1 - fourth)))


def test_temperature_scaling_undoes_overconfidence(said: tuple[Tensor, Tensor]) -> None:
    logits, labels = said
    best = fit_temperature(logits, labels)
    assert fit_temperature(3 * logits, labels) == pytest.approx(3 * best, rel=1e-3)
    nll = score(logits / best, labels).nll
    assert all(score(logits / (best * factor), labels).nll > nll for factor in (0.9, 1.1))


def test_held_out_images_may_be_looked_at_freely(place: Place, student: folders.Run) -> None:
    found = evaluate(student, place)
    assert found["split"] == "heldout" and found["images"] == 100
    assert found["final"]["accuracy"] == student.result()["heldout_accuracy"]
    assert found["best"]["accuracy"] == student.result()["best"]["heldout_accuracy"]
    assert not (place.runs / folders.LEDGER).exists()


def test_the_ledger_has_its_line_before_the_test_set_is_read(
    place: Place, student: folders.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import protege.evaluate as station

    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    before = len(folders.read_lines(place.runs / folders.LEDGER))
    monkeypatch.setattr(station, "predict", fails)
    with pytest.raises(ZeroDivisionError):
        evaluate(student, place, test=True)
    lines = folders.read_lines(place.runs / folders.LEDGER)
    assert len(lines) == before + 1
    assert lines[-1]["run"] == student.id and lines[-1]["images"] == 2000


def test_test_scores_are_kept_image_by_image(place: Place, student: folders.Run) -> None:
    found = evaluate(student, place, test=True)
    logits, labels = logits_of(student, "test")
    assert (logits.argmax(1) == labels).double().mean().item() == pytest.approx(found["final"]["accuracy"])
    assert json.loads((student.evaluations / "test.json").read_text())["final"] == found["final"]


def test_temperature_comes_from_held_out_images_also_for_the_test_set(place: Place, student: folders.Run) -> None:
    on_test, on_heldout = evaluate(student, place, test=True), evaluate(student, place)
    assert on_test["final"]["scaled"]["temperature"] == on_heldout["final"]["scaled"]["temperature"]


def test_a_student_that_never_listened_has_a_fidelity_too(place: Place, teacher: folders.Run) -> None:
    alone = train(check_run(SHORT | {"seed": 2}), place)
    assert "fidelity" not in evaluate(alone, place)["final"]
    found = evaluate(alone, place, teachers=[TeacherConfig(source=str(teacher.path))])
    assert 0 < found["final"]["fidelity"]["agreement"] < 1


def test_a_teacher_agrees_with_itself(place: Place, teacher: folders.Run) -> None:
    found = evaluate(teacher, place, teachers=[TeacherConfig(source=str(teacher.path))])
    assert found["final"]["fidelity"]["agreement"] == 1.0
    assert found["final"]["fidelity"]["kl_t1"] == pytest.approx(0, abs=1e-9)


def test_without_held_out_images_one_is_told_how_to_see_test_scores(place: Place) -> None:
    run = train(check_run(SHORT | {"data": {"name": "cifar10-mini", "limit": 200, "heldout": 0}}), place)
    with pytest.raises(DataError, match="--test"):
        evaluate(run, place)
    assert "scaled" not in evaluate(run, place, test=True)["final"]


def test_an_unfinished_run_is_not_evaluated(place: Place) -> None:
    run = folders.start(place.runs, "begun-run", {"id": "begun-run"})
    with pytest.raises(RunError, match="not finished"):
        evaluate(run, place)


def test_damaged_weights_are_named(place: Place, tmp_path: Path) -> None:
    run = train(check_run(SHORT | {"seed": 3}), place)
    run.weights_file().write_bytes(run.weights_file().read_bytes()[:-3])
    with pytest.raises(RunError, match=r"model\.safetensors is damaged"):
        evaluate(run, place)


@pytest.mark.parametrize("by", ["run", "file"])
def test_a_method_that_adds_to_the_student_is_judged_with_what_it_adds(
    place: Place, teacher: folders.Run, by: str
) -> None:
    """SimKD's student answers through its projector and the teacher's classifier."""
    file = {"source": str(teacher.weights_file()), "model": "resnet8"}
    described = SHORT | {"teacher": str(teacher.path) if by == "run" else file, "method": "simkd", "seed": 4}
    run = train(check_run(described), place)
    assert run.adapters_file().exists()
    assert evaluate(run, place)["final"]["accuracy"] == run.result()["heldout_accuracy"]


def test_two_arms_are_compared_seed_by_seed(place: Place) -> None:
    arms = [
        [train(SHORT | {"seed": seed, "optim": {"epochs": 1, "batch_size": 64, "lr": lr}}, place) for seed in (5, 6)]
        for lr in (0.1, 1e-9)
    ]
    said = compare(arms[0], arms[1])
    differences = [
        100 * (a.result()["heldout_accuracy"] - b.result()["heldout_accuracy"]) for a, b in zip(*arms, strict=True)
    ]
    assert f"{sum(differences) / 2:+.2f} points" in said.sentence
    assert "2 pairs of seeds" in said.sentence


def test_arms_of_other_seeds_are_not_paired(place: Place) -> None:
    short = SHORT | {"optim": {"epochs": 1, "batch_size": 64}}
    arms = [[train(short | {"seed": seed}, place) for seed in seeds] for seeds in ((5, 6), (6, 7))]
    assert "pairs" not in compare(arms[0], arms[1]).sentence


def test_arms_without_held_out_images_are_not_compared(place: Place) -> None:
    none = SHORT | {"optim": {"epochs": 1, "batch_size": 64}, "data": SHORT["data"] | {"heldout": 0}}
    run = train(none, place)
    with pytest.raises(RunError, match=f"{run.id} held no images out"):
        compare([run], [run])


def test_the_two_numbers_of_an_epoch_are_those_of_the_scores() -> None:
    logits, labels = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 7
    found = score(logits, labels)
    assert accuracy_and_nll(logits, labels) == (found.accuracy, found.nll)
