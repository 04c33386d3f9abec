"""What seeds say of one arm, and of two.

The published figures are those of the CIFAR-10 capacity-gap study (arXiv 2605.31191): five seeds an arm, in percent.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.weightstats import ttost_ind, ttost_paired

from protege.errors import ConfigError
from protege.stats import Equivalence, effect, summary
from protege.stats.claims import equivalence_in
from protege.stats.families import t_test

ALONE = {"R18": [94.74, 95.01, 94.82, 94.71, 95.00], "R34": [94.86, 95.11, 95.08, 95.19, 94.97]}

# pair, method: seeds; difference, Welch interval, Welch p, paired p; the same without seed 0: difference, p
PUBLISHED = {
    "R34->R18 logit": ([94.73, 94.67, 94.86, 94.76, 94.88], -0.076, (-0.25, 0.10), 0.345, 0.354, -0.092, 0.34),
    "R34->R18 feature": ([95.04, 95.13, 94.74, 95.06, 94.94], 0.126, (-0.09, 0.34), 0.212, 0.229, 0.083, 0.49),
    "R50->R18 logit": ([94.86, 94.92, 94.95, 94.81, 95.03], 0.058, (-0.12, 0.24), 0.460, 0.229, 0.043, 0.64),
    "R50->R18 feature": ([94.78, 95.27, 94.81, 94.88, 95.03], 0.098, (-0.16, 0.36), 0.402, 0.124, 0.113, 0.41),
    "R50->R34 logit": ([94.97, 95.13, 95.06, 95.08, 95.39], 0.084, (-0.13, 0.30), 0.386, 0.409, 0.077, 0.42),
    "R50->R34 feature": ([95.25, 95.19, 95.11, 95.39, 95.24], 0.194, (0.02, 0.37), 0.031, 0.040, 0.145, 0.103),
    "R101->R34 logit": ([95.30, 95.10, 94.88, 95.19, 95.03], 0.058, (-0.15, 0.27), 0.545, 0.610, -0.038, 0.66),
    "R101->R34 feature": ([95.44, 95.19, 95.17, 95.26, 95.22], 0.214, (0.04, 0.39), 0.022, 0.093, 0.123, 0.068),
}


def alone(name: str) -> list[float]:
    return ALONE[name.split(maxsplit=1)[0].split("->")[1]]


def arms(generator: np.random.Generator, n: int = 5) -> tuple[list[float], list[float]]:
    return list(generator.normal(95.1, 0.2, n)), list(generator.normal(95.0, 0.1, n))


def equivalence(treatment: list[float], control: list[float], margin: float, paired: bool) -> Equivalence:
    """As the only member of a family."""
    test = effect(treatment, control, paired).test
    assert test is not None
    found = equivalence_in(t_test(test.difference, test.standard_error, test.degrees), margin, 1)
    assert found is not None
    return found


def near(share: float, expected: float, of: int) -> bool:
    """Within three standard errors of a simulation of so many trials."""
    return abs(share - expected) <= 3 * math.sqrt(expected * (1 - expected) / of)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_comparisons_come_out_to_the_last_printed_digit(name: str) -> None:
    seeds, difference, interval, p, paired_p, *_ = PUBLISHED[name]
    found = effect(seeds, alone(name), paired=False)
    assert found.welch is not None
    assert found.paired is not None
    assert found.difference == pytest.approx(difference, abs=1e-9)
    assert [round(end, 2) for end in found.welch.interval] == list(interval)
    assert round(found.welch.p, 3) == p
    assert round(found.paired.p, 3) == paired_p


@pytest.mark.parametrize("name", PUBLISHED)
def test_leaving_out_the_seed_that_selected_gives_the_published_weaker_figures(name: str) -> None:
    *_, difference, p = PUBLISHED[name]
    found = effect(PUBLISHED[name][0][1:], alone(name)[1:], paired=False)
    assert found.difference == pytest.approx(difference, abs=0.00051)
    assert found.p == pytest.approx(p, abs=0.0051 if round(p, 2) == p else 0.00051)


def test_the_published_baselines_are_summarised_as_printed() -> None:
    small, large = summary(ALONE["R18"]), summary(ALONE["R34"])
    assert (round(small.mean, 2), round(small.sd or 0, 2)) == (94.86, 0.14)
    assert (round(large.mean, 2), round(large.sd or 0, 2)) == (95.04, 0.13)
    assert (small.n, small.low, small.high) == (5, 94.71, 95.01)


def test_the_interval_of_a_mean_is_students() -> None:
    expected = scipy_stats.t.interval(0.9, 4, np.mean(ALONE["R18"]), scipy_stats.sem(ALONE["R18"]))
    assert summary(ALONE["R18"], confidence=0.9).interval == pytest.approx(expected)


def test_the_interval_of_a_mean_holds_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    held = [summary(list(arm)).interval for arm in generator.normal(0, 1, (3000, 4))]
    share = np.mean([each is not None and each.low <= 0 <= each.high for each in held])
    assert near(float(share), 0.95, of=3000)


def test_one_seed_has_a_mean_and_no_spread() -> None:
    one = summary([94.7])
    assert (one.n, one.mean, one.sd, one.interval, one.low, one.high) == (1, 94.7, None, None, 94.7, 94.7)


def test_equal_values_have_no_spread_and_no_interval_even_where_their_mean_is_rounded() -> None:
    same = summary([0.1, 0.1, 0.1])
    assert same.sd == 0
    assert same.interval is None


def test_both_tests_agree_with_scipy_where_spreads_and_sizes_differ() -> None:
    treatment, control = arms(np.random.default_rng(1))
    found = effect(treatment, control[:4], paired=False, confidence=0.9)
    welch: Any = scipy_stats.ttest_ind(treatment, control[:4], equal_var=False)
    assert found.welch is not None
    assert found.paired is None
    assert found.welch.p == pytest.approx(welch.pvalue)
    assert found.welch.degrees == pytest.approx(welch.df)
    assert found.welch.interval == pytest.approx(welch.confidence_interval(0.9))

    pairs = effect(treatment, control, paired=True).paired
    by_pairs: Any = scipy_stats.ttest_rel(treatment, control)
    assert pairs is not None
    assert pairs.p == pytest.approx(by_pairs.pvalue)
    assert pairs.interval == pytest.approx(by_pairs.confidence_interval(0.95))


def test_the_test_named_in_advance_is_the_one_that_is_quoted() -> None:
    treatment, control = PUBLISHED["R101->R34 feature"][0], ALONE["R34"]
    unpaired, paired = effect(treatment, control, paired=False), effect(treatment, control, paired=True)
    assert (unpaired.welch, unpaired.paired) == (paired.welch, paired.paired)
    assert (round(unpaired.p or 0, 3), round(paired.p or 0, 3)) == (0.022, 0.093)
    assert unpaired.interval != paired.interval


def test_the_correlation_of_same_seed_results_is_told() -> None:
    assert effect([1, 2, 3], [2, 4, 6], paired=True).correlation == pytest.approx(1)
    assert effect([1, 2, 3], [2, 1, 3], paired=True).correlation == pytest.approx(0.5)
    assert effect([1, 2], [2, 4], paired=True).correlation is None


@pytest.mark.parametrize("paired", [True, False])
def test_nothing_is_tested_without_a_spread_to_measure_chance_by(paired: bool) -> None:
    for treatment, control in (([95.0], [94.0]), ([95.0, 95.0], [94.0, 94.0]), ([95.0, 95.0], [95.0, 95.0])):
        found = effect(treatment, control, paired)
        assert found.difference == treatment[0] - control[0]
        assert (found.test, found.p, found.interval) == (None, None, None)


def test_a_constant_shift_leaves_no_spread_among_pairs_though_rounding_shows_one() -> None:
    control = [0.3, 0.6, 0.9]
    found = effect([value + 0.1 for value in control], control, paired=True)
    assert len({value + 0.1 - value for value in control}) > 1
    assert found.paired is None
    assert found.welch is not None


def test_one_constant_arm_is_still_compared() -> None:
    expected: Any = scipy_stats.ttest_1samp([0.0, 0.5, 0.2], 1)
    assert effect([1.0, 1.0, 1.0], [0.0, 0.5, 0.2], paired=False).p == pytest.approx(expected.pvalue)


def test_pairs_need_arms_of_equal_length() -> None:
    with pytest.raises(ConfigError, match="same seeds in both arms; they have 3 and 2"):
        effect([1, 2, 3], [1, 2], paired=True)


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]], [95.0, math.nan], [math.inf]])
def test_an_arm_that_is_not_a_list_of_numbers_is_refused(values: list[float]) -> None:
    with pytest.raises(ConfigError):
        summary(values)


def test_a_percentage_is_not_taken_for_a_confidence() -> None:
    with pytest.raises(ConfigError, match="95"):
        summary([1, 2], confidence=95)


def test_welch_raises_five_false_alarms_in_a_hundred_even_where_the_small_arm_varies_most() -> None:
    """A test of pooled spread would raise about 25 here."""
    generator = np.random.default_rng(2)
    pairs = zip(generator.normal(0, 3, (4000, 6)), generator.normal(0, 1, (4000, 18)), strict=True)
    alarms = [effect(list(few), list(many), paired=False).p for few, many in pairs]
    assert near(float(np.mean([p is not None and p < 0.05 for p in alarms])), 0.05, of=4000)


def test_the_intervals_of_a_difference_hold_the_truth_as_often_as_they_say() -> None:
    generator = np.random.default_rng(3)
    shared = generator.normal(0, 1, (3000, 10))  # what a seed gives to both arms
    both = zip(
        shared + generator.normal(0.5, 1, shared.shape), shared + generator.normal(0, 1, shared.shape), strict=True
    )
    found = [effect(list(treatment), list(control), paired=True).paired for treatment, control in both]
    share = np.mean([test is not None and test.interval.low <= 0.5 <= test.interval.high for test in found])
    assert near(float(share), 0.95, of=3000)


@pytest.mark.parametrize("margin", [0.05, 0.3])
def test_equivalence_agrees_with_statsmodels(margin: float) -> None:
    treatment, control = (np.array(arm) for arm in arms(np.random.default_rng(6)))
    by_seed = equivalence(list(treatment), list(control), margin, paired=False)
    by_pair = equivalence(list(treatment), list(control), margin, paired=True)
    assert by_seed.p == pytest.approx(ttost_ind(treatment, control, -margin, margin, usevar="unequal")[0])
    assert by_pair.p == pytest.approx(ttost_paired(treatment, control, -margin, margin)[0])


def test_equivalence_is_shown_exactly_when_the_ninety_percent_interval_lies_inside_the_margin() -> None:
    generator = np.random.default_rng(7)
    outcomes = set()
    for _ in range(300):
        treatment, control = arms(generator)
        found = equivalence(treatment, control, 0.25, paired=False)
        inside = found.interval.low > -0.25 and found.interval.high < 0.25
        assert inside == (found.outcome == "equivalent")
        outcomes.add(found.outcome)
    assert outcomes == {"equivalent", "undecided", "larger than the margin"}


def test_a_difference_beyond_the_margin_is_told_from_one_that_is_undecided() -> None:
    control = [0.0, 0.1, 0.2]
    outcomes = [
        equivalence([x + shift for x in control], control, 0.5, False).outcome for shift in (-9, -0.4, 0, 0.4, 9)
    ]
    assert outcomes == ["larger than the margin", "undecided", "equivalent", "undecided", "larger than the margin"]


def test_arms_a_whole_margin_apart_are_called_equivalent_five_times_in_a_hundred() -> None:
    generator = np.random.default_rng(8)
    both = zip(generator.normal(1, 0.7, (4000, 10)), generator.normal(0, 0.7, (4000, 10)), strict=True)
    called = [equivalence(list(t), list(c), 1, paired=False).outcome == "equivalent" for t, c in both]
    assert near(float(np.mean(called)), 0.05, of=4000)
