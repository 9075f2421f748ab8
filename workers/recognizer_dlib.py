"""The dlib engine: a HOG detector, five landmarks, and a ResNet that gives embeddings of 128 dimensions.

All of it is in the public domain, and nothing is downloaded: the weights are files of the package
`face_recognition_models`. That package is never imported, because it needs pkg_resources, which setuptools removed. Its
68-point landmarks are not used either, because their training set forbids commercial use.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from shared.errors import ConfigurationError
from shared.model_id import ModelId
from workers.recognition.devices import CPU
from workers.recognition.engine import Appearance, Face, Image, Points, Vectors
from workers.recognition.false_match_law import FalseMatchLaw
from workers.recognition.fingerprint import file_sha256, fingerprint
from workers.recognition.unit_norm import unit_rows

ENGINE = "dlib"
DIM = 128
WEIGHTS_PACKAGE = "face_recognition_models"
LANDMARKS_FILE = "shape_predictor_5_face_landmarks.dat"
RECOGNITION_FILE = "dlib_face_recognition_resnet_model_v1.dat"
# SHA-256 of dlib's two files. The package holds them as github.com/davisking/dlib-models publishes them.
_PUBLISHED = {
    LANDMARKS_FILE: "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    RECOGNITION_FILE: "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
}

# Cosine of L2-normalised embeddings. The network was trained for L2 distance, so all faces lie close together. Pairs of
# strangers: median .827, 1 % above .906, highest .945. Pairs of one person: median .963, 1 % below .919; a photo and its
# mirror image: .98 or more. Measured by `python -m tests.benchmark.dlib_threshold` on 229 photos of 35 people (lfw_mini, dlib_johns; 150
# pixels wide), with three photos of each person enrolled. At .945 with margin .01: 91.9 % of the other photos get the
# right name, none a wrong one, and 0.44 % of strangers get a name, as many as with insightface's 0.45. At .94: 97.6 % and
# 2.2 %; at .95: 85.5 % and none. The margin is the largest that loses no right name.
THRESHOLD = 0.945
MARGIN = 0.01
# The law of false matches: half of some 400 people's photos with each other and with half of 1,154 strangers' (LFW). The other half gives
# the same scores within .002. The last point goes on a little flatter than the slope between the two before it.
LAW = FalseMatchLaw(
    (
        (0.836, 0.5),
        (0.865, 0.2),
        (0.879, 0.1),
        (0.889, 0.05),
        (0.900, 0.02),
        (0.907, 0.01),
        (0.918, 3e-3),
        (0.926, 1e-3),
        (0.933, 3e-4),
        (0.939, 1e-4),
        (0.949, 1e-5),
        (0.960, 1e-6),
    )
)

CROP_SIDE_PX = 150  # the ResNet's input
_CROP_PADDING = 0.25  # as in the ResNet's training
_SMALLEST_FACE_PX = 80  # the side of the HOG detector's window
_MAX_ENLARGEMENT = 2.0  # in a frame that is enlarged more, the detector finds noise
# HOG's confidence. Folds and shadows that it takes for faces lie below (up to 0.13 on the pictures of installed wheels);
# almost all real faces lie above.
_MIN_CONFIDENCE = 0.15


class DlibEngine:
    """An `Engine` that runs dlib. `dim` is 128; crops are BGR, 150 pixels wide and high.

    The five points: the outer and inner corner of the eye at the right of the image, the outer and inner corner of the
    other eye, and the lower end of the nose.

    HOG needs faces of 80 pixels; a neural detector needs 20. So a frame is scaled until its long side has twice `det_size`
    pixels, but never enlarged more than twofold. With 640 this finds faces from 80 pixels up in 1280×720, and from 40
    pixels up in 640×480.

    Raises ConfigurationError when dlib or its weights are not installed.
    """

    name = ENGINE
    model = ENGINE
    dim = DIM
    threshold = THRESHOLD
    margin = MARGIN
    law = LAW
    points = Points.EYE_CORNERS_NOSE
    appearance = Appearance(different=0.92, alike=0.945)
    mirrors = False
    device = CPU

    def __init__(self, *, det_size: int) -> None:
        landmarks, recognition = weight_files()
        self._dlib = _import_dlib()
        self._search_px = 2 * det_size
        self.fingerprint = dlib_fingerprint()
        self._detector = self._dlib.get_frontal_face_detector()
        try:
            self._landmarks = self._dlib.shape_predictor(str(landmarks))
            self._recogniser = self._dlib.face_recognition_model_v1(str(recognition))
        except RuntimeError as error:  # dlib's serialization_error and "Unable to open"
            raise _not_installed(f"its weights can't be loaded: {error}") from error

    @property
    def model_id(self) -> ModelId:
        return ModelId(self.name, self.model, self.fingerprint, self.dim)

    def detect(self, frame: Image) -> list[Face]:
        """Faces of a BGR frame (height, width, 3), best score first; boxes are cut to the frame.

        `det_score` is 1 / (1 + e^-c), where c is HOG's confidence: our lower limit of 0.15 becomes 0.54; clear faces have
        0.8 to 0.95.
        """
        import cv2

        height, width = frame.shape[:2]
        scale = min(_MAX_ENLARGEMENT, self._search_px / max(height, width))
        if min(height, width) * scale < _SMALLEST_FACE_PX / 2:
            return []  # HOG's window does not fit, even with its padding
        # Grey costs a third less than colour and finds the same faces.
        found, confidences, _ = self._detector.run(_scaled_grey(frame, scale), 0, _MIN_CONFIDENCE)
        if not found:
            return []
        rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        faces = []
        for rectangle, confidence in zip(found, confidences, strict=True):
            full = self._dlib.rectangle(*(round(side / scale) for side in _sides(rectangle)))
            box = _cut(_sides(full), width, height)
            if box[2] > box[0] and box[3] > box[1]:
                points = np.array([(p.x, p.y) for p in self._landmarks(rgb, full).parts()], np.float32)
                faces.append(Face(box, points, 1 / (1 + math.exp(-confidence))))
        return sorted(faces, key=lambda face: -face.det_score)

    def crop(self, frame: Image, face: Face) -> Image:
        """The aligned BGR crop (150, 150, 3) for `embed`."""
        points = [self._dlib.point(int(x), int(y)) for x, y in face.points]
        shape = self._dlib.full_object_detection(self._dlib.rectangle(*(round(side) for side in face.box)), points)
        # dlib only warps here, so the order of the colour channels does not matter.
        return np.asarray(self._dlib.get_face_chip(frame, shape, size=CROP_SIDE_PX, padding=_CROP_PADDING), np.uint8)

    def embed(self, crops: list[Image]) -> Vectors:
        """(len(crops), 128) float32, rows of unit L2 norm. Raises RefusedError for a crop that gives no embedding."""
        if not crops:
            return np.empty((0, DIM), np.float32)
        chips = [np.ascontiguousarray(crop[:, :, ::-1]) for crop in crops]
        return unit_rows(np.array(self._recogniser.compute_face_descriptor(chips), np.float64), ENGINE)


def weight_files() -> tuple[Path, Path]:
    """Where the landmarks' and the recogniser's weights are. Raises ConfigurationError when they are not installed."""
    found = importlib.util.find_spec(WEIGHTS_PACKAGE)  # finds a top-level package without running it
    for folder in (found.submodule_search_locations or []) if found else []:
        files = Path(folder) / "models" / LANDMARKS_FILE, Path(folder) / "models" / RECOGNITION_FILE
        if all(file.is_file() for file in files):
            return files
    raise _not_installed(f"the package {WEIGHTS_PACKAGE} with its weights is missing")


def dlib_fingerprint() -> str:
    """The engine's fingerprint, 64 hex digits; reads both weight files once.

    The landmarks' file is part of it, because the landmarks decide how a crop is aligned.
    Raises ConfigurationError when the weights are not installed, or are not the published ones.
    """
    landmarks, recognition = (_published_digest(file) for file in weight_files())
    preprocessing = {
        "engine": ENGINE,
        "input_px": [CROP_SIDE_PX, CROP_SIDE_PX],
        "padding": _CROP_PADDING,
        "colour": "RGB",
        "alignment": f"get_face_chip {landmarks}",
    }
    return fingerprint(recognition, preprocessing)


def _published_digest(file: Path) -> str:
    """SHA-256 of a weight file. Raises ConfigurationError unless it is the published file's."""
    digest = file_sha256(file)
    if digest != _PUBLISHED[file.name]:
        raise ConfigurationError(
            "the dlib engine's weights are not the published ones",
            where=str(file),
            got=f"SHA-256 {digest}",
            expected=_PUBLISHED[file.name],
            remedy=f"in Rollcall's folder: pip install --force-reinstall -c constraints.txt {WEIGHTS_PACKAGE}",
        )
    return digest


def require_dlib() -> None:
    """Raise ConfigurationError unless dlib and its weights are installed. Loads neither."""
    weight_files()
    if importlib.util.find_spec("dlib") is None:
        raise _not_installed("the package dlib is missing")


def _import_dlib() -> ModuleType:
    try:
        import dlib
    except ImportError as error:
        raise _not_installed(str(error)) from error
    module: ModuleType = dlib
    return module


def _not_installed(why: str) -> ConfigurationError:
    return ConfigurationError(
        "the dlib engine is not installed",
        where="[recognition] engine",
        got=why,
        expected="the extra `embedded`",
        remedy="in Rollcall's folder: pip install -c constraints.txt '.[embedded]'",
    )


def _scaled_grey(frame: Image, scale: float) -> Any:
    import cv2

    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    if scale == 1:
        return grey
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(grey, None, fx=scale, fy=scale, interpolation=way)


def _sides(rectangle: Any) -> tuple[int, int, int, int]:
    return rectangle.left(), rectangle.top(), rectangle.right(), rectangle.bottom()


def _cut(sides: tuple[int, int, int, int], width: int, height: int) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = sides
    return max(float(x1), 0.0), max(float(y1), 0.0), min(float(x2), float(width)), min(float(y2), float(height))
