"""Views described without torch, and the names under which what was said of them is remembered."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from protege.views import Views, ViewsConfig

MIXUP = ViewsConfig(mix="mixup", mix_concentration=0.2)


def test_one_word_describes_the_usual_views() -> None:
    assert ViewsConfig.model_validate("crop-flip") == ViewsConfig()
    assert ViewsConfig.model_validate("none") == ViewsConfig(crop="none", flip=False)
    assert ViewsConfig.model_validate("mixup") == ViewsConfig(mix="mixup", mix_concentration=0.2)
    with pytest.raises(ValidationError, match=r"No views are called 'cropflip'.*Did you mean 'crop-flip'"):
        ViewsConfig.model_validate("cropflip")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"scale": (0.5, 0.2)}, "scale is"),
        ({"scale": (0.0, 1.0)}, "scale is"),
        ({"ratio": (2.0, 1.0)}, "ratio is"),
        ({"alpha": 1.0}, "Extra inputs"),
        ({"padding": -1}, "greater than or equal to 0"),
        ({"mix_concentration": 0}, "greater than 0"),
        ({"policy_magnitude": 31}, "less than or equal to 30"),
    ],
)
def test_impossible_views_are_refused(wrong: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ViewsConfig.model_validate(wrong)


def test_a_description_survives_being_written_and_read() -> None:
    for config in (ViewsConfig(), MIXUP, ViewsConfig(crop="resized", policy="trivialaugment", seed=3)):
        assert ViewsConfig.model_validate_json(config.model_dump_json()) == config
    assert all(field.description for field in ViewsConfig.model_fields.values())


def test_describing_views_does_not_load_torch() -> None:
    code = "import sys; from protege.views import ViewsConfig; ViewsConfig(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_identities_tell_apart_whatever_changes_the_pixels() -> None:
    assert Views(ViewsConfig(), 32).identity() == "pad4-flip@32"
    assert Views(ViewsConfig.model_validate("none"), 32).identity() == "plain@32"
    changed = [
        ViewsConfig(padding=2), ViewsConfig(crop="none"), ViewsConfig(flip=False), ViewsConfig(crop="resized"),
        ViewsConfig(crop="resized", scale=(0.5, 1)), ViewsConfig(crop="resized", ratio=(1, 1)),
        ViewsConfig(policy="randaugment"), ViewsConfig(policy="randaugment", policy_ops=3),
        ViewsConfig(policy="randaugment", policy_magnitude=5), ViewsConfig(policy="trivialaugment"),
        ViewsConfig(mix="mixup"), ViewsConfig(mix="cutmix"), ViewsConfig(mix="mixup", mix_concentration=0.2),
        ViewsConfig(mix="mixup", mix_probability=0.5),
        ViewsConfig(mix="mixup", seed=1), ViewsConfig(mix="mixup", seed=2),
    ]  # fmt: skip
    assert len({Views(config, 32).identity() for config in changed}) == len(changed)
    assert Views(ViewsConfig(), 28).identity() == "pad4-flip@28"


def test_identities_of_numbered_views_ignore_the_seed_and_what_is_switched_off() -> None:
    """View 80 is view 80 in every run, so that they share what a teacher said of it."""
    same = [ViewsConfig(), ViewsConfig(seed=3), ViewsConfig(policy_magnitude=3, mix_concentration=0.2, scale=(0.5, 1))]
    assert len({Views(config, 32).identity(seed) for config in same for seed in (None, 1)}) == 1
    stream = Views(MIXUP, 32)
    assert stream.identity(1) != stream.identity(2)
    assert Views(MIXUP.model_copy(update={"seed": 1}), 32).identity(2) == stream.identity(1)


@pytest.mark.parametrize("typed", ["0.2,1", "0.2, 1", "(0.2, 1)", "[0.2,1]"])
def test_ranges_may_come_as_one_string_from_a_command_line(typed: str) -> None:
    config = ViewsConfig.model_validate({"crop": "resized", "scale": typed, "ratio": typed})
    assert config.scale == config.ratio == (0.2, 1.0)
