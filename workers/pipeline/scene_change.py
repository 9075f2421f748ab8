"""What changed in a camera's picture, told from thumbnails: another scene, or something that moved.

Both together cost a millisecond where a detection costs ten: an empty corridor is decoded and looked over, not searched.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float32]

_COARSE = (256, 144)  # picked pixel by pixel, which costs a tenth of an average over the whole frame
_CUT_SIZE = (64, 36)
_MOTION_SIZE = (128, 72)  # a face of 40 pixels in 1280 covers 4 x 4 cells
# Correlation of two thumbnails. Measured .2 s apart: cuts of three films -.08 to .18; the fastest motion in front of a
# camera that stands still .66, a head that fills the picture .34.
_MIN_CORRELATION = 0.3
# How much of the picture must be another, by how many grey levels. Cuts: .57 to .95; large faces that move in front of a
# plain wall correlate as badly as a cut, and change a third of it.
_MIN_SHARE, _MIN_DIFFERENCE = 0.5, 6.0
_MIN_SPREAD = 4.0  # grey levels; a dark or covered picture holds nothing but noise to correlate
# Grey levels a cell must change by, above the picture's own noise, and how many cells must. A face 40 pixels wide that is
# 20 levels off its background changes twelve.
_MIN_CHANGE = 7.0
_NOISE_FACTOR = 5.0  # times the median change of all cells
_MIN_CELLS = 3


class Change(NamedTuple):
    """`cut`: another scene than the picture before. `moved`: something is not where it was in the picture marked last."""

    cut: bool
    moved: bool


class SceneChange:
    """Compares each picture of one camera with the one before, and with the one that was `mark`ed."""

    def __init__(self) -> None:
        self._before: Grey | None = None
        self._shape: tuple[int, ...] = ()
        self._current: Grey | None = None
        self._marked: Grey | None = None

    def look(self, image: NDArray[np.uint8]) -> Change:
        """`image`: BGR (height, width, 3). The first one is no cut, and has moved; so has one of another size, a cut."""
        coarse = cv2.cvtColor(cv2.resize(image, _COARSE, interpolation=cv2.INTER_NEAREST), cv2.COLOR_BGR2GRAY)
        grey = cv2.resize(coarse, _MOTION_SIZE, interpolation=cv2.INTER_AREA)
        resized, self._shape = image.shape != self._shape, image.shape
        self._current = grey.astype(np.float32)
        if resized:
            self._marked = None
        return Change(self._is_cut(self._current, resized), self._has_moved(self._current))

    def mark(self) -> None:
        """The picture looked at last is what the next ones are compared with: it was searched for faces."""
        self._marked = self._current

    def _is_cut(self, grey: Grey, resized: bool) -> bool:
        thumbnail = np.asarray(cv2.resize(grey, _CUT_SIZE, interpolation=cv2.INTER_AREA), np.float32)
        thumbnail -= thumbnail.mean()
        before, self._before = self._before, thumbnail
        if before is None or resized:
            return before is not None
        spread = float(before.std()), float(thumbnail.std())
        if min(spread) < _MIN_SPREAD:
            return False
        if float((before * thumbnail).mean()) / (spread[0] * spread[1]) >= _MIN_CORRELATION:
            return False
        difference = thumbnail - before
        difference = np.abs(difference - np.median(difference))
        return float((difference > _MIN_DIFFERENCE).mean()) >= _MIN_SHARE

    def _has_moved(self, thumbnail: Grey) -> bool:
        if self._marked is None:
            return True
        change = thumbnail - self._marked
        change -= np.median(change[::2, ::2])  # what a lamp does to all of it
        change = np.abs(cv2.blur(change, (3, 3)))
        limit = max(_MIN_CHANGE, _NOISE_FACTOR * float(np.median(change[::2, ::2])))
        return int(np.count_nonzero(change > limit)) >= _MIN_CELLS
