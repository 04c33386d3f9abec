"""What is measured is of the file that ships, and the choice is the best that fits."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from ship_cases import trained
from test_ship_files import classifier, ours, saved
from typer.testing import CliRunner

from protege.cli import app
from protege.cli.ship.choose import lines
from protege.errors import ConfigError, ModelError
from protege.models.measure import describe
from protege.ship.figures import choose as choosing
from protege.ship.figures import kept, turns
from protege.ship.figures.choose import Budget, amount, choose, dominated, overlaps
from protege.ship.figures.measure import Measured, measure, time_for_limit, time_in_turns
from protege.ship.figures.turns import Asked, narrow

VERBS = CliRunner()
QUICK = Asked(seconds=0.01)


def figures(source: str, accuracy: float | None, size: int, ms: float, spread: float = 0.001) -> Measured:
    interval = None if accuracy is None else (accuracy - spread, accuracy + spread)
    return Measured(
        source, bytes=size, accuracy=accuracy, interval=interval, latency_ms=ms, latency_low_ms=ms, latency_high_ms=ms
    )


SMALL, MIDDLE, LARGE = (
    figures("small", 0.80, 50_000, 0.1),
    figures("middle", 0.90, 90_000, 0.5),
    figures("large", 0.95, 300_000, 2),
)


def test_the_best_that_fits_is_chosen_and_the_next_budget_named() -> None:
    choice = choose([SMALL, MIDDLE, LARGE], Budget(bytes=100_000, latency_ms=1))
    assert choice.best is MIDDLE
    assert choice.fitting == [MIDDLE, SMALL]
    assert choice.next_larger is LARGE
    assert choice.needs == {"bytes": 300_000, "latency_ms": 2}


def test_the_sentence_says_why_and_what_the_next_budget_buys() -> None:
    said = lines(choose([SMALL, MIDDLE, LARGE], Budget(bytes=100_000, latency_ms=1)))
    assert said == [
        "Ship middle: 90.00 %, 90,000 bytes, 0.500 ms, the most accurate of 2 that fit.",
        "A budget of 300,000 bytes, 2 ms buys large: 95.00 %, 300,000 bytes, 2.000 ms, 5.00 points more (beyond both intervals).",
    ]
    assert lines(choose([MIDDLE], Budget()))[-1] == "No larger budget buys a better one of these."


def test_nothing_is_chosen_where_nothing_fits_or_was_judged() -> None:
    choice = choose([LARGE, figures("unknown", None, 10, 0.1)], Budget(bytes=1000))
    assert choice.best is None
    assert choice.next_larger is LARGE


def test_one_that_the_images_cannot_tell_from_the_best_is_named() -> None:
    near = figures("near", 0.899, 20_000, 0.1, spread=0.01)
    assert choose([MIDDLE, near], Budget()).as_good == [near]


def test_one_that_is_dearer_in_all_is_not_named_beside_the_best() -> None:
    dearer = figures("dearer", 0.899, 95_000, 0.9, spread=0.01)
    assert overlaps(MIDDLE, dearer)
    assert choose([MIDDLE, dearer], Budget()).as_good == []


def test_dominated_is_what_another_beats_in_all() -> None:
    slow = figures("slow", 0.85, 95_000, 0.6)
    assert dominated([SMALL, MIDDLE, LARGE, slow]) == {"slow": "middle"}


@pytest.mark.parametrize(
    ("text", "value"), [("98496", 98_496), ("100k", 100_000), ("1.5M", 1_500_000), ("2 KiB", 2048)]
)
def test_amounts_are_written_as_people_do(text: str, value: float) -> None:
    assert amount(text) == value


@pytest.mark.parametrize("text", ["", "many", "1e3x", "-5"])
def test_other_amounts_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no amount"):
        amount(text)


def test_timing_goes_on_until_the_rounds_agree() -> None:
    assert narrow([[1.0], [1.01], [1.0], [1.02], [1.0]])
    assert not narrow([[1.0], [2.0], [1.0], [2.0], [1.5]])


Heard = list[tuple[str, int]]  # who was asked for a round, of how many images at a time
Paces = dict[str, list[float]]  # milliseconds an image, round after round; the last stays


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Callable[[Paces], Heard]:
    """No processes: networks that take as long as they are told to."""

    def told(paces: Paces) -> Heard:
        asked: Heard = []

        class Told:
            def __init__(self, source: str) -> None:
                self.source, self.batch, self.round = source, 0, 0

            def ask(self, **what: object) -> dict[str, object]:
                if "seconds" not in what:
                    self.batch = int(str(what["batch"]))
                    return {"load_seconds": 1, "runtime": "none", "peak_bytes": 1}
                asked.append((self.source, self.batch))
                pace = paces[self.source]
                self.round += 1
                return {"seconds": [0.001 * pace[min(self.round, len(pace)) - 1] * self.batch] * 5}

        monkeypatch.setattr(turns, "worker", lambda source, threads: nullcontext(Told(source)))
        return asked

    return told


def test_networks_are_timed_in_turns(heard: Callable[[Paces], Heard]) -> None:
    """So that a busy minute falls on all of them, in latency and in throughput."""
    asked = heard({"a": [1], "b": [1]})
    found = [Measured("a"), Measured("b")]
    time_in_turns(found, Path("runs"), "final", QUICK)
    assert asked == [("a", 1), ("b", 1)] * 5 + [("a", 64), ("b", 64)] * 5
    assert [one.latency_ms for one in found] == [1, 1]
    assert found[0].images_per_second == pytest.approx(1000)


def test_who_is_clearly_on_one_side_of_the_limit_is_timed_no_more(heard: Callable[[Paces], Heard]) -> None:
    """Two rounds for those that are far from it, five for those that are near, all where rounds lie on both sides."""
    asked = heard({"small": [0.1], "large": [3], "near": [0.9], "both": [0.8, 1.2] * 10})
    found = [Measured(name) for name in ("small", "large", "near", "both")]
    time_for_limit(found, Path("runs"), "final", QUICK, 1.0)
    assert Counter(name for name, _ in asked) == {"small": 2, "large": 2, "near": 5, "both": turns.MOST}
    assert {batch for _, batch in asked} == {1}
    assert [one.rounds for one in found] == [2, 2, 5, turns.MOST]
    assert found[3].latency_low_ms == pytest.approx(0.8)
    assert found[3].latency_high_ms == pytest.approx(1.2)


def test_where_milliseconds_decide_nothing_nothing_is_timed(heard: Callable[[Paces], Heard], tmp_path: Path) -> None:
    asked = heard({})
    found = [figures(saved_name(tmp_path, name), 0.9, size, 0) for name, size in (("a", 1), ("b", 2))]
    for one in found:
        one.latency_ms = None
    assert choosing.timed(found, tmp_path, "final", QUICK, None) == 0
    assert asked == []
    assert [one.latency_ms for one in found] == [None, None]
    assert lines(choose(found, Budget()))[0].endswith("90.00 %, 1 bytes, the most accurate of 2 that fit.")


def saved_name(folder: Path, name: str) -> str:
    return str(saved(folder / f"{name}.onnx", classifier(), **ours()))


@pytest.mark.parametrize("changed", [None, "machine", "threads", "library", "file"])
def test_what_was_timed_here_before_is_taken_where_all_is_the_same(
    changed: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved(tmp_path / "small.onnx", classifier(), **ours())
    (tmp_path / "card.json").write_text("{}")
    before = Measured(str(file), kept.library(file) or "", 100, latency_ms=0.3, rounds=20, machine={"cores": 2})
    kept.keep(before, tmp_path, "final")
    now = Measured(str(file), bytes=100, machine={"cores": 4 if changed == "machine" else 2})
    if changed == "threads":
        now.threads = 2
    if changed == "library":
        monkeypatch.setattr(kept, "version", lambda name: "0.1")
    if changed == "file":
        saved(file, classifier(size=16), **ours(size="16"))
    assert kept.recall(now, tmp_path, "final") == (changed is None)
    assert now.latency_ms == (0.3 if changed is None else None)


def test_a_record_that_was_tampered_with_is_none(tmp_path: Path) -> None:
    file = saved(tmp_path / "small.onnx", classifier(), **ours())
    (tmp_path / "measured.json").write_text(json.dumps({file.name: {"latency_ms": "soon"}}))
    assert not kept.recall(Measured(str(file)), tmp_path, "final")


def test_times_that_cannot_be_told_apart_dominate_nothing() -> None:
    quick, slow = figures("quick", 0.9, 100, 1.0), figures("slow", 0.9, 100, 1.1)
    assert dominated([quick, slow]) == {"slow": "quick"}
    slow.latency_low_ms = 0.9
    assert dominated([quick, slow]) == {}


def test_what_is_left_is_said_in_seconds() -> None:
    rounds = [[[0.1]] * 3, [[0.1]] * 2]
    assert turns.left(rounds, [0], 1, 2.0).endswith("round 3 of 20 at most, 34 s left at most")


def test_a_run_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    run = trained(tmp_path / "runs")
    found = VERBS.invoke(app, ["measure", run.id, "--runs", str(run.path.parent), "--json"])
    assert found.exit_code == 0, found.output
    (one,) = json.loads(found.stdout)
    assert one["bytes"] == run.weights_file().stat().st_size
    assert one["parameters"] == describe("resnet8")["parameters"]
    assert one["multiply_adds"] == describe("resnet8")["multiply_adds"]
    assert one["accuracy"] == pytest.approx(run.result()["heldout_accuracy"])
    assert one["agreement_run"] == 1
    assert 0 < one["latency_low_ms"] <= one["latency_ms"] <= one["latency_high_ms"]
    assert one["latency_p95_ms"] >= one["latency_low_ms"]
    assert one["rounds"] >= 5
    assert not (run.path.parent / "ledger.jsonl").exists()
    kept = run.measured()["final"]
    assert {name: kept[name] for name in ("bytes", "latency_ms", "machine")} == {
        name: one[name] for name in ("bytes", "latency_ms", "machine")
    }
    assert "accuracy" not in kept


def test_the_test_set_is_opened_through_the_ledger(tmp_path: Path) -> None:
    from protege.runs.config import Place
    from protege.ship.figures.judge import Judge

    run = trained(tmp_path / "runs")
    one = Measured(run.id)
    Judge(Place(runs=run.path.parent, device="cpu"), test=True)(run.id, one)
    assert one.split == "test"
    assert len((run.path.parent / "ledger.jsonl").read_text().splitlines()) == 1


def test_a_strangers_file_is_weighed_and_timed_but_not_judged(tmp_path: Path) -> None:
    file = saved(tmp_path / "theirs.onnx", classifier(), **ours())
    (one,) = measure([str(file)], tmp_path / "runs", QUICK)
    assert one.bytes == file.stat().st_size
    assert one.runtime.startswith("onnxruntime")
    assert one.accuracy is None
    assert one.parameters is None
    assert one.peak_bytes < 250e6  # its own, not that of the process that measures, which has torch loaded


def test_a_file_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "damaged.onnx"
    file.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="damaged"):
        measure([str(file)], tmp_path, QUICK)
