"""The study files that repeat publications have their settings and their figures; numbers typed from the publications."""

from __future__ import annotations

from typing import Any

import pytest
from study_cases import SCALES, optimiser, planned, published, students, study, values
from study_costs import all_runs, counts, minutes_on_two_cores

from protege.runs.config import RunConfig
from protege.study.conduct.jobs import known_runs
from protege.study.question.arms import teacher_config

# ---- zhang-cifar100 ----


def test_zhang_cifar100_is_as_published() -> None:
    name = "zhang-cifar100"
    (alone,), (kd,) = students(name, "alone"), students(name, "kd")
    teacher = teacher_config(study(name), "large")
    assert (teacher.model.name, kd.model.name, kd.data.name) == ("resnet34", "mobilenet_v2", "cifar100")
    assert optimiser(alone) == optimiser(kd) == ("sgd", 200, 128, 0.1, 0.9, False, 1e-4, "cosine")
    assert optimiser(teacher) == ("sgd", 100, 128, 0.1, 0.9, False, 1e-4, "cosine")
    assert values([kd], "method.name", "method.ce_weight", "method.kd_weight", "method.temperature") == [
        ("kd", 0.3, 0.7, 4)
    ]
    assert (kd.views.crop, kd.views.padding, kd.views.flip) == ("pad", 4, True)
    assert study(name).protocol == "literature" and kd.data.heldout == 0
    assert published(name) == {
        ("large", None, None, 79.16, "accuracy"),
        ("alone", None, None, 69.26, "accuracy"),
        ("kd", None, None, 73.07, "accuracy"),
        ("kd", None, "alone", 3.81, "accuracy"),
        ("kd", None, None, 38.5, "gap_recovered"),
        ("kd", None, None, 12.4, "error_reduction"),
    }


# ---- zhang-cifar10 ----


def test_zhang_cifar10_is_as_published() -> None:
    name = "zhang-cifar10"
    teacher, found = teacher_config(study(name), "large"), students(name)
    assert (teacher.model.name, teacher.optim.epochs) == ("resnet34", 100)
    assert {one.model.name for one in found} == {"mobilenet_v2"}
    assert {optimiser(one) for one in found} == {("sgd", 200, 128, 0.1, 0.9, False, 1e-4, "cosine")}
    assert {(one.data.mean, one.data.std) for one in (*found, teacher)} == {
        ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    }
    weights = ("method.temperature", "method.ce_weight", "method.kd_weight")
    assert values(students(name, "temperature"), *weights) == [(t, 0.3, 0.7) for t in (1, 2, 4, 8, 16)]
    assert values(students(name, "weight"), *weights) == [
        (4, 0.1, 0.9), (4, 0.3, 0.7), (4, 0.5, 0.5), (4, 0.7, 0.3), (4, 0.9, 0.1)
    ]  # fmt: skip
    by_temperature = {1: 92.64, 2: 92.51, 4: 92.58, 8: 92.72, 16: 92.95}
    by_weight = {0.1: 92.19, 0.3: 92.58, 0.5: 92.89, 0.7: 92.58, 0.9: 92.66}
    assert published(name) == {
        ("large", None, None, 94.08, "accuracy"),
        ("alone", None, None, 92.10, "accuracy"),
        *(("temperature", None, at, None, value, "accuracy") for at, value in by_temperature.items()),
        *(("weight", None, at, None, value, "accuracy") for at, value in by_weight.items()),
    }


def test_the_configuration_that_both_sweeps_of_zhang_cifar10_have_is_trained_once() -> None:
    plan = planned("zhang-cifar10")
    assert sum(len(plan.report_runs(cell, cell.configurations[0])) for cell in plan.cells) == 11 * 5
    assert len([run for run in known_runs(plan) if run.role == "report"]) == 10 * 5


# ---- bu-resnet ----


@pytest.mark.parametrize("name", ["bu-resnet", "bu-resnet-folder"])
def test_bu_resnet_is_as_published_with_the_student_alone_that_it_lacks(name: str) -> None:
    (alone,), (kd,) = students(name, "alone"), students(name, "kd")
    teacher = teacher_config(study(name), "large")
    assert (teacher.model.name, teacher.model.stem) == ("resnet34", "imagenet")
    assert (kd.model.name, kd.model.stem, alone.model) == ("resnet18", "imagenet", kd.model)
    assert values([kd, alone, teacher], "optim.epochs", "optim.batch_size", "optim.lr") == 3 * [(10, 64, 0.001)]
    assert values([kd], "method.kd_weight", "method.ce_weight", "method.temperature") == [(0.7, 0.3, 5)]
    assert kd.data.resplit == (0.6, 0.2, 0.2) and study(name).report == "best"
    assert {(one.teacher or one.arm, one.value, one.split) for one in study(name).published} == {
        ("large", 94.85, "heldout"),
        ("kd", 85.76, "heldout"),
    }
    assert (study(name).compare[0].treatment, study(name).compare[0].control) == ("kd", "alone")


def test_bu_resnet_has_ten_classes_and_gives_both_arms_as_many_rates_to_choose_from() -> None:
    (kd,) = students("bu-resnet", "kd")
    assert (kd.data.name, len(kd.data.classes or ())) == ("cifar100", 10)
    assert (counts(kd).train, counts(kd).heldout, counts(kd).test) == (3600, 1200, 1200)
    tuned = values(students("bu-resnet", "tuned alone"), "optim.lr")
    assert tuned == values(students("bu-resnet", "tuned kd"), "optim.lr") == [0.001, 0.003, 0.01, 0.03]


# ---- yasar ----

YASAR = ("sgd", 100, 128, 0.1, 0.9, True, 5e-4, "cosine")


def yasar_settings(config: RunConfig) -> tuple[Any, ...]:
    return (*optimiser(config), config.optim.floor_lr, config.optim.clip_norm)


def test_yasar_kd_cifar10_is_as_published_in_both_stems() -> None:
    name = "yasar-kd-cifar10"
    found = students(name)
    assert {yasar_settings(one) for one in found} == {(*YASAR, 1e-4, 1.0)}
    stems = {(pair.name, pair.fields["teacher"], pair.fields["model"]["stem"]) for pair in study(name).pairs}
    assert stems == {("ImageNet stem", "imagenet-stem", "imagenet"), ("CIFAR stem", "cifar-stem", "cifar")}
    for key, stem in (("imagenet-stem", "imagenet"), ("cifar-stem", "cifar")):
        teacher = teacher_config(study(name), key)
        assert (teacher.model.name, teacher.model.stem, teacher.optim.epochs) == ("resnet50", stem, 100)
    assert values(students(name, "temperature"), "method.temperature") == 2 * [1, 2, 3, 4, 8, 16]
    assert set(values(students(name, "temperature"), "method.kd_weight", "method.ce_weight")) == {(0.5, 0.5)}
    assert values(students(name, "feature weight"), "method.kd_weight") == 2 * [0.3, 0.5, 0.7]
    assert study(name).protocol == "literature" and len(study(name).seeds.report) >= 5
    assert {
        ("alone", "CIFAR stem", None, 94.97, "accuracy"),
        ("feature", "CIFAR stem", None, 95.21, "accuracy"),
        ("logit", "CIFAR stem", None, 95.47, "accuracy"),
        ("logit", "CIFAR stem", "alone", 0.50, "accuracy"),
        ("alone", "ImageNet stem", None, 88.98, "accuracy"),
        ("logit", "ImageNet stem", None, 88.88, "accuracy"),
    } < published(name)


def test_yasar_capacity_gap_is_as_published_in_its_second_version() -> None:
    name = "yasar-capacity-gap"
    found = students(name)
    fixed = [one for one in found if one.method.name != "supervised"] + students(name, "alone")
    assert {yasar_settings(one) for one in fixed} == {(*YASAR, 1e-4, 1.0)}
    assert {(one.data.name, one.data.heldout, one.data.heldout_seed) for one in found} == {("cifar10", 5000, 1234)}
    assert [(pair.fields["teacher"], pair.fields["model"]) for pair in study(name).pairs] == [
        ("R34", "resnet18"), ("R50", "resnet18"), ("R50", "resnet34"), ("R101", "resnet34")
    ]  # fmt: skip
    for key, model in (("R34", "resnet34"), ("R50", "resnet50"), ("R101", "resnet101")):
        teacher = teacher_config(study(name), key)
        assert (teacher.model.name, teacher.optim.epochs) == (model, 200)
        assert study(name).teachers[key].weights == "best"
    logit = set(values(students(name, "logit"), "method.temperature", "method.kd_weight", "method.ce_weight"))
    assert logit == {(t, w, c) for t in (2, 3, 4) for w, c in ((0.3, 0.7), (0.5, 0.5), (0.7, 0.3))}
    assert set(values(students(name, "feature"), "method.kd_weight", "method.cosine_weight")) == {
        (0.3, 0.5), (0.5, 0.5), (0.7, 0.5)
    }  # fmt: skip


def test_yasar_capacity_gap_chooses_with_seeds_that_report_nothing() -> None:
    found = study("yasar-capacity-gap")
    assert (found.protocol, found.report) == ("heldout", "best")
    assert len(found.seeds.report) >= 5 and not set(found.select_seeds) & set(found.seeds.report)
    assert all(len(teacher.seeds) == 3 for teacher in found.teachers.values())


def test_yasar_capacity_gap_prints_the_published_table() -> None:
    alone = {"R34 -> R18": 94.86, "R50 -> R18": 94.86, "R50 -> R34": 95.04, "R101 -> R34": 95.04}
    gained = {
        "R34 -> R18": (-0.08, 0.13),
        "R50 -> R18": (0.06, 0.10),
        "R50 -> R34": (0.08, 0.19),
        "R101 -> R34": (0.06, 0.21),
    }
    found = published("yasar-capacity-gap")
    for pair, value in alone.items():
        assert ("alone", pair, None, value, "accuracy") in found
    for pair, (logit, feature) in gained.items():
        assert ("logit", pair, "alone", logit, "accuracy") in found
        assert ("feature", pair, "alone", feature, "accuracy") in found
    teachers = {one.teacher: one.value for one in study("yasar-capacity-gap").published if one.teacher}
    assert teachers == {"R34": 95.30, "R50": 95.36, "R101": 95.37}
    by_pair = {(one.arm, one.pair): one for one in study("yasar-capacity-gap").published if not one.against}
    assert all(one.seeds == 5 for key, one in by_pair.items() if key[0])
    near = [one.value for one in study("yasar-capacity-gap").published if one.measure == "agreement"]
    assert len(near) == 8 and all(95.3 <= value <= 95.6 for value in near)


def test_a_student_alone_is_trained_once_for_both_of_its_pairs() -> None:
    plan = planned("yasar-capacity-gap")
    ids = {cell.key: {run.id for run in plan.report_runs(cell, cell.configurations[0])} for cell in plan.cells}
    assert ids["alone: R34 -> R18"] == ids["alone: R50 -> R18"]
    assert ids["alone: R50 -> R34"] == ids["alone: R101 -> R34"] != ids["alone: R50 -> R18"]


def test_the_stem_is_the_only_thing_that_differs_in_the_study_of_stems() -> None:
    name = "yasar-capacity-gap-stem"
    cifar, imagenet = students(name, "CIFAR stem"), students(name, "ImageNet stem")
    alike = [one.model_copy(update={"model": one.model.model_copy(update={"stem": "cifar"})}) for one in imagenet]
    assert alike == cifar
    assert values(cifar, "model.name", "optim.epochs") == [("resnet18", 100), ("resnet34", 100), ("resnet50", 200)]
    assert {(one.pair, one.value) for one in study(name).published if not one.against} == {
        ("R18", 94.86), ("R18", 87.71), ("R34", 95.02), ("R34", 88.28), ("R50", 95.36), ("R50", 89.86)
    }  # fmt: skip


@pytest.mark.parametrize("arm", ["alone", "logit", "feature"])
def test_clipping_is_the_only_thing_that_differs_in_the_study_of_clipping(arm: str) -> None:
    name = "yasar-capacity-gap-clipping"
    (clipped,), (free,) = students(name, arm), students(name, f"unclipped {arm}")
    assert (clipped.optim.clip_norm, free.optim.clip_norm) == (1.0, None)
    assert free.model_copy(update={"optim": clipped.optim}) == clipped
    assert yasar_settings(clipped) == (*YASAR, 1e-4, 1.0)


# ---- ours ----


def test_every_arm_is_tuned_as_long_as_the_student_alone() -> None:
    for scale, tries in zip(SCALES, (4, 2), strict=True):
        plan = planned("what-does-distillation-add", scale)
        assert {len(cell.configurations) for cell in plan.cells} == {tries}
        assert len(plan.study.teachers["large"].seeds) > 1


def test_what_distillation_adds_is_asked_with_the_recipe_of_the_literature() -> None:
    name = "what-does-distillation-add"
    found = students(name)
    assert {(*optimiser(one)[:6], one.optim.schedule, one.optim.milestones) for one in found} == {
        ("sgd", 240, 64, 0.05, 0.9, False, "multistep", (150, 180, 210))
    }
    assert set(values(found, "optim.weight_decay")) == {5e-4, 1e-3}
    figures = {one.arm or one.teacher: one.value for one in study(name).published}
    assert figures == {
        "large": 79.42, "alone": 72.50, "kd": 73.33, "at": 73.44, "sp": 72.94, "crd": 75.51,
        "dkd": 76.32, "ls": 76.62, "dist": 76.31, "simkd": 78.08,
    }  # fmt: skip


def test_the_quick_study_needs_no_download_and_about_four_minutes() -> None:
    plan = planned("quick")
    assert {run.config.data.name for run in all_runs(plan)} == {"cifar10-mini"}
    assert minutes_on_two_cores(plan) < 4.5
    assert [cell.arm for cell in plan.cells] == ["alone", "kd", "dkd"] and len(plan.study.seeds.report) == 3
