"""What face detectors have in common: a frame is put into the input with its own shape, and of boxes that overlap the best one stays.

insightface's own class pads every frame to a square. In a square of 640, a 16:9 frame leaves 44 % padding: 22 ms instead of
the 13 ms for the frame alone. A frame that is searched only for faces from 40 pixels up can be scaled down further.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.inference.slot import FACE_FLOATS, MAX_FACES
from workers.recognition.engine import Face, Image
from workers.recognition.pixels import Pixels

MULTIPLE = 32  # the coarsest stride


class Fit(NamedTuple):
    """How a frame is put into the input: `scale`; `picture`, the scaled frame's size; `size`, the input's size. Sizes are
    (width, height) in pixels."""

    scale: float
    picture: tuple[int, int]
    size: tuple[int, int]


class Reach(NamedTuple):
    """What is searched for: the frame is scaled until its longer side has `side_px` pixels, but the scale is at most `scale_limit`."""

    side_px: int
    scale_limit: float = float("inf")


class Candidates(NamedTuple):
    """Detections of one run: `boxes` (n, 4) and `points` (n, 5, 2), in the input's pixels, `scores` (n,), all float32."""

    boxes: NDArray[np.float32]
    points: NDArray[np.float32]
    scores: NDArray[np.float32]


class OnnxDetector(ABC):
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

    def search(self, frame: Image, reaches: Sequence[Reach]) -> list[list[Face]]:
        """For each reach the faces of a BGR frame (height, width, 3), best score first; boxes are cut to the frame.

        A graph with a fixed input gets an input of that size.
        """
        height, width = frame.shape[:2]
        found = []
        for reach in reaches:
            fit = fit_of((width, height), reach, self.fixed_size)
            is_visible = min(fit.picture) >= 1
            found.append(faces_of(self.rows(scaled(frame, fit), fit, (width, height))) if is_visible else [])
        return found

    def rows(self, picture: Image, fit: Fit, frame: tuple[int, int]) -> NDArray[np.float32]:
        """The faces in a scaled picture, best score first: (n, 15) float32, each the box, the five points and the score.

        `frame`: the frame's (width, height). Boxes and points are in the frame's pixels, boxes are cut to the frame. There are at most
        `MAX_FACES`.
        """
        found = self._candidates(self._blob(picture, fit), fit.size)
        if not len(found.scores):
            return np.empty((0, FACE_FLOATS), np.float32)
        boxes, points = found.boxes / np.float32(fit.scale), found.points / np.float32(fit.scale)
        kept = separate(boxes, found.scores, self._overlap)
        limit = np.array([*frame, *frame], np.float32)
        cut = np.clip(boxes[kept], np.float32(0), limit)
        rows = np.column_stack((cut, points[kept].reshape(-1, 10), found.scores[kept]))
        return np.ascontiguousarray(rows[(cut[:, 2] > cut[:, 0]) & (cut[:, 3] > cut[:, 1])][:MAX_FACES], np.float32)

    @abstractmethod
    def _candidates(self, blob: NDArray[np.float32], size: tuple[int, int]) -> Candidates:
        """Detections in an input of this size (width, height) with at least the threshold's score."""

    def _blob(self, picture: Image, fit: Fit) -> NDArray[np.float32]:
        """The model's input: (1, 3, height, width) float32; the picture is in the upper left corner, the rest is black."""
        right, below = fit.size[0] - fit.picture[0], fit.size[1] - fit.picture[1]
        if right or below:
            bordered = cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(0, 0, 0))
            picture = np.asarray(bordered, np.uint8)
        return self._pixels.blob([picture], fit.size)


def fit_of(frame: tuple[int, int], reach: Reach, fixed_size: tuple[int, int] | None = None) -> Fit:
    """How a frame of (width, height) is searched. `fixed_size`: the input of a graph that takes one size only."""
    width, height = frame
    if fixed_size is not None:
        scale = min(fixed_size[0] / width, fixed_size[1] / height)
        return Fit(scale, (int(width * scale), int(height * scale)), fixed_size)
    scale = min(reach.side_px / max(width, height), reach.scale_limit)
    picture = int(width * scale), int(height * scale)
    return Fit(scale, picture, input_of(picture))


def input_of(picture: tuple[int, int]) -> tuple[int, int]:
    """The input's size for a scaled picture, (width, height), if the graph takes any size."""
    return _rounded_up(picture[0]), _rounded_up(picture[1])


def scaled(frame: Image, fit: Fit, into: Image | None = None) -> Image:
    """The picture that the detector searches. `into`: an array of its shape that it is written to."""
    return np.asarray(cv2.resize(frame, fit.picture, dst=into), np.uint8)


def faces_of(rows: NDArray[np.float32]) -> list[Face]:
    """The rows of `OnnxDetector.rows` as faces."""
    return [
        Face(
            (float(row[0]), float(row[1]), float(row[2]), float(row[3])),
            np.ascontiguousarray(row[4:14].reshape(5, 2)),
            float(row[14]),
        )
        for row in rows
    ]


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
