"""From a module to an ONNX file that is small, says what it is, and computes in whole numbers where it was rounded."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from protege.lazy import need
from protege.models.rounding import stretch
from protege.ship.formats.freeze import Whole

if TYPE_CHECKING:
    import onnx

Array = npt.NDArray[Any]
OPSET = 20
MOVING = {"Reshape", "Transpose", "Split", "Flatten", "MaxPool", "Identity", "Squeeze", "Unsqueeze"}  # keep the grid
PURPOSE = "An ONNX file"


def graph_of(module: nn.Module, example: torch.Tensor, names: tuple[str, str]) -> onnx.ModelProto:
    """The module as ONNX, any number of images at a time."""
    need("onnx", "export", PURPOSE)
    need("onnxscript", "export", PURPOSE)
    from protege.ship.formats.grid import translations

    with quiet_exporter():
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("images")},),
            input_names=[names[0]],
            output_names=[names[1]],
            opset_version=OPSET,
            optimize=True,
            verbose=False,
            custom_translation_table=translations(),
        )
    assert program is not None
    return program.model_proto


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """The exporter talks about libraries that nobody asked for."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


class Graph:
    """Nodes and constants of a model by name, while it is rewritten."""

    def __init__(self, model: onnx.ModelProto) -> None:
        from onnx import numpy_helper

        self.model = model
        self.makers = {output: node for node in model.graph.node for output in node.output}
        self.constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        self.added: dict[int, list[onnx.NodeProto]] = {}  # before the node of this id
        self.behind: dict[int, list[onnx.NodeProto]] = {}
        self.count = 0

    def constant(self, value: Array) -> str:
        """The name of a constant of this value: one for all that are equal."""
        for name, known in self.constants.items():
            if known.dtype == value.dtype and known.shape == value.shape and np.array_equal(known, value):
                return name
        name = self.fresh()
        self.constants[name] = value
        return name

    def fresh(self) -> str:
        self.count += 1
        return f"protege_{self.count}"

    def insert(self, before: onnx.NodeProto, kind: str, inputs: list[str], **attributes: Any) -> str:
        """A new node in front of another; its output's name."""
        from onnx import helper

        output = self.fresh()
        node = helper.make_node(kind, inputs, [output], **attributes)
        self.added.setdefault(id(before), []).append(node)
        self.makers[output] = node
        return output

    def written(self) -> onnx.ModelProto:
        """The model again, with what was inserted, and only the constants that something reads."""
        from onnx import numpy_helper

        nodes = []
        for node in self.model.graph.node:
            nodes += [*self.added.get(id(node), []), node]
        read = {name for node in nodes for name in node.input}
        nodes = [type(node).FromString(node.SerializeToString()) for node in nodes]
        del self.model.graph.node[:]
        self.model.graph.node.extend(nodes)
        del self.model.graph.initializer[:]
        self.model.graph.initializer.extend(
            numpy_helper.from_array(np.ascontiguousarray(value) if value.ndim else value, name)
            for name, value in self.constants.items()
            if name in read
        )
        return self.model


def with_whole_weights(model: onnx.ModelProto, whole: Mapping[str, Whole]) -> onnx.ModelProto:
    """Weights as whole numbers behind DequantizeLinear, biases too where the input has a grid: what runtimes merge."""
    graph = Graph(model)
    for node in list(model.graph.node):
        if node.op_type in {"Conv", "Gemm", "MatMul"} and (stored := stored_weight(node, graph, whole)):
            on_grid(node, graph)
            step = stored.step_in_eight_bits.numpy().astype(np.float32)
            weight = packed(node, graph, stored)
            node.input[1] = graph.insert(node, "DequantizeLinear", [weight, graph.constant(step)], axis=0)
            whole_bias(node, graph, step)
    return graph.written()


def stored_weight(node: onnx.NodeProto, graph: Graph, whole: Mapping[str, Whole]) -> Whole | None:
    """What is stored for this node's weight: the exporter names it after the layer's path."""
    name = node.input[1]
    found = next((one for path, one in whole.items() if name.endswith(f"{path}.weight")), None)
    if found is None:
        return None
    made = found.numbers.numpy() * found.step.numpy().reshape(-1, *[1] * (found.numbers.ndim - 1))
    if graph.constants[name].shape != made.shape or not np.allclose(graph.constants[name], made, atol=1e-6):
        raise AssertionError(f"{name} is not the weight that was rounded")
    return found


def on_grid(node: onnx.NodeProto, graph: Graph) -> None:
    """Where only moves lie between a grid and this node, the grid again right before it: that changes no value."""
    if (pair := grid_before(node.input[0], graph)) and graph.makers[node.input[0]].op_type != "DequantizeLinear":
        whole = graph.insert(node, "QuantizeLinear", [node.input[0], *pair])
        node.input[0] = graph.insert(node, "DequantizeLinear", [whole, *pair])


def grid_before(tensor: str, graph: Graph) -> list[str] | None:
    """Names of step and zero of the grid that a tensor is on."""
    while maker := graph.makers.get(tensor):
        if maker.op_type == "DequantizeLinear":
            return list(maker.input[1:])
        if maker.op_type not in MOVING:
            return None
        tensor = maker.input[0]
    return None


def packed(node: onnx.NodeProto, graph: Graph, stored: Whole) -> str:
    """int8 as it is; fewer bits packed into bytes, which any runtime unpacks and stretches as it loads the file."""
    numbers, bits = stored.numbers.numpy(), stored.bits
    if bits == 8:
        return graph.constant(numbers)
    from onnx import TensorProto

    each = 8 // bits
    flat = (numbers.reshape(-1) + 2 ** (bits - 1)).astype(np.uint8)
    flat = np.append(flat, np.zeros(-len(flat) % each, np.uint8)).reshape(-1, each)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    stored_bytes = graph.constant((flat << shifts).sum(1, dtype=np.uint8)[:, None])
    single = graph.insert(node, "BitShift", [stored_bytes, graph.constant(shifts)], direction="RIGHT")
    single = graph.insert(node, "BitwiseAnd", [single, graph.constant(np.array(2**bits - 1, np.uint8))])
    single = graph.insert(node, "Cast", [single], to=TensorProto.INT32)
    single = graph.insert(node, "Sub", [single, graph.constant(np.array(2 ** (bits - 1), np.int32))])
    single = graph.insert(node, "Mul", [single, graph.constant(np.array(stretch(bits), np.int32))])
    single = graph.insert(node, "Cast", [single], to=TensorProto.INT8)
    single = graph.insert(node, "Reshape", [single, graph.constant(np.array([-1]))])
    ends = [graph.constant(np.array([0])), graph.constant(np.array([numbers.size]))]
    single = graph.insert(node, "Slice", [single, *ends])
    return graph.insert(node, "Reshape", [single, graph.constant(np.array(numbers.shape))])


def whole_bias(node: onnx.NodeProto, graph: Graph, step: Array) -> None:
    """The bias in steps of input times weight, which is what the sums of products are in."""
    maker = graph.makers.get(node.input[0])
    if len(node.input) < 3 or maker is None or maker.op_type != "DequantizeLinear":
        return
    steps = step * graph.constants[maker.input[1]]
    bias = graph.constants[node.input[2]]
    numbers = np.clip(np.round(bias.astype(np.float64) / steps), -(2**31) + 1, 2**31 - 1).astype(np.int32)
    node.input[2] = graph.insert(
        node, "DequantizeLinear", [graph.constant(numbers), graph.constant(steps.astype(np.float32))], axis=0
    )


def in_halves(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights stored in 16 bits and widened as the file is loaded: half the size, the arithmetic of fp32."""
    graph = Graph(model)
    for node in list(model.graph.node):
        for place, name in enumerate(node.input):
            value = graph.constants.get(name)
            if value is not None and value.dtype == np.float32 and value.size > 16:
                node.input[place] = graph.insert(node, "Cast", [graph.constant(value.astype(np.float16))], to=1)
    return graph.written()


def slim(model: onnx.ModelProto) -> onnx.ModelProto:
    """Short names, and nothing that only the exporter's authors read."""
    kept = {one.name for one in (*model.graph.input, *model.graph.output)}
    short: dict[str, str] = {name: name for name in kept} | {"": ""}

    def renamed(name: str) -> str:
        return short.setdefault(name, _letters(len(short)))

    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    model.graph.doc_string = ""
    for constant in model.graph.initializer:
        constant.name, constant.doc_string = renamed(constant.name), ""
        del constant.metadata_props[:]
    for node in model.graph.node:
        node.name = node.doc_string = ""
        del node.metadata_props[:]
        node.input[:] = [renamed(name) for name in node.input]
        node.output[:] = [renamed(name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.doc_string = ""
        del value.metadata_props[:]
    return model


def _letters(number: int) -> str:
    """a, b, ..., aa, ab, ..."""
    name = ""
    while True:
        number, digit = divmod(number, 26)
        name = chr(97 + digit) + name
        if number == 0:
            return name
        number -= 1


def described(model: onnx.ModelProto, about: Mapping[str, str]) -> onnx.ModelProto:
    """With the metadata that `protege.ship.load` and others read."""
    del model.metadata_props[:]
    model.producer_name, model.producer_version = "protege", about["protege"]
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value)
    return model
