"""A teacher, and students of it that are small enough to ship within a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from PIL import Image

from protege.runs import Run
from protege.runs.config import Place
from protege.train import train

TINY = {
    "data": {"name": "cifar10-mini", "limit": 256, "heldout": 128},
    "optim": {"epochs": 2, "batch_size": 32, "lr": 0.05},
    "evaluate_every": 2,
}


def trained(folder: Path, **fields: object) -> Run:
    torch.set_num_threads(1)
    return train({**TINY, "model": "resnet8", **fields}, Place(runs=folder, device="cpu", threads=1, quiet=True))


def photo(path: Path, width: int = 90, height: int = 60) -> Path:
    """A picture that is neither square nor of the network's size."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def merged(file: Path, folder: Path) -> list[str]:
    """Kinds of operations that onnxruntime makes of a file."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "merged.onnx")
    onnxruntime.InferenceSession(str(file), options)
    return [node.op_type for node in onnx.load(folder / "merged.onnx").graph.node]
