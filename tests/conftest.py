"""Every test runs alone on one thread, in a folder of its own, and sees no cache and no data of the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import protege  # noqa: F401 (before torch, as everywhere: it says how long threads wait for each other)

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the official CIFAR files; tests that need it skip where PROTEGE_DATA does not name one."""
    folder = os.environ.get("PROTEGE_DATA")
    if not folder or not (Path(folder) / "cifar-10-batches-py").is_dir():
        pytest.skip("needs the official CIFAR files: set PROTEGE_DATA to their folder")
    return Path(folder)
