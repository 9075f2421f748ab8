"""Finds out whether a live camera's picture is frozen (nothing at all changes in it) or empty (it has no content).

This is only reported: such pictures are searched for faces like any other.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float32]

_PICKED = (256, 144)  # a small copy made of single pixels
_CELLS = (18, 8, 32, 8)  # 18 × 32 means of 8 × 8 picked pixels
# Mean difference in grey levels between two pictures .2 s apart. The same picture encoded again: at most .008 (H.264) and
# .138 (MPEG-4). A real empty corridor: even in the calmest 10 s of three films at least once 1.3. A frozen picture from an
# encoder with too few bits differs more (.68), and is not reported as frozen.
_STILL = 0.15
_STILL_S = 120.0
_MIN_PICTURES = 10
# Grey levels between the darkest and the brightest cell, without the lowest and the highest twentieth of the cells. A cell's
# mean has no noise, and a clock in a corner does not count.
_MIN_RANGE = 4.0
_EMPTY_S = 60.0


class PictureWatch:
    """Compares the pictures of one live camera, in order. `fault`: what is wrong with the picture, in words; None: nothing."""

    def __init__(self) -> None:
        self._before: Grey | None = None
        self._still_since = self._empty_since = 0.0
        self._pictures = 0  # since the picture stands still
        self.fault: str | None = None

    def compare(self, image: NDArray[np.uint8], time_s: float) -> None:
        """Compare the next picture with the one before, and set `fault`.

        `image`: BGR (height, width, 3), captured at the monotonic second `time_s`.
        """
        grey, before = _grey(image), self._before
        self._before = grey
        if before is None or float(np.abs(grey - before).mean()) > _STILL:
            self._still_since, self._pictures = time_s, 0
        self._pictures += 1
        empty = why_empty(image)
        if empty is None or before is None:
            self._empty_since = time_s
        still_s = time_s - self._still_since
        if empty is not None and time_s - self._empty_since >= _EMPTY_S:
            self.fault = f"the picture is {empty}"
        elif still_s >= _STILL_S and self._pictures >= _MIN_PICTURES:
            self.fault = "the picture is frozen: it has not changed at all for minutes"
        else:
            self.fault = None

    def lost(self) -> None:
        """The source went down: the next picture is not compared with the last one."""
        self._before, self.fault = None, None


def why_empty(image: NDArray[np.uint8]) -> str | None:
    """In words, what a BGR picture (height, width, 3) without content shows, such as "black all over". None: it has content."""
    grey = _grey(image)
    cells = grey.reshape(_CELLS).mean(axis=(1, 3))
    low, high = np.percentile(cells, (5, 95))
    if high - low >= _MIN_RANGE:
        return None
    mean = float(grey.mean())
    dark, bright = 40.0, 215.0
    shade = "black" if mean < dark else "white" if mean > bright else "one even grey"
    return f"{shade} all over: a covered lens, no light, or a stream that is not decoded"


def _grey(image: NDArray[np.uint8]) -> Grey:
    picked = cv2.resize(image, _PICKED, interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.cvtColor(picked, cv2.COLOR_BGR2GRAY), np.float32)
