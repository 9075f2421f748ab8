"""SCRFD, the face detector of insightface's packs. The outputs have the meaning that insightface gives them (2.1, `model_zoo/scrfd.py`); a
test compares our results with its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.recognition.detector import Candidates, OnnxDetector, grid, joined
from workers.recognition.onnx_session import run_session
from workers.recognition.pixels import Pixels

PIXELS = Pixels(127.5, 128.0)
# SCRFD's own default; a face with a lower score can rarely be recognised.
_THRESHOLD = 0.5
_OVERLAP = 0.4
# number of outputs: strides of the feature maps, and how many anchors each of their points has
_LAYOUTS: dict[int, tuple[tuple[int, ...], int]] = {9: ((8, 16, 32), 2), 15: ((8, 16, 32, 64, 128), 1)}


class Scrfd(OnnxDetector):
    """The detector. `session`: an onnxruntime session of a SCRFD graph with the five points.

    Raises ValueError when the graph is no such graph.
    """

    def __init__(self, session: Any, pixels: Pixels = PIXELS, threshold: float = _THRESHOLD) -> None:
        super().__init__(session, pixels, threshold, _OVERLAP)
        names = [output.name for output in session.get_outputs()]
        if len(names) not in _LAYOUTS:
            raise ValueError(f"{len(names)} outputs; a SCRFD graph with landmarks has 9 or 15")
        self._outputs = names
        self._strides, self._anchors = _LAYOUTS[len(names)]

    def _candidates(self, blob: NDArray[np.float32], size: tuple[int, int]) -> Candidates:
        outputs = [
            output.reshape(-1, output.shape[-1])
            for output in run_session(self._session, self._outputs, {self._input: blob})
        ]
        maps = len(self._strides)
        found: list[Candidates] = []
        for level, stride in enumerate(self._strides):
            scores = outputs[level][:, 0]
            (kept,) = np.nonzero(scores >= self._threshold)
            if not len(kept):
                continue
            centres = grid(size[0] // stride, size[1] // stride, stride, self._anchors)[kept]
            distances = outputs[maps + level][kept] * stride
            offsets = outputs[2 * maps + level][kept].reshape(-1, 5, 2) * stride
            boxes = np.concatenate((centres - distances[:, :2], centres + distances[:, 2:]), axis=1)
            found.append(Candidates(boxes, centres[:, None, :] + offsets, scores[kept]))
        return joined(found)
