"""The insightface engine: a SCRFD detector and an ArcFace recogniser from a model pack, run by onnxruntime.

The models are insightface's, and we run them as insightface does. The package `insightface` itself is not imported: its
import alone takes 33 MB of a process's own memory (scipy, scikit-image, onnx), and a site has a process for each camera.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from shared.errors import ConfigurationError
from shared.model_id import ModelId
from workers.recognition.alignment import aligned
from workers.recognition.detector import OnnxDetector
from workers.recognition.devices import AUTO, CPU, devices_here
from workers.recognition.engine import Appearance, Face, Image, Points, Vectors
from workers.recognition.face_search import FaceSearch
from workers.recognition.false_match_law import FalseMatchLaw
from workers.recognition.onnx_session import UnfitGraphError, open_session
from workers.recognition.pack import ENGINE, OnnxModel, Pack, damaged_model, read_pack
from workers.recognition.recogniser import Recogniser
from workers.recognition.scrfd import Scrfd
from workers.recognition.unit_norm import unit_rows
from workers.recognition.yunet import Yunet

# Working points (threshold, margin) by the recognition file's name. w600k_r50 at 0.408 has a false accept rate of 1e-6 in insightface's
# published table; at 0.45 with this margin 0.5 % of strangers were named by a small model and a gallery of 180 photos.
_DEFAULT_POINT = (0.45, 0.05)
_WORKING_POINTS = {"w600k_r50": (0.45, 0.05)}
# The law of false matches of the small test pack: half of 397 people's photos with each other and with half of 1,104 strangers' (LFW). The
# other half gives the same scores within .008. The last point goes on a little flatter than the two before it: nothing so rare was seen.
# Other packs take this law, too: they are stronger, so that fewer strangers are named than promised.
LAW = FalseMatchLaw(
    (
        (0.010, 0.5),
        (0.097, 0.2),
        (0.143, 0.1),
        (0.180, 0.05),
        (0.224, 0.02),
        (0.252, 0.01),
        (0.297, 3e-3),
        (0.334, 1e-3),
        (0.373, 3e-4),
        (0.408, 1e-4),
        (0.460, 1e-5),
        (0.516, 1e-6),
    )
)
# Laws by the recognition file's name: where the same shape, scaled, meets the model's published point.
_LAWS = {"w600k_r50": FalseMatchLaw(tuple((score * 0.408 / 0.516, share) for score, share in LAW.points))}


class ArcFaceEngine:
    """An `Engine` that runs an insightface pack.

    `dim` is the model's (512 in published packs). The five points are both eyes, the nose and both corners of the mouth.
    Crops have the size of the recogniser's square input (112 pixels in published packs).

    `is_described`: the pack says itself how its input is made.

    `det_size`: the longer side of the detector's input in pixels; it finds faces from about 2.5 % of that side up.
    `least_face_px`: narrower faces need not be found, so a large frame gets a smaller input; None: find all.
    `threads`: CPU threads of one run. `device`: what runs the models, of the settings. Afterwards the attribute `device` says in words what
    does.

    Raises ConfigurationError when the pack is missing or unfit, or the device is not there; TemporaryError when it has no memory left. If
    the pack's files show a fault, no model is loaded before.
    """

    name = ENGINE
    points = Points.EYES_NOSE_MOUTH
    appearance = Appearance(different=0.3, alike=0.45)

    def __init__(
        self,
        pack_folder: Path,
        *,
        det_size: int,
        threads: int,
        least_face_px: int | None = None,
        device: str = CPU,
    ) -> None:
        pack = read_pack(pack_folder.absolute())
        self.model = pack.folder.name
        self.is_described = pack.says is not None
        self.mirrors = pack.says is None or pack.says.recogniser.mirrors
        self.threshold, self.margin, self.law = working_point(pack)
        self.fingerprint = pack.fingerprint()
        detection, used, self.device = _first_session(pack.detection, threads, device)
        try:
            kind = {"scrfd": Scrfd, "yunet": Yunet}[pack.detection.kind]
            self.detector: OnnxDetector = kind(detection, pack.detection.pixels)
        except ValueError as error:
            raise damaged_model(pack.detection.path, error) from error
        self._search = FaceSearch(self.detector, det_size, least_face_px)
        self._recogniser = Recogniser(pack.recognition, used, lambda: _session(pack.recognition, threads, used))
        self.side_px, self.dim = self._recogniser.side_px, self._recogniser.dim

    @property
    def model_id(self) -> ModelId:
        return ModelId(self.name, self.model, self.fingerprint, self.dim)

    def detect(self, frame: Image) -> list[Face]:
        """Faces of a BGR frame (height, width, 3), best score first; boxes are cut to the frame."""
        return self._search.detect(frame)

    def crop(self, frame: Image, face: Face) -> Image:
        """The aligned BGR crop (side, side, 3) for `embed`; black where it reaches beyond the frame."""
        return aligned(frame, face.points, self.side_px)

    def embed(self, crops: list[Image]) -> Vectors:
        """(len(crops), dim) float32, rows of unit L2 norm. Raises RefusedError for a crop that gives no embedding."""
        if not crops:
            return np.empty((0, self.dim), np.float32)
        return unit_rows(self._recogniser.run(crops), self.model)

    def warm_up(self, side_px: int) -> None:
        """Run both models once, since the first run is slow. `side_px`: of the detector's input."""
        self.detect(np.zeros((side_px, side_px, 3), np.uint8))
        self._recogniser.warm_up()


def working_point(pack: Pack) -> tuple[float, float, FalseMatchLaw]:
    """Threshold, margin, and the law of false matches. A pack that says its threshold takes the law's shape, scaled as far as that threshold is
    from the default one."""
    if pack.says is None:
        stem = pack.recognition.path.stem
        return (*_WORKING_POINTS.get(stem, _DEFAULT_POINT), _LAWS.get(stem, LAW))
    scale = pack.says.threshold / _DEFAULT_POINT[0]
    law = FalseMatchLaw(tuple((score * scale, share) for score, share in LAW.points))
    return pack.says.threshold, pack.says.margin, law


def _first_session(model: OnnxModel, threads: int, wanted: str) -> tuple[Any, str, str]:
    """A session on the first device that can be used for the setting `wanted`; the device, and what runs the model in words.

    Raises ConfigurationError or TemporaryError when no device that was asked for can be used.
    """
    reasons: list[str] = []
    for device in devices_here(wanted, ENGINE):
        try:
            return _session(model, threads, device), device, "; ".join([device, *reasons])
        except ConfigurationError as error:
            if wanted != AUTO or device == CPU:
                raise
            reasons.append(f"{device} can't be used: {error.got}")
    raise AssertionError("the processor is always tried, or what was asked for")


def _session(model: OnnxModel, threads: int, device: str) -> Any:
    """An onnxruntime session for one ONNX file. Raises ConfigurationError when onnxruntime can't run it."""
    try:
        return open_session(model.path, threads=threads, device=device)
    except UnfitGraphError as error:
        raise damaged_model(model.path, error) from error
