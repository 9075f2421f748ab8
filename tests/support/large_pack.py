"""Makes a model pack whose recogniser has the shape and size of buffalo_l's, with random weights: what it says of a face means nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

# The stages of an IResNet-50: how many blocks, and their channels. Each stage halves the sides, from 112 pixels to 7.
_STAGES = ((3, 64), (4, 128), (14, 256), (3, 512))
_DIM = 512


class _Graph:
    """A graph that grows node by node. Weights are drawn so that the numbers stay of one size from end to end."""

    def __init__(self, seed: int) -> None:
        self._chance = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def _weight(self, values: NDArray[np.float32]) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def _add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def conv(self, source: str, before: int, after: int, side: int, stride: int, gain: float = 1.0) -> str:
        scale = gain * np.sqrt(2 / (before * side * side))
        kernel = self._chance.normal(0, scale, (after, before, side, side)).astype(np.float32)
        bias = self._weight(np.zeros(after, np.float32))
        return self._add(
            "Conv",
            [source, self._weight(kernel), bias],
            strides=[stride] * 2,
            pads=[side // 2] * 4,
            kernel_shape=[side] * 2,
        )

    def prelu(self, source: str, channels: int) -> str:
        return self._add("PRelu", [source, self._weight(np.full((channels, 1, 1), 0.25, np.float32))])

    def block(self, source: str, before: int, after: int, stride: int) -> str:
        way = source if stride == 1 and before == after else self.conv(source, before, after, 1, stride)
        inner = self.prelu(self.conv(source, before, after, 3, 1), after)
        return self._add("Add", [self.conv(inner, after, after, 3, stride, gain=0.2), way])

    def head(self, source: str, size: int) -> None:
        flat = self._add("Flatten", [source], axis=1)
        weights = self._weight(self._chance.normal(0, size**-0.5, (size, _DIM)).astype(np.float32))
        self.nodes.append(helper.make_node("MatMul", [flat, weights], ["output"]))


def write_large_pack(folder: Path, detector: Path, *, seed: int = 0) -> Path:
    """A pack of 175 MB in `folder`. `detector`: a detection model, which is copied."""
    folder.mkdir(parents=True)
    shutil.copyfile(detector, folder / detector.name)
    graph, channels = _Graph(seed), _STAGES[0][1]
    at = graph.prelu(graph.conv("input", 3, channels, 3, 1), channels)
    for blocks, width in _STAGES:
        for number in range(blocks):
            at = graph.block(at, channels, width, 1 if number else 2)
            channels = width
    graph.head(at, channels * 7 * 7)
    made = helper.make_graph(
        graph.nodes,
        "random_r50",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, 112, 112])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", _DIM])],
        graph.weights,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(folder / "random_r50.onnx"))
    return folder
