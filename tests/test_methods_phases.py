"""Methods that prepare something first, and warm-ups: the first phase of a run, however long the run is."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from feature_cases import (
    KINDS,
    PAIRS,
    maps,
    norm,
    rows,
)
from method_cases import STUDENT_STAGES, make_case, make_twins
from torch import Tensor, nn

from protege.methods import Method, parse_method
from protege.methods.ab import AB, boundary_gap
from protege.methods.base import Batch, Outputs, Progress
from protege.methods.ctkd import CTKD
from protege.methods.dkd import DKD
from protege.methods.fsp import FSP, flow
from protege.methods.ft import FT, factor_gap
from protege.methods.kd import KD
from protege.methods.reviewkd import ReviewKD, hierarchical_gap
from protege.methods.reviewkd_fusion import Fusion
from protege.models import ModelConfig, build
from protege.models.network import wrap


def test_the_paraphraser_learns_first_and_then_stands_still() -> None:
    case = make_case()
    method = FT(paraphraser_epochs=5)
    adapters = case.adapters(method)
    first = case.terms(method, adapters, Progress(4, 100))
    assert first.keys() == {"labels", "paraphraser"}
    first["paraphraser"].backward()
    trained = {name.split(".")[0] for name, value in adapters.named_parameters() if value.grad is not None}
    assert trained == {"encoder", "decoder"}
    adapters.zero_grad(set_to_none=True)
    then = case.terms(method, adapters, Progress(5, 100))
    assert then.keys() == {"labels", "factors"}
    then["factors"].backward()
    trained = {name.split(".")[0] for name, value in adapters.named_parameters() if value.grad is not None}
    assert trained == {"translator"}


def test_factors_are_compared_as_unit_vectors() -> None:
    mine, theirs = maps(2, 3, 2, 2), maps(2, 3, 2, 2, seed=1)
    pairs = zip(rows(mine), rows(theirs), strict=True)
    gaps = [abs(a / norm(one) - b / norm(other)) for one, other in pairs for a, b in zip(one, other, strict=True)]
    assert factor_gap(mine, theirs).item() == pytest.approx(sum(gaps) / len(gaps), rel=1e-12)
    assert factor_gap(5 * mine, theirs).item() == pytest.approx(factor_gap(mine, theirs).item(), rel=1e-9)


def test_factors_have_half_the_teachers_channels() -> None:
    case = make_case()
    mine, theirs = case.adapters(FT())(case.student.features["stage3"], case.teacher.features["stage3"])
    assert mine.shape == theirs.shape == (6, 6, 2, 2)


def test_activation_boundaries_are_the_papers() -> None:
    mine, theirs, margin = maps(2, 3, 2, 2), maps(2, 3, 2, 2, seed=1), 1.0
    total = 0.0
    for s, t in zip(mine.flatten().tolist(), theirs.flatten().tolist(), strict=True):
        if t <= 0 and s > -margin:
            total += (s + margin) ** 2
        if t > 0 and s <= margin:
            total += (s - margin) ** 2
    assert boundary_gap(mine, theirs, margin).item() == pytest.approx(total / 2, rel=1e-12)


def test_boundaries_are_learnt_first_and_the_labels_after() -> None:
    case = make_twins()  # equal shapes need no connector
    case.teacher.features = {name: value.detach().roll(1, 0) for name, value in case.teacher.features.items()}
    adapters = case.adapters(AB())
    assert not list(adapters.parameters())
    first = case.terms(AB(), adapters, Progress(29, 100))
    pairs = [(case.student.features[f"stage{n}_pre"], case.teacher.features[f"stage{n}_pre"]) for n in (1, 2, 3)]
    gaps = [boundary_gap(*pair, 1.0).item() / halving for pair, halving in zip(pairs, (4, 2, 1), strict=True)]
    assert first.keys() == {"boundaries"}
    assert first["boundaries"].item() == pytest.approx(0.003 * sum(gaps), rel=1e-5)
    assert case.terms(AB(), adapters, Progress(30, 100)).keys() == {"labels"}


def test_a_first_phase_leaves_half_of_a_short_run() -> None:
    case = make_twins()
    phases = ((AB(), "boundaries", "labels"), (FT(), "paraphraser", "factors"), (FSP(), "flow", "labels"))
    for method, first, then in phases:
        adapters = case.adapters(method)
        assert first in case.terms(method, adapters, Progress(1, 4))
        assert first not in case.terms(method, adapters, Progress(2, 4))
        assert then in case.terms(method, adapters, Progress(2, 4))
        assert then in case.terms(method, adapters, Progress(0, 1))


def test_flow_is_learnt_first_and_the_labels_after() -> None:
    """As published: 30 epochs of flow at weight 1, in which the labels are not heard."""
    case = make_case(teacher_stages=STUDENT_STAGES)
    first = case.terms(FSP(), progress=Progress(29, 240))
    said = (case.student.features, case.teacher.features)
    expected = 0.0
    for shallow, deep in (("stage1", "stage2"), ("stage2", "stage3")):
        mine, theirs = (flow(features[shallow], features[deep]) for features in said)
        expected += (mine - theirs).square().mean().item()
    assert first.keys() == {"flow"}
    assert first["flow"].item() == pytest.approx(expected, rel=1e-5)
    assert case.terms(FSP(), progress=Progress(30, 240)).keys() == {"labels"}


def test_flow_and_labels_together_are_one_setting_away() -> None:
    case = make_case(teacher_stages=STUDENT_STAGES)
    for progress in (Progress(0, 240), Progress(239, 240)):
        assert case.terms(FSP(pretraining_epochs=0), progress=progress).keys() == {"labels", "flow"}


def test_the_flow_from_the_stem_is_there_where_both_name_it_as_a_stage() -> None:
    """As the paper has it: what enters the first stage, and what leaves each."""
    stages = {"stage1": "layer1:input", "stage2": "layer1", "stage3": "layer2", "stage4": "layer3"}
    config = {name: ModelConfig(name=name, stages=stages) for name in ("resnet8", "resnet14")}
    student, teacher = (wrap(build(one, 10), one).eval() for one in config.values())
    images = torch.randn(2, 3, 16, 16)
    mine, theirs = (Outputs(*network(images, ("stages",))) for network in (student, teacher))
    assert mine.features["stage1"].shape == (2, 16, 16, 16)
    found = FSP().terms(
        mine, theirs, Batch(torch.zeros(2, dtype=torch.int64), torch.arange(2)), nn.Module(), Progress(0, 9)
    )
    gaps = []
    for place in (1, 2, 3):
        first, second = (
            flow(one.features[f"stage{place}"], one.features[f"stage{place + 1}"]) for one in (mine, theirs)
        )
        gaps.append(F.mse_loss(first, second))
    assert found["flow"].item() == pytest.approx(torch.stack(gaps).sum().item(), rel=1e-6)


@pytest.mark.parametrize("name", ["ab", "fsp"])
def test_in_a_sum_labels_and_other_parts_wait_for_a_part_that_prepares(name: str) -> None:
    case = make_case(teacher_stages=STUDENT_STAGES)
    method = parse_method({"name": "sum", "parts": [{"method": "kd"}, {"method": name, "weight": 2}]})
    alone = case.terms(parse_method(name), progress=Progress(0, 240))
    (term,) = alone
    first = case.terms(method, progress=Progress(0, 240))
    assert first.keys() == {f"{name}.{term}"}
    assert first[f"{name}.{term}"].item() == pytest.approx(2 * alone[term].item())
    then = case.terms(method, progress=Progress(30, 240))
    assert then.keys() == {"labels", "kd.teacher"}
    assert then["kd.teacher"].item() == case.terms(KD())["teacher"].item()


def test_a_sum_within_a_sum_waits_too() -> None:
    case = make_case(teacher_stages=STUDENT_STAGES)
    inner = {"name": "sum", "parts": [{"method": "ab"}, {"method": "dist"}]}
    method = parse_method({"name": "sum", "parts": [{"method": "kd"}, {"method": inner}]})
    assert case.terms(method, progress=Progress(0, 240)).keys() == {"sum.ab.boundaries"}


def slow_hierarchy(mine: Tensor, theirs: Tensor) -> float:
    total, weights, weight = (mine - theirs).square().mean().item(), 1.0, 1.0
    for size in (4, 2, 1):
        if size >= mine.shape[2]:
            continue
        weight /= 2
        gap = F.adaptive_avg_pool2d(mine, size) - F.adaptive_avg_pool2d(theirs, size)
        total, weights = total + weight * gap.square().mean().item(), weights + weight
    return total / weights


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 8])
def test_the_hierarchical_loss_is_the_papers(size: int) -> None:
    mine, theirs = maps(2, 3, size, size), maps(2, 3, size, size, seed=1)
    assert hierarchical_gap(mine, theirs).item() == pytest.approx(slow_hierarchy(mine, theirs), rel=1e-12)


@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_review_finds_the_shapes_of_any_pair_by_itself(student: str, teacher: str) -> None:
    case = make_case(batch=2, student_stages=KINDS[student], teacher_stages=KINDS[teacher])
    levels = min(len(KINDS[student]), len(KINDS[teacher]))
    mine = [case.student.features["pooled"][:, :, None, None]]
    mine += [case.student.features[f"stage{n}"] for n in range(len(KINDS[student]), len(KINDS[student]) - levels, -1)]
    fused = case.adapters(ReviewKD())(mine)
    wide = KINDS[teacher][-1][0]
    expected = [(wide, 1, 1), *reversed(KINDS[teacher][-levels:])]
    assert [tuple(one.shape[1:]) for one in fused] == expected


def test_review_reads_the_teacher_before_its_activations_where_it_has_them() -> None:
    case = make_case()
    adapters = case.adapters(ReviewKD())
    expected = case.terms(ReviewKD(), adapters)["review"].item()
    plain = {name: value for name, value in case.teacher.features.items() if not name.endswith("_pre")}
    without = replace(case, teacher=Outputs(case.teacher.logits, plain))
    assert without.terms(ReviewKD(), adapters)["review"].item() != pytest.approx(expected)
    raised = {name: plain.get(name.removesuffix("_pre"), plain["pooled"]) for name in case.teacher.features}
    same = replace(case, teacher=Outputs(case.teacher.logits, raised))
    assert without.terms(ReviewKD(), adapters)["review"].item() == same.terms(ReviewKD(), adapters)["review"].item()


def test_a_fusion_weighs_a_level_and_the_deeper_ones_place_by_place() -> None:
    torch.manual_seed(0)
    fusion = Fusion(3, 4, 5, fuses=True).double().eval()  # in eval mode fresh batch norms change hardly anything
    level, deeper = maps(2, 3, 4, 4), maps(2, 4, 2, 2, seed=1)
    seen, mixed = fusion(level, deeper, (8, 8))
    calm = math.sqrt(1 + 1e-5)
    mine = torch.einsum("oc,bchw->bohw", fusion.inward[0].weight[:, :, 0, 0], level) / calm  # type: ignore[index]
    above = deeper.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert fusion.attention is not None
    both = torch.cat((mine, above), 1)
    share = (
        torch.einsum("oc,bchw->bohw", fusion.attention.weight[:, :, 0, 0], both)
        + fusion.attention.get_parameter("bias")[None, :, None, None]
    )
    share = 1 / (1 + torch.exp(-share))
    blended = mine * share[:, :1] + above * share[:, 1:]
    torch.testing.assert_close(mixed, blended.repeat_interleave(2, 2).repeat_interleave(2, 3))
    torch.testing.assert_close(seen, F.conv2d(mixed, fusion.outward[0].weight, padding=1) / calm)  # type: ignore[arg-type]


def test_review_warms_up() -> None:
    case = make_case()
    adapters = case.adapters(ReviewKD())
    full = case.terms(ReviewKD(), adapters, Progress(19, 240))["review"].item()
    assert case.terms(ReviewKD(), adapters, Progress(4, 240))["review"].item() == pytest.approx(full / 4, rel=1e-5)
    assert case.terms(ReviewKD(), adapters, Progress(200, 240))["review"].item() == pytest.approx(full, rel=1e-5)


@pytest.mark.parametrize(("method", "term"), [(DKD(), "others"), (ReviewKD(), "review")])
def test_a_warm_up_takes_at_most_half_of_a_short_run(method: Method, term: str) -> None:
    """Six epochs are not spent at a third of the weight."""
    case = make_case()
    adapters = case.adapters(method)
    full = case.terms(method, adapters, Progress(239, 240))[term].item()
    shares = [case.terms(method, adapters, Progress(epoch, 6))[term].item() / full for epoch in range(6)]
    assert shares == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1], rel=1e-4)
    assert case.terms(method, adapters, Progress(0, 1))[term].item() == pytest.approx(full, rel=1e-5)


def test_the_learned_temperature_opposes_at_full_strength_from_the_middle_of_a_short_run() -> None:
    def climb(epoch: int, epochs: int) -> float:
        case = make_case()
        adapters = case.adapters(CTKD())
        case.terms(CTKD(), adapters, Progress(epoch, epochs))["teacher"].backward()
        gradient = adapters.get_parameter("raw").grad
        assert gradient is not None
        return gradient.item()

    assert climb(2, 6) == pytest.approx(climb(239, 240))
    assert abs(climb(1, 6)) < abs(climb(2, 6))


@pytest.mark.parametrize("wanted", [10, 20])
def test_a_published_run_warms_up_as_published(wanted: int) -> None:
    assert [Progress(epoch, 240).warmed(wanted) for epoch in range(240)] == [
        min(1.0, (epoch + 1) / wanted) for epoch in range(240)
    ]
