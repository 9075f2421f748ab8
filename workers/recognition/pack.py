"""Reads what an insightface model pack on disk holds, without starting onnxruntime.

A pack is a folder of ONNX files: one detects faces, one turns a crop into an embedding. Published packs also hold models
for landmarks and attributes, which we don't use. A file's task is recognised by its graph alone, by the rules of
insightface's own loader (insightface 2.1, `ModelRouter.get_model`). So an unfit pack is refused before a session is opened. A pack that says
itself what it is, in a pack.toml (pack_file.py), is read by that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from shared.errors import ConfigurationError, FaultList, RollcallError
from workers.recognition.fingerprint import file_sha256, fingerprint
from workers.recognition.free_packs import FREE_PACKS
from workers.recognition.pack_file import PACK_FILE, PIXELS_OF, Kind, PackFile, read_pack_file
from workers.recognition.pixels import AS_THEY_ARE, Pixels
from workers.recognition.yunet import OUTPUTS as YUNET_OUTPUTS

Task = Literal["detection", "recognition", "other"]

ENGINE = "insightface"
PACK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
MANIFEST = "manifest.json"
# SHA-256 of each published pack's detection and recognition file. A pack from the network is only installed if it has
# these. Public projects that pin these files agree on the digests: uniface/constants.py of github.com/yakhyo/uniface
# has det_10g, det_500m, w600k_r50 and w600k_mbf; the Git LFS objects of immich-app/buffalo_m (detection/model.onnx) and
# DIAMONIK7777/antelopev2 (glintr100.onnx) on Hugging Face are the other two. det_500m was also compared with a file
# that we have. buffalo_sc holds the two files of buffalo_s.
_DET_10G = "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91"
_DET_2_5G = "041f73f47371333d1d17a6fee6c8ab4e6aecabefe398ff32cca4e2d5eaee0af9"
_DET_500M = "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a"
_W600K_R50 = "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43"
_W600K_MBF = "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f"
_GLINTR100 = "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf"
PUBLISHED = {
    "buffalo_l": (_DET_10G, _W600K_R50),
    "buffalo_m": (_DET_2_5G, _W600K_R50),
    "buffalo_s": (_DET_500M, _W600K_MBF),
    "buffalo_sc": (_DET_500M, _W600K_MBF),
    "antelopev2": (_DET_10G, _GLINTR100),
}
# insightface's own download uses this address.
DOWNLOAD_URL = "https://github.com/deepinsight/insightface/releases/download/model-zoo/{name}.zip"

# The sides of crops that insightface's `face_align` can make: 112 pixels, 128 pixels, and whole multiples of them.
_CROP_SIDES_PX = (112, 128)
_EXPECTED = "a folder with one face detection and one face recognition model (.onnx)"


@dataclass(frozen=True)
class OnnxModel:
    """One ONNX file of a pack, as its graph describes it.

    Of a recogniser: `side_px`, the side of its square input; `dim`, the length of its embedding, None if the graph leaves it
    open; `batch`, how many crops one run takes, None for any number. Of a detector: `kind`; `has_points`, whether it also gives the five points.
    Of both: `pixels`, how the input is made.
    """

    path: Path
    task: Task
    side_px: int = 0
    dim: int | None = None
    batch: int | None = None
    pixels: Pixels = AS_THEY_ARE
    kind: Kind = "scrfd"
    has_points: bool = False

    def preprocessing(self) -> dict[str, Any]:
        """The steps before the recogniser, as JSON values. Together with the file, they decide what an embedding means."""
        return {
            "engine": ENGINE,
            "input_px": [self.side_px, self.side_px],
            "mean": self.pixels.mean,
            "std": self.pixels.std,
            "colour": self.pixels.colour,
            "alignment": "arcface_dst",
        }


@dataclass(frozen=True)
class Pack:
    """A usable pack: its detection and its recognition model. The folder may hold other files. `says`: what it says of itself."""

    folder: Path
    detection: OnnxModel
    recognition: OnnxModel
    says: PackFile | None = None

    def fingerprint(self) -> str:
        """64 hex digits; reads the recognition file once (0.15 s for 170 MB)."""
        return fingerprint(file_sha256(self.recognition.path), self.recognition.preprocessing())


def read_pack(folder: Path) -> Pack:
    """The pack in `folder`. Raises ConfigurationError, with the fault in words, when it is missing or unfit."""
    if not folder.is_dir():
        raise missing_pack(folder)
    says = read_pack_file(folder) or _known(folder)
    if says is not None:
        return _described_pack(folder, says)
    files = sorted(path for path in folder.glob("*.onnx") if path.is_file())
    if not files:
        raise _unfit(folder, "the pack holds no .onnx file")
    if _has_manifest(folder):
        raise _unfit(folder, f"the pack brings a {MANIFEST} of version 2, a format that is not supported")
    models = [read_model(path) for path in files]
    return Pack(folder, _only(folder, models, "detection"), _only(folder, models, "recognition"))


def _known(folder: Path) -> PackFile | None:
    """What we know of a pack that bears a free one's name and has its files."""
    free = FREE_PACKS.get(folder.name)
    return free.says if free is not None and all((folder / one.name).is_file() for one in free.files) else None


def _described_pack(folder: Path, says: PackFile) -> Pack:
    """The pack that a pack.toml describes. Raises FaultList with everything that is not as it says."""
    faults: list[RollcallError] = []
    for entry in (says.detector, says.recogniser):
        path = folder / entry.file
        if not path.is_file():
            faults.append(_not_as_described(folder, entry.file, "is missing"))
        elif (digest := file_sha256(path)) != entry.sha256:
            faults.append(_not_as_described(folder, entry.file, "is another file", digest, entry.sha256))
    if faults:
        raise FaultList(faults)
    detection = replace(read_model(folder / says.detector.file), pixels=says.detector.pixels)
    recognition = replace(read_model(folder / says.recogniser.file), pixels=says.recogniser.pixels)
    wanted, found = says.recogniser, recognition
    if detection.task != "detection" or not detection.has_points or detection.kind != says.detector.kind:
        got = f"{detection.task}: {detection.kind}" if detection.task == "detection" else detection.task
        faults.append(_not_as_described(folder, says.detector.file, "is no such detector", got, says.detector.kind))
    if found.task != "recognition":
        faults.append(_not_as_described(folder, wanted.file, "is no recogniser", found.task, "recognition"))
    elif (found.side_px, found.dim or wanted.dim) != (wanted.side_px, wanted.dim):
        got, expected = f"{found.side_px} px, {found.dim} numbers", f"{wanted.side_px} px, {wanted.dim} numbers"
        faults.append(_not_as_described(folder, wanted.file, "is another recogniser", got, expected))
    if faults:
        raise FaultList(faults)
    return Pack(folder, detection, recognition, says)


def _not_as_described(folder: Path, file: str, what: str, got: str | None = None, expected: str = "") -> RollcallError:
    return ConfigurationError(
        what,
        where=str(folder / file),
        got=got,
        expected=expected or f"as {PACK_FILE} says",
        remedy="install the pack again",
    )


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
        if {output.name for output in graph.output} == set(YUNET_OUTPUTS):
            return OnnxModel(path, "detection", pixels=PIXELS_OF["yunet"], kind="yunet", has_points=True)
        # 6, 9, 10 or 15 outputs: 3 or 5 strides of score and box, and with 9 or 15 also of the five points.
        return OnnxModel(path, "detection", pixels=PIXELS_OF["scrfd"], has_points=outputs in {9, 15})
    side = shape[2] if len(shape) == 4 and shape[2] == shape[3] else None
    if side is None or all(side % known for known in _CROP_SIDES_PX) or len(inputs) > 1 or outputs > 1:
        return OnnxModel(path, "other")  # landmarks (192 pixels), attributes (96), face swapping (two inputs)
    output = [_size(d) for d in graph.output[0].type.tensor_type.shape.dim]
    if output and len(output) != 2:
        return OnnxModel(path, "other")  # an image or a map, not one vector a crop
    return OnnxModel(path, "recognition", side, output[-1] if output else None, shape[0], _normalisation(graph))


def missing_pack(folder: Path, reason: str = "") -> ConfigurationError:
    """The error for a pack that is not installed. `reason`: why it could not be fetched either."""
    name = folder.name
    fetch = "bring it here yourself and run"
    if name in PUBLISHED or name in FREE_PACKS:
        files = [one.url for one in FREE_PACKS[name].files] if name in FREE_PACKS else [DOWNLOAD_URL.format(name=name)]
        fetch = f"with a network: supervisor.py models install {name}; without one: fetch {' and '.join(files)} elsewhere, carry it here and run"
    return ConfigurationError(
        f"model pack {name!r} is not installed" + (f" and could not be fetched ({reason})" if reason else ""),
        where=str(folder),
        expected=_EXPECTED,
        remedy=f"{fetch}: supervisor.py models install /path/to/{name}.zip (a folder does as well); or use the engine "
        "that needs no download: engine = \"dlib\" under [recognition], after: pip install -c constraints.txt '.[embedded]'",
    )


def require_published(folder: Path, pack: Pack) -> None:
    """Raise ConfigurationError unless a fetched pack is the published one. `folder`: where it is to be installed, and its name."""
    for model, expected in zip((pack.detection, pack.recognition), PUBLISHED[folder.name], strict=True):
        digest = file_sha256(model.path)
        if digest != expected:
            raise ConfigurationError(
                f"what was fetched is not the published {folder.name}, and nothing was installed",
                where=DOWNLOAD_URL.format(name=folder.name),
                got=f"{model.path.name} with SHA-256 {digest}",
                expected=expected,
                remedy="find out who answers in the model zoo's place; a pack that you have checked yourself can be installed "
                "from disk: supervisor.py models install FOLDER|ZIP",
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
    """The error for a model file whose fault shows only when it is loaded or run."""
    return _damaged(path, (str(error) or type(error).__name__).splitlines()[0][:300])


def _graph(path: Path) -> Any:
    """The graph of an ONNX file (onnx.GraphProto). Raises ConfigurationError when its weights do not all lie in that file."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # it ships no type information

    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except OSError as error:
        raise ConfigurationError(
            "the model can't be read",
            where=str(path),
            got=error.strerror or str(error),
            remedy="make it readable for this user",
        ) from error
    except (DecodeError, ValueError) as error:
        raise damaged_model(path, error) from error
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data for tensor in _tensors(model)):
        raise _damaged(path, "weights in a file of their own", "one file that holds its weights")
    return model.graph


def _tensors(model: Any) -> Iterator[Any]:
    """Every tensor of a model, wherever it is: weights, sparse weights, attributes of nodes, sub-graphs, functions."""
    graphs = [model.graph, *(part for info in model.training_info for part in (info.initialization, info.algorithm))]
    nodes = [node for function in model.functions for node in function.node]
    attributes = [attribute for function in model.functions for attribute in function.attribute_proto]
    sparse: list[Any] = []
    while graphs or nodes or attributes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            sparse += graph.sparse_initializer
            nodes += graph.node
        elif nodes:
            attributes += nodes.pop().attribute
        else:
            attribute = attributes.pop()
            yield attribute.t
            yield from attribute.tensors
            sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
            graphs += [attribute.g, *attribute.graphs]
    for tensor in sparse:
        yield tensor.values
        yield tensor.indices


def _size(dimension: Any) -> int | None:
    """The size of a fixed dimension; None if it is not fixed."""
    return dimension.dim_value if dimension.dim_value > 0 else None


def _normalisation(graph: Any) -> Pixels:
    """How a recogniser's input is made, by the rule of insightface's `ArcFaceONNX`.

    Models converted from MXNet normalise inside the graph: they have a subtraction and a multiplication among the first eight
    nodes. The input of all other models is (pixel - 127.5) / 127.5.
    """
    first = [node.name for node in graph.node[:8]]
    subtracts = any(name.startswith(("Sub", "_minus")) for name in first)
    multiplies = any(name.startswith(("Mul", "_mul")) for name in first)
    return AS_THEY_ARE if subtracts and multiplies else Pixels(127.5, 127.5)


def _has_manifest(folder: Path) -> bool:
    """Whether the pack declares its tasks and preprocessing itself (insightface's manifest, version 2). We can't read that;
    with our own preprocessing its embeddings would be wrong, and nobody would notice."""
    try:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("manifest_version") == 2
