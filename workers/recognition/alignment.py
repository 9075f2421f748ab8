"""Aligned crops: a face is turned, scaled and moved so that its five points lie where they lay in the recogniser's training."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from workers.recognition.engine import Image

# Where both eyes, the nose and both corners of the mouth lie in a crop of 112 pixels; from ArcFace (insightface's `arcface_dst`).
_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float64
)
_TEMPLATE_PX = 112


def aligned(frame: Image, points: NDArray[np.float32], side_px: int) -> Image:
    """The face's aligned crop, BGR (side_px, side_px, 3); black where it reaches beyond the frame.

    `frame`: BGR (height, width, 3). `points`: (5, 2), pixels. `side_px`: a multiple of 112 or of 128; with 128 the template is
    centred in the width.
    """
    crop = cv2.warpAffine(frame, similarity(points, _template(side_px)), (side_px, side_px), borderValue=(0, 0, 0))
    return np.asarray(crop, np.uint8)


def similarity(points: NDArray[np.floating], targets: NDArray[np.floating]) -> NDArray[np.float64]:
    """The matrix (2, 3) of the rotation, scale and shift that brings `points` (n, 2) nearest to `targets` (n, 2), by least squares.

    The closed form of Umeyama, "Least-squares estimation of transformation parameters" (1991), for the plane and without
    reflection. If all points coincide, they are only shifted.
    """
    source, target = np.asarray(points, np.float64), np.asarray(targets, np.float64)
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    (x, y), (u, v) = (source - source_mean).T, (target - target_mean).T
    spread = float((x * x + y * y).sum())
    if spread > 0:
        cosine, sine = float(x @ u + y @ v) / spread, float(x @ v - y @ u) / spread
    else:
        cosine, sine = 1.0, 0.0
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack((rotation, target_mean - rotation @ source_mean))


def _template(side_px: int) -> NDArray[np.float64]:
    if side_px % _TEMPLATE_PX == 0:
        return np.multiply(_TEMPLATE, side_px / _TEMPLATE_PX)
    ratio = side_px / 128
    return np.add(_TEMPLATE * ratio, (8.0 * ratio, 0.0))
