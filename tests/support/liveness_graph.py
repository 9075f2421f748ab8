"""Makes ONNX graphs with the inputs and outputs of the liveness addon. They use a very simple rule for what is live."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from workers.recognition.liveness import INPUT_PX

_RIM_PX = 12
_BLUE_FROM = 0.4


def write_blue_rim(path: Path, *, batch: int | str = "n") -> Path:
    """Alive unless blue surrounds the face, as around a photo that is held up on a blue card."""
    rim = np.zeros((1, 3, INPUT_PX, INPUT_PX), np.float32)
    rim[:] = 1.0
    rim[:, :, _RIM_PX:-_RIM_PX, _RIM_PX:-_RIM_PX] = 0.0
    blueness = np.array([-0.5, -0.5, 1.0], np.float32)[None, :, None, None]  # the input is RGB
    weights = rim * blueness / rim[0, 0].sum()
    return write_graph(path, weights * np.float32(-40), 40 * _BLUE_FROM, batch=batch)


def write_any(path: Path, *, seed: int = 0, batch: int | str = "n") -> Path:
    """An answer to which every pixel of every colour matters, alike in no two places."""
    weights = np.random.default_rng(seed).normal(0, 0.02, (1, 3, INPUT_PX, INPUT_PX)).astype(np.float32)
    return write_graph(path, weights, 0.0, batch=batch)


def write_graph(
    path: Path,
    weights: NDArray[np.float32],
    bias: float,
    *,
    batch: int | str = "n",
    columns: bool = False,
    probability: bool = True,
) -> Path:
    """sigmoid(sum(weights * image) + bias). `weights`: (1, 3, side, side). `columns`: the output is (n, 1) instead of
    (n,). `probability`: without, the sum itself."""
    side = weights.shape[-1]
    sums = [
        helper.make_node("Mul", ["image", "weights"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "axes"], ["sum"], keepdims=0),
        helper.make_node("Add", ["sum", "bias"], ["logit"]),
        helper.make_node("Sigmoid" if probability else "Identity", ["logit"], ["alive"]),
    ]
    output, shape = ("column", [batch, 1]) if columns else ("alive", [batch])
    if columns:
        sums.append(helper.make_node("Unsqueeze", ["alive", "last"], ["column"]))
    constants = {"weights": weights.astype(np.float32), "bias": np.float32(bias), "axes": np.array([1, 2, 3], np.int64)}
    constants |= {"last": np.array([1], np.int64)} if columns else {}
    graph = helper.make_graph(
        sums,
        "liveness",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path
