"""A remembered teacher is the live one: for every kind of view, at every moment, whoever asked before."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from protege import data
from protege import runs as folders
from protege.errors import ConfigError
from protege.runs.config import Place, check_run
from protege.runs.hardware import fp32_on
from protege.teacher import recall, sources, speaking
from protege.teacher.memory_folder import overview
from protege.teacher.speaking import Teacher
from protege.train import train
from protege.views import Views, normalise

DATA: dict[str, Any] = {"name": "cifar10-mini", "limit": 120, "heldout": 100}
SHORT: dict[str, Any] = {"data": DATA, "model": "resnet8", "optim": {"epochs": 2, "batch_size": 50}}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def taught_by(root: Path) -> folders.Run:
    return train(SHORT, Place(runs=root, threads=1, quiet=True))


def place(root: Path, memory: Path | None = None) -> Place:
    return Place(runs=root, memory_dir=memory, threads=1, quiet=True)


@pytest.mark.parametrize(
    "views", ["crop-flip", "none", "mixup", "cutmix", "randaugment", "trivialaugment", {"crop": "resized"}], ids=str
)
@pytest.mark.parametrize(("remember", "tolerance"), [("fp32", 1e-4), ("fp16", 5e-3)])
def test_remembered_is_what_the_live_teacher_says(
    root: Path, taught_by: folders.Run, tmp_path: Path, views: Any, remember: str, tolerance: float
) -> None:
    """The reference is the plain network of the run: not folded, in other batches."""
    config = check_run(SHORT | {"teacher": str(taught_by.path), "views": views, "remember": remember})
    splits = data.load(config.data)
    loaded = speaking.load(sources.identify(config.teacher, root), splits, torch.device("cpu"))
    kept = recall.remembered(loaded, config, splits, splits.train, place(root, tmp_path), print)
    assert kept is not None
    positions = torch.arange(len(splits.train)).flip(0)
    network, (mean, std) = speaking.network_of(taught_by)
    for _ in ("cold", "warm"):
        for epoch in (0, 1):
            (heard,) = kept.listen(positions, epoch, lambda images: None)
            pixels = Views(config.views, 32).render(splits.train, positions, config.seed, epoch).pixels
            with torch.no_grad():
                live = network.eval()(normalise(pixels, mean, std))[0]
            torch.testing.assert_close(heard, live, rtol=0, atol=tolerance)
    assert kept.asked <= 2 * len(positions)


def test_a_flipped_view_has_words_of_its_own(root: Path, taught_by: folders.Run, tmp_path: Path) -> None:
    config = check_run(SHORT | {"teacher": str(taught_by.path), "remember": "fp32"})
    splits = data.load(config.data)
    loaded = speaking.load(sources.identify(config.teacher, root), splits, torch.device("cpu"))
    kept = recall.remembered(loaded, config, splits, splits.train, place(root, tmp_path), print)
    assert kept is not None
    positions = torch.arange(20)
    straight, flipped = (
        kept.listen_to_view(positions, number, lambda images: None)[0] for number in (80, 81)
    )  # the middle crop
    assert (straight - flipped).abs().max() > 0.01


def bits(run: folders.Run) -> tuple[bytes, dict[str, torch.Tensor]]:
    return run.metrics_file.read_bytes(), folders.read_weights(run.weights_file())[0]


def same(one: folders.Run, other: folders.Run) -> bool:
    (first, weights), (second, others) = bits(one), bits(other)
    return first == second and all(torch.equal(weights[name], others[name]) for name in weights)


def test_cold_half_warm_and_warm_runs_are_bit_equal(root: Path, taught_by: folders.Run, tmp_path: Path) -> None:
    taught = SHORT | {"teacher": str(taught_by.path), "seed": 3}
    made = []
    for number, before in enumerate(([], [1], [3, 4])):  # seeds that were trained with this memory before
        folder = tmp_path / str(number)
        for seed in before:
            train(
                taught | {"seed": seed, "optim": {"epochs": 3, "batch_size": 17}},
                Place(runs=folder / "b", memory_dir=folder / "m", threads=1, quiet=True),
            )
        made.append(train(taught, Place(runs=folder / "r", memory_dir=folder / "m", threads=1, quiet=True)))
    assert same(made[0], made[1]) and same(made[0], made[2])
    assert made[0].result()["teacher_asked"] == 240


def test_a_second_run_of_the_same_views_asks_nothing(root: Path, taught_by: folders.Run) -> None:
    taught = SHORT | {"teacher": str(taught_by.path), "seed": 7}
    train(taught, place(root))
    again = train(taught | {"method": {"name": "kd", "temperature": 2.0}}, place(root))
    assert again.result()["teacher_asked"] == 0


def test_features_are_asked_live(root: Path, taught_by: folders.Run) -> None:
    run = train(SHORT | {"teacher": str(taught_by.path), "method": "feature"}, place(root))
    assert run.result()["teacher_asked"] is None


def test_a_run_that_remembers_nothing_is_another_run_with_nearly_the_same_outcome(
    root: Path, taught_by: folders.Run, tmp_path: Path
) -> None:
    taught = SHORT | {"teacher": str(taught_by.path), "seed": 8}
    kept, live = train(taught, place(root)), train(taught | {"remember": "none"}, place(root, tmp_path))
    assert kept.id != live.id
    assert not tmp_path.exists() or not overview(tmp_path)
    for one, other in zip(kept.metrics(), live.metrics(), strict=True):
        assert one["terms"]["teacher"] == pytest.approx(other["terms"]["teacher"], rel=0.01)


def test_held_out_images_are_never_asked_about(root: Path, taught_by: folders.Run, tmp_path: Path) -> None:
    train(SHORT | {"teacher": str(taught_by.path), "seed": 9}, place(root, tmp_path))
    (entry,) = overview(tmp_path)
    splits = data.load(check_run(SHORT).data)
    assert splits.heldout is not None
    assert entry.known <= 2 * len(splits.train)
    config = check_run(SHORT | {"teacher": str(taught_by.path), "seed": 9})
    loaded = speaking.load(sources.identify(config.teacher, root), splits, torch.device("cpu"))
    kept = recall.remembered(loaded, config, splits, splits.train, place(root, tmp_path), print)
    assert kept is not None
    held = splits.heldout.indices.repeat_interleave(162)
    _, known = kept.memories[0].recall(held, torch.arange(162).repeat(len(splits.heldout)))
    assert not known.any()


def test_a_teacher_warmed_ahead_is_not_asked_in_training(root: Path, taught_by: folders.Run, tmp_path: Path) -> None:
    config = check_run(SHORT | {"teacher": str(taught_by.path), "seed": 11})
    (*_, last) = recall.warm(config, place(root, tmp_path), False, print)
    assert (last.done, last.total, last.asked) == (240, 240, 240)
    assert train(config, place(root, tmp_path)).result()["teacher_asked"] == 0
    (*_, again) = recall.warm(config, place(root, tmp_path), False, print)
    assert again.asked == 0


def test_asking_ahead_computes_as_the_run_will(
    root: Path, taught_by: folders.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One teacher, deterministic kernels, and the threads that were asked for."""
    seen = []
    load = speaking.load

    def look(*args: Any, **named: Any) -> Teacher:
        seen.append((torch.get_num_threads(), torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark))
        return load(*args, **named)

    monkeypatch.setattr(speaking, "load", look)
    torch.set_num_threads(2)
    torch.backends.cudnn.deterministic = False
    list(
        recall.warm(
            check_run(SHORT | {"teacher": str(taught_by.path), "seed": 13}), place(root, tmp_path), False, print
        )
    )
    assert seen == [(1, True, False)]


def test_a_memory_is_in_use_as_long_as_the_run(root: Path, taught_by: folders.Run, tmp_path: Path) -> None:
    """Not until Python finds the time to collect what is left of it."""
    gc.disable()
    try:
        train(SHORT | {"teacher": str(taught_by.path), "seed": 15}, place(root, tmp_path))
        list(recall.warm(check_run(SHORT | {"teacher": str(taught_by.path)}), place(root, tmp_path), False, print))
        assert [entry.in_use for entry in overview(tmp_path)] == [False]
    finally:
        gc.enable()


def test_what_one_kind_of_gpu_said_is_not_what_another_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions in fp32 have mantissas of 23 bits on a V100 and of 10 on an A100."""
    said = []
    for capability in ((7, 0), (8, 0), (9, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        said.append(fp32_on(torch.device("cuda", 1)))
    assert said == ["cuda 7.0", "cuda 8.0, convolutions in tf32", "cuda 9.0, convolutions in tf32"]
    assert fp32_on(torch.device("cpu")) == "cpu"


def test_nodes_of_two_kinds_of_gpus_fill_memories_of_their_own(
    root: Path, taught_by: folders.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one folder, at once. Neither is told what the other heard, and the second time both know all."""
    config = check_run(SHORT | {"teacher": str(taught_by.path)})
    splits = data.load(config.data)
    loaded = speaking.load(sources.identify(config.teacher, root), splits, torch.device("cpu"))
    positions = torch.arange(len(splits.train))

    def asked(*kinds: str) -> list[int]:
        nodes = []
        for kind in kinds:
            monkeypatch.setattr(recall, "fp32_on", lambda device, one=kind: one)
            kept = recall.remembered(loaded, config, splits, splits.train, place(root, tmp_path), print)
            assert kept is not None
            nodes.append(kept)
        for one in nodes:
            one.listen(positions, 0, lambda images: None)
            one.close()
        return [one.asked for one in nodes]

    assert asked("cuda 7.0", "cuda 9.0", "cuda 9.0") == [120, 120, 0]
    assert asked("cuda 9.0", "cuda 7.0", "cuda 8.0") == [0, 0, 120]
    assert len(overview(tmp_path)) == 3


def test_a_folder_of_memories_has_a_limit_where_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 10**12

    def disk(path: Path) -> Any:
        assert path.exists()
        return shutil._ntuple_diskusage(0, 0, free)  # pyright: ignore

    monkeypatch.setattr(recall.shutil, "disk_usage", disk)
    assert recall.default_limit(tmp_path / "not" / "yet") == 20 * 10**9
    free = 10**9
    (tmp_path / "rows").write_bytes(bytes(1 << 20))
    assert recall.default_limit(tmp_path) == pytest.approx(10**8 + (1 << 20), rel=0.01)


def test_what_a_run_will_add_is_said_before_it_trains(
    root: Path, taught_by: folders.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 epochs of 120 images: rows of 10 halves, a checksum and a place."""
    monkeypatch.setattr(recall, "WORTH_SAYING", 6719)
    config = check_run(SHORT | {"teacher": str(taught_by.path), "seed": 14})
    splits = data.load(config.data)
    loaded = speaking.load(sources.identify(config.teacher, root), splits, torch.device("cpu"))
    said: list[str] = []
    kept = recall.remembered(loaded, config, splits, splits.train, place(root, tmp_path), said.append)
    assert kept is not None and kept.bytes_to_come(2) == 2 * 120 * 28 == 6720
    assert len(said) == 1 and "which may grow to" in said[0]
    kept.listen(torch.arange(120), 0, lambda images: None)
    assert kept.bytes_to_come(2) == 120 * 28


def test_every_view_can_be_asked_ahead(root: Path, taught_by: folders.Run, tmp_path: Path) -> None:
    small = SHORT | {"teacher": str(taught_by.path), "views": {"padding": 1}, "data": DATA | {"limit": 20}}
    (*_, last) = recall.warm(check_run(small), place(root, tmp_path), True, print)
    assert last.asked == 18 * 20
    with pytest.raises(ConfigError, match="stream without end"):
        list(recall.warm(check_run(small | {"views": "mixup"}), place(root, tmp_path), True, print))


def test_asking_ahead_needs_somebody_to_ask(root: Path) -> None:
    with pytest.raises(ConfigError, match="name a run or a weights file as `teacher`"):
        list(recall.warm(check_run(SHORT), place(root), False, print))


def test_the_commands_list_warm_and_drop(
    root: Path, taught_by: folders.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from protege.cli import app

    def call(*arguments: str) -> str:
        app(["remember", *arguments, "--runs", str(root)], standalone_mode=False)
        return capsys.readouterr().out

    fields = [
        "--data",
        "cifar10-mini",
        "--data.limit",
        "120",
        "--data.heldout",
        "100",
        "--model",
        "resnet8",
        "--optim.epochs",
        "1",
        "--seed",
        "12",
    ]
    said = call("warm", *fields, "--teacher", taught_by.id, "--method", "kd", "--threads", "1", "--quiet")
    assert "120 images in their views are remembered" in said
    entries = json.loads(call("list", "--json"))
    assert entries and entries[0]["known"] >= 120
    assert taught_by.id in call("list")
    assert "dropped 1" in call("drop", entries[0]["key"][:6])
    assert entries[0]["key"] not in {entry["key"] for entry in json.loads(call("list", "--json"))}
    with pytest.raises(ConfigError, match="--all"):
        call("drop")
