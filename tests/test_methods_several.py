"""Several teachers, several students, several methods at once, and none: who learns from whom, and how much."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from method_cases import LAST, Case, make_case, together
from scipy.special import log_softmax, softmax
from torch import Tensor, nn

from protege.errors import ConfigError, RunError, ShapeMismatch
from protege.methods import Batch, Outputs, Progress, Shapes, parse_method
from protege.methods.base import nobody
from protege.methods.byot import BYOT
from protege.methods.dml import DML
from protege.methods.kd import KD
from protege.methods.multi import Multi
from protege.methods.sum import Sum
from protege.methods.tfkd import TfKD
from protege.methods.uncertainty import Uncertainty, relative_disagreement, relative_entropy


def logits_of(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities], dtype=torch.float64).log()


def several(*rows: Tensor) -> Outputs:
    return together([Outputs(row) for row in rows])


def kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return (p * (np.log(p) - np.log(q))).sum(-1)


@pytest.fixture
def case() -> Case:
    return make_case(batch=7, classes=6, teachers=3, seed=4, dtype=torch.float64)


# uncertainty


def test_the_surer_teacher_weighs_more() -> None:
    """Entropy over log 4: 0 for a sure teacher, 1/2 for two even classes of four, 1 for none known."""
    sure, halves, ignorant = (
        torch.tensor([row]) for row in ([50.0, 0, 0, 0], [50.0, 50.0, 0, 0], [0.0, 0.0, 0.0, 0.0])
    )
    shares = [relative_entropy(Outputs(row)).item() for row in (sure, halves, ignorant)]
    assert shares == pytest.approx([0, 0.5, 1], abs=1e-6)


def test_uncertainty_weighs_each_examples_divergence(case: Case) -> None:
    student = case.student.logits.detach().numpy()
    members = np.stack([member.logits.detach().numpy() for member in case.teacher.members])
    plain, softened = softmax(members, 2).mean(0), softmax(members / 4, 2).mean(0)
    weight = (1 + (plain * np.log(plain)).sum(1) / math.log(6)) ** 2
    expected = 0.9 * 16 * (weight * kl(softened, softmax(student / 4, 1))).mean()
    assert case.terms(Uncertainty(strength=2))["teacher"].item() == pytest.approx(expected)


def test_uncertainty_of_no_strength_is_kd(case: Case) -> None:
    assert case.terms(Uncertainty(strength=0))["teacher"].item() == pytest.approx(case.terms(KD())["teacher"].item())


def test_disagreement_is_what_the_teachers_do_not_share() -> None:
    """Two sure and opposed teachers know nothing together; two that are equally unsure do not disagree at all."""
    opposed = several(torch.tensor([[60.0, 0.0]]), torch.tensor([[0.0, 60.0]]))
    unsure = several(torch.zeros(1, 2), torch.zeros(1, 2))
    assert relative_disagreement(opposed).item() == pytest.approx(1)
    assert relative_disagreement(unsure).item() == pytest.approx(0, abs=1e-6)
    assert relative_entropy(unsure).item() == pytest.approx(1)


def test_disagreement_is_the_mutual_information_worked_by_hand() -> None:
    """(.9, .1) and (.3, .7): their mean has .9710 bits, they have .4690 and .8813: .2958 shared, of at most 1."""
    teachers = several(logits_of(0.9, 0.1), logits_of(0.3, 0.7))
    assert relative_disagreement(teachers).item() == pytest.approx(0.9710 - (0.4690 + 0.8813) / 2, abs=1e-4)


def test_disagreement_of_one_teacher_is_refused(case: Case) -> None:
    case.teacher = case.teacher.members[0]
    with pytest.raises(ConfigError, match="two teachers or more"):
        case.terms(Uncertainty(measure="disagreement"))


# multi


def test_the_mean_of_the_teachers_is_kd(case: Case) -> None:
    assert case.terms(Multi())["teacher"].item() == pytest.approx(case.terms(KD())["teacher"].item())


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.5, 0.3, 0.2), (4.0, 0.0, 1.0)])
def test_weighted_divergences_are_the_divergence_from_the_weighted_mean(weights: tuple[float, ...], case: Case) -> None:
    """Sum of w_k KL(p_k || q) - KL(sum of w_k p_k || q) is the same for every student q."""
    method = Multi(weighting="fixed", weights=weights, kd_weight=1)
    teachers = [softmax(member.logits.detach().numpy() / 4, 1) for member in case.teacher.members]
    constants = []
    for seed in range(3):
        case.student = Outputs(torch.randn(7, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
        q = softmax(case.student.logits.numpy() / 4, 1)
        apart = sum(w / sum(weights) * kl(p, q).mean() for w, p in zip(weights, teachers, strict=True))
        constants.append(16 * apart - case.terms(method)["teacher"].item())
    assert constants == pytest.approx([constants[0]] * 3)


def test_all_weight_on_one_teacher_is_kd_from_it(case: Case) -> None:
    alone = Case(case.student, case.teacher.members[1], case.batch, case.student_shapes, case.teacher_shapes)
    expected = alone.terms(KD())["teacher"].item()
    assert case.terms(Multi(weighting="fixed", weights=(0, 2, 0)))["teacher"].item() == pytest.approx(expected)
    for weighting in ("mean", "confidence", "entropy"):
        assert alone.terms(Multi(weighting=weighting))["teacher"].item() == pytest.approx(expected)


def test_confidence_weighs_each_teacher_by_its_cross_entropy_with_the_label() -> None:
    """Right class at .8, .4 and .2: losses .223, .916, 1.609; softmax .1429, .2857, .5714; (1 - that) / 2."""
    teachers = several(logits_of(0.8, 0.1, 0.1), logits_of(0.4, 0.3, 0.3), logits_of(0.2, 0.4, 0.4))
    batch = Batch(torch.tensor([0]), torch.tensor([0]))
    shares = Multi(weighting="confidence").shares(teachers, batch).flatten()
    assert shares.tolist() == pytest.approx([3 / 7, 2.5 / 7, 1.5 / 7])


def test_entropy_weighs_each_teacher_by_its_own_doubt() -> None:
    """Entropies 0 and log 2: softmax 1/3 and 2/3, so the sure teacher has 2/3, whatever the label."""
    teachers = several(torch.tensor([[60.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
    for label in (0, 1):
        shares = Multi(weighting="entropy").shares(teachers, Batch(torch.tensor([label]), torch.tensor([0])))
        assert shares.flatten().tolist() == pytest.approx([2 / 3, 1 / 3])


def test_fixed_weights_must_fit_the_teachers(case: Case) -> None:
    with pytest.raises(ConfigError, match="2 weights for 3 teachers"):
        case.terms(Multi(weighting="fixed", weights=(1, 1)))
    for wrong in ({"weighting": "fixed"}, {"weights": (1, 2)}, {"weighting": "fixed", "weights": (0, 0)}):
        with pytest.raises(ValueError, match="weights"):
            parse_method({"name": "multi", **wrong})


# tfkd


def test_the_virtual_teacher_at_temperature_one_is_label_smoothing(case: Case) -> None:
    """Right class .9 and .02 for each of five others, so KL = cross-entropy - entropy."""
    target = np.full((7, 6), 0.02)
    target[np.arange(7), case.batch.labels.numpy()] = 0.9
    cross = -(target * log_softmax(case.student.logits.detach().numpy(), 1)).sum(1).mean()
    entropy = -(0.9 * math.log(0.9) + 5 * 0.02 * math.log(0.02))
    term = case.terms(TfKD(correct=0.9, temperature=1, kd_weight=1))["teacher"]
    assert term.item() == pytest.approx(cross - entropy)


def test_the_virtual_teacher_is_softened_like_any_other() -> None:
    """.99 and .01 at T 2: odds of sqrt(99), not of 99."""
    student = torch.tensor([[math.log(99), 0.0]], dtype=torch.float64)
    batch = Batch(torch.tensor([0]), torch.tensor([0]))
    assert TfKD(temperature=2).terms(Outputs(student), Outputs(student), batch, nn.Module(), LAST)[
        "teacher"
    ].item() == pytest.approx(0, abs=1e-12)


# dml


@pytest.mark.parametrize("above", [6.0, 12.0])
def test_the_authors_virtual_teacher_pulls_about_twenty_times_as_hard(above: float) -> None:
    """As its description says, of a student whose right class stands `above` the rest, with their multiplier 100."""
    logits = torch.zeros(1, 100, dtype=torch.float64)
    logits[0, 3] = above
    logits.requires_grad_()
    batch = Batch(torch.tensor([3]), torch.tensor([0]))
    ours = TfKD().terms(Outputs(logits), nobody(), batch, nn.Module(), Progress(99, 100))["teacher"]
    (mine,) = torch.autograd.grad(ours, logits)
    virtual = torch.full((1, 100), 0.01 / 99, dtype=torch.float64)
    virtual[0, 3] = 0.99
    theirs = 0.1 * 100 / 100 * (logits.softmax(1) - (virtual / 20).softmax(1))  # gradient of their regulariser
    assert 15 < (theirs.norm() / mine.norm()).item() < 25


def test_each_peer_gets_the_gradient_of_its_own_loss() -> None:
    """CE + mean over others of KL(other || it), others held fixed: (p - onehot + mean of (p - p_other)) / B."""
    case = make_case(batch=7, classes=6, peers=3, dtype=torch.float64)
    sum(case.terms(DML(peers=3)).values(), start=torch.tensor(0.0)).backward()
    probable = [softmax(peer.logits.detach().numpy(), 1) for peer in case.student.members]
    right = np.eye(6)[case.batch.labels.numpy()]
    for i, peer in enumerate(case.student.members):
        others = np.mean([p for j, p in enumerate(probable) if j != i], axis=0)
        assert peer.logits.grad is not None
        np.testing.assert_allclose(peer.logits.grad.numpy(), (2 * probable[i] - right - others) / 7, rtol=1e-8)


def test_dml_asks_for_its_peers_and_says_when_they_are_missing() -> None:
    assert DML().cohort == 2
    assert DML(peers=4).cohort == 4
    assert KD().cohort == 1
    assert not DML().wants_teacher()
    with pytest.raises(RunError, match="2 students, but was given 1"):
        make_case().terms(DML())


# byot


def test_exits_learn_from_the_deepest_layer_and_it_from_the_labels_alone() -> None:
    case = make_case()
    case.terms(BYOT())["labels"].backward()
    assert case.student.logits.grad is not None
    alone = case.student.logits.grad.clone()
    case.student.logits.grad = None
    torch.stack(list(case.terms(BYOT()).values())).sum().backward()
    torch.testing.assert_close(case.student.logits.grad, alone)
    assert case.student.features["pooled"].grad is None
    for stage in ("stage1", "stage2"):
        gradient = case.student.features[stage].grad
        assert gradient is not None
        assert gradient.abs().sum() > 0
    assert case.student.features["stage3"].grad is None


def test_byot_adds_up_over_exits_that_copy_the_deepest_layer() -> None:
    """Two exits that say what the deepest says: nothing to learn from it, and the labels twice at .7."""
    case = make_case()

    class Echo(nn.Module):
        def forward(self, stage: Tensor) -> tuple[Tensor, Tensor]:
            return case.student.features["pooled"], case.student.logits

    terms = case.terms(BYOT(), nn.ModuleDict({"stage1": Echo(), "stage2": Echo()}))
    assert terms["exits"].item() == pytest.approx(1.4 * terms["labels"].item(), rel=1e-6)
    assert terms["deepest"].item() == pytest.approx(0, abs=1e-6)
    assert terms["features"].item() == 0


def test_byot_needs_a_stage_before_the_last() -> None:
    with pytest.raises(ShapeMismatch, match="fewer than two stages"):
        BYOT().adapters(Shapes(5, {"stage1": (4, 2, 2), "pooled": (4,)}), Shapes(0))


# sum


def test_a_sum_counts_the_labels_once_and_weighs_its_parts() -> None:
    case = make_case()
    method = parse_method(
        {"name": "sum", "ce_weight": 0.5, "parts": [{"method": "kd", "weight": 2}, {"method": {"name": "dkd"}}]}
    )
    terms, kd, dkd = case.terms(method), case.terms(KD()), case.terms(parse_method("dkd"))
    assert set(terms) == {"labels", "kd.teacher", "dkd.target", "dkd.others"}
    assert terms["labels"].item() == pytest.approx(0.5 * dkd["labels"].item())
    assert terms["kd.teacher"].item() == pytest.approx(2 * kd["teacher"].item())
    assert terms["dkd.others"].item() == pytest.approx(dkd["others"].item())


def test_a_method_may_come_twice_in_a_sum() -> None:
    hot = {"method": {"name": "kd", "temperature": 8}}
    method = parse_method({"name": "sum", "parts": [{"method": "kd"}, hot, {"method": "ctkd"}]})
    case = make_case()
    assert set(case.terms(method)) == {"labels", "kd.teacher", "kd2.teacher", "ctkd.teacher"}
    assert [name for name, _ in case.adapters(method).named_parameters()] == ["of_ctkd.raw"]


def test_a_sum_needs_what_its_parts_need() -> None:
    without = parse_method({"name": "sum", "parts": [{"method": "byot"}, {"method": {"name": "dml", "peers": 3}}]})
    assert not without.wants_teacher()
    assert without.cohort == 3
    assert set(without.wants()) == {"logits", "stages", "pooled"}
    assert parse_method({"name": "sum", "parts": [{"method": "byot"}, {"method": "kd"}]}).wants_teacher()


def test_in_a_sum_every_peer_learns_from_the_labels() -> None:
    case = make_case(peers=2)
    terms = case.terms(parse_method({"name": "sum", "parts": [{"method": "dml"}]}))
    assert terms["labels"].item() == pytest.approx(case.terms(DML())["labels"].item())


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ([], "needs one part at least"),
        ([{"method": {"name": "kd", "ce_weight": 0.4}}], "ce_weight of part 'kd' would be ignored"),
        ([{"method": {"name": "kd", "label_smoothing": 0.1}}], "label_smoothing of part 'kd' would be ignored"),
        ([{"method": "supervised"}], "supervised has nothing but the labels"),
        ([{"method": "kd", "weight": 0}], "greater than 0"),
    ],
)
def test_a_sum_refuses_parts_that_would_do_nothing(parts: list[object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_method({"name": "sum", "parts": parts})


def test_a_part_that_deploys_more_than_the_student_is_what_the_sum_deploys(tmp_path: Path) -> None:
    """Its prediction is what the labels and the other parts see, and only one such part is allowed."""
    file = tmp_path / "doubled.py"
    file.write_text(DOUBLED)
    part = {"method": f"{file}:Doubled"}
    method = parse_method({"name": "sum", "parts": [part, {"method": "kd"}]})
    case = make_case()
    terms = case.terms(method)
    assert method.added() == "a factor"
    torch.testing.assert_close(method.predict(case.student, case.adapters(method)), 2 * case.student.logits)
    case.student.logits = 2 * case.student.logits
    assert terms["kd.teacher"].item() == pytest.approx(case.terms(KD())["teacher"].item())
    assert terms["labels"].item() == pytest.approx(10 * case.terms(KD())["labels"].item(), rel=1e-5)
    with pytest.raises(ValueError, match="two parts change the deployed student"):
        Sum.model_validate({"parts": [part, part]})


DOUBLED = """
from protege.methods import Method

class Doubled(Method):
    '''Predicts twice the student's logits.'''
    adds = "a factor"

    def terms(self, student, teacher, batch, adapters, progress):
        return {}

    def predict(self, student, adapters):
        return 2 * student.logits
"""
