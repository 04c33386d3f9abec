"""A run's folder: files appear whole, damage is named, and the checkpoint before is there when the newest is not usable."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from record_cases import run_record
from safetensors import SafetensorError

from protege import runs
from protege.errors import ConfigError, NotEnoughSpace, RunError
from protege.runs import records
from protege.runs.config import Place
from protege.runs.hardware import device_of

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3), "empty": torch.zeros(0, 4)}


@pytest.fixture
def run(tmp_path: Path) -> runs.Run:
    return runs.start(tmp_path, "some-run", {"id": "some-run"})


def test_weights_come_back_as_they_were(tmp_path: Path) -> None:
    runs.write_weights(tmp_path / "w.safetensors", WEIGHTS, {"seed": 3})
    found, about = runs.read_weights(tmp_path / "w.safetensors")
    assert about == {"seed": 3}
    assert all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)


def test_equal_weights_make_equal_files(tmp_path: Path) -> None:
    for name in "ab":
        runs.write_weights(tmp_path / name, WEIGHTS, {"seed": 3, "run": "x"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_one_flipped_bit_is_found_and_the_file_named(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    runs.write_weights(path, WEIGHTS)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"w\.safetensors is damaged"):
        runs.read_weights(path)


@pytest.mark.parametrize("content", [b"", b"not a file of weights", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_truncated_and_foreign_files_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"w\.safetensors"):
        runs.read_weights(path)


def test_a_file_of_another_program_is_refused_as_a_checkpoint(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(WEIGHTS, tmp_path / "w.safetensors")
    with pytest.raises(RunError, match="not written by protege"):
        runs.read_weights(tmp_path / "w.safetensors")


def test_the_checkpoint_before_serves_where_the_newest_is_damaged(run: runs.Run) -> None:
    runs.save_checkpoint(run, {"w": torch.tensor(1.0)}, {"epoch": 1})
    runs.save_checkpoint(run, {"w": torch.tensor(2.0)}, {"epoch": 2})
    run.checkpoint_file.write_bytes(run.checkpoint_file.read_bytes()[:-1])
    found = runs.load_checkpoint(run)
    assert found is not None
    tensors, state, warning = found
    assert state["epoch"] == 1 and tensors["w"] == 1
    assert warning is not None and "checkpoint.safetensors is damaged" in warning and "checkpoint.previous" in warning


def test_without_an_earlier_one_a_damaged_checkpoint_is_an_error_that_names_it(run: runs.Run) -> None:
    runs.save_checkpoint(run, {"w": torch.tensor(1.0)}, {"epoch": 1})
    run.checkpoint_file.write_bytes(b"")
    with pytest.raises(RunError, match=r"checkpoint\.safetensors is damaged.*remove the file"):
        runs.load_checkpoint(run)


def test_a_checkpoint_of_another_run_is_refused(run: runs.Run, tmp_path: Path) -> None:
    other = runs.start(tmp_path, "other-run", {"id": "other-run"})
    runs.save_checkpoint(other, {"w": torch.tensor(1.0)}, {"epoch": 1})
    run.checkpoint_file.write_bytes(other.checkpoint_file.read_bytes())
    with pytest.raises(RunError, match="belongs to another run \\(other-run\\)"):
        runs.load_checkpoint(run)


def test_a_crash_while_writing_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    runs.write_json(path, {"a": 1})
    with pytest.raises(ZeroDivisionError), runs.whole(path) as partial:
        partial.write_text("half")
        _ = 1 / 0
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_last_line_cut_short_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    runs.append_line(path, {"epoch": 0})
    with path.open("a") as file:
        file.write('{"epoch": 1, "te')
    assert runs.read_lines(path) == [{"epoch": 0}]
    runs.keep_lines(path, 1)
    runs.append_line(path, {"epoch": 1})
    assert runs.read_lines(path) == [{"epoch": 0}, {"epoch": 1}]


@pytest.mark.parametrize(("left", "kept"), [('{"a": 1, "b', []), ('{"a": 1}', [{"a": 1}]), ('{"a": 1}\n', [{"a": 1}])])
def test_what_a_crash_left_of_a_line_does_not_spoil_the_next_one(tmp_path: Path, left: str, kept: list[Any]) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text(f'{{"x": 0}}\n{left}')
    runs.append_line(path, {"a": 2})
    assert runs.read_lines(path) == [{"x": 0}, *kept, {"a": 2}]


def test_a_line_that_a_full_disk_took_a_part_of_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write = tmp_path / "ledger.jsonl", os.write
    runs.append_line(path, {"a": 1})
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:4]))
        with pytest.raises(NotEnoughSpace, match="the disk is full"):
            runs.append_line(path, {"a": 2})
    runs.append_line(path, {"a": 3})
    assert runs.read_lines(path) == [{"a": 1}, {"a": 3}]


def test_a_record_of_millions_of_values_is_refused_before_they_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MOST_VALUES", 100)
    path = tmp_path / "result.json"
    path.write_text(f'{{"x": [{"null, " * 200} null]}}')
    with pytest.raises(RunError, match="holds more than 100 values"):
        runs.read_json(path)


def test_of_thousands_of_mistakes_in_a_record_their_number_is_told(tmp_path: Path) -> None:
    path = tmp_path / "heldout.json"
    path.write_text(json.dumps({"kept": {str(number): None for number in range(2000)}}))
    with pytest.raises(RunError, match=r"2,00\d of its values are wrong"):
        runs.read_json(path, records.PrunedRecord)


def _append(path: Path, who: int) -> None:
    for count in range(200):
        runs.append_line(path, {"who": who, "count": count, "filler": "x" * 200})


def test_a_file_that_the_system_refuses_is_named_whatever_writes_it(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"x\.json cannot be written: .*File too large"), runs.whole(tmp_path / "x.json"):
        raise SafetensorError("Error while serializing: I/O error: File too large (os error 27)")


def test_a_list_of_numbers_is_a_line_of_its_file(tmp_path: Path) -> None:
    value = {"rows": [[1, 2], [-3.5, None]], "names": ["a, [", "b"], "no": [], "of": [{"x": [0.1]}]}
    runs.write_json(tmp_path / "x.json", value)
    assert json.loads((tmp_path / "x.json").read_text()) == value
    assert "[-3.5, null]" in (tmp_path / "x.json").read_text()


def test_lines_of_several_processes_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_append, args=(path, who)) for who in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(runs.read_lines(path)) == 600


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(NotEnoughSpace, match="disk is full"):
        runs.append_line(path, {"a": 1})


def test_a_run_is_found_by_the_beginning_or_end_of_its_id(tmp_path: Path) -> None:
    for run_id in ("resnet8-kd-0a1b", "resnet8-kd-77ff", "vgg8-kd-1234"):
        runs.start(tmp_path, run_id, {"id": run_id})
    assert runs.find(tmp_path, "vgg8").id == "vgg8-kd-1234"
    assert runs.find(tmp_path, "77ff").id == "resnet8-kd-77ff"
    assert runs.find(tmp_path, str(tmp_path / "vgg8-kd-1234")).id == "vgg8-kd-1234"
    with pytest.raises(RunError, match="fits 2 runs"):
        runs.find(tmp_path, "resnet8")
    with pytest.raises(RunError, match="Did you mean 'vgg8-kd-1234'"):
        runs.find(tmp_path, "vgg8-kd-1235")


def test_a_renamed_folder_is_refused(tmp_path: Path) -> None:
    runs.start(tmp_path, "a", run_record("a")).path.rename(tmp_path / "b")
    with pytest.raises(RunError, match="describes the run a"):
        runs.start(tmp_path, "b", {"id": "b"})


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="--runs"):
        runs.start(tmp_path / "file", "a", {"id": "a"})


def test_a_lock_goes_with_its_process(run: runs.Run) -> None:
    with (
        runs.locked(run, wait=False),
        pytest.raises(RunError, match=f"process {os.getpid()}"),
        runs.locked(run, wait=False),
    ):
        pass
    with runs.locked(run, wait=False):
        pass


def test_the_environment_says_what_a_number_depends_on() -> None:
    found = runs.environment()
    assert found["torch"] == torch.__version__
    assert found["cores"] >= 1 and found["processor"]


def test_a_gpu_older_than_this_pytorch_is_refused_in_one_line_that_names_the_build(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is seen, but its first kernel would fail; `auto` must not run into that either."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_90", "compute_90"])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    for capability, refused in (((7, 0), True), ((7, 5), False), ((8, 9), False)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, one=capability: one)
        for name in ("auto", "cuda"):
            if not refused:
                assert device_of(Place(device=name)).type == "cuda"
                continue
            with pytest.raises(ConfigError, match=r"Tesla V100 \(sm_70\).*cu126.*--device cpu"):
                device_of(Place(device=name))
