"""The quickest way is measured once and kept; a quicker teacher must say the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from protege import runs as folders
from protege.errors import Stopped
from protege.models import build
from protege.models.config import ModelConfig
from protege.models.network import wrap
from protege.runs import tuning
from protege.runs.config import Place
from protege.runs.tuning import quickest
from protege.teacher import speaking
from protege.train import arithmetic, train

CPU = torch.device("cpu")
SHORT: dict[str, Any] = {
    "data": {"name": "cifar10-mini", "limit": 120, "heldout": 100},
    "model": "resnet8",
    "optim": {"epochs": 2, "batch_size": 60},
}


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tuning, "spent_by_everybody", lambda: 0.0)  # whatever else this machine does
    return tmp_path / "cache" / "protege" / "tuning.json"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Callable[[], None]]:
    """Work that takes so many seconds of a clock of our own."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def taking(seconds: float) -> Callable[[], None]:
        def work() -> None:
            now[0] += seconds

        return work

    return taking


def test_the_clearly_quicker_way_is_chosen(clock: Any) -> None:
    assert quickest("a", {"one": clock(1.0), "other": clock(0.5)}, CPU).name == "other"


def test_a_way_that_is_hardly_quicker_is_not_worth_other_bits(clock: Any) -> None:
    assert quickest("a", {"one": clock(1.0), "other": clock(0.95)}, CPU).name == "one"


def test_what_was_measured_is_kept(clock: Any) -> None:
    first = quickest("a", {"one": clock(1.0), "other": clock(0.5)}, CPU)
    assert quickest("a", {"one": clock(0.1), "other": clock(9.0)}, CPU) == first
    assert quickest("b", {"one": clock(0.1), "other": clock(9.0)}, CPU).name == "one"


def test_a_damaged_memory_of_measurements_is_measured_anew(clock: Any, cache: Path) -> None:
    quickest("a", {"one": clock(1.0), "other": clock(0.5)}, CPU)
    kept = json.loads(cache.read_text())
    key, told = next(iter(kept.items()))
    unknown_way = {key: told | {"name": "neither"}}
    for damaged in (
        "{",
        "[" * 100_000,
        json.dumps({key: 5}),
        json.dumps({key: {"seconds": 1}}),
        json.dumps(unknown_way),
    ):
        cache.write_text(damaged)
        assert quickest("a", {"one": clock(0.1), "other": clock(9.0)}, CPU).name == "one"
        assert json.loads(cache.read_text())[key]["seconds"].keys() == {"one", "other"}


def test_a_memory_of_measurements_that_is_far_too_large_is_not_read(clock: Any, cache: Path) -> None:
    quickest("a", {"one": clock(1.0), "other": clock(0.5)}, CPU)
    cache.write_text(cache.read_text() + " " * tuning.MOST_BYTES)
    assert quickest("a", {"one": clock(0.1), "other": clock(9.0)}, CPU).name == "one"


def test_beside_others_what_a_way_costs_the_processor_is_judged_and_nothing_is_remembered(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    """The other way waited long for its turn, but needed half of the processor."""
    clocks = {"seconds": 0.0, "ours": 0.0}
    monkeypatch.setattr(time, "perf_counter", lambda: clocks["seconds"])
    monkeypatch.setattr(time, "monotonic", lambda: clocks["seconds"])
    monkeypatch.setattr(time, "process_time", lambda: clocks["ours"])
    monkeypatch.setattr(tuning, "spent_by_everybody", lambda: 10 * clocks["seconds"])

    def taking(seconds: float, ours: float) -> Callable[[], None]:
        return lambda: clocks.update(seconds=clocks["seconds"] + seconds, ours=clocks["ours"] + ours)

    assert quickest("a", {"one": taking(1.0, 1.0), "other": taking(2.0, 0.5)}, CPU).name == "other"
    assert not cache.exists()


def test_what_is_quick_is_repeated_until_its_time_can_be_told(clock: Any) -> None:
    calls = []
    quickest("a", {"one": lambda: (calls.append(1), clock(0.01)()), "other": clock(0.5)}, CPU)
    assert len(calls) == 1 + 1 + 4 * 5


def test_long_steps_are_tried_less_often(clock: Any) -> None:
    calls = []
    quickest("a", {"one": lambda: (calls.append(1), clock(5.0)()), "other": clock(5.0)}, CPU)
    assert len(calls) == 1 + tuning.FEWEST


@pytest.mark.parametrize(("noise", "same"), [(0.0, True), (0.02, True), (3.0, False)])
def test_a_quicker_teacher_must_say_the_same(noise: float, same: bool) -> None:
    """Measured by what another view of the same images changes; some first choices turn, for there are near ties."""
    generator = torch.Generator().manual_seed(0)

    def near(logits: torch.Tensor, by: float) -> torch.Tensor:
        return logits + by * torch.randn(logits.shape, generator=generator)

    reference = 3 * torch.randn(1000, 10, generator=generator)
    reference[:50, 1] = reference[:50].amax(1) + 1.0
    reference[:50, 0] = reference[:50, 1] + 1e-3
    logits, mirrored = near(reference, noise), near(reference, 1.0)
    assert speaking.says_the_same(reference, logits, mirrored) is same
    assert (reference.argmax(1) == logits.argmax(1)).double().mean() < 0.999 or not noise


def test_a_teacher_that_says_one_thing_of_all_must_say_it_in_bf16_too() -> None:
    same = torch.zeros(100, 10)
    assert speaking.says_the_same(same, same, same)
    assert not speaking.says_the_same(same, same + torch.arange(10) / 10, same)


def test_the_last_layer_of_a_teacher_is_not_rounded() -> None:
    """Logits of bf16 would be multiples of 1/64 from 2 on."""
    network = wrap(build(ModelConfig(name="resnet8"), 10), ModelConfig(name="resnet8")).eval()
    torch.nn.init.normal_(network.get_parameter("module.fc.weight"), std=5.0)
    images = torch.randn(20, 3, 32, 32)
    with torch.no_grad():
        plain = network(images)[0]
        speaking.never_round_the_last_layer(network)
        assert network(images)[0].equal(plain)
        with torch.autocast("cpu", torch.bfloat16):
            said = network(images)[0]
    assert said.dtype == torch.float32
    assert not said.equal(said.bfloat16().float())


def test_few_images_are_not_worth_a_measurement(tmp_path: Path, cache: Path) -> None:
    run = train(SHORT | {"optim": SHORT["optim"] | {"precision": "auto"}}, Place(runs=tmp_path, threads=1, quiet=True))
    assert folders.read_json(run.arithmetic_file)["student"] == "fp32"
    assert not cache.exists()


def test_many_images_are_and_the_choice_is_recorded(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speaking, "WORTH_TUNING", 100)
    monkeypatch.setattr(arithmetic, "WORTH_TRYING", 100)
    monkeypatch.setattr(speaking, "SELF_TEST", 100)
    place = Place(runs=tmp_path, threads=1, quiet=True)
    taught_by = train(SHORT, place)
    run = train(
        SHORT | {"optim": SHORT["optim"] | {"precision": "auto"}, "teacher": str(taught_by.path), "seed": 1}, place
    )
    record = folders.read_json(run.arithmetic_file)
    assert record["student"] in ("fp32", "bf16") and record["teachers"][0] in ("fp32", "bf16")
    assert record["seconds"].keys() == {"fp32", "bf16"}
    assert len(json.loads(cache.read_text())) == 2


def test_a_run_that_is_taken_up_again_keeps_its_arithmetic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from protege.train import loop as training

    described = SHORT | {"optim": SHORT["optim"] | {"precision": "auto"}}
    place = Place(runs=tmp_path, threads=1, quiet=True, checkpoint_seconds=0)
    step = training.Training.train_batch

    def break_off(self: Any, *args: Any, **kwargs: Any) -> None:
        step(self, *args, **kwargs)
        self.stop.set()

    monkeypatch.setattr(training.Training, "train_batch", break_off)
    with pytest.raises(Stopped):
        train(described, place)
    monkeypatch.setattr(training.Training, "train_batch", step)
    (run,) = folders.every(tmp_path)
    folders.write_json(run.arithmetic_file, folders.read_json(run.arithmetic_file) | {"student": "bf16"})
    seen = []
    end_epoch = training.Training.end_epoch
    monkeypatch.setattr(
        training.Training,
        "end_epoch",
        lambda self, seconds: (seen.append(self.step.precision), end_epoch(self, seconds)),
    )
    train(described, place)
    assert set(seen) == {"bf16"}


def test_bf16_training_stays_near_fp32(tmp_path: Path) -> None:
    place = Place(runs=tmp_path, threads=1, quiet=True)
    one, other = (
        train(SHORT | {"optim": SHORT["optim"] | {"precision": precision}}, place) for precision in ("fp32", "bf16")
    )
    for line, near in zip(one.metrics(), other.metrics(), strict=True):
        assert near["terms"]["labels"] == pytest.approx(line["terms"]["labels"], rel=0.05)
    weights, _ = folders.read_weights(other.weights_file())
    assert all(value.dtype == torch.float32 for value in weights.values() if value.is_floating_point())


def test_where_compiling_fails_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler here\nat all")

    monkeypatch.setattr(torch, "compile", fails)
    plain = train(SHORT, Place(runs=tmp_path / "a", threads=1, quiet=True))
    tried = train(SHORT, Place(runs=tmp_path / "b", threads=1, compile=True))
    assert "torch.compile failed (no compiler here)" in capsys.readouterr().err
    assert plain.metrics() == tried.metrics()


def test_times_are_told_apart_by_machine() -> None:
    assert tuning._key("a", CPU) != tuning._key("b", CPU)


@pytest.mark.parametrize(
    ("set_by_the_user", "expected"),
    [({}, "20000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "30000000000")],
    ids=["nothing", "a count", "a policy"],
)
def test_threads_give_their_core_up_soon_unless_the_user_says_otherwise(
    set_by_the_user: dict[str, str], expected: str
) -> None:
    """As torch's own OpenMP tells when it is loaded: a busy neighbour is then waited for, not spun against."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", "import protege, torch"], capture_output=True, text=True, check=True,
        env={**environment, "OMP_DISPLAY_ENV": "VERBOSE", **set_by_the_user},
    )  # fmt: skip
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("torch comes with another OpenMP here")
    assert f"GOMP_SPINCOUNT = '{expected}'" in done.stderr
