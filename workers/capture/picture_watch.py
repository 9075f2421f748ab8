"""Whether a live camera still shows something: a picture that stands still to the last grey level, or one without content.

Said, and never acted upon: such pictures are searched for faces like any other.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float32]

_PICKED = (256, 144)  # pixel by pixel
_CELLS = (18, 8, 32, 8)  # 18 × 32 means of 8 × 8 picked pixels
# Mean grey levels between two pictures .2 s apart. One picture encoded anew: at most .008 (H.264) and .138 (MPEG-4). A real
# empty corridor, in the calmest 10 s of three films: at least once 1.3. A frozen picture that an encoder starves differs more
# (.68) and is not called frozen.
_STILL = 0.15
_STILL_S = 120.0
_MIN_LOOKS = 10
# Grey levels between the darkest and brightest of nine tenths of the cells: noise is averaged away, a clock in a corner
# does not count.
_MIN_RANGE = 4.0
_EMPTY_S = 60.0


class PictureWatch:
    """Looks at the pictures of one live camera, in order."""

    def __init__(self) -> None:
        self._before: Grey | None = None
        self._still_since = self._empty_since = 0.0
        self._looks = 0
        self.fault: str | None = None

    def look(self, image: NDArray[np.uint8], time_s: float) -> None:
        """`image`: BGR (height, width, 3), taken at the monotonic second `time_s`. Sets `fault`."""
        grey, before = _grey(image), self._before
        self._before = grey
        if before is None or float(np.abs(grey - before).mean()) > _STILL:
            self._still_since, self._looks = time_s, 0
        self._looks += 1
        empty = why_empty(image)
        if empty is None or before is None:
            self._empty_since = time_s
        still_s = time_s - self._still_since
        if empty is not None and time_s - self._empty_since >= _EMPTY_S:
            self.fault = f"the picture is {empty}"
        elif still_s >= _STILL_S and self._looks >= _MIN_LOOKS:
            self.fault = "the picture is frozen: it has not changed at all for minutes"
        else:
            self.fault = None

    def lost(self) -> None:
        """The source went down: what comes next is not compared with what was before."""
        self._before, self.fault = None, None


def why_empty(image: NDArray[np.uint8]) -> str | None:
    """What a BGR picture without content is; None: it has some."""
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
