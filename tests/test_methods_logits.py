"""Methods that look at logits: their values against formulas written out here, their gradients against theory."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from method_cases import LAST, Case, make_case, together
from scipy.special import log_softmax, softmax
from torch import Tensor, nn

from protege.methods import METHODS, Batch, Method, Outputs, Progress, parse_method
from protege.methods.base import softened_kl
from protege.methods.ctkd import CTKD
from protege.methods.dist import DIST
from protege.methods.dkd import DKD
from protege.methods.kd import KD
from protege.methods.ls import LS, standardised
from protege.methods.luminet import LumiNet
from protege.methods.mlkd import MLKD
from protege.methods.nkd import NKD
from protege.methods.rld import RLD
from protege.methods.ttm import TTM
from protege.methods.wsld import WSLD

BY_EXAMPLE = ("kd", "dkd", "nkd", "dist", "ls", "ttm", "tfkd", "wsld", "uncertainty", "multi", "supervised")


@pytest.fixture
def case() -> Case:
    return make_case(batch=7, classes=6, scale=3.0, seed=3, dtype=torch.float64)


def arrays(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Student logits, teacher logits and labels."""
    return case.student.logits.detach().numpy(), case.teacher.logits.detach().numpy(), case.batch.labels.numpy()


def kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """KL(p || q) over the last axis."""
    return (p * (np.log(p) - np.log(q))).sum(-1)


def said(logits: Tensor) -> Outputs:
    return Outputs(logits)


def one(
    method: Method, student: Tensor, teacher: Tensor, labels: Tensor, progress: Progress = LAST
) -> dict[str, Tensor]:
    batch = Batch(labels, torch.arange(len(labels)))
    return method.terms(said(student), said(teacher), batch, nn.Module(), progress)


# the labels


def test_labels_are_the_cross_entropy_of_the_right_class(case: Case) -> None:
    student, _, labels = arrays(case)
    expected = -log_softmax(student, 1)[np.arange(7), labels].mean()
    assert case.terms(METHODS["supervised"]())["labels"].item() == pytest.approx(expected)  # pyright: ignore


def test_label_smoothing_spreads_its_share_over_all_classes(case: Case) -> None:
    student, _, labels = arrays(case)
    target = np.full((7, 6), 0.3 / 6)
    target[np.arange(7), labels] += 0.7
    expected = -(target * log_softmax(student, 1)).sum(1).mean()
    method = parse_method({"name": "supervised", "label_smoothing": 0.3})
    assert case.terms(method)["labels"].item() == pytest.approx(expected)


def test_a_mixed_image_has_both_labels_by_their_shares() -> None:
    """Logits (log 3, 0): probabilities 3/4 and 1/4; an image that is 4/5 class 0 and 1/5 class 1."""
    logits = torch.tensor([[math.log(3), 0.0]], dtype=torch.float64)
    batch = Batch(torch.tensor([0]), torch.tensor([0]), torch.tensor([1]), torch.tensor([0.8], dtype=torch.float64))
    term = parse_method("supervised").terms(said(logits), said(logits), batch, nn.Module(), LAST)["labels"]
    assert term.item() == pytest.approx(-0.8 * math.log(3 / 4) - 0.2 * math.log(1 / 4))


# kd


def test_kd_is_the_softened_divergence_times_the_square_of_the_temperature(case: Case) -> None:
    student, teacher, _ = arrays(case)
    expected = 0.9 * 16 * kl(softmax(teacher / 4, 1), softmax(student / 4, 1)).mean()
    assert case.terms(KD())["teacher"].item() == pytest.approx(expected)


def test_the_gradient_of_kd_is_the_difference_of_the_softened_probabilities(case: Case) -> None:
    """d/dz = kd_weight * T * (p_student - p_teacher) / B."""
    student, teacher, _ = arrays(case)
    case.terms(KD(temperature=5, kd_weight=0.7))["teacher"].backward()
    expected = 0.7 * 5 * (softmax(student / 5, 1) - softmax(teacher / 5, 1)) / 7
    assert case.student.logits.grad is not None
    np.testing.assert_allclose(case.student.logits.grad.numpy(), expected, rtol=1e-9)


def test_a_very_hot_kd_compares_centred_logits(case: Case) -> None:
    """T to infinity: T^2 KL becomes |(z_s - mean) - (z_t - mean)|^2 / 2C."""
    student, teacher, _ = arrays(case)
    apart = (student - student.mean(1, keepdims=True)) - (teacher - teacher.mean(1, keepdims=True))
    expected = (apart**2).sum(1).mean() / (2 * 6)
    hot = case.terms(KD(temperature=1e4, kd_weight=1))["teacher"]
    assert hot.item() == pytest.approx(expected, rel=1e-3)


def test_kd_does_not_see_a_shift_of_the_logits(case: Case) -> None:
    teacher = case.student.logits.detach() + 12.5
    assert softened_kl(case.student.logits, teacher, 3.0).item() == pytest.approx(0, abs=1e-12)


def test_kd_averages_the_probabilities_of_several_teachers_at_its_temperature() -> None:
    """Two teachers (9:1 and 1:1 at T 1): at T 2 their odds are 3:1 and 1:1, so the mean says 5/8 and 3/8."""
    one_sided, even = (torch.tensor([[math.log(odds), 0.0]], dtype=torch.float64) for odds in (9, 1))
    teacher = together([said(one_sided), said(even)])
    batch = Batch(torch.tensor([0]), torch.tensor([0]))
    term = KD(temperature=2, kd_weight=1).terms(said(even), teacher, batch, nn.Module(), LAST)["teacher"]
    assert term.item() == pytest.approx(4 * (5 / 8 * math.log(5 / 4) + 3 / 8 * math.log(3 / 4)))


@pytest.mark.parametrize("name", BY_EXAMPLE)
def test_the_loss_does_not_depend_on_the_size_of_the_batch(name: str, case: Case) -> None:
    """Every example twice: the mean stays the mean."""
    method = parse_method(name)
    twice = Batch(case.batch.labels.repeat(2), case.batch.indices.repeat(2))
    doubled = Case(
        said(case.student.logits.repeat(2, 1)),
        said(case.teacher.logits.repeat(2, 1)),
        twice,
        case.student_shapes,
        case.teacher_shapes,
    )
    for term, value in case.terms(method).items():
        assert doubled.terms(method)[term].item() == pytest.approx(value.item(), rel=1e-9), term


@pytest.mark.parametrize("name", [*(name for name in BY_EXAMPLE if name != "wsld"), "mlkd", "ctkd"])
def test_gradients_agree_with_finite_differences(name: str, case: Case) -> None:
    """In float64. `wsld` holds its weights fixed, and `dml` its peers, so theirs are tested against theory."""
    method = parse_method(name)
    adapters = case.adapters(method).double()

    def total(logits: Tensor) -> Tensor:
        terms = method.terms(said(logits), case.teacher, case.batch, adapters, LAST)
        return torch.stack(list(terms.values())).sum()

    assert torch.autograd.gradcheck(total, (case.student.logits,))


# dkd


def test_the_two_parts_add_up_to_plain_kd() -> None:
    """The paper's decomposition: KL = target part + p_rest * others part, example by example."""
    for seed in range(5):
        case = make_case(batch=1, classes=6, seed=seed, dtype=torch.float64)
        _, teacher, labels = arrays(case)
        rest = 1 - softmax(teacher / 4, 1)[0, labels[0]]
        parts = case.terms(DKD(target_weight=1, others_weight=rest))
        whole = case.terms(KD(kd_weight=1))["teacher"]
        assert (parts["target"] + parts["others"]).item() == pytest.approx(whole.item(), rel=1e-9)


def test_dkd_renormalises_the_wrong_classes_among_themselves(case: Case) -> None:
    student, teacher, labels = arrays(case)
    expected = 0.0
    for z_s, z_t, label in zip(student, teacher, labels, strict=True):
        wrong = [c for c in range(6) if c != label]
        expected += 8 * 16 * kl(softmax(z_t[wrong] / 4), softmax(z_s[wrong] / 4)) / 7
    assert case.terms(DKD())["others"].item() == pytest.approx(expected)


def test_dkd_with_two_classes_has_no_others() -> None:
    case = make_case(classes=2)
    terms = case.terms(DKD())
    assert terms["others"].item() == 0
    terms["others"].backward()
    assert case.student.logits.grad is not None
    assert case.student.logits.grad.abs().sum() == 0
    assert terms["target"].item() == pytest.approx(case.terms(KD(kd_weight=1))["teacher"].item(), rel=1e-5)


def test_dkd_still_compares_the_others_where_the_right_class_leaves_them_nothing() -> None:
    """At logits of 1e4 the wrong classes' probabilities underflow, their ratios do not: here 3:1 against 1:1."""
    student = torch.tensor([[1e4, 0.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[1e4, math.log(3), 0.0]])
    others = one(DKD(temperature=1, others_weight=1), student, teacher, torch.tensor([0]))["others"]
    assert others.item() == pytest.approx(3 / 4 * math.log(3 / 2) + 1 / 4 * math.log(1 / 2), rel=1e-3)


@pytest.mark.parametrize(("epoch", "share"), [(0, 0.05), (9, 0.5), (19, 1.0), (200, 1.0)])
def test_dkd_warms_up_over_twenty_epochs(epoch: int, share: float, case: Case) -> None:
    full, now = case.terms(DKD()), case.terms(DKD(), progress=Progress(epoch, 240))
    assert now["target"].item() == pytest.approx(share * full["target"].item())
    assert now["others"].item() == pytest.approx(share * full["others"].item())
    assert now["labels"].item() == full["labels"].item()


def test_kd_measures_the_distance_as_it_is_told(case: Case) -> None:
    """Each divergence written out example by example; forward is what kd has always been."""
    student, teacher, _ = arrays(case)
    s, t = softmax(student / 3, 1), softmax(teacher / 3, 1)
    middle = (s + t) / 2
    expected = {
        "forward": 9 * kl(t, s),
        "reverse": 9 * kl(s, t),
        "js": 9 * (kl(s, middle) + kl(t, middle)) / 2,
        "logits": ((student - teacher) ** 2).mean(1),
        "hard": np.array([-math.log(softmax(student, 1)[b, teacher[b].argmax()]) for b in range(len(s))]),
    }
    for divergence, values in expected.items():
        method = parse_method({"name": "kd", "divergence": divergence, "temperature": 3, "kd_weight": 0.7})
        assert case.terms(method)["teacher"].item() == pytest.approx(0.7 * values.mean()), divergence


@pytest.mark.parametrize("divergence", ["forward", "reverse", "js", "logits", "hard"])
def test_every_divergence_of_kd_has_the_gradient_of_its_value(divergence: str, case: Case) -> None:
    method = parse_method({"name": "kd", "divergence": divergence})

    def loss(logits: Tensor) -> Tensor:
        return one(method, logits, case.teacher.logits, case.batch.labels)["teacher"]

    assert torch.autograd.gradcheck(loss, (case.student.logits,))


@pytest.mark.parametrize("divergence", ["forward", "reverse", "js", "logits"])
def test_a_student_that_says_what_its_teacher_says_is_left_alone(divergence: str, case: Case) -> None:
    method = parse_method({"name": "kd", "divergence": divergence})
    said_alike = one(method, case.teacher.logits, case.teacher.logits, case.batch.labels)
    assert said_alike["teacher"].item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("scale", [1e4, 0.0])
@pytest.mark.parametrize("divergence", ["reverse", "js", "logits", "hard"])
def test_every_divergence_of_kd_is_finite_at_extreme_logits(divergence: str, scale: float) -> None:
    case = make_case(scale=scale)
    case.terms(parse_method({"name": "kd", "divergence": divergence}))["teacher"].backward()
    assert case.student.logits.grad is not None
    assert torch.isfinite(case.student.logits.grad).all()


def test_a_choice_of_divergence_left_every_earlier_description_of_kd_as_it_was() -> None:
    """Ids of runs are made of it."""
    assert KD().model_dump() == {
        "name": "kd", "label_smoothing": 0.0, "temperature": 4.0, "kd_weight": 0.9, "ce_weight": 0.1, "standardise": False
    }  # fmt: skip
    assert KD(divergence="js").model_dump()["divergence"] == "js"


# luminet


def test_luminet_is_kd_on_logits_standardised_class_by_class(case: Case) -> None:
    """No T^2, and a weight of 33 squared."""
    student, teacher, _ = arrays(case)
    s, t = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) / 4 for z in (student, teacher))
    expected = 33**2 * kl(softmax(t, 1), softmax(s, 1)).mean()
    terms = case.terms(LumiNet())
    assert terms["teacher"].item() == pytest.approx(expected)
    assert terms["labels"].item() == pytest.approx(2 * case.terms(DKD())["labels"].item())
    half = case.terms(LumiNet(), progress=Progress(9, 240))["teacher"].item()
    assert half == pytest.approx(expected / 2)


def test_luminet_does_not_see_scale_and_shift_of_a_class(case: Case) -> None:
    before = case.terms(LumiNet())["teacher"].item()
    with torch.no_grad():
        case.student.logits.mul_(torch.linspace(5, 9, 6, dtype=torch.float64)).add_(torch.arange(6))
    assert case.terms(LumiNet())["teacher"].item() == pytest.approx(before, rel=1e-4)


def test_the_gradient_of_luminet_goes_through_mean_and_variance(case: Case) -> None:
    def loss(logits: Tensor) -> Tensor:
        return one(LumiNet(), logits, case.teacher.logits, case.batch.labels)["teacher"]

    assert torch.autograd.gradcheck(loss, (case.student.logits,))


# rld


def test_rld_is_its_two_parts_written_out(case: Case) -> None:
    student, teacher, labels = arrays(case)
    confidence = others = 0.0
    for b, y in enumerate(labels):
        top, mine = softmax(teacher[b]).max(), softmax(student[b])[y]
        confidence += kl(np.array([top, 1 - top]), np.array([mine, 1 - mine]))
        lower = teacher[b] < teacher[b, y]
        if lower.any():
            others += 16 * kl(softmax(teacher[b, lower] / 4), softmax(student[b, lower] / 4))
    terms = case.terms(RLD())
    assert terms["confidence"].item() == pytest.approx(confidence / len(labels))
    assert terms["others"].item() == pytest.approx(8 * others / len(labels))
    tenth = case.terms(RLD(), progress=Progress(1, 240))
    assert tenth["others"].item() == pytest.approx(terms["others"].item() / 10)


def test_rld_leaves_out_what_the_teacher_puts_above_the_right_class() -> None:
    student = torch.tensor([[0.0, 3.0, 1.0, -1.0]], requires_grad=True)
    teacher = torch.tensor([[5.0, 2.0, 1.0, 0.0]])
    one(RLD(), student, teacher, torch.tensor([1]))["others"].backward()
    assert student.grad is not None
    assert (student.grad[0] != 0).tolist() == [False, False, True, True]


def test_rld_compares_nothing_where_the_teacher_ranks_the_right_class_last() -> None:
    student = torch.tensor([[0.0, 3.0, 1.0]], requires_grad=True)
    terms = one(RLD(), student, torch.tensor([[5.0, 2.0, 1.0]]), torch.tensor([2]))
    terms["others"].backward()
    assert terms["others"].item() == 0
    assert student.grad is not None and not student.grad.any()


# nkd


def test_nkd_is_its_formula_summed_class_by_class(case: Case) -> None:
    student, teacher, labels = arrays(case)
    target = others = 0.0
    for z_s, z_t, label in zip(student, teacher, labels, strict=True):
        target -= softmax(z_t)[label] * log_softmax(z_s)[label] / 7
        wrong = [c for c in range(6) if c != label]
        t, s = softmax(z_t[wrong] / 3), softmax(z_s[wrong] / 3)
        others -= 3.5 * 9 * sum(p * math.log(q) for p, q in zip(t, s, strict=True)) / 7
    terms = case.terms(NKD())
    assert terms["target"].item() == pytest.approx(target)
    assert terms["others"].item() == pytest.approx(others)


def test_nkd_leaves_the_right_class_out_of_the_others(case: Case) -> None:
    """What either says of the right class changes nothing there."""
    before = case.terms(NKD())["others"]
    with torch.no_grad():
        for logits in (case.student.logits, case.teacher.logits):
            logits.scatter_add_(1, case.batch.labels[:, None], torch.full((7, 1), 4.0, dtype=logits.dtype))
    after = case.terms(NKD())
    assert after["others"].item() == pytest.approx(before.item(), rel=1e-12)
    after["others"].backward()
    assert case.student.logits.grad is not None
    assert (case.student.logits.grad.gather(1, case.batch.labels[:, None]) == 0).all()


# dist


def test_dist_is_one_minus_pearsons_correlation_of_rows_and_columns(case: Case) -> None:
    student, teacher, _ = arrays(case)
    s, t = softmax(student / 4, 1), softmax(teacher / 4, 1)
    rows = np.mean([1 - np.corrcoef(s[b], t[b])[0, 1] for b in range(7)])
    columns = np.mean([1 - np.corrcoef(s[:, c], t[:, c])[0, 1] for c in range(6)])
    terms = case.terms(DIST())
    assert terms["inter"].item() == pytest.approx(2 * 16 * rows)
    assert terms["intra"].item() == pytest.approx(2 * 16 * columns)


def test_dist_is_zero_where_probabilities_are_affine_in_the_teachers(case: Case) -> None:
    """p_student = .4 p_teacher + .6 / C: other probabilities, the same correlations."""
    softened = torch.softmax(case.teacher.logits.detach() / 4, 1)
    student = 4 * torch.log(0.4 * softened + 0.6 / 6)
    terms = one(DIST(), student, case.teacher.logits, case.batch.labels)
    assert terms["inter"].item() == pytest.approx(0, abs=1e-10)
    assert terms["intra"].item() == pytest.approx(0, abs=1e-10)
    assert softened_kl(student, case.teacher.logits, 4.0) > 0.1


def test_dist_of_a_single_example_has_no_part_over_the_batch() -> None:
    assert make_case(batch=1).terms(DIST())["intra"].item() == 0


# ls


def test_ls_is_kd_on_logits_of_mean_zero_and_deviation_one(case: Case) -> None:
    student, teacher, _ = arrays(case)
    s, t = ((z - z.mean(1, keepdims=True)) / z.std(1, ddof=1, keepdims=True) / 2 for z in (student, teacher))
    expected = 9 * 4 * kl(softmax(t, 1), softmax(s, 1)).mean()
    assert case.terms(LS())["teacher"].item() == pytest.approx(expected)
    assert case.terms(KD(temperature=2, kd_weight=9, standardise=True))["teacher"].item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("method", "blind"),
    [
        (LS(), {"teacher"}),
        (DKD(standardise=True), {"target", "others"}),
        (MLKD(standardise=True, kept=1), {"instance"}),
    ],
)
def test_standardised_methods_do_not_see_scale_and_shift(method: Method, blind: set[str], case: Case) -> None:
    before = case.terms(method)
    with torch.no_grad():
        case.student.logits.mul_(2.5).sub_(4)
        case.teacher.logits.mul_(0.3).add_(7)
    after = case.terms(method)
    for term in blind:
        assert after[term].item() == pytest.approx(before[term].item(), rel=1e-9), term


def pull(method: Method, case: Case) -> float:
    """Length of the gradient that the teacher's terms have on the student's logits."""
    terms = case.terms(method)
    own = torch.stack([value for term, value in terms.items() if term != "labels"]).sum()
    (gradient,) = torch.autograd.grad(own, case.student.logits)
    return gradient.norm().item()


PAIR = "resnet32x4 -> resnet8x4"


def test_standardise_wants_the_weights_of_its_presets() -> None:
    """Divided by their deviation, logits of a trained network are small: the plain weights would hardly pull at all."""
    case = make_case(batch=32, classes=100, scale=4.0)
    plain, preset = DKD(standardise=True), DKD(**DKD.variants["standardised"][PAIR])
    assert pull(plain, case) < pull(DKD(), case) / 4
    assert pull(preset, case) > 8 * pull(plain, case)
    kd = KD(**KD.variants["standardised"][PAIR])
    assert case.terms(kd)["teacher"].item() == pytest.approx(case.terms(LS())["teacher"].item())


def test_standardised_dkd_is_what_its_authors_publish_for_the_pair(case: Case) -> None:
    """T 2, and both weights of DKD, 1 and 8, times 9; written out with logits of mean 0 and deviation 1."""
    student, teacher, labels = arrays(case)
    s, t = ((z - z.mean(1, keepdims=True)) / z.std(1, ddof=1, keepdims=True) / 2 for z in (student, teacher))
    target = others = 0.0
    for b, y in enumerate(labels):
        p, q = softmax(t[b]), softmax(s[b])
        target += kl(np.array([p[y], 1 - p[y]]), np.array([q[y], 1 - q[y]]))
        others += kl(softmax(np.delete(t[b], y)), softmax(np.delete(s[b], y)))
    terms = case.terms(DKD(**DKD.variants["standardised"][PAIR]))
    assert terms["target"].item() == pytest.approx(9 * 4 * target / len(labels))
    assert terms["others"].item() == pytest.approx(72 * 4 * others / len(labels))


@pytest.mark.parametrize(
    ("pair", "temperature", "target", "others"),
    [
        ("vgg13 -> vgg8", 2, 15, 30),
        ("resnet56 -> resnet20", 3, 18, 36),
        ("wrn_40_2 -> wrn_16_2", 2, 12, 24),
        ("vgg13 -> mobilenet_v2_half", 3, 9, 18),
    ],
)
def test_presets_of_standardised_dkd_are_those_in_the_names_of_the_authors_logs(
    pair: str, temperature: float, target: float, others: float
) -> None:
    settings = DKD.variants["standardised"][pair]
    assert settings == {
        "standardise": True, "temperature": temperature, "target_weight": target, "others_weight": others
    }  # fmt: skip


def test_presets_of_ls_differ_where_its_authors_say_so() -> None:
    assert LS.presets["vgg13 -> vgg8"] == {"temperature": 3, "kd_weight": 9}
    assert LS.presets["resnet110 -> resnet20"] == {"temperature": 4, "kd_weight": 12}
    assert LS.presets[PAIR] == {"temperature": 2, "kd_weight": 9}


def test_a_head_that_starts_at_zero_gets_bounded_gradients() -> None:
    logits = torch.zeros(2, 5, requires_grad=True)
    teacher = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    one(LS(), logits, teacher, torch.tensor([0, 1]))["teacher"].backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 9 * 2 / 0.01


def test_each_teacher_is_standardised_by_itself() -> None:
    first, second = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 50.0]])
    members = standardised(together([said(first), said(second)])).members
    assert members[0].logits.flatten().tolist() == pytest.approx([0.7071, -0.7071], abs=1e-4)
    assert members[1].logits.flatten().tolist() == pytest.approx([-0.7071, 0.7071], abs=1e-4)


# ctkd


def test_ctkd_is_kd_at_its_learned_temperature(case: Case) -> None:
    """raw starts at 1: T = 1 + 20 / (1 + e^-1) = 15.62."""
    hot = KD(temperature=1 + 20 / (1 + math.exp(-1)))
    method = CTKD()
    adapters = case.adapters(method).double()
    assert case.terms(method, adapters)["teacher"].item() == pytest.approx(case.terms(hot)["teacher"].item())


@pytest.mark.parametrize(("epoch", "strength"), [(0, (1 - math.cos(math.pi / 10)) / 2), (4, 0.5), (9, 1.0), (50, 1.0)])
def test_the_temperature_climbs_the_loss_that_the_student_descends(epoch: int, strength: float, case: Case) -> None:
    """Its gradient is the true slope turned round, at a strength that grows by a cosine over ten epochs."""
    method, step = CTKD(), 1e-6
    adapters = case.adapters(method).double()
    raw = adapters.get_parameter("raw")
    case.terms(method, adapters, Progress(epoch, 100))["teacher"].backward()
    assert raw.grad is not None
    values = []
    for shifted in (1 + step, 1 - step):
        raw.data.fill_(shifted)
        values.append(case.terms(method, adapters)["teacher"].item())
    slope = (values[0] - values[1]) / (2 * step)
    assert raw.grad.item() == pytest.approx(-strength * slope, rel=1e-4)


@pytest.mark.parametrize(("raw", "temperature"), [(-100.0, 1.0), (100.0, 21.0)])
def test_the_learned_temperature_stays_between_its_bounds(raw: float, temperature: float, case: Case) -> None:
    method = CTKD()
    adapters = case.adapters(method).double()
    adapters.get_parameter("raw").data.fill_(raw)
    fixed = case.terms(KD(temperature=temperature))["teacher"].item()
    assert case.terms(method, adapters)["teacher"].item() == pytest.approx(fixed)


# mlkd


def test_mlkd_is_its_three_levels_written_out(case: Case) -> None:
    """Masks first, means after: examples and classes at or under the median of the teacher's confidence."""
    student, teacher, _ = arrays(case)
    sure = softmax(teacher, 1)
    examples = sure.max(1) <= np.median(sure.max(1))
    classes = sure.sum(0) <= np.median(sure.sum(0))
    assert 0 < examples.sum() < 7
    instance = classwise = batchwise = 0.0
    for temperature in (2, 3, 4, 5, 6):
        s, t = softmax(student / temperature, 1), softmax(teacher / temperature, 1)
        instance += sum(temperature**2 * kl(t[b], s[b]) for b in range(7) if examples[b]) / 7
        for i in range(6):
            classwise += sum((s[:, i] @ s[:, j] - t[:, i] @ t[:, j]) ** 2 for j in range(6)) * classes[i] / 6
        for i in range(7):
            batchwise += sum((s[i] @ s[j] - t[i] @ t[j]) ** 2 for j in range(7)) * examples[i] / 7
    terms = case.terms(MLKD())
    assert terms["instance"].item() == pytest.approx(0.9 * instance)
    assert terms["class"].item() == pytest.approx(0.9 * classwise)
    assert terms["batch"].item() == pytest.approx(0.9 * batchwise)


def test_standardised_mlkd_compares_classes_and_batch_by_the_raw_logits(case: Case) -> None:
    """Its authors standardise the comparison example by example, and nothing else."""
    plain, standardised_ = case.terms(MLKD()), case.terms(MLKD(standardise=True))
    for term in ("labels", "class", "batch"):
        assert standardised_[term].item() == plain[term].item(), term
    both = [case.terms(LS(temperature=t))["teacher"].item() / 9 for t in (2, 3, 5, 2, 6)]
    preset = MLKD(**MLKD.variants["standardised"][PAIR], kept=1)
    assert case.terms(preset)["instance"].item() == pytest.approx(9 * sum(both))
    once = [case.terms(MLKD(kept=1, temperatures=(t,), class_weight=9))["class"].item() for t in (2.0, 3.0, 5.0, 6.0)]
    assert case.terms(preset)["class"].item() == pytest.approx(sum(once) + once[0])


def test_the_confidence_mask_silences_sure_examples_and_no_others(case: Case) -> None:
    _, teacher, _ = arrays(case)
    sure = softmax(teacher, 1).max(1)
    case.terms(MLKD())["instance"].backward()
    assert case.student.logits.grad is not None
    heard = case.student.logits.grad.abs().sum(1).numpy() > 0
    np.testing.assert_array_equal(heard, sure <= np.median(sure))


def test_mlkd_without_mask_at_one_temperature_holds_plain_kd(case: Case) -> None:
    terms = case.terms(MLKD(kept=1, temperatures=(4.0,)))
    assert terms["instance"].item() == pytest.approx(case.terms(KD())["teacher"].item())


# ttm


def test_ttm_matches_the_teachers_powers(case: Case) -> None:
    student, teacher, _ = arrays(case)
    power = softmax(teacher, 1) ** (1 / 4)
    total = power.sum(1)
    apart = kl(power / total[:, None], softmax(student, 1))
    assert case.terms(TTM())["teacher"].item() == pytest.approx(36 * apart.mean())
    assert case.terms(TTM(weighted=True))["teacher"].item() == pytest.approx(36 * (total * apart).mean())


def test_ttm_is_kd_less_the_renyi_entropy_of_the_student(case: Case) -> None:
    """The paper's eq. 15: D(p_T || q) = T D(p_T || q_T) - (T - 1) H_{1/T}(q) + (T - 1) H(p_T)."""
    student, teacher, _ = arrays(case)
    T = 4
    p_T, q_T, q = softmax(teacher / T, 1), softmax(student / T, 1), softmax(student, 1)
    renyi = np.log((q ** (1 / T)).sum(1)) / (1 - 1 / T)
    shannon = -(p_T * np.log(p_T)).sum(1)
    expected = (T * kl(p_T, q_T) - (T - 1) * renyi + (T - 1) * shannon).mean()
    assert case.terms(TTM(kd_weight=1))["teacher"].item() == pytest.approx(expected)


def test_the_weight_of_ttm_runs_from_one_to_its_greatest() -> None:
    """A sure teacher weighs 1; one that knows nothing of 16 classes weighs 16^(1 - 1/4) = 8 times more."""
    student = torch.linspace(0, 3, 16).repeat(1, 1)
    for teacher, weight in ((torch.zeros(1, 16), 8.0), (torch.tensor([[1e4] + [0.0] * 15]), 1.0)):
        plain, weighted = (
            one(TTM(weighted=choice), student, teacher, torch.tensor([0]))["teacher"] for choice in (False, True)
        )
        assert weighted.item() == pytest.approx(weight * plain.item(), rel=1e-5)


# wsld


def test_wsld_weighs_each_example_by_who_knows_its_label(case: Case) -> None:
    """Its gradient is KD's times 1 - exp(-CE_student / CE_teacher): the weight itself passes none."""
    student, teacher, labels = arrays(case)
    rows = np.arange(7)
    weight = 1 - np.exp(-log_softmax(student, 1)[rows, labels] / log_softmax(teacher, 1)[rows, labels])
    apart = kl(softmax(teacher / 2, 1), softmax(student / 2, 1))
    term = case.terms(WSLD())["teacher"]
    term.backward()
    assert term.item() == pytest.approx(2.5 * 4 * (weight * apart).mean())
    expected = 2.5 * 2 * weight[:, None] * (softmax(student / 2, 1) - softmax(teacher / 2, 1)) / 7
    assert case.student.logits.grad is not None
    np.testing.assert_allclose(case.student.logits.grad.numpy(), expected, rtol=1e-9)


def test_wsld_turns_from_a_teacher_that_is_wrong_where_the_student_is_right() -> None:
    right, wrong = torch.tensor([[12.0, 0.0, 0.0]]), torch.tensor([[0.0, 12.0, 0.0]])
    labels = torch.tensor([0])
    plain = KD(temperature=2, kd_weight=2.5)
    for student, teacher, least, most in ((right, wrong, 0, 1e-5), (wrong, right, 0.999, 1)):
        share = one(WSLD(), student, teacher, labels)["teacher"] / one(plain, student, teacher, labels)["teacher"]
        assert least <= share.item() <= most + 1e-6
