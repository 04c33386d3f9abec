"""Pickles are programs; these are only read."""

import io
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest

from protege.data.sources.pickles import read_pickle
from protege.errors import DataError, UnsafePickle


def touch(path: str) -> None:
    Path(path).touch()


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return touch, (str(self.path),)


def test_a_pickle_that_would_create_a_file_is_not_run(tmp_path: Path) -> None:
    content = pickle.dumps({"data": Malicious(tmp_path / "made")}, protocol=2)
    with pytest.raises(UnsafePickle, match=r"data_batch_1 is a pickle that asks for .*\.touch;"):
        read_pickle(content, "data_batch_1")
    assert not (tmp_path / "made").exists()
    pickle.loads(content)  # the same pickle, read as pickles usually are
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "name", [b"cos\nsystem", b"cbuiltins\neval", b"cnumpy\nload", b"cnumpy.core.multiarray\nscalar"]
)
def test_names_beside_those_of_arrays_are_refused(name: bytes) -> None:
    with pytest.raises(UnsafePickle, match=name[1:].decode().replace("\n", r"\.")):
        read_pickle(name + b"\n(S'true'\ntR.", "batch")


def test_a_pickle_that_refers_elsewhere_is_refused() -> None:
    with pytest.raises(UnsafePickle, match="outside itself"):
        read_pickle(b"Pelsewhere\n.", "batch")


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_arrays_lists_and_text_come_through(protocol: int) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 6)
    held = read_pickle(pickle.dumps({"data": pixels, "labels": [1, 2], "name": "batch"}, protocol), "batch")
    assert isinstance(held, dict)
    assert held["data"].tolist() == pixels.tolist() and held["data"].dtype == np.uint8
    assert (held["labels"], held["name"]) == ([1, 2], "batch")


def test_a_batch_written_by_python_2_comes_through() -> None:
    """Protocol 2 with byte strings and numpy's old module names, as the official files have them."""
    state = b"(K\x01K\x02K\x03\x86" + old_dtype() + b"\x89U\x06\x00\x01\x02\xfd\xfe\xfft" + b"b"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R" + state
    content = b"\x80\x02}U\x04data" + array + b"s."
    pickletools.dis(content, out=io.StringIO())
    held = read_pickle(content, "batch")
    assert isinstance(held, dict)
    assert held["data"].tolist() == [[0, 1, 2], [253, 254, 255]]


def old_dtype() -> bytes:
    return b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def test_arrays_of_objects_are_refused() -> None:
    with pytest.raises(DataError, match="are not numbers"):
        read_pickle(pickle.dumps(np.array([{}, {}], dtype=object)), "batch")


def test_a_truncated_pickle_names_its_file() -> None:
    whole = pickle.dumps({"data": np.zeros((4, 3072), np.uint8)}, protocol=2)
    for length in (0, 1, 50, len(whole) - 1):
        with pytest.raises(DataError, match="test_batch is not a whole pickle"):
            read_pickle(whole[:length], "test_batch")


def test_a_tower_of_tuples_as_a_key_does_not_end_the_process() -> None:
    """Python works out its hash in C, one tuple within the other, without end of depth."""
    tower = b"\x80\x02}" + b")" + b"\x85" * 300_000 + b"K\x01s."
    with pytest.raises(DataError, match="it builds 300,000 tuples"):
        read_pickle(tower, "batch")
