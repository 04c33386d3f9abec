"""One run on several processes is the described run: the same weights, one writer, one line when it ends, nothing lost."""

from __future__ import annotations

import itertools
import json
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from process_cases import SETTINGS, TINY, ended, started
from typer.testing import CliRunner

from protege.cli.app import app
from protege.errors import ConfigError, RunError
from protege.methods import METHODS
from protege.runs import Run
from protege.runs.config import Place, check_run
from protege.runs.process.ranks import ALONE, Ranks
from protege.runs.process.started import first_node, refuse_unknown_node
from protege.runs.process.started import started as told
from protege.train import train
from protege.train.slices import AsOne, refuse_what_cannot_be_divided

SCRIPT = str(Path(__file__).with_name("process_cases.py"))
# One of each kind: labels alone, remembered logits, live features, a bank of all images, relations in the batch, peers, adapters with
# batch norms, phases, the live weights of the last layer, what the student keeps.
KINDS = ("supervised", "kd", "feature", "crd", "rkd", "dml", "reviewkd", "ft", "catkd", "simkd")
PARTS = 6  # of all methods: a busy machine takes minutes for one
EVERYTHING = {"accumulate": 2, "ema": 0.9, "clip_norm": 0.5, "warmup_epochs": 0.5}


def described(name: str, teacher: Path, optim: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    method = {"name": name} | SETTINGS.get(name, {})
    taught = {"teacher": str(teacher)} if METHODS[name].needs_teacher else {}
    return {"method": method, **taught, "optim": TINY["optim"] | (optim or {}), **fields}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    brief = {"optim": TINY["optim"] | {"epochs": 1}}
    return train(check_run(TINY | brief), Place(runs=tmp_path_factory.mktemp("teacher"), threads=1, quiet=True)).path


def made(root: Path, cases: dict[str, dict[str, Any]], count: int) -> None:
    """The same runs by one process and by several, at once."""
    (root / "cases.json").write_text(json.dumps(cases))
    processes = []
    for together in (1, count):
        folder = root / str(together)
        folder.mkdir()
        processes += started(together, [SCRIPT, str(root / "cases.json"), str(folder)])
    for code, said in ended(processes):
        assert code == 0, said


def distance(root: Path, name: str, count: int) -> float:
    """Of all that learnt and was remembered, relative to its size."""
    one, several = (torch.load(root / str(together) / f"{name}.pt") for together in (1, count))
    assert one.keys() == several.keys()
    learnt = [key for key, value in one.items() if value.is_floating_point()]
    ours, theirs = (torch.cat([held[key].double().flatten() for key in learnt]) for held in (one, several))
    return ((ours - theirs).norm() / ours.norm()).item()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, teacher: Path) -> Path:
    root = tmp_path_factory.mktemp("two")
    cases = {name: described(name, teacher) for name in KINDS}
    cases["everything"] = described("supervised", teacher, EVERYTHING, views="cutmix")
    cases["float32"] = described("supervised", teacher, {"lr": 0.001})
    cases["float32 taught"] = described("kd", teacher, {"lr": 0.001})
    made(root, cases, 2)
    return root


@pytest.mark.parametrize("name", [*KINDS, "everything"])
def test_two_processes_make_the_described_run(two: Path, name: str) -> None:
    """In float64, after 20 steps: but for rounding, and what multiplies it, there is no difference, whatever a method looks at."""
    assert distance(two, name, 2) < 1e-8


@pytest.mark.parametrize("name", ["float32", "float32 taught"])
def test_in_single_precision_too(two: Path, name: str) -> None:
    """At a rate at which what rounding does is not multiplied."""
    assert distance(two, name, 2) < 1e-5


def test_the_memory_is_filled_by_all_and_holds_each_row_once(two: Path) -> None:
    """The same rows as one process remembers, in as many bytes."""
    one, both = (sorted((two / count / "kd" / "memory").glob("*/*.bin")) for count in "12")
    assert [path.name for path in both] == ["places.bin", "rows.bin"]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in both]
    asked = [Run(next((two / count / "kd").glob("resnet8-*"))).result()["teacher_asked"] for count in "12"]
    assert asked[0] == asked[1] > 0


def test_the_run_is_the_same_and_says_how_many_made_it(two: Path) -> None:
    one, both = (Run(next((two / count / "supervised").glob("resnet8-*"))) for count in "12")
    assert one.id == both.id
    assert (one.record()["processes"], both.record()["processes"]) == (1, 2)
    assert both.result()["heldout_accuracy"] == one.result()["heldout_accuracy"]


@pytest.mark.slow  # pytest -m slow tests/test_processes.py
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("count", [2, 3])
def test_every_method_is_the_described_run(tmp_path: Path, teacher: Path, count: int, part: int) -> None:
    """Each last batch has two images: one of three processes then has none."""
    few = {"data": TINY["data"] | {"limit": 66}}
    cases = {name: described(name, teacher, **few) for name in sorted(METHODS)[part::PARTS]}
    for name in cases.keys() & {"multi", "uncertainty"}:
        cases[name]["teacher"] = [str(teacher)] * 2
    made(tmp_path, cases, count)
    assert {name: far for name in cases if not (far := distance(tmp_path, name, count)) < 1e-8} == {}


# ---- how it ends ----


def command(root: Path, *more: str) -> list[str]:
    """A run of 100 steps, each of which is a checkpoint."""
    arguments = ["--data", "cifar10-mini", "--data.limit", "71", "--data.heldout", "11", "--data.image-size", "16"]
    arguments += ["--model", "resnet8", "--optim.epochs", "20", "--optim.batch-size", "16", "--optim.precision", "fp32"]
    return ["-m", "protege", "train", *arguments, "--runs", str(root), "--checkpoint-seconds", "0", *more]


def outcome(root: Path) -> tuple[bytes, bytes]:
    run = Run(next(root.glob("resnet8-*")))
    assert run.finished
    return run.metrics_file.read_bytes(), run.weights_file("final").read_bytes()


def after(epochs: int, root: Path, processes: list[subprocess.Popen[str]]) -> None:
    """Wait until so many epochs are done."""
    while not any(file.read_text().count("\n") >= epochs for file in root.glob("*/metrics.jsonl")):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)


def said_by(results: list[tuple[int, str]]) -> list[str]:
    """Lines in which protege says why it ends."""
    return [line for _, said in results for line in said.splitlines() if line.startswith("protege: ")]


def test_killed_stopped_and_started_again_it_ends_bit_equal(tmp_path: Path) -> None:
    unbroken = started(2, command(tmp_path / "unbroken"))
    broken = started(2, command(tmp_path / "broken"))
    after(2, tmp_path / "broken", broken)
    broken[1].kill()
    results = ended(broken)
    assert results[0][0] == 2 and len(said_by(results)) == 1, results
    assert "Another process of this run is gone" in said_by(results)[0]

    stopped = started(2, command(tmp_path / "broken"))
    after(4, tmp_path / "broken", stopped)
    stopped[1].send_signal(signal.SIGUSR1)
    results = ended(stopped)
    assert [code for code, _ in results] == [130, 130] and len(said_by(results)) == 1, results
    assert "stopped at epoch" in said_by(results)[0]

    with pytest.raises(RunError, match="began on 2 processes"):
        train(Run(next((tmp_path / "broken").glob("resnet8-*"))).config(), Place(runs=tmp_path / "broken", quiet=True))
    assert [code for code, _ in ended(started(2, command(tmp_path / "broken")) + unbroken)] == [0] * 4
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "unbroken")


@pytest.mark.slow  # pytest -m slow tests/test_processes.py
def test_killed_at_random_it_ends_bit_equal(tmp_path: Path) -> None:
    """Any of three, at any moment, six times."""
    assert [code for code, _ in ended(started(3, command(tmp_path / "unbroken")))] == [0, 0, 0]
    chance = random.Random(0)
    for _ in range(6):
        processes = started(3, command(tmp_path / "broken"))
        time.sleep(chance.uniform(3, 12))
        chance.choice(processes).kill()
        ended(processes)
    assert [code for code, _ in ended(started(3, command(tmp_path / "broken")))] == [0, 0, 0]
    assert outcome(tmp_path / "broken") == outcome(tmp_path / "unbroken")


def test_what_diverges_ends_everywhere_with_one_line(tmp_path: Path) -> None:
    results = ended(started(2, command(tmp_path, "--optim.lr", "1e30")))
    assert [code for code, _ in results] == [2, 2], results
    assert len(said_by(results)) == 1 and "no longer" in said_by(results)[0]


def test_asked_to_a_run_goes_on_with_other_processes_and_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says that bits differ, and who began and who ended it."""
    config = check_run(TINY)
    place = Place(runs=tmp_path, threads=1, regroup=True)
    run = train(config, place)
    record = run.record() | {"processes": 2, "fp32": "cuda 8.0, convolutions in tf32"}
    run.result_file.unlink()
    run.record_file.write_text(json.dumps(record))
    run = train(config, place)
    assert (run.record()["processes"], run.result()["processes"]) == (2, 1)
    said = capsys.readouterr().err
    assert "begun by 2 processes, going on with 1: the last bits will differ" in said
    assert "begun on cuda 8.0, convolutions in tf32, going on with cpu: the last bits will differ" in said


# ---- one slice ----


@pytest.mark.parametrize("drop", [F.dropout, F.dropout2d])
def test_dropout_of_a_slice_is_that_of_the_whole_batch(drop: Callable[..., torch.Tensor]) -> None:
    batch = torch.rand(7, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    torch.manual_seed(0)
    whole = drop(batch, 0.5, True)
    slices = []
    for own in range(3):
        ranks = Ranks(own, 3)
        torch.manual_seed(0)
        with AsOne(ranks, 7, batch.device):
            slices.append(drop(batch[ranks.part(7)], 0.5, True))
    assert torch.equal(torch.cat(slices), whole)


def test_a_network_that_draws_otherwise_is_refused() -> None:
    with pytest.raises(ConfigError, match="random numbers of its own"), AsOne(Ranks(0, 2), 4, torch.device("cpu")):
        torch.rand(2)


def test_what_cannot_be_divided_is_refused() -> None:
    config = check_run(TINY | {"compress": {"activations": 8}})
    refuse_what_cannot_be_divided(config, Place(compile=True), ALONE)
    with pytest.raises(ConfigError, match=r"compress\.activations"):
        refuse_what_cannot_be_divided(config, Place(), Ranks(0, 2))
    with pytest.raises(ConfigError, match="less than one image"):
        refuse_what_cannot_be_divided(check_run(TINY), Place(), Ranks(0, 17))
    with pytest.raises(ConfigError, match="--compile"):
        refuse_what_cannot_be_divided(check_run(TINY), Place(compile=True), Ranks(0, 2))


# ---- how it is started ----

SRUN = {
    "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "4", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "2",
    "SLURM_STEP_NODELIST": "gpu[03-04]",
}  # fmt: skip


def test_torchrun_and_srun_tell_who_is_who() -> None:
    start = told({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0"} | SRUN)
    assert start is not None and (start.own, start.count, start.local, start.address) == (1, 2, 0, None)
    start = told(SRUN)
    assert start is not None and (start.own, start.count, start.local, start.address) == (3, 4, 1, "gpu03")
    other_step = told(SRUN | {"SLURM_STEP_ID": "3"})
    assert other_step is not None and other_step.port != start.port


def test_a_node_without_an_address_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not after the ten minutes in which others may still come."""
    start = told(SRUN | {"SLURM_PROCID": "0", "SLURM_STEP_NODELIST": "gpu[03-04].invalid"})
    assert start is not None
    with pytest.raises(ConfigError, match=r"'gpu03\.invalid' .* has no address here\. Set MASTER_ADDR"):
        refuse_unknown_node(start)
    refuse_unknown_node(replace(start, address="127.0.0.1"))


def test_tasks_of_a_job_that_srun_did_not_start_are_alone() -> None:
    """A batch script of four tasks is one process until it calls srun."""
    assert told({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_ID": "7"}) is None
    assert told({"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"} | SRUN) is None


def test_a_number_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="WORLD_SIZE is 'two'"):
        told({"WORLD_SIZE": "two", "RANK": "0", "LOCAL_RANK": "0"})


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["study", "run", "made.yaml"], "`protege study`"),
        (["demo"], "`protege demo`"),
        (["remember", "warm"], "`protege remember`"),
        (["evaluate", "run", "--test"], "`protege evaluate`"),
        (["train", "--search", "optim.lr", "0.01", "0.5"], "`--search`"),
        (["train", "--on", "slurm"], "`--on slurm`"),
    ],
)
def test_what_each_process_would_do_again_is_refused_by_one_of_them(
    words: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under srun; the others end without a word, so that there is one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("protege.runs.process.started.UNTIL_SAID", 0)
    first = CliRunner().invoke(app, words, env=SRUN | {"SLURM_PROCID": "0"})
    assert str(first.exception).startswith(f"{named} is for one process, and 4 were started")
    assert "`srun --ntasks 1`" in str(first.exception)
    other = CliRunner().invoke(app, words, env=SRUN)
    assert (other.exit_code, other.output) == (2, "") and not list(tmp_path.iterdir())


def test_torchrun_says_in_one_line_that_a_study_is_for_one_process(tmp_path: Path) -> None:
    """It ends the others as soon as one ends, which is the one that speaks."""
    processes = started(2, ["-m", "protege", "study", "run", "made.yaml", "--runs", str(tmp_path)])
    said = processes[0].communicate(timeout=900)[0]
    assert processes[0].returncode == 2 and "Type it without torchrun." in said
    assert processes[1].poll() is None
    processes[1].terminate()
    assert ended(processes)[1] == (-signal.SIGTERM, "") and not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["list"], ["methods"]])
def test_looking_is_for_any_number_of_processes(words: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*words, *(["--runs", str(tmp_path)] if words == ["list"] else [])], env=SRUN)
    assert done.exit_code == 0, done.exception


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu[03-05,09],cpu1", "gpu03"), ("node7", "node7"), ("a1,b2", "a1"), ("n[1,4]-ib", "n1-ib"), ("r[08]c", "r08c")],
)
def test_the_first_node_of_a_list_is_read(nodes: str, first: str) -> None:
    assert first_node(nodes) == first


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("total", [0, 1, 7, 64])
def test_slices_share_nothing_and_leave_nothing_out(count: int, total: int) -> None:
    everything = list(range(total))
    parts = [everything[Ranks(own, count).part(total)] for own in range(count)]
    assert list(itertools.chain(*parts)) == everything
    assert [len(part) for part in parts] == Ranks(0, count).sizes(total)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
