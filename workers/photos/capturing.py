"""Collects the best crops of one face that stands before a camera, from the frames that a viewer gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shared.ipc.desk import MAX_CROPS
from shared.photos.reading import Image
from workers.recognition.engine import Engine, Face
from workers.recognition.face_picture import as_jpeg, cut
from workers.recognition.quality import Gate

# Two crops above this cosine show the same: only the better one is kept.
_NEARLY_SAME = 0.97
_GOOD = 0.85  # the quality from which a crop needs no better one
_AROUND = 2.6  # of a crop, in longer sides of the face: the head, and some room for the detector
_SIDE_PX = 640
_JPEG_QUALITY = 95
_MAX_AWAY = 1.5  # widths that a face can have moved since the camera found it


class Capture:
    """One capture: at most MAX_CROPS crops that differ, the best ones."""

    def __init__(self, engine: Engine, gate: Gate) -> None:
        self._engine, self._gate = engine, gate
        self._kept: list[tuple[float, NDArray[np.float32], bytes]] = []
        self.refused: Counter[str] = Counter()

    @property
    def crops(self) -> list[bytes]:
        """The crops as JPEGs, the best first."""
        return [jpeg for _, _, jpeg in self._kept]

    @property
    def enough(self) -> bool:
        """Whether no further frame is needed."""
        return len(self._kept) == MAX_CROPS and self._kept[-1][0] >= _GOOD

    def look(self, frame: Image, box: Sequence[float]) -> list[str]:
        """Take a frame, BGR (height, width, 3). `box`: where the camera found the face, pixels. Returns why it is not used; empty: it is."""
        face = _nearest(self._engine.detect(frame), box)
        if face is None:
            refused = ["face"]
        else:
            crop = self._engine.crop(frame, face)
            quality = self._gate.judge(face, crop, frame)
            refused = quality.refused
            if not refused:
                self._keep(quality.value, self._engine.embed([crop])[0], frame, face)
        self.refused.update(refused)
        return refused

    def _keep(self, quality: float, embedding: NDArray[np.float32], frame: Image, face: Face) -> None:
        alike = [one for one in self._kept if float(one[1] @ embedding) >= _NEARLY_SAME]
        if any(one[0] >= quality for one in alike):
            return
        jpeg = as_jpeg(cut(frame, face.box, _AROUND, _SIDE_PX), _JPEG_QUALITY)
        kept = [one for one in self._kept if not any(one is other for other in alike)]
        self._kept = sorted([*kept, (quality, embedding, jpeg)], key=lambda one: -one[0])[:MAX_CROPS]


def _nearest(faces: Sequence[Face], box: Sequence[float]) -> Face | None:
    """The face nearest to a box's middle; None if none is near."""
    x, y, width = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0]
    near = [
        (distance, at)
        for at, face in enumerate(faces)
        if (distance := float(np.hypot((face.box[0] + face.box[2]) / 2 - x, (face.box[1] + face.box[3]) / 2 - y)))
        <= _MAX_AWAY * width
    ]
    return faces[min(near)[1]] if near else None
