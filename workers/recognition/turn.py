"""How far a head is turned sideways, from the five points of a face."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.records import MOST_TURN
from workers.recognition.engine import Points

# dlib's eyes lie between corners that are further apart, and its nose is the lower end. On 1,213 photos (LFW) both engines agree with a
# correlation of .92, and dlib's values spread .774 times as far.
_EYE_CORNERS_FACTOR = 1 / 0.774


def turn_of(points: NDArray[np.float32], kind: Points) -> float:
    """How far the nose lies beside the middle between the eyes, along the line through them, in distances between the eyes: 0 from the
    front, below 0 turned to the left of the picture, above 0 to the right. A picture that is tilted gives the same.

    `points`: (5, 2), pixels; `kind`: which points these are. Of 1,234 photos of people (LFW) nine in ten lie between -.24 and .22.
    """
    if kind is Points.EYES_NOSE_MOUTH:
        left, right, nose, factor = points[0], points[1], points[2], 1.0
    else:
        left, right, nose, factor = points[2:4].mean(axis=0), points[:2].mean(axis=0), points[4], _EYE_CORNERS_FACTOR
    eyes = np.asarray(right - left, np.float64)
    beside = float((nose - (left + right) / 2) @ eyes) / max(float(eyes @ eyes), 1e-6)
    return float(np.clip(factor * beside, -MOST_TURN, MOST_TURN))
