"""ExecuTorch's file for small devices, lowered to XNNPACK, and what runs it: one image at a time."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from protege.data.outside import consent
from protege.errors import ModelError
from protege.lazy import need
from protege.runs import whole
from protege.ship.about import About, read_about
from protege.ship.runtimes import Runtime, contents, first_words, refuse_untrusted

PURPOSE = "An ExecuTorch file"
MARK = b"ET"  # bytes 4 and 5: what lacks them ends the process in which it is loaded


def lowered(module: nn.Module, example: Tensor, about: Mapping[str, str], path: Path) -> None:
    """`path` (.pte), with what protege knows of it as a method beside `forward` that gives bytes."""
    exir = need("executorch.exir", "executorch", PURPOSE)
    xnnpack = need("executorch.backends.xnnpack.partition.xnnpack_partitioner", "executorch", PURPOSE)
    said = torch.tensor(list(json.dumps(about).encode()), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module.eval(), (example[:1],))
        edge = exir.to_edge_transform_and_lower(
            program, partitioner=[xnnpack.XnnpackPartitioner()], constant_methods={"about": said}
        )
        content = edge.to_executorch().buffer
    with whole(path) as partial:
        partial.write_bytes(content)
    consent.remember(sha256(content).hexdigest())


class InExecuTorch(Runtime):
    """A .pte file that protege wrote here, or that is trusted. It takes one image at a time."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        library = need("executorch.runtime", "executorch", f"Running {path.name}")
        refuse_untrusted(path)
        if threads:
            torch.set_num_threads(threads)
        content = contents(path)
        if content[4:6] != MARK:
            raise ModelError(f"{path} is damaged, or no ExecuTorch file.")
        try:
            self.program = library.Runtime.get().load_program(
                content, verification=library.Verification.InternalConsistency
            )
            if not {"about", "forward"} <= self.program.method_names:
                raise ModelError(f"{path} does not say what it takes: protege runs the .pte files that it exported.")
            (said,) = self.program.load_method("about").execute([])
            self.method = self.program.load_method("forward")
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(f"{path} is damaged, or no ExecuTorch file: {first_words(error)}") from error
        self.about, self.name = about_in(said, path), f"executorch {version('executorch')}"

    def output(self, given: Any) -> npt.NDArray[Any]:
        images = torch.from_numpy(given)
        return np.concatenate([self.method.execute([image[None]])[0].numpy().copy() for image in images])


def about_in(said: Tensor, path: Path) -> About:
    try:
        metadata = json.loads(bytes(said.tolist()))
    except ValueError as error:
        raise ModelError(f"{path} describes itself wrongly ({error!s:.200}): export it again.") from error
    about = read_about(metadata, str(path)) if isinstance(metadata, dict) else None
    if about is None:
        raise ModelError(f"{path} does not say what it takes: protege runs the .pte files that it exported.")
    return about
