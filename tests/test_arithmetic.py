"""Compiling is tried before long runs only, and done where it repays its time; a graph that computes something else is not used."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from protege import data, train
from protege import runs as folders
from protege.errors import RunError
from protege.methods.base import Shapes
from protege.models.network import Reader
from protege.runs import tuning
from protege.runs.config import Place, check_run
from protege.train import arithmetic
from protege.train.learner import Learner

SHORT: dict[str, Any] = {
    "data": {"name": "cifar10-mini", "limit": 100, "heldout": 100},
    "model": "resnet8",
    "optim": {"epochs": 1, "batch_size": 60},
}
CONFIG = check_run(SHORT)
LABELS = ("logits",)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tuning, "spent_by_everybody", lambda: 0.0)  # whatever else this machine does


@pytest.fixture
def learner() -> Learner:
    return Learner.fresh(CONFIG, data.load(CONFIG.data, None), Shapes(0))


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(8, 3, 32, 32), torch.zeros(8, dtype=torch.long)


@pytest.fixture
def taking(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Steps that take so many seconds of a clock of our own, and compiling before the first; what was begun is listed."""
    clock, begun = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(time, "process_time", lambda: clock[0] * torch.get_num_threads())

    def times(eager: float, compiled: float, compiling: float) -> list[str]:
        def step(student: Any, batch: Any, precision: str, read: Any = LABELS, execution: str = "eager") -> Any:
            begun.append(execution)
            first = [execution == "compiled"]

            def work() -> None:
                clock[0] += compiled if execution == "compiled" else eager
                clock[0] += compiling if first[0] else 0
                first[0] = False

            return work

        monkeypatch.setattr(arithmetic, "step", step)
        return begun

    return times


def chosen(learner: Learner, batch: Any, steps: int, say: Callable[[str], None] = print) -> str:
    return arithmetic.quickest_execution(CONFIG, learner.student, batch, "fp32", steps, say)


def test_a_long_run_compiles_where_that_repays_its_time(learner: Learner, batch: Any, taking: Any) -> None:
    taking(eager=1.0, compiled=0.5, compiling=30.0)
    said: list[str] = []
    assert chosen(learner, batch, 2000, said.append) == "compiled"
    assert "compiling takes 30 s, a step is 50% quicker: it pays" in said[-1]


@pytest.mark.parametrize(
    ("compiled", "compiling"), [(1.2, 1.0), (0.98, 0.1), (0.9, 200.0)], ids=["slower", "hardly quicker", "too dear"]
)
def test_it_does_not_where_it_does_not(
    learner: Learner, batch: Any, taking: Any, compiled: float, compiling: float
) -> None:
    taking(eager=1.0, compiled=compiled, compiling=compiling)
    said: list[str] = []
    assert chosen(learner, batch, 2000, said.append) == "eager"
    assert said[-1].endswith(f"{'slower' if compiled > 1 else 'quicker'}: it does not pay")


def test_a_short_run_is_not_worth_the_trial(learner: Learner, batch: Any, taking: Any) -> None:
    begun = taking(eager=1.0, compiled=0.1, compiling=1.0)
    assert chosen(learner, batch, 1000) == "eager"
    assert begun == ["eager"]


def test_beside_others_a_run_is_as_short_as_it_is_alone(
    learner: Learner, batch: Any, taking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits a hundred times as long for its turn; what it needs of the processor is the same, and so are its bits."""
    begun, alone = taking(eager=1.0, compiled=0.1, compiling=1.0), time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: 100 * alone())
    assert chosen(learner, batch, 1000) == "eager"
    assert begun == ["eager"]


def test_the_trial_is_made_once_on_a_machine(learner: Learner, batch: Any, taking: Any) -> None:
    taking(eager=1.0, compiled=0.5, compiling=30.0)
    assert chosen(learner, batch, 2000) == "compiled"
    taking(eager=1.0, compiled=5.0, compiling=30.0)
    assert chosen(learner, batch, 2000) == "compiled"
    assert chosen(learner, batch, 100) == "eager"  # 15 s saved would not repay 30


def test_where_the_trial_fails_the_student_stays_as_it_is(
    learner: Learner, batch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no compiler here\nat all")

    monkeypatch.setattr(arithmetic, "compiled", fails)
    monkeypatch.setitem(arithmetic.WORTH_COMPILING, "cpu", 0.0)
    said: list[str] = []
    assert chosen(learner, batch, 2000, said.append) == "eager"
    assert said[-1] == "torch.compile failed (no compiler here); going on without it"


def test_a_trial_leaves_the_student_untouched(learner: Learner, batch: Any) -> None:
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    arithmetic.step(learner.student, batch, "bf16")()
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())
    assert all(parameter.grad is None for parameter in learner.parameters())


class Graph:
    """Stands in for a compiled reader: the same, or not, and it counts."""

    def __init__(self, reader: Reader, factor: float) -> None:
        self.reader, self.factor, self.batches = reader, factor, [0]

    def __call__(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        self.batches.append(len(images))
        logits, features = self.reader(images)
        return logits * self.factor, features


@pytest.mark.parametrize(("factor", "used"), [(1.0, True), (1.01, False)])
def test_a_graph_that_computes_something_else_is_not_used(
    learner: Learner, batch: Any, monkeypatch: pytest.MonkeyPatch, factor: float, used: bool
) -> None:
    monkeypatch.setattr("protege.train.learner.compiled", lambda reader, execution: Graph(reader, factor))
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    said: list[str] = []
    learner.compile_student(LABELS, batch[0], arithmetic.Chosen(execution="compiled"), said.append)
    assert (learner.compiled is not None) is used
    assert ("it computes something else: logits are 1.0% away" in said[-1]) is not used
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())


def test_a_smaller_last_batch_gets_no_graph_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[Graph] = []

    def compiled(reader: Reader, execution: str) -> Graph:
        graphs.append(Graph(reader, 1.0))
        return graphs[-1]

    plain = train.train(SHORT, Place(runs=tmp_path / "a", threads=1, quiet=True))
    monkeypatch.setattr("protege.train.learner.compiled", compiled)
    run = train.train(SHORT, Place(runs=tmp_path / "b", threads=1, quiet=True, compile=True))
    assert graphs[0].batches == [0, 60, 60]  # the check and the first batch, but not the 40 images of the last
    assert folders.read_json(run.arithmetic_file)["execution"] == "compiled"
    assert [line["terms"] for line in run.metrics()] == [line["terms"] for line in plain.metrics()]


def test_a_record_of_another_version_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    run = folders.Run(tmp_path / "run")
    folders.write_json(run.arithmetic_file, {"student": "fp32", "seconds": {}, "teachers": [], "compiled": False})
    with pytest.raises(RunError, match=r"arithmetic.json is not of this version of protege. Remove this file alone"):
        arithmetic.recorded(run)
    run.arithmetic_file.unlink()
    assert arithmetic.recorded(run) is None


def test_a_run_that_is_long_enough_tries_and_records_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "WORTH_TRYING", 100)
    monkeypatch.setattr(arithmetic, "quickest_execution", lambda *_: "compiled")
    monkeypatch.setattr("protege.train.learner.compiled", lambda reader, execution: Graph(reader, 1.0))
    for name, place, expected in (
        ("a", Place(runs=tmp_path / "a"), "compiled"),
        ("b", Place(runs=tmp_path / "b", compile=False), "eager"),
    ):
        run = train.train(SHORT, place.model_copy(update={"threads": 1, "quiet": True}))
        assert folders.read_json(run.arithmetic_file)["execution"] == expected, name


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_replayed_graphs_learn_the_same_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = train.train(SHORT, Place(runs=tmp_path / "a", device="cuda", quiet=True))
    monkeypatch.setattr(arithmetic, "WORTH_TRYING", 1)
    monkeypatch.setattr(arithmetic, "quickest_execution", lambda *_: "graphs")
    run = train.train(SHORT, Place(runs=tmp_path / "b", device="cuda", quiet=True))
    assert folders.read_json(run.arithmetic_file)["execution"] == "graphs"
    for line, near in zip(plain.metrics(), run.metrics(), strict=True):
        assert near["terms"]["labels"] == pytest.approx(line["terms"]["labels"], rel=1e-2)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of torch's own making; as errors they would end the compiler
def test_a_compiled_student_learns_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And is saved under the same names, and bit-equal to itself."""
    plain = train.train(SHORT, Place(runs=tmp_path / "a", threads=1))
    runs = [train.train(SHORT, Place(runs=tmp_path / name, threads=1, compile=True)) for name in "bc"]
    said = capsys.readouterr().err
    if "torch.compile failed" in said:
        pytest.skip(said)
    assert said.count("compiled in") == 2
    for line, near in zip(plain.metrics(), runs[0].metrics(), strict=True):
        assert near["terms"]["labels"] == pytest.approx(line["terms"]["labels"], rel=1e-3)
    (weights, _), (first, _), (second, _) = (folders.read_weights(run.weights_file()) for run in (plain, *runs))
    assert first.keys() == weights.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_cohort_is_not_compiled(learner: Learner, batch: Any, tmp_path: Path) -> None:
    """Its members learn from each other in one step, which is no graph of the student's."""
    mutual = check_run(SHORT | {"method": "dml"})
    assert mutual.method.cohort > 1
    for compiling in (True, None):
        place = Place(runs=tmp_path, compile=compiling)
        assert arithmetic.choose(mutual, learner.student, batch, 10**6, place, print).execution == "eager"


def test_all_runs_of_a_folder_compute_a_network_alike(
    learner: Learner, batch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was first chose, however busy the machine was; another folder, and fp32 when it is asked for, are free."""
    names = iter(["bf16", "fp32", "fp32"])
    monkeypatch.setattr(arithmetic, "quickest_precision", lambda *_: tuning.Choice(next(names), {"fp32": 1.0}, {}))

    def chosen_in(folder: str, **optim: Any) -> str:
        config = check_run(SHORT | {"optim": SHORT["optim"] | optim})
        place = Place(runs=tmp_path / folder, compile=False)
        return arithmetic.choose(config, learner.student, batch, 10**6, place, print).student

    assert [chosen_in("one"), chosen_in("one", lr=0.01), chosen_in("two")] == ["bf16", "bf16", "fp32"]
    assert chosen_in("one", precision="fp32") == "fp32"


def test_arms_that_join_others_that_were_begun_in_fp32_are_made_in_fp32(
    learner: Learner, batch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arithmetic, "quickest_precision", lambda *_: tuning.Choice("bf16", {}, {}))
    train.train(SHORT | {"optim": SHORT["optim"] | {"precision": "fp32"}}, Place(runs=tmp_path, threads=1, quiet=True))
    place = Place(runs=tmp_path, compile=False)
    again = check_run(SHORT | {"seed": 1})
    assert arithmetic.choose(again, learner.student, batch, 10**6, place, print).student == "fp32"
    other = check_run(SHORT | {"model": "resnet14"})
    student = Learner.fresh(other, data.load(other.data, None), Shapes(0)).student
    assert arithmetic.choose(other, student, batch, 10**6, place, print).student == "bf16"


def test_a_run_that_was_begun_when_fp32_was_the_default_is_found_and_not_trained_again(tmp_path: Path) -> None:
    place = Place(runs=tmp_path, threads=1, quiet=True)
    before = train.train(SHORT | {"optim": SHORT["optim"] | {"precision": "fp32"}}, place)
    assert train.train(SHORT, place).id == before.id
    assert train.plan(CONFIG, place.model_copy(update={"runs": tmp_path / "elsewhere"})).id != before.id
