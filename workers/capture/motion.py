"""Whether something moved between two pictures of one camera, from small grey copies."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float32]

MOTION_SIZE = (128, 72)  # a face of 40 pixels in 1280 covers 4 x 4 cells
# Motion: at least `_MIN_CELLS` cells must change by so many grey levels, and by more than the picture's own noise. A face 40
# pixels wide that differs from its background by 20 levels changes twelve cells.
_MIN_CHANGE = 7.0
_NOISE_FACTOR = 5.0  # times the median change of all cells
_MIN_CELLS = 3


def has_moved(before: Grey, now: Grey) -> bool:
    """Whether something moved from one copy (72, 128) to the other. Light that changes the whole picture is no motion."""
    change = now - before
    change -= np.median(change[::2, ::2])
    change = np.abs(cv2.blur(change, (3, 3)))
    limit = max(_MIN_CHANGE, _NOISE_FACTOR * float(np.median(change[::2, ::2])))
    return int(np.count_nonzero(change > limit)) >= _MIN_CELLS
