"""The insightface engine: a SCRFD detector and an ArcFace recogniser from a model pack, run by onnxruntime.

The two files are handed to insightface's `get_model` one by one, not through `FaceAnalysis`: that builds a session for
every file of a pack, and a pack copied by hand holds 150 MB of landmarks that nobody asks for.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import ConfigurationError
from workers.engines import Face, Image, Vectors
from workers.onnx_pack import ENGINE, OnnxModel, damaged_model, read_pack
from workers.unit_norm import unit_rows

# SCRFD's own default; what it scores lower is rarely a face that could be told apart.
_DETECTION_THRESHOLD = 0.5
# SCRFD loses faces that fill more than 0.6 to 0.7 of its input, as in portraits cut to the head, and finds them once
# the input is small. So such a frame is searched a second time, at 1.7 ms beside 24; a 16:9 frame is too flat.
_LARGE_FACE = 0.57
_LARGE_FACE_INPUT_PX = 128
# Crops a run: enough to keep the kernels busy, and it bounds the memory of one call.
_MOST_CROPS = 32

# Working points by the recognition file's name. w600k_r50 at 0.408 has a false accept rate of 1e-6 in insightface's
# published table; at 0.45 with this margin 0.5 % of strangers were named by a small model and a gallery of 180 photos.
_DEFAULT_POINT = (0.45, 0.05)
_WORKING_POINTS = {"w600k_r50": (0.45, 0.05)}


class ArcFaceEngine:
    """An `Engine` on an insightface pack: `dim` is the model's (512 in published packs), the points are both eyes, the
    nose and both corners of the mouth, crops are the recogniser's square input (112 pixels in published packs).

    `det_size`: side of the detector's square input in pixels; it finds faces from about 2.5 % of that side up.
    `threads`: CPU threads a run takes; a GPU is used where onnxruntime has CUDA.

    Raises ConfigurationError when the pack is missing or unfit: before anything is loaded where its files tell.
    """

    name = ENGINE

    def __init__(self, pack_folder: Path, *, det_size: int, threads: int) -> None:
        pack = read_pack(pack_folder.absolute())
        _require_package()
        self.model = pack.folder.name
        self.threshold, self.margin = _WORKING_POINTS.get(pack.recognition.path.stem, _DEFAULT_POINT)
        self.fingerprint = pack.fingerprint()
        options = _session_options(threads)
        self._detector = _load(pack.detection, "detection", options)
        # ctx_id 0 leaves the session as it is; a negative one would build it a second time.
        self._detector.prepare(0, input_size=(det_size, det_size), det_thresh=_DETECTION_THRESHOLD)
        self._det_size = det_size
        self._search_large = self._detector.static_input_size is None and det_size > _LARGE_FACE_INPUT_PX
        self._recogniser = _load(pack.recognition, "recognition", options)
        self._require_same_preprocessing(pack.recognition)
        self._side_px = pack.recognition.side_px
        self._batch = min(pack.recognition.batch or _MOST_CROPS, _MOST_CROPS)
        self._fixed_batch = pack.recognition.batch
        self.dim = pack.recognition.dim or self._measured_dim(pack.recognition)
        from insightface.utils import face_align

        self._norm_crop = face_align.norm_crop
        # scikit-image 0.26 deprecates what insightface 2.1 aligns with; whoever runs a site can't do anything about it.
        warnings.filterwarnings(
            "ignore", message="`estimate` is deprecated", category=FutureWarning, module="insightface"
        )

    def detect(self, frame: Image) -> list[Face]:
        """Faces of a BGR frame (height, width, 3), best score first; boxes are cut to the frame."""
        height, width = frame.shape[:2]
        if min(height, width) * self._det_size < max(height, width):
            return []  # scaled to the detector's input, the short side would have no pixel left
        faces = self._search(frame, self._det_size)
        if self._search_large and min(height, width) > _LARGE_FACE * max(height, width):
            large = [face for face in self._search(frame, _LARGE_FACE_INPUT_PX) if _fills(face, width, height)]
            faces += [face for face in large if all(_overlap(face, known) < 0.4 for known in faces)]
        return sorted(faces, key=lambda face: -face.det_score)

    def _search(self, frame: Image, input_px: int) -> list[Face]:
        height, width = frame.shape[:2]
        boxes, points = self._detector.detect(frame, input_size=(input_px, input_px))
        faces = []
        for (x1, y1, x2, y2, score), five in zip(boxes.tolist(), points, strict=True):
            box = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
            if box[2] > box[0] and box[3] > box[1]:
                faces.append(Face(box, np.ascontiguousarray(five, dtype=np.float32), score))
        return faces

    def crop(self, frame: Image, face: Face) -> Image:
        """The aligned BGR crop (side, side, 3) that `embed` takes; black where it reaches beyond the frame."""
        crop: Image = self._norm_crop(frame, landmark=face.points, image_size=self._side_px)
        return crop

    def embed(self, crops: list[Image]) -> Vectors:
        """(len(crops), dim) float32, rows of unit L2 norm. Raises RefusedError for a crop that gives no embedding."""
        if not crops:
            return np.empty((0, self.dim), np.float32)
        parts = [self._run(crops[start : start + self._batch]) for start in range(0, len(crops), self._batch)]
        return unit_rows(np.concatenate(parts), self.model)

    def _run(self, crops: list[Image]) -> Any:
        """Raw embeddings of at most `_batch` crops; a graph with a fixed batch gets its number, the last repeated."""
        missing = self._fixed_batch - len(crops) if self._fixed_batch else 0
        return self._recogniser.get_feat([*crops, *crops[-1:] * missing])[: len(crops)]

    def _measured_dim(self, model: OnnxModel) -> int:
        blank = np.zeros((model.side_px, model.side_px, 3), np.uint8)
        return int(self._run([blank]).shape[1])

    def _require_same_preprocessing(self, expected: OnnxModel) -> None:
        """The fingerprint was made from what the file says; it must be what insightface will do."""
        actual = (
            float(self._recogniser.input_mean),
            float(self._recogniser.input_std),
            tuple(self._recogniser.input_size),
        )
        wanted = (expected.mean, expected.std, (expected.side_px, expected.side_px))
        if actual != wanted:
            raise ConfigurationError(
                "the installed insightface prepares crops otherwise than the gallery's fingerprint says",
                where=str(expected.path),
                got=f"mean, std, size {actual}",
                expected=str(wanted),
                remedy="install the insightface version that Rollcall was released with",
            )


def _fills(face: Face, width: int, height: int) -> bool:
    x1, y1, x2, y2 = face.box
    return max(x2 - x1, y2 - y1) >= _LARGE_FACE * max(width, height)


def _overlap(one: Face, other: Face) -> float:
    """Intersection over union of two boxes."""
    width = min(one.box[2], other.box[2]) - max(one.box[0], other.box[0])
    height = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / (one.area + other.area - shared)


def _require_package() -> None:
    try:
        import insightface  # noqa: F401  # only whether it can be imported
    except ImportError as error:
        raise ConfigurationError(
            "the insightface package can't be imported",
            where="[recognition] engine",
            got=str(error).splitlines()[0],
            remedy="pip install . in Rollcall's folder; on Debian also: apt install libgl1 libglib2.0-0",
        ) from error


def _session_options(threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only
    # Threads that spin while they wait would take the cores that other cameras need (6 ms of a 34 ms detection).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _providers() -> list[str]:
    import onnxruntime

    available = onnxruntime.get_available_providers()
    return [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]


def _load(model: OnnxModel, task: str, options: Any) -> Any:
    """insightface's object around one ONNX file. Raises ConfigurationError when it can't be loaded as `task`."""
    from insightface.model_zoo import get_model
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    # onnxruntime's exceptions have no base of their own; insightface states its expectations with assert.
    refusals = (
        native.Fail,
        native.InvalidArgument,
        native.InvalidGraph,
        native.InvalidProtobuf,
        native.NoModel,
        native.NoSuchFile,
        native.NotImplemented,
        native.RuntimeException,
        RuntimeError,
        AssertionError,
    )
    try:
        loaded = get_model(str(model.path), providers=_providers(), sess_options=options, static_shape_sessions=False)
    except refusals as error:
        raise damaged_model(model.path, error) from error
    if loaded is None or loaded.taskname != task:
        raise damaged_model(
            model.path, ValueError(f"insightface takes it for {getattr(loaded, 'taskname', 'nothing')}, not {task}")
        )
    return loaded
