"""The best crops of a track that may be a stranger's.

They are kept until the track's verdict: only an *unknown* track's sightings carry them, as traces.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from shared.strangers.traces import Trace
from workers.pipeline.tracking import Box
from workers.recognition.engine import Image, Vectors

_MAX_CROPS = 3
# A crop's side, in longer sides of the face. A detector finds a face only with the head around it, and `enrol --unknown`
# runs the detector on the crop again.
_AROUND = 2.2
_SIDE_PX = 256  # a crop's largest side; the face in it then has 116 pixels, more than a recogniser takes
_JPEG_QUALITY = 90


class _BestCrop(NamedTuple):
    quality: float
    embedding: Vectors
    image: Image


class BestCrops:
    """The best crops of one track: at most three, best first."""

    def __init__(self) -> None:
        self._kept: list[_BestCrop] = []

    def offer(self, quality: float, embedding: Vectors, frame: Image, box: Box) -> None:
        """Keep this view of the face if it is among the best three. `quality`: 0 to 1. `embedding`: (dim,) float32.

        `frame`: BGR (height, width, 3). `box`: the face in it, pixels.
        """
        if len(self._kept) == _MAX_CROPS and quality <= self._kept[-1].quality:
            return
        self._kept.append(_BestCrop(quality, embedding, _cut(frame, box)))
        self._kept.sort(key=lambda crop: -crop.quality)
        del self._kept[_MAX_CROPS:]

    def clear(self) -> None:
        self._kept.clear()

    def traces(self) -> list[Trace]:
        """The crops as a sighting carries them, each with its JPEG."""
        return [Trace(crop.embedding, crop.quality, _jpeg(crop.image)) for crop in self._kept]


def _cut(frame: Image, box: Box) -> Image:
    """A copy of the frame around a box, at most `_SIDE_PX` wide and high; cut off where the frame ends."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    reach = _AROUND * max(box[2] - box[0], box[3] - box[1]) / 2
    height, width = frame.shape[:2]
    left, right = max(0, round(x - reach)), min(width, round(x + reach))
    top, bottom = max(0, round(y - reach)), min(height, round(y + reach))
    part = frame[top:bottom, left:right]
    scale = _SIDE_PX / max(part.shape[:2])
    if scale >= 1:
        return part.copy()
    return np.asarray(cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def _jpeg(image: Image) -> bytes:
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not encoded:
        raise ValueError("OpenCV could not write a JPEG")
    return data.tobytes()
