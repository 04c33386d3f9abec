"""Exported files of strangers: usable where they can be, one clear line where they are damaged or lie."""

from __future__ import annotations

import json
import sys
from contextvars import copy_context
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from ship_cases import photo
from typer.testing import CliRunner

from protege.cli import app
from protege.data.outside import consent
from protege.errors import ConfigError, MissingExtra, ModelError
from protege.ship import load
from protege.ship.about import About


def classifier(classes: int = 4, size: int = 8) -> onnx.ModelProto:
    """The mean of each channel through a matrix."""
    weight = np.random.default_rng(0).normal(size=(3, classes)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes])],
        [numpy_helper.from_array(weight, "weight")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def saved(path: Path, model: onnx.ModelProto, **metadata: str) -> Path:
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def ours(**other: str) -> dict[str, str]:
    about = About(("a", "b", "c", "d"), 8, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    return {**about.written(), **other}


def test_a_file_of_another_program_answers_with_numbered_classes(tmp_path: Path) -> None:
    shipped = load(saved(tmp_path / "theirs.onnx", classifier()))
    prediction = shipped.predict(np.zeros((20, 30, 3), np.uint8))
    assert prediction.classes == ("0", "1", "2", "3")
    assert shipped.classes == ()


def of_batch(count: int | str, size: int = 8) -> onnx.ModelProto:
    model = classifier(size=size)
    for value in (model.graph.input[0], model.graph.output[0]):
        first = value.type.tensor_type.shape.dim[0]
        first.Clear()
        setattr(first, "dim_value" if isinstance(count, int) else "dim_param", count)
    return model


@pytest.mark.parametrize("count", [1, 4])
def test_a_file_for_a_fixed_number_of_images_answers_to_any(count: int, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8), np.uint8)
    fixed, free = (load(saved(tmp_path / f"{one}.onnx", of_batch(one))) for one in (count, "n"))
    np.testing.assert_allclose(fixed.probabilities(images), free.probabilities(images), rtol=1e-5)


@pytest.mark.parametrize(("count", "size", "said"), [(10**9, 8, "at a time"), ("n", 10**6, "pixels a side")])
def test_a_strangers_file_that_wants_more_than_memory_is_one_line(
    count: int | str, size: int, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=said):
        load(saved(tmp_path / "greedy.onnx", of_batch(count, size)))


def test_names_of_strangers_do_not_move_the_cursor(tmp_path: Path) -> None:
    file = saved(tmp_path / "a.onnx", classifier(), **ours(classes=json.dumps(["\x1b[2J", "b", "c", "\x9bH"])))
    done = CliRunner().invoke(app, ["predict", str(file), str(photo(tmp_path / "a.png")), "--top", "4"])
    assert done.exit_code == 0, done.output
    assert not {"\x1b", "\x9b"} & set(done.output) and "[2J" in done.output


def test_ours_is_read_with_its_classes(tmp_path: Path) -> None:
    shipped = load(saved(tmp_path / "ours.onnx", classifier(), **ours()))
    assert shipped.predict(np.zeros((20, 30, 3), np.uint8)).classes == ("a", "b", "c", "d")


@pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\x07" * 5000], ids=["empty", "text", "noise"])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="damaged") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_one_line(tmp_path: Path) -> None:
    path = saved(tmp_path / "half.onnx", classifier(), **ours())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelError) as caught:
        load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ({"size": "16"}, "but takes"),
        ({"classes": '["a", "b"]'}, "names 2 classes"),
        ({"raw": "true"}, "but takes"),
        ({"classes": "7"}, "describes itself wrongly"),
        ({"std": "[0, 0, 0]"}, "describes itself wrongly"),
        ({"mean": "[" * 100_000}, "describes itself wrongly"),
        ({"size": "1e99"}, "describes itself wrongly"),
        ({"temperature": "-1"}, "describes itself wrongly"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_metadata_that_lie_are_refused(tmp_path: Path, lie: dict[str, str], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        load(saved(tmp_path / "lies.onnx", classifier(), **ours(**lie)))


def test_weights_outside_the_file_are_not_read(tmp_path: Path) -> None:
    """A file cannot make us read another one."""
    model = classifier()
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="secret")
    (tmp_path / "secret").write_bytes(bytes(48))
    with pytest.raises(ModelError):
        load(saved(tmp_path / "reads.onnx", model, **ours()))


def test_a_network_for_no_images_is_refused(tmp_path: Path) -> None:
    model = classifier()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 7
    with pytest.raises(ModelError):
        load(saved(tmp_path / "seven.onnx", model))


def test_a_file_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.pickle"
    path.write_bytes(b"anything")
    with pytest.raises(ConfigError, match="neither a run nor an exported file"):
        load(path)


def test_a_damaged_pt2_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "damaged.pt2"
    path.write_bytes(b"PK\x03\x04 nothing")
    consent.remember(sha256(path.read_bytes()).hexdigest())
    with pytest.raises(ModelError, match="damaged"):
        load(path)


def test_a_damaged_pte_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ExecuTorch would end the process: it is not asked."""
    path = tmp_path / "damaged.pte"
    path.write_bytes(b"no program at all")
    monkeypatch.setitem(sys.modules, "executorch.runtime", ModuleType("executorch.runtime"))
    with pytest.raises(ModelError, match="not exported on this machine"):
        load(path)
    consent.remember(sha256(path.read_bytes()).hexdigest())
    with pytest.raises(ModelError, match="damaged"):
        load(path)


def test_a_strangers_pt2_is_not_opened_unless_it_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "theirs.pt2"
    path.write_bytes(b"PK\x03\x04 somebody else's")

    def trusted() -> None:
        consent.trust_all()
        with pytest.raises(ModelError, match="damaged"):
            load(path)

    with pytest.raises(ModelError, match="--trust-code") as caught:
        load(path)
    assert "\n" not in str(caught.value)
    copy_context().run(trusted)


@pytest.mark.parametrize("library", ["onnx", "onnxscript"])
def test_what_an_export_lacks_is_one_line_with_what_to_type(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch import nn, zeros

    from protege.ship.formats.onnx_file import graph_of

    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra, match=rf"needs {library}, .*pip install 'protege\[export\]'") as caught:
        graph_of(nn.Flatten(), zeros(1, 3), ("images", "logits"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [
        ("a.onnx", "onnxruntime", "export"),
        ("a.xml", "openvino", "openvino"),
        ("a.pte", "executorch.runtime", "executorch"),
    ],
)
def test_what_running_a_file_lacks_is_one_line_with_what_to_type(
    name: str, library: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(b"anything")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra, match=rf"Running {name} needs {library}, .*pip install 'protege\[{extra}\]'"):
        load(tmp_path / name)
