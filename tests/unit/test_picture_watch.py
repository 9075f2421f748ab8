"""Frozen and empty pictures of live cameras are said; a still room, a dark corridor and a film are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.support.paths import astronaut
from workers.capture.picture_watch import PictureWatch
from workers.recognition.engine import Image


def room() -> Image:
    image = cv2.imread(str(astronaut()))
    assert image is not None
    return np.asarray(cv2.resize(image, (640, 480)), np.uint8)


def noisy(image: Image, sigma: float, seed: int) -> Image:
    noise = np.random.default_rng(seed).normal(0, sigma, (*image.shape[:2], 1))
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def faults(images: list[Image], seconds: int = 200, step_s: float = 1.0) -> list[str | None]:
    watch, found = PictureWatch(), []
    for i in range(seconds):
        watch.compare(images[i % len(images)], i * step_s)
        found.append(watch.fault)
    return found


def test_a_picture_that_stands_still_is_frozen_after_two_minutes_and_then_well() -> None:
    """To the last grey level; one other picture ends it."""
    found = faults([room()])
    assert found[119] is None
    assert "frozen" in (found[121] or "")
    watch = PictureWatch()
    for i in range(200):
        watch.compare(room(), float(i))
    assert watch.fault
    watch.compare(noisy(room(), 2.0, 1), 200.0)
    assert watch.fault is None


def test_a_still_room_is_not_frozen() -> None:
    """Half a grey level of sensor noise is enough to be alive."""
    assert set(faults([noisy(room(), 0.5, seed) for seed in range(5)])) == {None}


def test_a_source_that_is_looked_at_twice_a_minute_needs_more_than_four_pictures() -> None:
    """Two minutes alone tell nothing."""
    assert faults([room()], 5, 30.0)[-1] is None


@pytest.mark.parametrize(("level", "said"), [(4, "black"), (128, "one even grey"), (250, "white")])
def test_an_empty_picture_is_said_after_a_minute(level: int, said: str) -> None:
    """With a sensor's noise, and with a clock in its corner."""
    images = [noisy(np.full((480, 640, 3), level, np.uint8), 4.0, seed) for seed in range(5)]
    for image in images:
        cv2.putText(image, "12:00:00", (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (200, 200, 200), 2)
    found = faults(images)
    assert found[58] is None
    assert said in (found[61] or "")
