"""How a frame is searched for faces: with which inputs of the detector, and which of the faces found count.

The detector may run in this process or in another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from workers.recognition.detector import Reach
from workers.recognition.engine import Face, Image

# SCRFD misses faces that fill more than 0.6 to 0.7 of its input, as in photos cut to the head, but finds them in a small
# input. So a frame that can hold such a face is searched a second time with a small input: 1.7 ms beside 24. In a 16:9
# frame no face can be that large.
_LARGE_FACE = 0.57
_LARGE_FACE_INPUT_PX = 128
# A face this wide in the detector's input is found as reliably as a larger one; narrower faces are found less and less.
_SURELY_FOUND_PX = 16


class Detector(Protocol):
    """`fixed_size`: (width, height) of a graph that takes one size only, else None."""

    @property
    def fixed_size(self) -> tuple[int, int] | None: ...

    def search(self, frame: Image, reaches: Sequence[Reach]) -> list[list[Face]]:
        """For each reach the faces of a BGR frame (height, width, 3), best score first."""
        ...


class FaceSearch:
    """`det_size`: the longer side of the detector's input, pixels. `least_face_px`: narrower faces need not be found, so a large frame gets
    a smaller input; None: find all."""

    def __init__(self, detector: Detector, det_size: int, least_face_px: int | None = None) -> None:
        self._detector, self._det_size = detector, det_size
        self._scale_limit = _SURELY_FOUND_PX / least_face_px if least_face_px else float("inf")
        self._search_large = detector.fixed_size is None and det_size > _LARGE_FACE_INPUT_PX

    def detect(self, frame: Image) -> list[Face]:
        """Faces of a BGR frame (height, width, 3), best score first; boxes are cut to the frame."""
        height, width = frame.shape[:2]
        if min(height, width) * self._det_size < max(height, width):
            return []  # scaled to the detector's input, the short side would be less than one pixel
        reaches = [Reach(self._det_size, self._scale_limit)]
        if self._search_large and min(height, width) > _LARGE_FACE * max(height, width):
            reaches.append(Reach(_LARGE_FACE_INPUT_PX))
        faces, *again = self._detector.search(frame, reaches)
        large = [face for found in again for face in found if _fills(face, width, height)]
        faces += [face for face in large if all(_overlap(face, known) < 0.4 for known in faces)]
        return sorted(faces, key=lambda face: -face.det_score)


def _fills(face: Face, width: int, height: int) -> bool:
    x1, y1, x2, y2 = face.box
    return max(x2 - x1, y2 - y1) >= _LARGE_FACE * max(width, height)


def _overlap(one: Face, other: Face) -> float:
    """Intersection over union of two boxes."""
    width = min(one.box[2], other.box[2]) - max(one.box[0], other.box[0])
    height = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / (one.area + other.area - shared)
