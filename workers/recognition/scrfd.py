"""SCRFD, the face detector of insightface's packs, run on an input with the frame's own shape.

insightface's own class pads every frame to a square. In a square of 640, a 16:9 frame leaves 44 % padding: 22 ms instead of
the 13 ms for the frame alone. A frame that is searched only for faces from 40 pixels up can be scaled down further. The
outputs have the meaning that insightface gives them (2.1, `model_zoo/scrfd.py`); a test compares our results with its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.inference.slot import FACE_FLOATS, MAX_FACES
from workers.recognition.engine import Face, Image
from workers.recognition.onnx_session import run_session

_MEAN, _STD = 127.5, 128.0
_OVERLAP = 0.4  # intersection over union; boxes that overlap more are one face
_MULTIPLE = 32  # the coarsest stride
# number of outputs: strides of the feature maps, and how many anchors each of their points has
_LAYOUTS: dict[int, tuple[tuple[int, ...], int]] = {9: ((8, 16, 32), 2), 15: ((8, 16, 32, 64, 128), 1)}


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


class Scrfd:
    """The detector. `session`: an onnxruntime session of a SCRFD graph with the five points. `threshold`: the least score, 0 to 1.

    Raises ValueError when the graph is no such graph.
    """

    def __init__(self, session: Any, threshold: float) -> None:
        self._session, self._threshold = session, threshold
        source = session.get_inputs()[0]
        self._input = source.name
        names = [output.name for output in session.get_outputs()]
        if len(names) not in _LAYOUTS:
            raise ValueError(f"{len(names)} outputs; a SCRFD graph with landmarks has 9 or 15")
        self._outputs = names
        self._strides, self._anchors = _LAYOUTS[len(names)]
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
        boxes, points, scores = self._candidates(_blob(picture, fit), fit.size)
        if not len(scores):
            return np.empty((0, FACE_FLOATS), np.float32)
        boxes, points = boxes / np.float32(fit.scale), points / np.float32(fit.scale)
        kept = _separate(boxes, scores)
        limit = np.array([*frame, *frame], np.float32)
        cut = np.clip(boxes[kept], np.float32(0), limit)
        rows = np.column_stack((cut, points[kept].reshape(-1, 10), scores[kept]))
        return np.ascontiguousarray(rows[(cut[:, 2] > cut[:, 0]) & (cut[:, 3] > cut[:, 1])][:MAX_FACES], np.float32)

    def _candidates(
        self, blob: NDArray[np.float32], size: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Detections with at least the threshold's score: boxes (n, 4) and points (n, 5, 2), in the input's pixels, scores (n,)."""
        outputs = [
            output.reshape(-1, output.shape[-1])
            for output in run_session(self._session, self._outputs, {self._input: blob})
        ]
        maps = len(self._strides)
        found: list[tuple[Any, Any, Any]] = []
        for level, stride in enumerate(self._strides):
            scores = outputs[level][:, 0]
            (kept,) = np.nonzero(scores >= self._threshold)
            if not len(kept):
                continue
            centres = _centres(size[0] // stride, size[1] // stride, stride, self._anchors)[kept]
            distances = outputs[maps + level][kept] * stride
            offsets = outputs[2 * maps + level][kept].reshape(-1, 5, 2) * stride
            boxes = np.concatenate((centres - distances[:, :2], centres + distances[:, 2:]), axis=1)
            found.append((boxes, centres[:, None, :] + offsets, scores[kept]))
        if not found:
            return np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32), np.empty(0, np.float32)
        boxes, points, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return boxes, points, scores


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
    """The rows of `Scrfd.rows` as faces."""
    return [
        Face(
            (float(row[0]), float(row[1]), float(row[2]), float(row[3])),
            np.ascontiguousarray(row[4:14].reshape(5, 2)),
            float(row[14]),
        )
        for row in rows
    ]


def _blob(picture: Image, fit: Fit) -> NDArray[np.float32]:
    """The model's input: (1, 3, height, width) float32, RGB; the picture is in the upper left corner, the rest is black."""
    right, below = fit.size[0] - fit.picture[0], fit.size[1] - fit.picture[1]
    if right or below:
        picture = np.asarray(
            cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(0, 0, 0)), np.uint8
        )
    blob = cv2.dnn.blobFromImage(picture, 1.0 / _STD, fit.size, (_MEAN, _MEAN, _MEAN), swapRB=True)
    return np.asarray(blob, np.float32)


@lru_cache(maxsize=64)
def _centres(columns: int, rows: int, stride: int, anchors: int) -> NDArray[np.float32]:
    """(rows * columns * anchors, 2) float32: x and y of each anchor, in the input's pixels."""
    y, x = np.mgrid[:rows, :columns]
    points = np.stack((x, y), axis=-1).reshape(-1, 2).astype(np.float32) * stride
    return np.repeat(points, anchors, axis=0)


def _separate(boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> list[int]:
    """Indices of the boxes that are kept, best score first: of boxes that overlap by more than `_OVERLAP`, only the best."""
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
        order = others[shared / (areas[best] + areas[others] - shared) <= _OVERLAP]
    return kept


def _rounded_up(size_px: int) -> int:
    return max(_MULTIPLE, -(-size_px // _MULTIPLE) * _MULTIPLE)
