"""Makes model packs of a few kilobytes: ONNX graphs with the shapes of a real pack, which onnxruntime can run.

The detector never finds a face, and the recogniser is a random projection. That is enough to install packs, load them and distinguish
them.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from workers.recognition.fingerprint import file_sha256
from workers.recognition.pack_file import PACK_FILE

DIM = 16
Side = int | str
Constants = dict[str, NDArray[Any]]


def write_pack(folder: Path, *, seed: int = 0) -> Path:
    """A fit pack with published packs' extra: a landmark model, which is neither detection nor recognition."""
    folder.mkdir(parents=True)
    detector(folder / "det_tiny.onnx")
    recogniser(folder / "rec_tiny.onnx", seed=seed)
    recogniser(folder / "2d106det.onnx", side=192)
    return folder


PACK_DOCUMENT: dict[str, Any] = {
    "licence": "MIT", "commercial_use": True, "source": "https://models.example.net", "threshold": 0.4, "margin": 0.04,
    "measured": "on our own photos",
    "detector": {"file": "d.onnx", "sha256": "0" * 64, "kind": "yunet"},
    "recogniser": {"file": "r.onnx", "sha256": "1" * 64, "side_px": 112, "dim": 128, "colour": "BGR", "mean": 0, "std": 255},
}  # fmt: skip  # one document


def write_pack_file(folder: Path, document: dict[str, Any]) -> None:
    """Write a pack.toml."""
    lines = [f"{key} = {_toml(value)}" for key, value in document.items() if not isinstance(value, dict)]
    for name in ("detector", "recogniser"):
        lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in document[name].items())]
    (folder / PACK_FILE).write_text("\n".join(lines), encoding="utf-8")


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')


def write_described_pack(folder: Path, **changed: Any) -> Path:
    """A tiny pack with a pack.toml. `changed`: keys of it, as section__key."""
    folder.mkdir(parents=True)
    detector(folder / "d.onnx")
    recogniser(folder / "r.onnx")
    document: dict[str, Any] = copy.deepcopy(PACK_DOCUMENT)
    document["detector"] |= {"kind": "scrfd", "sha256": file_sha256(folder / "d.onnx")}
    document["recogniser"] |= {"dim": DIM, "sha256": file_sha256(folder / "r.onnx")}
    for name, value in changed.items():
        section, _, key = name.partition("__")
        document[section][key] = value
    write_pack_file(folder, document)
    return folder


def recogniser(
    path: Path,
    *,
    seed: int = 0,
    side: int = 112,
    batch: Side = "n",
    weight: float = 1.0,
    normalises: bool = False,
    dark_gives_nothing: bool = False,
) -> None:
    """16 averages of the crop, projected to DIM numbers; `weight` 0 gives zero vectors. `dark_gives_nothing`: a black crop gives one, too."""
    values = np.random.default_rng(seed).normal(size=(3 * 16, DIM)).astype(np.float32) * np.float32(weight)
    constants, nodes, image = {"weights": values}, [], "input"
    if normalises:
        constants |= {"mean": np.full(1, 127.5, np.float32), "scale": np.full(1, 1 / 127.5, np.float32)}
        nodes = [
            helper.make_node("Sub", ["input", "mean"], ["centred"], name="Sub_0"),
            helper.make_node("Mul", ["centred", "scale"], ["normalised"], name="Mul_0"),
        ]
        image = "normalised"
    if dark_gives_nothing:
        nodes.append(helper.make_node("Relu", [image], ["bright"]))
        image = "bright"
    quarter = [side // 4] * 2
    nodes += [
        helper.make_node("AveragePool", [image], ["pooled"], kernel_shape=quarter, strides=quarter),
        helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], ["output"]),
    ]
    _save(path, nodes, [batch, 3, side, side], {"output": [batch, DIM]}, constants)


def detector(path: Path, *, points: bool = True) -> None:
    """Nine outputs as SCRFD's (six without `points`), for any input size: scores, boxes and points of 0."""
    constants: Constants = {}
    nodes: list[onnx.NodeProto] = []
    outputs: dict[str, list[Side]] = {}
    for kind, width in [("score", 1), ("box", 4), *([("points", 10)] if points else [])]:
        constants[f"shape_{kind}"] = np.array([-1, width], np.int64)
        constants[f"kernel_{kind}"] = np.zeros((2 * width, 3, 1, 1), np.float32)  # two anchors a place
        for stride in (8, 16, 32):
            name, step = f"{kind}_{stride}", [stride] * 2
            nodes += [
                helper.make_node("MaxPool", ["input"], [f"{name}_grid"], kernel_shape=step, strides=step),
                helper.make_node("Conv", [f"{name}_grid", f"kernel_{kind}"], [f"{name}_map"]),
                helper.make_node("Transpose", [f"{name}_map"], [f"{name}_last"], perm=[2, 3, 0, 1]),
                helper.make_node("Reshape", [f"{name}_last", f"shape_{kind}"], [name]),
            ]
            outputs[name] = [f"anchors_{stride}", width]
    _save(path, nodes, [1, 3, "height", "width"], outputs, constants)


def _save(
    path: Path, nodes: list[onnx.NodeProto], shape: list[Side], outputs: dict[str, list[Side]], constants: Constants
) -> None:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
