"""How a picture becomes a model's input: order of channels, mean and divisor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from workers.recognition.engine import Image

Colour = Literal["RGB", "BGR"]


class Pixels(NamedTuple):
    """The input is (pixel - mean) / std, with the channels in the order `colour`."""

    mean: float
    std: float
    colour: Colour = "RGB"

    def blob(self, pictures: Sequence[Image], size: tuple[int, int]) -> NDArray[np.float32]:
        """The input (n, 3, height, width) float32 of BGR pictures that have this size (width, height)."""
        means = (self.mean, self.mean, self.mean)
        made = cv2.dnn.blobFromImages(list(pictures), 1.0 / self.std, size, means, swapRB=self.colour == "RGB")
        return np.asarray(made, np.float32)


AS_THEY_ARE = Pixels(0.0, 1.0)
