"""What is said of pictures that stand still or are empty: nothing of a film."""

from __future__ import annotations

import cv2
import numpy as np

from tests.support.paths import VIDEOS, needs_data
from workers.capture.picture_watch import PictureWatch
from workers.recognition.engine import Image


def faults(images: list[Image], seconds: int = 200, step_s: float = 1.0) -> list[str | None]:
    watch, found = PictureWatch(), []
    for i in range(seconds):
        watch.compare(images[i % len(images)], i * step_s)
        found.append(watch.fault)
    return found


@needs_data
def test_no_film_is_frozen_or_empty() -> None:
    """Of the test films, looked at five times a second as if each lasted for ever."""
    for path in sorted(VIDEOS.glob("*.mp4")):
        film = cv2.VideoCapture(str(path))
        images: list[Image] = []
        while len(images) < 40 and film.grab():
            for _ in range(4):
                film.grab()
            ok, image = film.retrieve()
            if ok:
                images.append(np.asarray(image, np.uint8))
        film.release()
        assert set(faults(images, 1000, 0.2)) == {None}, path.name
