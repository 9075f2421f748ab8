"""The best crops of a track that may be a stranger's.

They are kept until the track's verdict: only an *unknown* track's sightings carry them, as traces.
"""

from __future__ import annotations

from typing import NamedTuple

from shared.strangers.traces import Trace
from workers.pipeline.tracking import Box
from workers.recognition.engine import Image, Vectors
from workers.recognition.face_picture import as_jpeg, cut, picture_of

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
        self._kept.append(_BestCrop(quality, embedding, cut(frame, box, _AROUND, _SIDE_PX)))
        self._kept.sort(key=lambda crop: -crop.quality)
        del self._kept[_MAX_CROPS:]

    def clear(self) -> None:
        self._kept.clear()

    def traces(self) -> list[Trace]:
        """The crops as a sighting carries them, each with its JPEG."""
        return [Trace(crop.embedding, crop.quality, as_jpeg(crop.image, _JPEG_QUALITY)) for crop in self._kept]

    def picture(self) -> bytes | None:
        """The best crop as a small JPEG; None if there is none."""
        return picture_of(self._kept[0].image) if self._kept else None
