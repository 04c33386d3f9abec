"""The sentence that a report may print about an effect. Seeds are those of a published study, in percent."""

from __future__ import annotations

import pytest

from protege.report.page.table import Column, said
from protege.stats import Verdict, effect, verdict
from protege.stats.claims import Told, family_verdict, figure
from protege.stats.families import t_test

ALONE = [94.86, 95.11, 95.08, 95.19, 94.97]
LOGIT_SEEDS = [95.30, 95.10, 94.88, 95.19, 95.03]
LOGIT = effect(LOGIT_SEEDS, ALONE, paired=False)
FEATURE = effect([95.44, 95.19, 95.17, 95.26, 95.22], ALONE, paired=False)


def test_a_significant_effect_is_said_with_its_interval_p_test_and_seeds() -> None:
    said = verdict(FEATURE, names=("feature", "alone"))
    assert said.outcome == "higher"
    assert said.sentence == (
        "feature is higher than alone: +0.21 points (95 % interval [+0.04, +0.39], p = 0.022, "
        "Welch's t-test, 5 and 5 seeds)."
    )


def test_a_lower_treatment_is_called_lower() -> None:
    said = verdict(effect([1.0, 1.1, 1.2], [2.0, 2.1, 2.2], paired=False))
    assert said.outcome == "lower"


def test_no_effect_is_said_with_the_smallest_that_such_seeds_would_have_shown() -> None:
    """Five seeds an arm at sd 0.13 and 0.16 see 0.29 points, four times in five."""
    said = verdict(LOGIT)
    assert said.outcome == "undecided"
    assert "true differences below 0.29 points are missed" in said.sentence


def test_no_difference_of_more_than_all_points_is_spoken_of() -> None:
    """Two pairs of seeds, +80 and -50 points: they could show no difference below 1,000."""
    said = verdict(effect([90.0, 10.0], [10.0, 60.0], paired=True)).sentence
    assert said.endswith("and with this many seeds, hardly any true difference would be found.")


def within(treatment: list[float], control: list[float], margin: float) -> Verdict:
    """As the only member of a family, with a margin named in advance."""
    test = effect(treatment, control, paired=False).test
    assert test is not None
    told = Told(
        "The accuracy of kd", "that of alone", "points", 2, "5 and 5 seeds", "Given these images", margin=margin
    )
    return family_verdict(t_test(test.difference, test.standard_error, test.degrees), 1, told)


def test_being_alike_is_claimed_only_with_an_equivalence_test_behind_it() -> None:
    shown = within(LOGIT_SEEDS, ALONE, 0.5)
    assert shown.outcome == "equivalent"
    assert "shown to lie within ±0.5 points" in shown.sentence
    assert within(LOGIT_SEEDS, ALONE, 0.1).outcome == "undecided"


def test_an_effect_both_real_and_too_small_to_matter_says_both() -> None:
    control = [0.0, 0.01, 0.02, 0.03]
    said = within([value + 0.1 for value in control], control, 0.5)
    assert said.outcome == "higher"
    assert "less than matters: shown to lie within ±0.5 points" in said.sentence


def test_one_seed_is_said_to_show_nothing() -> None:
    said = verdict(effect([95.3], [95.0], paired=False))
    assert said.outcome == "untested"
    assert said.sentence.endswith("+0.3 points, untested: 1 and 1 seeds cannot tell a difference from chance.")


def test_seeds_that_change_nothing_are_noticed() -> None:
    assert "no spread" in verdict(effect([95.3, 95.3], [95.0, 95.0], paired=False)).sentence


def test_small_numbers_keep_their_digits() -> None:
    said = verdict(effect([0.0021, 0.0023, 0.0022], [0.0011, 0.0012, 0.0010], paired=False))
    assert "+0.00110 points" in said.sentence


@pytest.mark.parametrize("noise", [-1e-12, 0.0, 1e-12])
def test_the_same_figure_is_printed_alike_however_it_was_summed(noise: float) -> None:
    """1.275 is halfway: its last bits would make it +1.27 in one place and +1.28 in another."""
    column = Column("", "number", 2, signed=True)
    assert figure(1.275 + noise, 2) == said(1.275 + noise, column) == figure(1.275, 2)
    assert figure(-0.001, 2) == said(-0.001, column) == "+0.00"


def test_a_sentence_has_the_decimals_that_were_named_for_its_measure() -> None:
    """However well a difference is known; else the text would say +1.234 where the table says +1.23."""
    found = t_test(1.2345, 0.001, 8)
    told = Told("The accuracy of kd", "that of alone", "points", 2, "3 and 3 seeds", "Given these images")
    assert "+1.23 points (95 % interval [+1.23, +1.24]" in family_verdict(found, 1, told).sentence
