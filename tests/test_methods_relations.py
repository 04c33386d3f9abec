"""Methods that compare relations within a batch or between stages, against their papers written out slowly."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from feature_cases import (
    FIRST,
    dot,
    doubles,
    maps,
    norm,
    precise_case,
    precise_terms,
    rotation,
    rows,
)
from method_cases import make_case
from torch import Tensor

from protege.errors import ShapeMismatch
from protege.methods.cc import CC, kernel, neighbour_gap
from protege.methods.fsp import FSP, flow
from protege.methods.pkt import PKT, neighbour_kl
from protege.methods.rkd import RKD, angles, relative_distances
from protege.methods.sp import SP, similarity_gap


def test_similarity_preserving_is_the_papers() -> None:
    mine, theirs = maps(3, 2, 2, 2), maps(3, 5, 1, 1, seed=1)

    def similarity(features: Tensor) -> list[list[float]]:
        gram = [[dot(one, other) for other in rows(features)] for one in rows(features)]
        return [[value / norm(row) for value in row] for row in gram]

    pairs = zip(similarity(mine), similarity(theirs), strict=True)
    expected = sum((a - b) ** 2 for one, other in pairs for a, b in zip(one, other, strict=True)) / 3**2
    assert similarity_gap(mine, theirs).item() == pytest.approx(expected, rel=1e-12)


def test_similarity_preserving_knows_neither_rotation_nor_order() -> None:
    mine, theirs, shuffle = doubles(6, 8), doubles(6, 5, seed=1), torch.randperm(6)
    expected = similarity_gap(mine, theirs).item()
    assert similarity_gap(mine @ rotation(8), theirs).item() == pytest.approx(expected, rel=1e-9)
    assert similarity_gap(mine[shuffle], theirs[shuffle]).item() == pytest.approx(expected, rel=1e-9)


def test_probabilistic_transfer_is_the_papers() -> None:
    mine, theirs, small = doubles(4, 3), doubles(4, 5, seed=1), 1e-7

    def probabilities(vectors: Tensor) -> list[list[float]]:
        cosine = [[dot(a, b) / norm(a) / norm(b) for b in rows(vectors)] for a in rows(vectors)]
        affinity = [[(value + 1) / 2 for value in row] for row in cosine]
        return [[value / sum(row) for value in row] for row in affinity]

    pairs = zip(probabilities(mine), probabilities(theirs), strict=True)
    terms = [t * math.log((t + small) / (s + small)) for p, q in pairs for s, t in zip(p, q, strict=True)]
    assert neighbour_kl(mine, theirs).item() == pytest.approx(sum(terms) / 16, rel=1e-9)


def test_probabilistic_transfer_knows_no_rotation() -> None:
    mine, theirs = doubles(6, 8), doubles(6, 5, seed=1)
    turned = neighbour_kl(mine @ rotation(8), theirs @ rotation(5))
    assert turned.item() == pytest.approx(neighbour_kl(mine, theirs).item(), rel=1e-9)


def test_correlation_congruence_with_a_kernel_is_the_papers() -> None:
    case = precise_case(batch=4)

    def gaussian(vectors: Tensor) -> list[list[float]]:
        unit = [[value / norm(row) for value in row] for row in rows(vectors)]
        terms = [(2 * 0.4) ** p / math.factorial(p) for p in range(3)]
        return [[math.exp(-0.8) * sum(t * dot(a, b) ** p for p, t in enumerate(terms)) for b in unit] for a in unit]

    pairs = zip(gaussian(case.student.features["pooled"]), gaussian(case.teacher.features["pooled"]), strict=True)
    expected = sum((a - b) ** 2 for one, other in pairs for a, b in zip(one, other, strict=True)) / 16
    terms, adapters = precise_terms(CC(form="kernel"), case)
    assert terms["correlation"].item() == pytest.approx(100 * expected, rel=1e-9)
    assert not list(adapters.parameters())


def test_the_kernels_series_goes_towards_the_gaussian() -> None:
    """exp(-width |x - y|^2) of unit vectors, once enough terms are summed."""
    unit = F.normalize(doubles(4, 3))
    gaussian = torch.exp(-0.4 * torch.cdist(unit, unit).square())
    torch.testing.assert_close(kernel(unit, 0.4, order=20), gaussian)


def test_correlation_congruence_of_neighbours_multiplies_their_gaps() -> None:
    mine, theirs = (
        torch.tensor([[1.0, 0.0], [2.0, 5.0], [0.0, 1.0]]),
        torch.tensor([[0.0, 0.0], [4.0, 2.0], [0.0, 4.0]]),
    )
    # gaps (1, 0), (2, 3), (0, 3); products 2 and 9, over two neighbours
    assert neighbour_gap(mine, theirs).item() == pytest.approx(5.5)
    assert neighbour_gap(mine[:1], theirs[:1]).item() == 0
    terms, adapters = precise_terms(CC(), case := precise_case())
    embedded = adapters(case.student.features["pooled"], case.teacher.features["pooled"])
    assert [tuple(one.shape) for one in embedded] == [(6, 128), (6, 128)]
    assert terms["correlation"].item() == pytest.approx(0.02 * neighbour_gap(*embedded).item(), rel=1e-9)


def test_flow_is_the_papers_gram_of_neighbouring_stages() -> None:
    shallow, deep = maps(2, 3, 4, 4), maps(2, 5, 2, 2, seed=1)
    small = F.avg_pool2d(shallow, 2)
    for b, c, d in product(range(2), range(3), range(5)):
        expected = sum(float(small[b, c, i, j] * deep[b, d, i, j]) for i, j in product(range(2), range(2))) / 4
        assert flow(shallow, deep)[b, c, d].item() == pytest.approx(expected, rel=1e-12)


def test_flow_compares_networks_of_other_strides_but_not_of_other_widths() -> None:
    widths = (4, 6, 8)
    case = precise_case(
        teacher_stages=tuple((width, size, size) for width, size in zip(widths, (16, 8, 4), strict=True))
    )
    terms, _ = precise_terms(FSP(flow_weight=50), case, FIRST)
    expected = 0.0
    for shallow, deep in (("stage1", "stage2"), ("stage2", "stage3")):
        mine, theirs = (flow(side.features[shallow], side.features[deep]) for side in (case.student, case.teacher))
        expected += (mine - theirs).square().mean().item()
    assert terms["flow"].item() == pytest.approx(50 * expected, rel=1e-9)
    with pytest.raises(ShapeMismatch, match="stage1 of the student has 4 and stage1 of the teacher 6"):
        make_case().adapters(FSP())
    with pytest.raises(ShapeMismatch, match="share only one"):
        make_case(student_stages=((4, 2, 2),), teacher_stages=((4, 2, 2),)).adapters(FSP())


def slow_geometry(vectors: Tensor) -> tuple[list[float], list[float]]:
    points = rows(vectors)
    count = len(points)
    gap = {
        (i, j): [b - a for a, b in zip(points[i], points[j], strict=True)] for i, j in product(range(count), repeat=2)
    }
    lengths = [norm(gap[pair]) for pair in gap]
    mean = sum(lengths) / sum(length > 0 for length in lengths)
    cosines = []
    for i, j, k in product(range(count), repeat=3):
        flat = i in (j, k)
        cosines.append(0.0 if flat else dot(gap[i, j], gap[i, k]) / norm(gap[i, j]) / norm(gap[i, k]))
    return [length / mean for length in lengths], cosines


def slow_huber(one: list[float], other: list[float]) -> float:
    gaps = [abs(a - b) for a, b in zip(one, other, strict=True)]
    return sum(gap**2 / 2 if gap < 1 else gap - 0.5 for gap in gaps) / len(gaps)


def test_relational_distillation_is_the_papers() -> None:
    case = precise_case(batch=4)
    terms, _ = precise_terms(RKD(), case)
    (distances, cosines), (their_distances, their_cosines) = (
        slow_geometry(side.features["pooled"]) for side in (case.student, case.teacher)
    )
    assert terms["distances"].item() == pytest.approx(25 * slow_huber(distances, their_distances), rel=1e-9)
    assert terms["angles"].item() == pytest.approx(50 * slow_huber(cosines, their_cosines), rel=1e-9)


def test_relational_distillation_knows_neither_place_nor_turn_nor_scale() -> None:
    points = doubles(5, 4)
    moved = 7 * points @ rotation(4) + 3
    for measure in (relative_distances, angles):
        torch.testing.assert_close(measure(moved[None] - moved[:, None]), measure(points[None] - points[:, None]))


def test_identical_points_have_a_gradient() -> None:
    """Square roots at zero are where a careless version turns to NaN."""
    case = make_case(batch=4)
    points = torch.ones(4, 8).index_fill(0, torch.tensor([3]), 2.0).requires_grad_()
    case.student.features = {"pooled": points}
    case.loss(RKD()).backward()
    assert points.grad is not None and torch.isfinite(points.grad).all()


def test_a_batch_of_one_has_no_relations() -> None:
    case = make_case(batch=1)
    assert case.terms(RKD())["distances"].item() == 0
    assert case.terms(RKD())["angles"].item() == 0
    assert case.terms(SP())["similarity"].item() == 0
    assert case.terms(PKT())["neighbours"].item() == 0
    assert case.terms(CC())["correlation"].item() == 0
