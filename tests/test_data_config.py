"""A description of data says what is wrong with it before anything is read."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from protege.data import DATASETS, DataConfig


def refused(**fields: object) -> str:
    with pytest.raises(ValidationError) as caught:
        DataConfig.model_validate({"name": "cifar10", **fields})
    return str(caught.value)


def test_importing_and_describing_needs_neither_torch_nor_numpy() -> None:
    program = (
        "import sys; import protege.data as data; data.DataConfig.model_validate('cifar100'); "
        "print([name for name in ('torch', 'numpy', 'PIL') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_a_plain_string_is_a_name_with_all_defaults() -> None:
    assert DataConfig.model_validate("cifar100") == DataConfig(name="cifar100")


def test_every_field_is_described() -> None:
    assert [name for name, field in DataConfig.model_fields.items() if not field.description] == []


def test_every_dataset_can_be_named() -> None:
    for name in DATASETS:
        assert DataConfig(name="folder:photos" if name == "folder" else name)


def test_a_misspelt_name_is_met_with_the_right_one() -> None:
    assert "Did you mean 'cifar100'?" in refused(name="cifar1000")
    assert "cifar10-mini" in refused(name="imagenet")


def test_a_folder_without_its_prefix_is_told_the_prefix(tmp_path: Path) -> None:
    assert f"Write folder:{tmp_path}" in refused(name=str(tmp_path))
    assert "which folder" in refused(name="folder:")
    assert "which folder" in refused(name="folder")


def test_a_misspelt_field_is_refused() -> None:
    assert "heldot" in refused(heldot=0.1)


def test_heldout_is_a_count_or_a_fraction() -> None:
    assert DataConfig(name="cifar10", heldout=5000.0).heldout == 5000
    assert DataConfig(name="cifar10", heldout=0.0).heldout == 0
    assert DataConfig(name="cifar10", heldout=0.25).heldout == 0.25
    assert "1.5 is neither" in refused(heldout=1.5)
    assert "1.0 is neither" in refused(heldout=1.0)
    assert "greater than or equal to 0" in refused(heldout=-1)


def test_classes_and_triples_may_come_as_one_string_from_a_command_line() -> None:
    config = DataConfig.model_validate({"name": "cifar100", "classes": "(apple, bear)", "resplit": ".6,.2,.2"})
    assert config.classes == ("apple", "bear")
    assert config.resplit == (0.6, 0.2, 0.2)


def test_too_few_or_repeated_classes_are_refused() -> None:
    assert "fewer than the two" in refused(classes=["cat"])
    assert "cat named twice" in refused(classes=["cat", "dog", "cat"])


def test_fractions_that_do_not_add_up_are_refused() -> None:
    assert "add up to 1.1" in refused(resplit=(0.7, 0.2, 0.2))
    assert "something to test on" in refused(resplit=(0.8, 0.2, 0.0))


def test_normalisation_is_on_the_scale_from_0_to_1() -> None:
    assert "divide by 255" in refused(mean=(125.3, 123.0, 113.9))
    assert "divide by zero" in refused(std=(0.2, 0.0, 0.2))


def test_superclasses_belong_to_cifar100() -> None:
    assert DataConfig(name="cifar100", labels="coarse").labels == "coarse"
    assert "belongs to cifar100; cifar10" in refused(labels="coarse")


def test_a_description_survives_being_written_and_read() -> None:
    config = DataConfig(name="cifar100", heldout=500, classes=("bear", 3), imbalance=10, mean=(0.5, 0.5, 0.5))
    assert DataConfig.model_validate_json(config.model_dump_json()) == config
