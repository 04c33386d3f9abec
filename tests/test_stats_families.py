"""A family of comparisons: nothing false is said more often than promised, of whomever it is said."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import special

from protege.stats.families import Arm, among, given_teachers, over_images, over_teachers, p_of_f, t_test

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "claims.py"
CHANCE = 0.02  # of a share that 1,000 studies measure: 3 standard errors


@pytest.fixture(scope="module")
def claims() -> ModuleType:
    if not SCRIPT.exists():
        pytest.skip("needs the project's checkout, for its benchmarks")
    described = importlib.util.spec_from_file_location("claims", SCRIPT)
    assert described and described.loader
    module = importlib.util.module_from_spec(described)
    sys.modules["claims"] = module
    described.loader.exec_module(module)
    return module


@pytest.mark.parametrize("question", ["against alone", "difference of differences", "among", "equivalence"])
@pytest.mark.parametrize(("seeds", "teachers", "sd"), [(3, 1, 0.0), (5, 3, 2.0), (10, 3, 1.0), (5, 5, 2.0)])
def test_few_claims_are_false_whatever_teachers_bring(
    claims: ModuleType, question: str, seeds: int, teachers: int, sd: float
) -> None:
    """A small version of the simulation: every population that a sentence names, with teachers that differ up to twice as much as seeds."""
    cell = claims.Cell(question, seeds, teachers, sd, True, 3)
    found = list(claims.KINDS[question](cell, 1000, np.random.default_rng(3)))
    populations = {one.population for one in found}
    assert ("other teachers" in populations) == (
        teachers > 1 and question in ("against alone", "difference of differences", "equivalence")
    )
    assert all(one.false_claims <= 0.05 + CHANCE and one.covered >= 0.95 - CHANCE for one in found)


def test_other_images_are_allowed_for(claims: ModuleType) -> None:
    cell = claims.Cell("images", 3, 3, 1.0, False, 1, 300)
    found = list(claims.with_images(cell, 300, np.random.default_rng(3)))
    assert {one.population for one in found} == {
        "these teachers, these images", "these teachers, other images", "other teachers, other images",
    }  # fmt: skip
    assert all(one.false_claims <= 0.09 for one in found)


def test_the_interval_of_a_family_leaves_out_zero_exactly_where_its_p_is_small() -> None:
    generator = np.random.default_rng(0)
    arms = {"alone": Arm(generator.normal(size=(200, 4)))}
    arms |= {name: Arm(generator.normal(0.8 * place, 1, (200, 4))) for place, name in enumerate("abcd")}
    for one in given_teachers(arms, [{name: 1.0, "alone": -1.0} for name in "abcd"]):
        assert np.array_equal(np.abs(one.difference) > one.simultaneous_reach, one.adjusted_p < 0.05)
        assert np.all(one.simultaneous_reach > one.reach) and np.all(one.adjusted_p >= one.p)


def test_many_arms_share_one_error() -> None:
    """Nine treatments and a control with three seeds each: 20 degrees of freedom, and Dunnett's point by his own integral."""
    generator = np.random.default_rng(1)
    arms = {"alone": Arm(generator.normal(size=3))} | {str(one): Arm(generator.normal(size=3)) for one in range(9)}
    found = given_teachers(arms, [{str(one): 1.0, "alone": -1.0} for one in range(9)])
    assert all(float(one.degrees) == 20 for one in found)
    critical = float(found[0].simultaneous_reach / found[0].standard_error)
    control, share = np.linspace(-6, 6, 401)[:, None], (np.arange(400) + 0.5) / 400
    reach = critical * np.sqrt(2 * special.chdtri(20, share) / 20)
    inside = (special.ndtr(control + reach) - special.ndtr(control - reach)) ** 9
    density = np.exp(-(control**2) / 2) / np.sqrt(2 * np.pi)
    assert float((inside * density).sum() * 0.03 / 400) == pytest.approx(0.95, abs=0.002)
    assert len({float(one.standard_error) for one in found}) == 1


def test_one_teacher_says_nothing_of_others_and_seeds_of_one_teacher_count_once() -> None:
    values = np.array([1.0, 1.1, 5.0, 5.1])
    alone = Arm(np.zeros(4))
    contrast = {"kd": 1.0, "alone": -1.0}
    assert over_teachers({"kd": Arm(values, (("t",),) * 4), "alone": alone}, contrast) is None
    two = over_teachers({"kd": Arm(values, (("t",), ("t",), ("u",), ("u",))), "alone": alone}, contrast)
    assert two is not None and float(two.degrees) == 1 and float(two.difference) == pytest.approx(3.05)
    assert float(two.standard_error) == pytest.approx(np.std([1.05, 5.05], ddof=1) / np.sqrt(2))


def test_the_test_among_arms_is_the_one_way_analysis_of_variance() -> None:
    from scipy.stats import f_oneway

    groups = np.random.default_rng(2).normal(size=(4, 5))
    found = among({str(number): Arm(one) for number, one in enumerate(groups)}, ["0", "1", "2", "3"])
    assert found is not None
    expected = f_oneway(*groups)
    assert (float(found[0]), float(p_of_f(*found))) == pytest.approx((expected.statistic, expected.pvalue))


def test_images_widen_an_interval_as_the_leg_of_a_right_angle() -> None:
    alone = t_test(1.0, 0.3, 4, size=2)
    assert float(over_images(alone, np.asarray(0.0), 2).reach) == pytest.approx(float(alone.reach))
    wider = over_images(alone, np.asarray(0.16), 2)
    assert float(wider.reach) ** 2 == pytest.approx(float(alone.reach) ** 2 + (1.959964 * 0.4) ** 2, rel=1e-4)
    assert float(wider.p) > float(alone.p)
