"""YuNet, the face detector of OpenCV's model zoo. The outputs have the meaning that OpenCV gives them (4.13, `face_detect.cpp`); a test compares
our results with its own.

Each place of a feature map has one box. Its score is the root of two products, of being a face and of being an object. Its centre and the five
points are offsets from the place, and its sides are powers of e, all in strides.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.recognition.detector import Candidates, OnnxDetector, grid, joined
from workers.recognition.onnx_session import run_session
from workers.recognition.pixels import Pixels

PIXELS = Pixels(0.0, 1.0, "BGR")
_THRESHOLD = 0.6
_OVERLAP = 0.3
_STRIDES = (8, 16, 32)
OUTPUTS = tuple(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in _STRIDES)


class Yunet(OnnxDetector):
    """The detector. `session`: an onnxruntime session of a YuNet graph. Raises ValueError when the graph is no such graph."""

    def __init__(self, session: Any, pixels: Pixels = PIXELS, threshold: float = _THRESHOLD) -> None:
        super().__init__(session, pixels, threshold, _OVERLAP)
        names = {output.name for output in session.get_outputs()}
        if names != set(OUTPUTS):
            raise ValueError(f"{len(names)} outputs; a YuNet graph has {', '.join(OUTPUTS)}")

    def _candidates(self, blob: NDArray[np.float32], size: tuple[int, int]) -> Candidates:
        outputs = [
            output.reshape(-1, output.shape[-1]) for output in run_session(self._session, OUTPUTS, {self._input: blob})
        ]
        found: list[Candidates] = []
        for level, stride in enumerate(_STRIDES):
            faces, objects, boxes, points = outputs[level :: len(_STRIDES)]
            scores = np.sqrt(np.clip(faces[:, 0], 0, 1) * np.clip(objects[:, 0], 0, 1))
            (kept,) = np.nonzero(scores >= self._threshold)
            if not len(kept):
                continue
            places = grid(size[0] // stride, size[1] // stride, stride, 1)[kept]
            centres = places + boxes[kept, :2] * stride
            sides = np.exp(boxes[kept, 2:]) * stride
            corners = np.concatenate((centres - sides / 2, centres + sides / 2), axis=1)
            found.append(
                Candidates(corners, places[:, None, :] + points[kept].reshape(-1, 5, 2) * stride, scores[kept])
            )
        return joined(found)
