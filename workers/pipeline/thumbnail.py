"""A face's thumbnail, 12 × 12 grey pixels: enough to notice that a face is not the one of a moment ago.

It costs a thousandth of an embedding.
"""

from __future__ import annotations

import cv2
import numpy as np

from workers.pipeline.tracking import Box, Vector
from workers.recognition.engine import Image

_SIDE = 12


def face_thumbnail(frame: Image, box: Box) -> Vector:
    """The part of a BGR frame (height, width, 3) inside `box`, as (144,) float32, grey.

    It has zero mean and unit norm, so that the dot product of two thumbnails is their correlation.
    """
    left, top = (int(max(0.0, side)) for side in box[:2])
    part = frame[top : max(top + 1, int(box[3])), left : max(left + 1, int(box[2]))]
    small = cv2.cvtColor(cv2.resize(part, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    grey = small.astype(np.float32).ravel()
    grey -= grey.mean()
    return np.asarray(grey / max(float(np.linalg.norm(grey)), 1.0), np.float32)
