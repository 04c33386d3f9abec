"""Methods that use a classifier or attend over all stages: SimKD, CAT-KD, SRRL and SemCKD, against their papers."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from feature_cases import (
    dot,
    doubles,
    maps,
    norm,
    precise_case,
    precise_terms,
    rows,
)
from method_cases import LAST, make_case
from torch import Tensor, nn

from protege.errors import ShapeMismatch
from protege.methods.base import Classifier, Method, Outputs
from protege.methods.catkd import CATKD, class_maps
from protege.methods.kd import KD
from protege.methods.sdd import SDD
from protege.methods.semckd import SemCKD
from protege.methods.simkd import SimKD
from protege.methods.srrl import SRRL


def test_simkd_predicts_with_the_teachers_classifier_on_projected_features() -> None:
    case = precise_case()
    adapters = case.adapters(SimKD()).double().eval()
    predicted = SimKD().predict(case.student, adapters)
    projected = adapters.transfer(case.student.features["stage3"]).mean((2, 3))  # type: ignore[operator]
    assert case.teacher.classifier is not None and case.teacher.classifier.bias is not None
    expected = projected @ case.teacher.classifier.weight.T + case.teacher.classifier.bias
    torch.testing.assert_close(predicted, expected)
    assert "classifier" in SimKD().added()


def test_simkd_that_copies_the_teachers_map_predicts_what_the_teacher_does() -> None:
    """A projector that does nothing, and a student whose last map is the teacher's: its pooled features' logits."""
    case = precise_case()
    adapters = case.adapters(SimKD()).double()
    adapters.transfer = nn.Identity()
    student = replace(case.student, features={**case.student.features, "stage3": case.teacher.features["stage3"]})
    terms = SimKD().terms(student, case.teacher, case.batch, adapters, LAST)
    assert terms["maps"].item() == 0
    head = case.teacher.classifier
    assert head is not None
    expected = F.linear(case.teacher.features["stage3"].mean((2, 3)), head.weight, head.bias)
    torch.testing.assert_close(SimKD().predict(student, adapters), expected)


def test_simkd_learns_from_maps_alone_and_leaves_the_classifier_as_it_was() -> None:
    case = make_case()
    adapters = case.adapters(SimKD())
    assert {"weight", "bias"} <= adapters.state_dict().keys()
    assert not {"weight", "bias"} & dict(adapters.named_parameters()).keys()
    assert case.terms(SimKD(), adapters)["labels"].item() == 0
    labels = case.terms(SimKD(ce_weight=1), adapters)["labels"]
    predicted = SimKD().predict(case.student, adapters)
    assert labels.item() == pytest.approx(F.cross_entropy(predicted, case.batch.labels).item(), rel=1e-5)


def test_a_class_activation_map_averages_to_its_logit() -> None:
    features, classifier = maps(3, 4, 6, 6), Classifier(doubles(5, 4, seed=1))
    everywhere = class_maps(features, classifier, 6)
    torch.testing.assert_close(everywhere.mean(2), features.mean((2, 3)) @ classifier.weight.T)
    coarse = F.adaptive_avg_pool2d(everywhere.view(3, 5, 6, 6), 2).flatten(2)
    torch.testing.assert_close(class_maps(features, classifier, 2), coarse)


@pytest.mark.parametrize("unit", [True, False])
def test_class_attention_transfer_is_the_papers(unit: bool) -> None:
    case = precise_case(batch=2, classes=3)
    evidence: list[list[list[float]]] = []
    for side in (case.student, case.teacher):
        assert side.classifier is not None
        weight, last = side.classifier.weight.detach(), side.features["stage3"].detach()  # 2 x 2 places already
        evidence.append([
            [dot(weight[k].tolist(), last[b, :, i, j].tolist()) for i, j in product(range(2), range(2))]
            for b, k in product(range(2), range(3))
        ])  # fmt: skip
    if unit:
        evidence = [[[value / norm(row) for value in row] for row in side] for side in evidence]
    pairs = [(a, b) for one, other in zip(*evidence, strict=True) for a, b in zip(one, other, strict=True)]
    expected = sum((a - b) ** 2 for a, b in pairs) / len(pairs)
    terms, _ = precise_terms(CATKD(unit=unit, attention_weight=3), case)
    assert terms["attention"].item() == pytest.approx(3 * expected, rel=1e-9)


def test_class_attention_teaches_the_students_classifier_too() -> None:
    case = make_case()
    case.terms(CATKD())["attention"].backward()
    assert case.student.classifier is not None and case.teacher.classifier is not None
    assert case.student.classifier.weight.grad is not None
    assert case.teacher.classifier.weight.grad is None


def test_softmax_regression_is_the_papers() -> None:
    case = precise_case()
    terms, adapters = precise_terms(SRRL(feature_weight=2, regression_weight=3), case)
    adapted = adapters(case.student.features["pooled"])
    head = case.teacher.classifier
    assert head is not None and head.bias is not None
    read = adapted @ head.weight.T + head.bias
    gap = (adapted - case.teacher.features["pooled"]).square().mean().item()
    assert terms["features"].item() == pytest.approx(2 * gap, rel=1e-9)
    assert terms["regression"].item() == pytest.approx(
        3 * (read - case.teacher.logits).square().mean().item(), rel=1e-9
    )


@pytest.mark.parametrize(
    ("kind", "side"), [(SimKD, "teacher"), (CATKD, "student"), (CATKD, "teacher"), (SRRL, "teacher")]
)
def test_a_classifier_that_reads_something_else_is_refused(kind: type[Method], side: str) -> None:
    """As of a network with one more layer between its last stage and its classifier."""
    case = make_case()
    shapes = case.student_shapes if side == "student" else case.teacher_shapes
    given = {side: replace(shapes, classifier=Classifier(torch.zeros(5, 99)))}
    arguments = {"student": case.student_shapes, "teacher": case.teacher_shapes, **given}
    with pytest.raises(ShapeMismatch, match=rf"{side}'s classifier .* reads 99"):
        kind().adapters(**arguments)  # type: ignore[call-arg]
    with pytest.raises(ShapeMismatch, match=f"{side}'s classifier, and its last layer is not linear"):
        kind().adapters(**{**arguments, side: replace(shapes, classifier=None)})  # type: ignore[call-arg]


def test_the_map_that_is_pooled_comes_before_the_deepest_stage_where_a_network_names_it() -> None:
    """As of a wide ResNet, whose classifier reads its last stage only after one more norm."""
    case = precise_case()
    named = {"last": torch.rand(6, 12, 2, 2, dtype=torch.float64)}
    case.teacher.features = {**case.teacher.features, **named}
    case.teacher_shapes = replace(case.teacher_shapes, features={**case.teacher_shapes.features, "last": (12, 2, 2)})
    adapters = case.adapters(SimKD()).double()
    adapters.transfer = nn.Identity()
    student = replace(case.student, features={**case.student.features, **named})
    assert SimKD().terms(student, case.teacher, case.batch, adapters, LAST)["maps"].item() == 0
    head = case.teacher.classifier
    assert head is not None
    expected = F.linear(named["last"].mean((2, 3)), head.weight, head.bias)
    torch.testing.assert_close(SimKD().predict(student, adapters), expected)


def test_class_attention_wants_the_same_classes() -> None:
    case = make_case()
    with pytest.raises(ShapeMismatch, match="the student knows 5 and the teacher 7"):
        CATKD().adapters(case.student_shapes, replace(case.teacher_shapes, classes=7))


@pytest.mark.parametrize(("batch", "anchors"), [(4, 4), (3, 8), (6, 4)])
def test_semantic_calibration_is_the_papers(batch: int, anchors: int) -> None:
    """With as many anchors as images the paper's; with more, missing likenesses are zero; with fewer, the first count."""
    case = precise_case(
        batch=batch, student_stages=((3, 4, 4), (4, 2, 2)), teacher_stages=((4, 4, 4), (5, 2, 2), (6, 1, 1))
    )
    terms, adapters = precise_terms(SemCKD(anchors=anchors, kd_weight=0), case)
    mine, theirs = (
        [side.features[f"stage{n}"] for n in range(1, count)] for side, count in ((case.student, 3), (case.teacher, 4))
    )

    def embedded(mlp: nn.Module, features: Tensor) -> list[list[float]]:
        flat = rows(features)
        likeness = [[dot(one, flat[k]) if k < batch else 0.0 for k in range(anchors)] for one in flat]
        return [[value / norm(row) for value in row] for row in rows(mlp(torch.tensor(likeness, dtype=torch.float64)))]

    queries = [embedded(mlp, features) for mlp, features in zip(adapters.queries, mine, strict=True)]  # type: ignore[arg-type]
    keys = [embedded(mlp, features) for mlp, features in zip(adapters.keys, theirs, strict=True)]  # type: ignore[arg-type]
    total = 0.0
    for b, s in product(range(batch), range(2)):
        energies = [math.exp(dot(queries[s][b], keys[t][b])) for t in range(3)]
        for t in range(3):
            size = min(mine[s].shape[2], theirs[t].shape[2])
            projected = adapters.projectors[s].parts[t](F.adaptive_avg_pool2d(mine[s], size))  # type: ignore[index]
            gap = (projected - F.adaptive_avg_pool2d(theirs[t], size))[b].square().mean().item()
            total += energies[t] / sum(energies) * gap
    assert terms["semantics"].item() == pytest.approx(400 * total / (batch * 2), rel=1e-9)


def test_sdd_is_kd_in_every_region_with_the_complementary_ones_twice() -> None:
    """Regions of 1, 2 and 4 cells a side, each an average of the map, read by the classifier and its bias."""
    stages = ((4, 16, 16), (8, 8, 8))
    case = precise_case(student_stages=stages, teacher_stages=((6, 16, 16), (10, 8, 8)))
    total, double = 0.0, 0

    def read(side: Outputs, rows: slice, columns: slice) -> Tensor:
        assert side.classifier is not None
        cell = side.features["stage2"][:, :, rows, columns].mean((2, 3))
        return F.linear(cell, side.classifier.weight, side.classifier.bias)

    everything = slice(0, 8)
    whole = read(case.teacher, everything, everything).argmax(1) == case.batch.labels
    for scale in (1, 2, 4):
        step = 8 // scale
        for i, j in product(range(scale), range(scale)):
            cell = slice(i * step, (i + 1) * step), slice(j * step, (j + 1) * step)
            s, t = (read(side, *cell) for side in (case.student, case.teacher))
            apart = 16 * (t / 4).softmax(1) * ((t / 4).log_softmax(1) - (s / 4).log_softmax(1))
            weight = 1 + ((t.argmax(1) == case.batch.labels) != whole).double()
            double += int((weight == 2).sum())
            total += (weight * apart.sum(1)).sum().item()
    assert double > 0
    terms, _ = precise_terms(SDD(), case)
    assert terms["regions"].item() == pytest.approx(0.9 * total / (21 * 6), rel=1e-9)


def test_sdd_of_the_whole_map_alone_is_kd() -> None:
    """The classifier on the averaged map is the network's own last step."""
    case = precise_case()
    for side in (case.student, case.teacher):
        assert side.classifier is not None
        side.logits = F.linear(side.features["stage3"].mean((2, 3)), side.classifier.weight, side.classifier.bias)
    terms, _ = precise_terms(SDD(scales=(1,)), case)
    assert terms["regions"].item() == pytest.approx(case.terms(KD())["teacher"].item(), rel=1e-9)


def test_sdd_wants_the_whole_map_first() -> None:
    with pytest.raises(ValueError, match="the whole first"):
        SDD(scales=(2, 4))
