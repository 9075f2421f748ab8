"""The best crops of a track that may be a stranger's, kept until it is known whether they are needed."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from shared.strangers.traces import Trace
from workers.pipeline.tracking import Box
from workers.recognition.engine import Image, Vectors

_MOST = 3
# Times the face's longer side: a detector finds a face only with the head around it, and `enrol --unknown` looks again.
_AROUND = 2.2
_SIDE_PX = 256  # at most; the face then has 116, more than a recogniser takes
_JPEG_QUALITY = 90


class _BestCrop(NamedTuple):
    quality: float
    embedding: Vectors
    picture: Image


class BestCrops:
    """At most three of one track, best first."""

    def __init__(self) -> None:
        self._kept: list[_BestCrop] = []

    def offer(self, quality: float, embedding: Vectors, frame: Image, box: Box) -> None:
        """Keep what the frame (BGR) shows of the face, if it is better than what is kept. `embedding`: (dim,) float32."""
        if len(self._kept) == _MOST and quality <= self._kept[-1].quality:
            return
        self._kept.append(_BestCrop(quality, embedding, _cut(frame, box)))
        self._kept.sort(key=lambda portrait: -portrait.quality)
        del self._kept[_MOST:]

    def clear(self) -> None:
        self._kept.clear()

    def traces(self) -> list[Trace]:
        return [Trace(one.embedding, one.quality, _jpeg(one.picture)) for one in self._kept]


def _cut(frame: Image, box: Box) -> Image:
    """A copy, at most `_SIDE_PX` wide and high, of the frame around a box; less where the frame ends."""
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


def _jpeg(picture: Image) -> bytes:
    encoded, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not encoded:
        raise ValueError("OpenCV could not write a JPEG")
    return data.tobytes()
