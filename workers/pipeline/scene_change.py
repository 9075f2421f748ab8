"""What changed in a camera's picture: another scene began (a cut), or something moved. Compares small grey copies.

Both comparisons together take one millisecond; a detection takes ten. So the frames of an empty corridor are decoded and
compared, but not searched for faces.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from workers.capture.motion import MOTION_SIZE, Grey, has_moved

_COARSE = (256, 144)  # single pixels are picked, which costs a tenth of averaging over the whole frame
_CUT_SIZE = (64, 36)
# Correlation of two small copies. Measured .2 s apart: cuts in three films -.08 to .18; the fastest motion in front of a
# camera that stands still .66; a head that fills the picture .34.
_MIN_CORRELATION = 0.3
# In a cut, at least this share of the picture changes by at least so many grey levels. Cuts: .57 to .95. Large faces that
# move in front of a plain wall correlate as badly as a cut, but change only a third of the picture.
_MIN_SHARE, _MIN_DIFFERENCE = 0.5, 6.0
# Standard deviation, grey levels; a dark or covered picture has only noise, which can't be correlated.
_MIN_SPREAD = 4.0


class Change(NamedTuple):
    """`cut`: the picture shows another scene than the one before. `moved`: something moved since the last marked picture."""

    cut: bool
    moved: bool


class SceneChange:
    """Compares each picture of one camera with the one before, and with the last one that was marked."""

    def __init__(self) -> None:
        self._before: Grey | None = None
        self._shape: tuple[int, ...] = ()
        self._current: Grey | None = None
        self._marked: Grey | None = None

    def compare(self, image: NDArray[np.uint8]) -> Change:
        """Compare the next picture, BGR (height, width, 3).

        The first picture counts as moved, but not as a cut. A picture of another size counts as both.
        """
        coarse = cv2.cvtColor(cv2.resize(image, _COARSE, interpolation=cv2.INTER_NEAREST), cv2.COLOR_BGR2GRAY)
        grey = cv2.resize(coarse, MOTION_SIZE, interpolation=cv2.INTER_AREA)
        resized, self._shape = image.shape != self._shape, image.shape
        self._current = grey.astype(np.float32)
        if resized:
            self._marked = None
        return Change(self._is_cut(self._current, resized), self._has_moved(self._current))

    def mark(self) -> None:
        """Measure motion from here on against the last picture given to `compare`: it was searched for faces."""
        self._marked = self._current

    def _is_cut(self, grey: Grey, resized: bool) -> bool:
        small = np.asarray(cv2.resize(grey, _CUT_SIZE, interpolation=cv2.INTER_AREA), np.float32)
        small -= small.mean()
        before, self._before = self._before, small
        if before is None or resized:
            return before is not None
        spread = float(before.std()), float(small.std())
        if min(spread) < _MIN_SPREAD:
            return False
        if float((before * small).mean()) / (spread[0] * spread[1]) >= _MIN_CORRELATION:
            return False
        difference = small - before
        difference = np.abs(difference - np.median(difference))
        return float((difference > _MIN_DIFFERENCE).mean()) >= _MIN_SHARE

    def _has_moved(self, grey: Grey) -> bool:
        if self._marked is None:
            return True
        return has_moved(self._marked, grey)
