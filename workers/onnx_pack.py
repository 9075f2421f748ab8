"""What an insightface model pack on disk holds, read without starting onnxruntime.

A pack is a folder of ONNX files: one finds faces, one turns a crop into an embedding, and published packs add landmarks
and attributes that we don't use. A file's task shows in its graph alone, by the rules that insightface's own loader
goes by (insightface 2.1, `ModelRouter.get_model`), so an unfit pack is told apart before a session is built.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from shared.errors import ConfigurationError, RollcallError
from workers.fingerprint import file_sha256, fingerprint

Task = Literal["detection", "recognition", "other"]

ENGINE = "insightface"
PACK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
MANIFEST = "manifest.json"
# Where insightface's own download takes packs from.
DOWNLOAD_URL = "https://github.com/deepinsight/insightface/releases/download/model-zoo/{name}.zip"

# The templates that insightface's `face_align` knows: 112 pixels, 128 pixels, and whole multiples of them.
_CROP_SIDES_PX = (112, 128)
_EXPECTED = "a folder with one face detection and one face recognition model (.onnx)"


@dataclass(frozen=True)
class OnnxModel:
    """One ONNX file. `side_px`: of a recogniser's square input; `dim`: of its embedding, None where the graph is open.

    `batch`: how many crops one run takes, None for any number. `mean`, `std`: what a pixel value is normalised with.
    `has_points`: a detector that also gives the five points.
    """

    path: Path
    task: Task
    side_px: int = 0
    dim: int | None = None
    batch: int | None = None
    mean: float = 0.0
    std: float = 1.0
    has_points: bool = False

    def preprocessing(self) -> dict[str, Any]:
        """What is done to a face before the recogniser sees it; with the file it fixes what an embedding means."""
        return {
            "engine": ENGINE,
            "input_px": [self.side_px, self.side_px],
            "mean": self.mean,
            "std": self.std,
            "colour": "RGB",
            "alignment": "arcface_dst",
        }


@dataclass(frozen=True)
class Pack:
    """A fit pack: `detection` and `recognition` among whatever else the folder holds."""

    folder: Path
    detection: OnnxModel
    recognition: OnnxModel

    def fingerprint(self) -> str:
        """64 hex digits; reads the recognition file once (0.15 s for 170 MB)."""
        return fingerprint(file_sha256(self.recognition.path), self.recognition.preprocessing())


def read_pack(folder: Path) -> Pack:
    """What `folder` holds. Raises ConfigurationError when it is missing or unfit, naming what is wrong with it."""
    if not folder.is_dir():
        raise missing_pack(folder)
    files = sorted(path for path in folder.glob("*.onnx") if path.is_file())
    if not files:
        raise _unfit(folder, "the pack holds no .onnx file")
    if _has_manifest(folder):
        raise _unfit(folder, f"the pack brings a {MANIFEST} of version 2, a format that is not supported")
    models = [read_model(path) for path in files]
    return Pack(folder, _only(folder, models, "detection"), _only(folder, models, "recognition"))


def read_model(path: Path) -> OnnxModel:
    """Classify one ONNX file by its graph. Raises ConfigurationError when it is damaged or unfit for its task."""
    graph = _graph(path)
    weights = {weight.name for weight in graph.initializer}
    # Older exporters list the weights among the inputs.
    inputs = [
        [_size(d) for d in value.type.tensor_type.shape.dim] for value in graph.input if value.name not in weights
    ]
    if not inputs or not graph.output:
        raise _damaged(path, "the graph has no input or no output")
    shape, outputs = inputs[0], len(graph.output)
    if outputs >= 5:
        # 6, 9, 10 or 15 outputs: 3 or 5 strides of score and box, and with 9 or 15 also of the five points.
        return OnnxModel(path, "detection", has_points=outputs in {9, 15})
    side = shape[2] if len(shape) == 4 and shape[2] == shape[3] else None
    if side is None or all(side % known for known in _CROP_SIDES_PX) or len(inputs) > 1 or outputs > 1:
        return OnnxModel(path, "other")  # landmarks (192 pixels), attributes (96), face swapping (two inputs)
    output = [_size(d) for d in graph.output[0].type.tensor_type.shape.dim]
    if output and len(output) != 2:
        return OnnxModel(path, "other")  # an image or a map, not one vector a crop
    mean, std = _normalisation(graph)
    return OnnxModel(path, "recognition", side, output[-1] if output else None, shape[0], mean, std)


def missing_pack(folder: Path, reason: str = "") -> ConfigurationError:
    """The one error for a pack that is not there; `reason`: why it could not be fetched either."""
    name = folder.name
    url = DOWNLOAD_URL.format(name=name)
    return ConfigurationError(
        f"model pack {name!r} is not installed" + (f" and could not be fetched ({reason})" if reason else ""),
        where=str(folder),
        expected=_EXPECTED,
        remedy=f"with a network: supervisor.py models install {name}; without one: fetch {url} elsewhere, carry it "
        f"here and run: supervisor.py models install /path/to/{name}.zip (a folder does as well); or use the engine "
        "that needs no download: engine = \"dlib\" under [recognition], after: pip install '.[embedded]'",
    )


def _only(folder: Path, models: list[OnnxModel], task: Task) -> OnnxModel:
    found = [model for model in models if model.task == task]
    if not found:
        held = ", ".join(f"{model.path.name}: {model.task}" for model in models)
        raise _unfit(folder, f"the pack has no face {task} model", got=held)
    if len(found) > 1:
        names = ", ".join(model.path.name for model in found)
        raise _unfit(
            folder, f"the pack has {len(found)} face {task} models", got=names, remedy="remove all but one of them"
        )
    if task == "detection" and not found[0].has_points:
        raise _unfit(
            folder, "the face detection model gives no landmarks, so faces can't be aligned", got=found[0].path.name
        )
    return found[0]


def _unfit(folder: Path, what: str, *, got: str | None = None, remedy: str = "") -> ConfigurationError:
    return ConfigurationError(
        what,
        where=str(folder),
        got=got,
        expected=_EXPECTED,
        remedy=remedy or "install a whole pack: supervisor.py models install NAME|FOLDER|ZIP",
    )


def _damaged(path: Path, what: str, expected: str = "") -> ConfigurationError:
    return ConfigurationError(
        "is damaged or no model for faces",
        where=str(path),
        got=what,
        expected=expected,
        remedy="remove the pack's folder and install it again: supervisor.py models install NAME|FOLDER|ZIP",
    )


def damaged_model(path: Path, error: Exception) -> RollcallError:
    """For who finds out only when the model is run."""
    return _damaged(path, (str(error) or type(error).__name__).splitlines()[0][:300])


def _graph(path: Path) -> Any:
    """The graph of an ONNX file (onnx.GraphProto), weights that lie in the file included."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships no type information

    try:
        graph = onnx.load_model(str(path), load_external_data=False).graph
    except OSError as error:
        raise ConfigurationError(
            "the model can't be read",
            where=str(path),
            got=error.strerror or str(error),
            remedy="make it readable for this user",
        ) from error
    except (DecodeError, ValueError) as error:
        raise damaged_model(path, error) from error
    if any(weight.data_location == onnx.TensorProto.EXTERNAL for weight in graph.initializer):
        raise _damaged(path, "weights in a file of their own", "one file that holds its weights")
    return graph


def _size(dimension: Any) -> int | None:
    """A fixed dimension's size; None for a free one."""
    return dimension.dim_value if dimension.dim_value > 0 else None


def _normalisation(graph: Any) -> tuple[float, float]:
    """Mean and divisor of a recogniser's input, by the rule of insightface's `ArcFaceONNX`.

    Models converted from MXNet normalise inside the graph, which shows in a subtraction and a multiplication among the
    first eight nodes; all others get (pixel - 127.5) / 127.5.
    """
    first = [node.name for node in graph.node[:8]]
    subtracts = any(name.startswith(("Sub", "_minus")) for name in first)
    multiplies = any(name.startswith(("Mul", "_mul")) for name in first)
    return (0.0, 1.0) if subtracts and multiplies else (127.5, 127.5)


def _has_manifest(folder: Path) -> bool:
    """Whether the pack declares its tasks and preprocessing itself (insightface's manifest, version 2): unread, its
    embeddings would be silently wrong."""
    try:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("manifest_version") == 2
