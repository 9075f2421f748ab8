"""What face detectors have in common: a frame is put into the input with its own shape, and of boxes that overlap the best one stays.

insightface's own class pads every frame to a square. In a square of 640, a 16:9 frame leaves 44 % padding: 22 ms instead of
the 13 ms for the frame alone. A frame that is searched only for faces from 40 pixels up can be scaled down further.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from workers.recognition.engine import Face, Image
from workers.recognition.pixels import Pixels

MULTIPLE = 32  # the coarsest stride


class Fit(NamedTuple):
    """How a frame is put into the input: `scale`; `picture`, the scaled frame's size; `size`, the input's size. Sizes are
    (width, height) in pixels."""

    scale: float
    picture: tuple[int, int]
    size: tuple[int, int]


class Candidates(NamedTuple):
    """Detections of one run: `boxes` (n, 4) and `points` (n, 5, 2), in the input's pixels, `scores` (n,), all float32."""

    boxes: NDArray[np.float32]
    points: NDArray[np.float32]
    scores: NDArray[np.float32]


class Detector(ABC):
    """A detector with the five points, run by onnxruntime.

    `session`: an onnxruntime session of its graph. `pixels`: how its input is made. `threshold`: the least score, 0 to 1. `overlap`:
    intersection over union; boxes that overlap more are one face.
    """

    def __init__(self, session: Any, pixels: Pixels, threshold: float, overlap: float) -> None:
        self._session, self._pixels = session, pixels
        self._threshold, self._overlap = threshold, overlap
        source = session.get_inputs()[0]
        self._input = source.name
        height, width = (size if isinstance(size, int) and size > 0 else None for size in source.shape[2:4])
        self.fixed_size = (width, height) if width and height else None

    def search(self, frame: Image, side_px: int, scale_limit: float = float("inf")) -> list[Face]:
        """Faces of a BGR frame (height, width, 3), best score first; boxes are cut to the frame.

        The frame is scaled until its longer side has `side_px` pixels, but the scale is at most `scale_limit`. A graph with a
        fixed input gets an input of that size.
        """
        height, width = frame.shape[:2]
        fit = self._fit(width, height, side_px, scale_limit)
        if min(fit.picture) < 1:
            return []
        found = self._candidates(self._blob(frame, fit), fit.size)
        boxes, points = found.boxes / np.float32(fit.scale), found.points / np.float32(fit.scale)
        faces = []
        for index in separate(boxes, found.scores, self._overlap):
            x1, y1, x2, y2 = (float(side) for side in boxes[index])
            box = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
            if box[2] > box[0] and box[3] > box[1]:
                faces.append(Face(box, np.ascontiguousarray(points[index], np.float32), float(found.scores[index])))
        return faces

    @abstractmethod
    def _candidates(self, blob: NDArray[np.float32], size: tuple[int, int]) -> Candidates:
        """Detections in an input of this size (width, height) with at least the threshold's score."""

    def _fit(self, width: int, height: int, side_px: int, scale_limit: float) -> Fit:
        if self.fixed_size is not None:
            scale = min(self.fixed_size[0] / width, self.fixed_size[1] / height)
            return Fit(scale, (int(width * scale), int(height * scale)), self.fixed_size)
        scale = min(side_px / max(width, height), scale_limit)
        picture = int(width * scale), int(height * scale)
        return Fit(scale, picture, (_rounded_up(picture[0]), _rounded_up(picture[1])))

    def _blob(self, frame: Image, fit: Fit) -> NDArray[np.float32]:
        """The model's input: (1, 3, height, width) float32; the picture is in the upper left corner, the rest is black."""
        picture = cv2.resize(frame, fit.picture)
        right, below = fit.size[0] - fit.picture[0], fit.size[1] - fit.picture[1]
        if right or below:
            picture = cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        return self._pixels.blob([np.asarray(picture, np.uint8)], fit.size)


def joined(found: list[Candidates]) -> Candidates:
    """The detections of several feature maps as one."""
    if not found:
        return Candidates(np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32), np.empty(0, np.float32))
    return Candidates(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


@lru_cache(maxsize=64)
def grid(columns: int, rows: int, stride: int, anchors: int) -> NDArray[np.float32]:
    """(rows * columns * anchors, 2) float32: x and y of each place of a feature map, in the input's pixels."""
    y, x = np.mgrid[:rows, :columns]
    points = np.stack((x, y), axis=-1).reshape(-1, 2).astype(np.float32) * stride
    return np.repeat(points, anchors, axis=0)


def separate(boxes: NDArray[np.float32], scores: NDArray[np.float32], overlap: float) -> list[int]:
    """Indices of the boxes that are kept, best score first: of boxes that overlap by more than `overlap`, only the best."""
    x1, y1, x2, y2 = boxes.T
    areas = (x2 - x1 + 1) * (y2 - y1 + 1)
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, others = int(order[0]), order[1:]
        kept.append(best)
        width = np.minimum(x2[best], x2[others]) - np.maximum(x1[best], x1[others]) + 1
        height = np.minimum(y2[best], y2[others]) - np.maximum(y1[best], y1[others]) + 1
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        order = others[shared / (areas[best] + areas[others] - shared) <= overlap]
    return kept


def _rounded_up(size_px: int) -> int:
    return max(MULTIPLE, -(-size_px // MULTIPLE) * MULTIPLE)
