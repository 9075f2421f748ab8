"""A face's own thumbnail: enough to tell that it is not the face of a moment ago, a thousandth of an embedding's cost."""

from __future__ import annotations

import cv2
import numpy as np

from workers.pipeline.tracking import Box, Vector
from workers.recognition.engine import Image

_SIDE = 12


def face_picture(frame: Image, box: Box) -> Vector:
    """(144,) float32 of zero mean and unit norm, so that a dot product is a correlation: the box in a BGR frame, grey."""
    left, top = (int(max(0.0, side)) for side in box[:2])
    part = frame[top : max(top + 1, int(box[3])), left : max(left + 1, int(box[2]))]
    small = cv2.cvtColor(cv2.resize(part, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    grey = small.astype(np.float32).ravel()
    grey -= grey.mean()
    return np.asarray(grey / max(float(np.linalg.norm(grey)), 1.0), np.float32)
