"""Which stages are compared, and what every feature, relation and contrast method has in common."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from feature_cases import (
    FIRST,
    KINDS,
    NAMES,
    PAIRS,
    doubles,
    maps,
)
from method_cases import LAST, make_case, make_twins
from torch import Tensor

from protege.errors import ShapeMismatch
from protege.methods import METHODS, parse_method
from protege.methods.ab import boundary_gap
from protege.methods.adapters import BatchNorm, connector
from protege.methods.at import attention_gap
from protege.methods.base import Batch, Shapes
from protege.methods.cc import kernel, neighbour_gap
from protege.methods.feature import pooled_turn
from protege.methods.fsp import flow
from protege.methods.ft import factor_gap
from protege.methods.nst import selectivity_gap
from protege.methods.ofd import partial_gap
from protege.methods.pkt import neighbour_kl
from protege.methods.reviewkd import hierarchical_gap
from protege.methods.rkd import angles, relative_distances
from protege.methods.sp import similarity_gap
from protege.methods.stages import chosen_pair, matched_stages, pooled_to


def test_methods_are_known_without_torch() -> None:
    """A command that only names methods must not pay for torch."""
    modules = [f"protege.methods.{name}" for name in NAMES]
    code = f"import importlib, sys; [importlib.import_module(m) for m in {modules}]; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_defaults_are_the_literatures() -> None:
    literature = {
        "feature": {"kd_weight": 0.5, "cosine_weight": 0.5, "ce_weight": None},
        "fitnet": {"hint_weight": 100, "stage": 2, "ce_weight": 1},
        "at": {"attention_weight": 1000, "power": 2},
        "sp": {"similarity_weight": 3000, "stage": -1},
        "cc": {"dim": 128, "order": 2, "width": 0.4},
        "vid": {"information_weight": 1, "initial_variance": 5},
        "pkt": {"neighbour_weight": 30000},
        "nst": {"selectivity_weight": 50},
        "ofd": {"feature_weight": 0.001},
        "fsp": {"flow_weight": 1, "pretraining_epochs": 30},
        "ft": {"factor_weight": 500, "rate": 0.5},
        "ab": {"boundary_weight": 0.003, "margin": 1, "pretraining_epochs": 30},
        "reviewkd": {"review_weight": 5, "warmup_epochs": 20},
        "simkd": {"feature_weight": 1, "reduction": 2, "ce_weight": 0},
        "srrl": {"feature_weight": 1, "regression_weight": 1},
        "semckd": {"semantic_weight": 400, "kd_weight": 1, "temperature": 4},
        "rkd": {"distance_weight": 25, "angle_weight": 50},
        "crd": {"contrast_weight": 0.8, "negatives": 16384, "temperature": 0.07, "momentum": 0.5, "dim": 128},
    }
    for name, expected in literature.items():
        assert parse_method(name).model_dump().items() >= expected.items(), name


def test_presets_name_networks_that_exist() -> None:
    from protege.models import MODELS

    listed = [presets for kind in METHODS.values() for presets in (kind.presets, *kind.variants.values())]
    pairs = [pair.split(" -> ") for presets in listed for pair in presets]
    assert pairs
    assert {name for pair in pairs for name in pair} <= set(MODELS)


def stages(count: int, suffix: str = "") -> Shapes:
    return Shapes(2, {f"stage{number}{suffix}": (1, 1, 1) for number in range(1, count + 1)})


def test_the_deepest_stages_are_matched_and_back_from_there() -> None:
    assert matched_stages(stages(3), stages(4)) == [("stage1", "stage2"), ("stage2", "stage3"), ("stage3", "stage4")]
    assert matched_stages(stages(4), stages(2)) == [("stage3", "stage1"), ("stage4", "stage2")]


def test_stage_10_is_deeper_than_stage_9_however_they_are_listed() -> None:
    shuffled = Shapes(2, {f"stage{number}": (1, 1, 1) for number in (10, 2, 9)})
    assert [mine for mine, _ in matched_stages(shuffled, stages(3))] == ["stage2", "stage9", "stage10"]


def test_pre_activations_are_matched_among_themselves() -> None:
    both = Shapes(2, {**stages(3).features, **stages(3, "_pre").features})
    assert matched_stages(both, both, "_pre") == [(f"stage{n}_pre", f"stage{n}_pre") for n in (1, 2, 3)]
    assert matched_stages(both, stages(3)) == [(f"stage{n}", f"stage{n}") for n in (1, 2, 3)]


def test_networks_without_stages_are_told_what_to_choose() -> None:
    with pytest.raises(ShapeMismatch, match=r"the teacher has none\. Choose"):
        matched_stages(stages(3), Shapes(2, {"pooled": (4,)}))
    with pytest.raises(ShapeMismatch, match="pre-activation maps, and the student has none"):
        matched_stages(stages(3), stages(3, "_pre"), "_pre")


def test_a_stage_is_chosen_among_the_matched() -> None:
    assert chosen_pair(stages(5), stages(3), 2) == ("stage4", "stage2")
    assert chosen_pair(stages(3), stages(3), -1) == ("stage3", "stage3")
    with pytest.raises(ShapeMismatch, match="Choose 1 to 3"):
        chosen_pair(stages(3), stages(4), 4)


@pytest.mark.parametrize("size", [(2, 2), (4, 2), (3, 5), (8, 8)])
def test_pooling_is_adaptive_averaging_whatever_kernel_it_takes(size: tuple[int, int]) -> None:
    before = maps(2, 3, 8, 8)
    torch.testing.assert_close(pooled_to(before, size), F.adaptive_avg_pool2d(before, size))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("student", "teacher"), PAIRS)
def test_any_pair_of_networks_works_or_is_told_what_to_choose(name: str, student: str, teacher: str) -> None:
    method = parse_method(name)
    case = make_case(batch=2, student_stages=KINDS[student], teacher_stages=KINDS[teacher])
    try:
        adapters = case.adapters(method)
    except ShapeMismatch as error:
        assert name == "fsp" and "Choose" in str(error)
        return
    for progress in (FIRST, LAST):
        assert torch.isfinite(case.loss(method, adapters, progress))


@pytest.mark.parametrize(
    "teacher", [(5, 8, 8), (5, 4, 4), (5, 2, 2), (5, 16, 16), (5, 24, 24), (5, 5, 7), (5, 3, 3), (5, 4, 8)]
)
def test_a_connector_gives_the_teachers_shape(teacher: tuple[int, int, int]) -> None:
    assert connector((3, 8, 8), teacher)(torch.randn(2, 3, 8, 8)).shape == (2, *teacher)


def test_a_batch_norm_over_one_value_uses_what_it_remembers() -> None:
    layer = BatchNorm(3)
    single = torch.randn(1, 3, 1, 1)
    torch.testing.assert_close(layer(single), single / math.sqrt(1 + 1e-5))
    several = torch.randn(4, 3, 2, 2)
    assert layer(several).mean().item() == pytest.approx(0, abs=1e-6)
    assert layer.num_batches_tracked == 1


@pytest.mark.parametrize("name", ["at", "sp", "pkt", "nst", "fsp", "rkd"])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(name: str) -> None:
    case = make_twins()
    terms = case.terms(parse_method(name))
    assert all(value.item() == pytest.approx(0, abs=2e-4) for term, value in terms.items() if term != "labels")


LOSSES: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = {
    "pooled_turn": (pooled_turn, (maps(2, 3, 2, 2), maps(2, 3, 2, 2, seed=1))),
    "attention_gap": (attention_gap, (maps(2, 3, 2, 2), maps(2, 4, 2, 2, seed=1))),
    "similarity_gap": (similarity_gap, (maps(3, 2, 2, 2), doubles(3, 4, seed=1))),
    "neighbour_gap": (neighbour_gap, (doubles(3, 4), doubles(3, 4, seed=1))),
    "neighbour_kl": (neighbour_kl, (doubles(3, 4), doubles(3, 5, seed=1))),
    "kernel": (lambda one, _: kernel(one, 0.4, 2), (doubles(3, 4), doubles(1))),
    "selectivity_gap": (selectivity_gap, (maps(2, 3, 2, 2), maps(2, 4, 2, 2, seed=1))),
    "partial_gap": (lambda one, goal: partial_gap(one, goal, torch.tensor(-0.5)), (maps(2, 2, 2, 2), maps(2, 2, 2, 2, seed=1))),
    "boundary_gap": (lambda one, goal: boundary_gap(one, goal, 1.0), (maps(2, 2, 2, 2), maps(2, 2, 2, 2, seed=1))),
    "factor_gap": (factor_gap, (maps(2, 2, 2, 2), maps(2, 2, 2, 2, seed=1))),
    "hierarchical_gap": (hierarchical_gap, (maps(1, 2, 5, 5), maps(1, 2, 5, 5, seed=1))),
    "relative_distances": (lambda one, _: relative_distances(one[None] - one[:, None]), (doubles(3, 4), doubles(1))),
    "angles": (lambda one, _: angles(one[None] - one[:, None]), (doubles(3, 4), doubles(1))),
    "flow": (flow, (maps(1, 2, 4, 4), maps(1, 3, 2, 2, seed=1))),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_losses_have_the_gradients_of_their_values(name: str) -> None:
    loss, (student, teacher) = LOSSES[name]
    assert torch.autograd.gradcheck(lambda one: loss(one, teacher), (student.requires_grad_(),))


def test_products_keep_full_precision_inside_a_mixed_step() -> None:
    """Autocast would round a product of float32 factors to bfloat16, and the differences that are taken of it."""
    mine, theirs = torch.randn(8, 64), torch.randn(8, 32)
    spatial = torch.randn(4, 16, 4, 4), torch.randn(4, 20, 4, 4)
    gaps = mine[None] - mine[:, None]
    exact = [
        similarity_gap(mine, theirs),
        neighbour_kl(mine, theirs),
        selectivity_gap(*spatial),
        flow(*spatial),
        angles(gaps),
    ]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = [
            similarity_gap(mine, theirs),
            neighbour_kl(mine, theirs),
            selectivity_gap(*spatial),
            flow(*spatial),
            angles(gaps),
        ]
    for one, other in zip(exact, mixed, strict=True):
        assert torch.equal(one, other)


def test_mixed_labels_reach_every_label_term() -> None:
    """Half of each label costs the mean of the two losses."""
    case = make_case()
    partners, half = case.batch.labels.roll(1), torch.full((6,), 0.5)
    both = [F.cross_entropy(case.student.logits, labels).item() for labels in (case.batch.labels, partners)]
    mixed = replace(case, batch=Batch(case.batch.labels, case.batch.indices, partners, half))
    for name in set(NAMES) - {
        "feature",
        "fsp",
        "simkd",
        "sdd",
    }:  # which weigh the labels otherwise, or want other shapes
        labels = mixed.terms(parse_method(name))["labels"]
        assert labels.item() == pytest.approx(sum(both) / 2, rel=1e-5), name
